"""How events look on NATS: CloudEvents headers there and back, and by `rembuk.broker.stream_names` what streams and
subjects are called.

Binary content mode of the CloudEvents 1.0 NATS protocol binding: attributes as `ce-` headers, the event's JSON as
the message's data.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from asyncpg.pgproto.pgproto import UUID as quick_uuid  # as asyncpg reads them: made in a fraction of the time
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from rembuk import tracing
from rembuk.broker import nats_wire
from rembuk.broker.stream_names import inbox_name, stream_name, subject_prefix
from rembuk.events import rows
from rembuk.events.codec import Codec, Undecodable
from rembuk.events.event import SCHEMA_SCHEME, Metadata, RecordedEvent, decode_metadata, schema_path

if TYPE_CHECKING:
    import asyncpg

CONTENT_TYPE = "application/json"

_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
_encode_metadata = msgspec.json.Encoder().encode


def stream_config(region: str, service: str) -> StreamConfig:
    """A stream that keeps everything, takes atomic batches, and lets nobody delete or purge single messages."""
    return StreamConfig(
        name=stream_name(region, service),
        subjects=[f"{subject_prefix(region, service)}.>"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        max_age=0,
        duplicate_window=1,  # the relay is fenced by the expected sequence; remembering ids would only cost memory
        allow_direct=True,
        allow_atomic=True,
        deny_delete=True,
        deny_purge=True,
    )


async def tail_of(jetstream: JetStreamContext, stream: str) -> int:
    """The last sequence of a stream; 0 where there is none. Raises nats.errors.Error."""
    try:
        return int((await jetstream.stream_info(stream)).state.last_seq)
    except NotFoundError:
        return 0


def header_lines(region: str, service: str, row: asyncpg.Record | Mapping[str, Any]) -> str:
    """What a leaf holds of the headers of one row of log.event, one line each, ending in CRLF.

    Raises ValueError where a value would break out of its line.
    """
    event_id, name = str(row["id"]), row["type"]
    lines = (
        f"Nats-Msg-Id: {event_id}\r\nce-id: {event_id}\r\nce-specversion: 1.0\r\nce-type: {name}\r\n"
        f"ce-source: /polmas/{region}/{service}\r\nce-subject: {row['stream_id']}\r\n"
        f"ce-time: {row['recorded_at'].isoformat()}\r\n"
        f"ce-dataschema: {schema_path(service, name, row['schema_version'])}\r\n"
        f"ce-region: {region}\r\nce-position: {row['position']}\r\n"
        f"ce-version: {row['version']}\r\nce-area: {row['area']}\r\n"
    )
    count = 12
    metadata = decode_metadata(row["metadata"])
    for attribute, value in (
        ("ce-correlationid", metadata.correlation_id),
        ("ce-causationid", metadata.causation_id),
        ("ce-actor", metadata.actor),
        ("traceparent", metadata.traceparent),
    ):
        if value:
            lines += f"{attribute}: {value}\r\n"
            count += 1
    if lines.count("\n") != count or lines.count("\r") != count:
        raise ValueError(f"a line break within a header of event {event_id}")
    return lines


def published_lines(lines: str) -> str:
    """The header lines of a message, from those in its leaf. They came to be later, when leaves had been signed: the
    scheme that makes `dataschema` a URI, `datacontenttype`, and `traceparent` as the attribute that it is as well."""
    before, name, after = lines.partition("\r\nce-dataschema: ")
    _, traced, traceparent = after.rpartition("\r\ntraceparent: ")
    added = f"ce-datacontenttype: {CONTENT_TYPE}\r\n" + (f"ce-traceparent: {traceparent}" if traced else "")
    return f"{before}{name}{SCHEMA_SCHEME}{after}{added}"


class LoggedMessage(Msg):
    """A row of log.event as the message that the relay makes of it; nobody waits for its acknowledgement. Its headers
    are written when somebody asks for them: who only wants the event has it from the row, in half the time."""

    def __init__(self, region: str, service: str, row: asyncpg.Record | Mapping[str, Any]) -> None:
        self.row = row
        self.reply = _unacknowledged(stream_name(region, service), row["position"])
        self.data = row["data"].encode()
        self._from = region, service

    @cached_property
    def headers(self) -> dict[str, str]:  # type: ignore[override]
        return nats_wire.parse_header_lines(published_lines(header_lines(*self._from, self.row)).encode())


def stored_message(stream: str, position: int, headers: dict[str, str], data: bytes) -> Msg:
    """A message as it came, or would come, from a stream."""
    reply = _unacknowledged(stream, position)
    return Msg(_client=None, reply=reply, data=data, headers=headers)  # type: ignore[arg-type]


def _unacknowledged(stream: str, position: int) -> str:
    """A reply subject as `sequence` reads it; nobody listens there."""
    return f"$JS.ACK.{stream}._.1.{position}.{position}.0.0"


def sequence(message: Msg) -> int:
    """The stream sequence of a JetStream message, from its ack subject (with or without a domain)."""
    tokens = message.reply.split(".")
    return int(tokens[5] if len(tokens) == 9 else tokens[7])


def _of_inbox(message: Msg) -> bool:
    """Whether it came from an inbox, where events of many logs stand in the order in which they were forwarded."""
    tokens = message.reply.split(".")
    return (tokens[2] if len(tokens) == 9 else tokens[4]).endswith(inbox_name(""))


def about_row(row: asyncpg.Record | Mapping[str, Any]) -> tracing.About:
    """What a span tells of a row of log.event."""
    return tracing.About(decode_metadata(row["metadata"]).traceparent, row["type"], row["position"], row["area"])


def about(message: Msg) -> tracing.About:
    """What a span tells of a message."""
    if isinstance(message, LoggedMessage):
        return about_row(message.row)
    said = (message.headers or {}).get
    return tracing.About(said("traceparent", ""), said("ce-type", ""), sequence(message), said("ce-area", ""))


def recorded_at(message: Msg) -> datetime:
    """When the event of a message was recorded, as its service says; raises KeyError, ValueError for no event."""
    return moment_of((message.headers or {})["ce-time"])


def moment_of(text: str) -> datetime:
    """When something was recorded, as a log writes it: with its zone, and in years that PostgreSQL, too, has in every
    zone. Raises ValueError, lest it be said where it cannot be blamed on the event."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None or not _EARLIEST <= at <= _LATEST:
        raise ValueError("ce-time is no moment that a log records")
    return at


def recorded(codec: Codec, message: Msg) -> RecordedEvent[Any]:
    """The event a message carries; raises Undecodable for one that no relay of this release published. Its position is
    that in its own log, also where it came from an inbox."""
    if isinstance(message, LoggedMessage):
        try:
            return rows.recorded(codec, message.row)
        except msgspec.MsgspecError as error:
            raise Undecodable(f"no metadata of an event: {error}") from error
    header = message.headers or {}
    try:
        position = int(header["ce-position"])
        if position != sequence(message) and not _of_inbox(message):
            raise Undecodable(f"position {position} stands at sequence {sequence(message)}")
        return RecordedEvent(
            position=position,
            id=quick_uuid(header["ce-id"]),
            stream_id=quick_uuid(header["ce-subject"]),
            version=int(header["ce-version"]),
            area=header.get("ce-area", ""),
            recorded_at=moment_of(header["ce-time"]),
            event=codec.decode(
                header["ce-type"], int(header["ce-dataschema"].rpartition("/")[2].removesuffix(".json")), message.data
            ),
            metadata=_metadata(header),
        )
    except (KeyError, ValueError) as error:
        raise Undecodable(f"not an event of Rembuk: {error!r}") from error


def row(region: str, service: str, message: Msg) -> dict[str, Any]:
    """The row of log.event that a message was made of, but for the fingerprint in its metadata, which is not published.

    Raises Undecodable for a message that the relay would not make of that row.
    """
    header = message.headers or {}
    try:
        row = {
            "position": sequence(message),
            "id": UUID(header["ce-id"]),
            "stream_id": UUID(header["ce-subject"]),
            "version": int(header["ce-version"]),
            "type": header["ce-type"],
            "schema_version": int(header["ce-dataschema"].rpartition("/")[2].removesuffix(".json")),
            "area": header["ce-area"],
            "data": message.data.decode(),
            "metadata": _encode_metadata(_metadata(header)).decode(),
            "recorded_at": moment_of(header["ce-time"]),
        }
        lines = header_lines(region, service, row)
    except (KeyError, ValueError) as error:
        raise Undecodable(f"not an event of Rembuk: {error!r}") from error
    if different := another(lines, header):
        name, value = different
        raise Undecodable(f"{name} is {header.get(name)!r}, not {value!r}")
    return row


def another(lines: str, headers: Mapping[str, str]) -> tuple[str, str] | None:
    """The first header that is not what the relay of any release writes for a leaf's lines, and what it writes."""
    earlier = nats_wire.parse_header_lines(lines.encode())
    for name, value in nats_wire.parse_header_lines(published_lines(lines).encode()).items():
        if headers.get(name) not in (value, earlier.get(name)):
            return name, value
    return None


def _metadata(header: Mapping[str, str]) -> Metadata:
    return Metadata(
        correlation_id=header.get("ce-correlationid", ""),
        causation_id=header.get("ce-causationid", ""),
        actor=header.get("ce-actor", ""),
        traceparent=header.get("traceparent", ""),
    )
