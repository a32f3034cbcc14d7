"""What can be asked of a forum, a meeting, a commitment: one struct a wish, validated as it is decoded."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta
from rembuk.contracts.forums import ForumModel, MemberRole, MissReason
from rembuk.contracts.polmas import Pillar, Sex, Strategy
from rembuk.events.texts import SEALED
from rembuk.events.wording import NO_NUL, AreaCode, Note, SealedNote, Text, Title, Words

Moment = Annotated[datetime, Meta(tz=True)]
People = Annotated[int, Meta(ge=1, le=10_000)]
Officers = Annotated[int, Meta(ge=0, le=10_000)]


class FoundForum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    area: AreaCode
    model: ForumModel
    name: Title
    hall: Note = ""


class NewMember(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody who joins, by name in clear. Religion and ethnicity are never asked."""

    pillar: Pillar
    role: MemberRole
    sex: Sex
    name: Words


class JoinForum(msgspec.Struct, frozen=True):
    """A member to be recorded, the name sealed."""

    member_id: UUID
    pillar: Pillar
    role: MemberRole
    sex: Sex
    name: str


ForumCommand = FoundForum | JoinForum


class MeetingPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A meeting as it is asked for; its area is the forum's."""

    forum_id: UUID
    at: Moment
    place: Words
    agenda: Annotated[tuple[UUID, ...], Meta(max_length=50)] = ()


class ScheduleMeeting(msgspec.Struct, frozen=True):
    """A meeting of a forum that is known to be founded, in the forum's area. `candidates` are those problems of the
    agenda that, as far as forums has heard, may be on one."""

    forum_id: UUID
    area: str
    at: datetime
    place: str
    agenda: tuple[UUID, ...]
    candidates: frozenset[UUID]


class Present(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many of one pillar and sex are there, and how many of them are officers."""

    pillar: Pillar
    sex: Sex
    count: People
    officers: Officers = 0


class RecordAttendance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    attendance: Annotated[tuple[Present, ...], Meta(min_length=1, max_length=22)]


class Agreed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be done about one problem of the agenda, and why it happens where that was found. It is shown to
    everybody, and is to name nobody."""

    problem_id: UUID
    proposal: Text
    strategies: Annotated[tuple[Strategy, ...], Meta(min_length=1, max_length=10)]
    root_cause: Note = ""


class Promised(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which pillar does what by when; shown to everybody, so it is to name nobody."""

    who: Pillar
    what: Text
    by: date


class HoldForum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    agreements: Annotated[tuple[Agreed, ...], Meta(max_length=50)] = ()
    promises: Annotated[tuple[Promised, ...], Meta(max_length=50)] = ()
    deferred: Annotated[tuple[UUID, ...], Meta(max_length=50)] = ()
    minutes: Annotated[str, Meta(max_length=20_000, pattern=NO_NUL), SEALED] = ""


MeetingCommand = ScheduleMeeting | RecordAttendance | HoldForum


class MakeCommitment(msgspec.Struct, frozen=True):
    """A promise given in a held meeting, to be followed up on its own."""

    forum_id: UUID
    meeting_id: UUID
    area: str
    who: Pillar
    what: str
    by: date


class KeepCommitment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    note: SealedNote = ""


class MissCommitment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: MissReason
    note: SealedNote = ""


CommitmentCommand = MakeCommitment | KeepCommitment | MissCommitment
