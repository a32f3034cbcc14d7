"""What an event is: the fact itself, and the fact as the log recorded it."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Generic, TypeVar
from uuid import UUID

import msgspec


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """A fact in the past tense; subclasses live in `rembuk.contracts`, because publishing them makes them shared.

    `schema_version` grows when a released shape changes; the codec then upcasts older data (see `rembuk.events.codec`).
    """

    schema_version: ClassVar[int] = 1


SCHEMA_SCHEME = "rembuk:"
"""What makes a schema's path a URI, as CloudEvents wants it, wherever the API is that serves it."""


def schema_path(service: str, event: str, version: int) -> str:
    """Where the JSON Schema of an event's version is found, at any service's API."""
    return f"/schemas/{service}/{event}/{version}.json"


def schema_uri(service: str, event: str, version: int) -> str:
    """The `dataschema` of an event: `rembuk:/schemas/reports/ProblemReported/2.json`."""
    return SCHEMA_SCHEME + schema_path(service, event, version)


E_co = TypeVar("E_co", bound=Event, covariant=True)


class Metadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why and by whom: never part of the fact, always beside it.

    `correlation_id` names the journey, `causation_id` the event or request that led here, `actor` who asked
    (a role and an opaque id, never a name), `traceparent` is W3C Trace Context, `fingerprint` the digest of the
    command behind an idempotency key, so that the same key with another wish is noticed.
    """

    correlation_id: str = ""
    causation_id: str = ""
    actor: str = ""
    traceparent: str = ""
    fingerprint: str = ""


decode_metadata = msgspec.json.Decoder(Metadata).decode
"""The metadata of a row of log.event. Raises msgspec.MsgspecError."""


class RecordedEvent(msgspec.Struct, Generic[E_co], frozen=True):
    """An event with its place in the log.

    `position` counts 1, 2, 3 ... over the whole log of a service without a hole; `version` does the same within
    `stream_id`, the aggregate. `recorded_at` is UTC and never decreases with position. `area` is the Kemendagri
    code the event concerns, "" where it concerns none.
    """

    position: int
    id: UUID
    stream_id: UUID
    version: int
    area: str
    recorded_at: datetime
    event: E_co
    metadata: Metadata
