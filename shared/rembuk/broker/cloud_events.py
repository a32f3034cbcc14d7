"""Recorded events in the JSON format of CloudEvents 1.0, for whoever reads them outside of NATS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from nats.aio.msg import Msg

from rembuk.broker import streams
from rembuk.events.event import Event, RecordedEvent, decode_metadata, schema_uri

if TYPE_CHECKING:
    import asyncpg


class CloudEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A published event in structured content mode; `data` are its very bytes."""

    specversion: str
    id: str
    type: str
    source: str
    subject: str
    time: str
    datacontenttype: str
    dataschema: str
    region: str
    position: int
    version: int
    area: str
    data: msgspec.Raw
    correlationid: str = ""
    causationid: str = ""
    actor: str = ""
    traceparent: str = ""


_ATTRIBUTES = {name: f"ce-{name}" for name in CloudEvent.__struct_fields__ if name != "data"}


def structured(message: Msg) -> CloudEvent:
    """A message of a stream, where events are in binary mode, with all that it says."""
    header = message.headers or {}
    said: dict[str, Any] = {name: header.get(key, "") for name, key in _ATTRIBUTES.items()}
    said["position"], said["version"] = int(said["position"]), int(said["version"])
    said |= {"datacontenttype": streams.CONTENT_TYPE, "traceparent": header.get("traceparent", "")}
    return CloudEvent(**said, data=msgspec.Raw(message.data))


def published(region: str, service: str, row: asyncpg.Record | Mapping[str, Any]) -> CloudEvent:
    """A row of log.event as its stream has it: in the version in which it was recorded, and whatever it says."""
    why = decode_metadata(row["metadata"])
    kind, schema = row["type"], schema_uri(service, row["type"], row["schema_version"])
    return CloudEvent(  # by place: by name it takes five times as long
        "1.0", str(row["id"]), kind, f"/polmas/{region}/{service}", str(row["stream_id"]),
        row["recorded_at"].isoformat(), streams.CONTENT_TYPE, schema, region, row["position"], row["version"],
        row["area"], msgspec.Raw(row["data"].encode()), why.correlation_id, why.causation_id, why.actor,
        why.traceparent,
    )  # fmt: skip


def binary(stream: str, event: CloudEvent) -> Msg:
    """The message of `stream` that `structured` was given."""
    said = {key: str(value) for name, key in _ATTRIBUTES.items() if (value := getattr(event, name)) != ""}
    headers = {"Nats-Msg-Id": event.id, "ce-area": "", **said}
    if event.traceparent:
        headers["traceparent"] = event.traceparent
    return streams.stored_message(stream, event.position, headers, bytes(event.data))


def cloud_event(region: str, service: str, recorded: RecordedEvent[Event]) -> dict[str, Any]:
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
        "datacontenttype": streams.CONTENT_TYPE,
        "dataschema": schema_uri(service, name, recorded.event.schema_version),
        "region": region,
        "position": recorded.position,
        "version": recorded.version,
        "area": recorded.area,
        **{name: value for name, value in context.items() if value},
        "data": msgspec.to_builtins(recorded.event),
    }
