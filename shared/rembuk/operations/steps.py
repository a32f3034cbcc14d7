"""What an errand answers, step by step: a service's process writes each as a line of JSON, and the command that has
started it reads it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

Kind = Literal["log", "heads", "stream", "followers", "keys"]


class Verifying(msgspec.Struct, frozen=True, tag_field="kind", tag="progress"):
    """How far it is, and how far it has to be."""

    position: int
    target: int


class Wrong(msgspec.Struct, frozen=True, tag_field="kind", tag="wrong"):
    """Something is not as it was recorded, signed or published: at a position, or up to it where that is said; 0 where
    it is at none."""

    what: Kind
    said: str
    position: int


class Skipped(msgspec.Struct, frozen=True, tag_field="kind", tag="skipped"):
    """An event of the stream that a follower never takes, as somebody has decided: no replay shows what it would do."""

    follower: str
    stream: str
    position: int
    type: str
    why: str
    by_whom: str
    skipped_at: datetime


class Verified(msgspec.Struct, frozen=True, tag_field="kind", tag="verified"):
    """The log ends at `events`, the last sound head covers `signed` of them, `heads` there are; the stream holds
    `published`. So much was wrong, what is told one by one included. `lost` is of how many persons the log says that
    their keys were lost: what was sealed under these is closed for good, and nobody wanted that."""

    events: int
    signed: int
    heads: int
    published: int
    wrong: int
    lost: int = 0


class MirrorVerified(msgspec.Struct, frozen=True, tag_field="kind", tag="held"):
    """A mirror has so many events, and the last tree head that the hub has cosigned covers so many of them (None: it
    has cosigned none)."""

    stream: str
    events: int
    cosigned: int | None


class Rebuilding(msgspec.Struct, frozen=True, tag_field="kind", tag="progress"):
    """How far one projection has come, and how far it has to come."""

    follower: str
    stream: str
    position: int
    target: int


class Swapped(msgspec.Struct, frozen=True, tag_field="kind", tag="swapped"):
    """The new tables are the live ones; so many events are in quarantine after it."""

    quarantined: int


class LeftBeside(msgspec.Struct, frozen=True, tag_field="kind", tag="left_beside"):
    """The model as of `position` of the service's own log stands in `schema`."""

    schema: str
    position: int


class Compared(msgspec.Struct, frozen=True, tag_field="kind", tag="compared"):
    """How one table differs: rows of the new model, rows that only the live or only the new one has, and others."""

    table: str
    rows: int
    only_live: int
    only_new: int
    changed: int

    @property
    def differences(self) -> int:
        return self.only_live + self.only_new + self.changed


class RowDifference(msgspec.Struct, frozen=True, tag_field="kind", tag="difference"):
    """One row as JSON objects; null where a model does not have it."""

    table: str
    live: msgspec.Raw
    new: msgspec.Raw


class Reconciling(msgspec.Struct, frozen=True, tag_field="kind", tag="progress"):
    """What is done now, how far it is, and how far it has to be."""

    what: str
    position: int
    target: int


class StreamDifference(msgspec.Struct, frozen=True, tag_field="kind", tag="difference"):
    """Where stream and log are not the same, and how."""

    position: int
    what: str


class Reconciled(msgspec.Struct, frozen=True, tag_field="kind", tag="reconciled"):
    """The log ends at `head`, the stream at `tail`; so many events were published, so many differ. `ahead`: events of
    this service that the stream has and the log has not."""

    head: int
    tail: int
    published: int
    differences: int
    ahead: int

    @property
    def well(self) -> bool:
        return self.head == self.tail and not self.differences


class Restoring(msgspec.Struct, frozen=True, tag_field="kind", tag="progress"):
    """How far it is, and how far it has to be."""

    position: int
    target: int


class Restored(msgspec.Struct, frozen=True, tag_field="kind", tag="restored"):
    """The log is at `position`; so many events were added."""

    position: int
    events: int


class Exporting(msgspec.Struct, frozen=True, tag_field="kind", tag="progress"):
    """How far an export has come: the log's position, and the last one there is."""

    position: int
    target: int
    events: int


class Exported(msgspec.Struct, frozen=True, tag_field="kind", tag="exported"):
    """What the export holds now."""

    events: int
    parts: int
    read: int


class Replayed(msgspec.Struct, frozen=True):
    """One event of an aggregate, as a CloudEvent, and the rows of the read model after it, by table."""

    event: dict[str, Any]
    state: dict[str, Any]


class ErasureRecorded(msgspec.Struct, frozen=True):
    """A person whose data nobody can read any more, where the log says so, and the regions that had them in
    confidence: what they made of them is theirs to erase."""

    person: UUID
    position: int
    repeated: bool
    told: list[str]


class ListedDelivery(msgspec.Struct, frozen=True):
    """A message to a subscriber, and how many there are in all; never to whom it goes."""

    id: UUID
    state: str
    channel: str
    attempts: int
    reason: str
    queued_at: datetime
    changed_at: datetime
    due_at: datetime | None
    alert_id: UUID | None
    headline: str
    wanted: bool
    in_all: int


class SentAgain(msgspec.Struct, frozen=True, omit_defaults=True):
    """A delivery that is tried again, as the log says at this position; or the rule by which that was refused."""

    delivery: UUID
    position: int = 0
    refused: str = ""


VerificationStep = Verifying | Wrong | Skipped | Verified | MirrorVerified
RebuildStep = Rebuilding | Compared | RowDifference | Swapped | LeftBeside
ReconciliationStep = Reconciling | StreamDifference | Reconciled
RestorationStep = Restoring | Restored
ExportStep = Exporting | Exported
UnderWay = Verifying | Rebuilding | Reconciling | Restoring | Exporting
"""How far an errand is; an answer follows."""
