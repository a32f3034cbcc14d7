"""Recorded events in the JSON format of CloudEvents 1.0, for whoever reads them outside of NATS."""

from __future__ import annotations

from typing import Any

import msgspec

from rembuk.event import Event, Recorded


def cloud_event(region: str, service: str, recorded: Recorded[Event]) -> dict[str, Any]:
    """One recorded event in CloudEvents 1.0 JSON format; lower-case names that 1.0 does not know are extensions."""
    name = type(recorded.event).__name__
    context = {
        "correlationid": recorded.metadata.correlation_id,
        "causationid": recorded.metadata.causation_id,
        "actor": recorded.metadata.actor,
        "traceparent": recorded.metadata.traceparent,
    }
    return {
        "specversion": "1.0",
        "id": str(recorded.id),
        "type": name,
        "source": f"/polmas/{region}/{service}",
        "subject": str(recorded.stream_id),
        "time": recorded.recorded_at.isoformat(),
        "datacontenttype": "application/json",
        "dataschema": f"/schemas/{service}/{name}/{recorded.event.schema_version}.json",
        "region": region,
        "position": recorded.position,
        "version": recorded.version,
        "area": recorded.area,
        **{name: value for name, value in context.items() if value},
        "data": msgspec.to_builtins(recorded.event),
    }
