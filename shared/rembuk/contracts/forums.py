"""What the service `forums` publishes: forums, their meetings, and the commitments made there."""

from __future__ import annotations

from datetime import date, datetime
from typing import ClassVar, Literal
from uuid import UUID

import msgspec

from rembuk.contracts.polmas import Pillar, Sex, Strategy
from rembuk.contracts.privacy import PersonErased, PrivacyEvent
from rembuk.events.codec import Codec
from rembuk.events.event import Event
from rembuk.events.texts import Code, Public, Sealed

ForumModel = Literal["wilayah", "kawasan", "adat"]
MemberRole = Literal["chair", "secretary", "officer", "member"]
MissReason = Literal["no_time", "no_means", "no_agreement", "overtaken", "other"]


class ForumFounded(Event, frozen=True):
    """Police and community agreed to have a forum for an area: of residents (`wilayah`), of an estate, market or
    campus (`kawasan`), or within a traditional institution (`adat`)."""

    area: Code
    model: ForumModel
    name: Public
    hall: Public = ""


class MemberJoined(Event, frozen=True):
    """Somebody became a member; `name` is sealed."""

    member_id: UUID
    pillar: Pillar
    role: MemberRole
    sex: Sex
    name: Sealed = ""


class MeetingScheduled(Event, frozen=True):
    """A meeting with its agenda: the problems (ids in `reports`) to deliberate on."""

    forum_id: UUID
    area: Code
    at: datetime
    place: Public
    agenda: tuple[UUID, ...]


class Attendance(msgspec.Struct, frozen=True):
    """How many of one pillar and sex were there, and how many of them are officers."""

    pillar: Pillar
    sex: Sex
    count: int
    officers: int = 0


class AttendanceRecorded(Event, frozen=True):
    """Who was there, by pillar and sex: never by name. Replaces what was recorded before."""

    attendance: tuple[Attendance, ...]


class Agreement(msgspec.Struct, frozen=True):
    """What the forum agreed to do about one problem, and the root cause it found."""

    problem_id: UUID
    proposal: Public
    strategies: tuple[Strategy, ...]
    root_cause: Public = ""


class Promise(msgspec.Struct, frozen=True):
    """Who (a pillar, never a name) promised what by when."""

    who: Pillar
    what: Public
    by: date


class ForumHeld(Event, frozen=True):
    """The forum met and deliberated. An agreement makes `reports` propose that solution. The minutes are sealed under a
    key of this event's own, as the notes on commitments are; before version 2 they were in clear."""

    schema_version: ClassVar[int] = 2

    forum_id: UUID
    area: Code
    attendance: tuple[Attendance, ...]
    agreements: tuple[Agreement, ...]
    promises: tuple[Promise, ...] = ()
    deferred: tuple[UUID, ...] = ()
    minutes: Sealed = ""


class CommitmentMade(Event, frozen=True):
    """A promise given in a meeting, followed up on its own from now on."""

    forum_id: UUID
    meeting_id: UUID
    area: Code
    who: Pillar
    what: Public
    by: date


class CommitmentKept(Event, frozen=True):
    """It was done."""

    schema_version: ClassVar[int] = 2

    note: Sealed = ""


class CommitmentMissed(Event, frozen=True):
    """It was not done by its day."""

    schema_version: ClassVar[int] = 2

    reason: MissReason
    note: Sealed = ""


ForumEvent = ForumFounded | MemberJoined
MeetingEvent = MeetingScheduled | AttendanceRecorded | ForumHeld
CommitmentEvent = CommitmentMade | CommitmentKept | CommitmentMissed

CODEC = Codec(
    (*ForumEvent.__args__, *MeetingEvent.__args__, *CommitmentEvent.__args__, *PrivacyEvent.__args__),
    {  # what is sealed with version 2 is in clear before it, see ForumHeld
        (event.__name__, 1): dict for event in (ForumHeld, CommitmentKept, CommitmentMissed, PersonErased)
    },
)
