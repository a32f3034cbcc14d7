"""What every service publishes about what it has sealed: who was shown it, and whose data nobody can open any more."""

from __future__ import annotations

from typing import ClassVar, Literal
from uuid import UUID

import msgspec

from rembuk.events.event import Event
from rembuk.events.texts import Code, Public

Ground = Literal["request", "retention", "other"]
"""On which somebody has a key destroyed."""
ErasedBecause = Literal["request", "retention", "other", "lost"]


class Opened(msgspec.Struct, frozen=True):
    """One sealed field of one event."""

    event_id: UUID
    field: Code


class SealedDataOpened(Event, frozen=True):
    """Somebody was to be shown sealed fields of an aggregate's events, and why; recorded before anything is shown. `by`
    is a role and an opaque id: a claim, until an identity provider vouches for it."""

    area: Code
    aggregate: UUID
    opened: tuple[Opened, ...]
    by: Code
    reason: Public


class PersonErased(Event, frozen=True):
    """The key of an opaque person is destroyed: what was sealed under it stays closed for ever, in every copy. On the
    ground `lost` nobody wanted that: the key was lost, and is destroyed should it come back. Before version 2 none was
    written off so."""

    schema_version: ClassVar[int] = 2

    area: Code
    person: UUID
    ground: ErasedBecause


PrivacyEvent = SealedDataOpened | PersonErased
