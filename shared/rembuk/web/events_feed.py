"""The log for other systems by HTTP: CloudEvents in JSON batch format, from any position on."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Response, get
from litestar.params import Parameter

from rembuk.event import Event, Recorded
from rembuk.event_log import EventLog
from rembuk.web.problem_details import documented


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


def events_feed(log: EventLog, region: str, service: str) -> Any:
    """The route handler of `GET /v1/events`."""

    @get("/v1/events", summary="Events after a position", responses=documented(400, 503), tags=["events"])
    async def read_events(
        after: Annotated[int, Parameter(ge=0, le=2**62, description="Last position you have")] = 0,
        limit: Annotated[int, Parameter(ge=1, le=500)] = 100,
    ) -> Response[list[dict[str, Any]]]:
        events = [cloud_event(region, service, event) for event in await log.read(after, limit)]
        return Response(events, media_type="application/cloudevents-batch+json")

    return read_events
