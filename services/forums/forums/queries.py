"""What can be asked about forums, meetings and commitments: answered from the read models alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from datetime import date
from functools import cache
from typing import Any, Literal, TypeVar, get_args
from uuid import UUID

import msgspec
from rembuk.area_keys import lies_in
from rembuk.contracts.forums import Agreement, Attendance, ForumModel, MemberRole, MissReason, Promise
from rembuk.contracts.polmas import Pillar, Sex
from rembuk.contracts.reports import Level
from rembuk.web.partner_access import Within
from rembuk.web.reading import ReadModel, Timestamp
from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Row,
    Select,
    Table,
    Uuid,
    any_,
    func,
    literal,
    or_,
    select,
)

from forums.tables import commitment, forum, meeting, member, open_problem

MeetingStatus = Literal["scheduled", "held"]
CommitmentStatus = Literal["due", "kept", "missed"]
T = TypeVar("T")

EXPECTED_MEMBERS = range(10, 21)


class Represented(msgspec.Struct, frozen=True):
    """How many members of one pillar and sex a forum has."""

    pillar: Pillar
    sex: Sex
    members: int


class Forum(msgspec.Struct, frozen=True):
    """A forum as it stands. `expected_size` tells whether it has 10 to 20 members, `has_officer` whether an officer
    is among them: both are expected, and shown where they are missing."""

    id: UUID
    version: int
    area: str
    model: ForumModel
    name: str
    hall: str
    members: int
    expected_size: bool
    has_officer: bool
    representation: list[Represented]
    founded_at: Timestamp
    changed_at: Timestamp


class ForumPage(msgspec.Struct, frozen=True):
    """Forums, newest first; `next_cursor` is null on the last page."""

    items: list[Forum]
    next_cursor: str | None = None


class Member(msgspec.Struct, frozen=True):
    """A member, never by name."""

    id: UUID
    pillar: Pillar
    role: MemberRole
    sex: Sex
    joined_at: Timestamp


class Meeting(msgspec.Struct, frozen=True):
    """A meeting as it stands; of its problems those alone that whoever asks may see. `members` is how many the forum
    had when it was held (has, until then); there is a `quorum` when the people present, guests included, are more than
    half as many."""

    id: UUID
    version: int
    forum_id: UUID
    area: str
    at: Timestamp
    place: str
    status: MeetingStatus
    agenda: list[UUID]
    attendance: list[Attendance]
    present: int
    officers: int
    members: int
    quorum: bool
    agreements: list[Agreement]
    promises: list[Promise]
    deferred: list[UUID]
    held_at: Timestamp | None
    scheduled_at: Timestamp
    changed_at: Timestamp


class MeetingPage(msgspec.Struct, frozen=True):
    """Meetings, the last scheduled first; `next_cursor` is null on the last page."""

    items: list[Meeting]
    next_cursor: str | None = None


class Commitment(msgspec.Struct, frozen=True):
    """A commitment as it stands: due, kept, or missed for a `reason`."""

    id: UUID
    version: int
    forum_id: UUID
    meeting_id: UUID
    area: str
    who: Pillar
    what: str
    by: date
    status: CommitmentStatus
    reason: MissReason | None
    made_at: Timestamp
    changed_at: Timestamp


class CommitmentPage(msgspec.Struct, frozen=True):
    """Commitments, newest first; `next_cursor` is null on the last page."""

    items: list[Commitment]
    next_cursor: str | None = None


class Candidate(msgspec.Struct, frozen=True):
    """An open problem that a forum may put on its agenda, by its title; nothing in it says who reported it."""

    id: UUID
    area: str
    category: str
    title: str
    status: str
    priority: Level | None
    root_cause: str | None
    reported_at: Timestamp


class CandidatePage(msgspec.Struct, frozen=True):
    """Open problems, newest first; `next_cursor` is null on the last page."""

    items: list[Candidate]
    next_cursor: str | None = None


_MEMBERS_THEN = (
    select(func.count())
    .select_from(member)
    .where(
        member.c.forum_id == meeting.c.forum_id,
        or_(meeting.c.held_position.is_(None), member.c.position < meeting.c.held_position),
    )
    .scalar_subquery()
    .label("members")
)


class ForumQueries:
    """Reads of the tables of our own stream (`read_model`) and of `open_problem` (`reported`)."""

    def __init__(self, read_model: ReadModel, reported: ReadModel) -> None:
        self._read_model, self._reported = read_model, reported

    async def forum(self, forum_id: UUID, at_least: int | None = None) -> Forum | None:
        """The forum, None for an unknown one; raises Behind."""
        row = await self._read_model.one(select(forum).where(forum.c.id == forum_id), at_least)
        return None if row is None else (await self._forums([row]))[0]

    async def forums(self, area: str | None, cursor: str | None, limit: int, at_least: int | None = None) -> ForumPage:
        """Forums of an area and everything below it, newest first."""
        query = _narrowed(select(forum), forum, area)
        rows, more = await self._read_model.page(query, forum.c.position, cursor, limit, at_least)
        return ForumPage(await self._forums(rows), more)

    async def members(self, forum_id: UUID, at_least: int | None = None) -> list[Member]:
        """A forum's members in the order they joined."""
        await self._read_model.reached(at_least)
        query = select(member).where(member.c.forum_id == forum_id).order_by(member.c.position)
        return [_shown(row, Member) for row in await self._read_model.all(query)]

    async def meeting(self, meeting_id: UUID, within: Within, at_least: int | None = None) -> Meeting | None:
        """The meeting, None for an unknown one; raises Behind."""
        query = select(meeting, _MEMBERS_THEN).where(meeting.c.id == meeting_id)
        row = await self._read_model.one(query, at_least)
        return None if row is None else (await self._meetings([row], within))[0]

    async def meetings(
        self, area: str | None, within: Within, status: MeetingStatus | None, cursor: str | None, limit: int,
        at_least: int | None = None, **equal: Any,
    ) -> MeetingPage:  # fmt: skip
        """Meetings in an area and everything below it, the last scheduled first."""
        query = _narrowed(select(meeting, _MEMBERS_THEN), meeting, area, **equal)
        walks = _walks(meeting, status, MeetingStatus, area, **equal)
        rows, more = await self._read_model.page(query, meeting.c.position, cursor, limit, at_least, walks)
        return MeetingPage(await self._meetings(rows, within), more)

    async def commitment(self, commitment_id: UUID, at_least: int | None = None) -> Commitment | None:
        """The commitment, None for an unknown one; raises Behind."""
        row = await self._read_model.one(select(commitment).where(commitment.c.id == commitment_id), at_least)
        return None if row is None else _shown(row, Commitment)

    async def commitments(
        self, area: str | None, status: CommitmentStatus | None, cursor: str | None, limit: int,
        at_least: int | None = None, **equal: Any,
    ) -> CommitmentPage:  # fmt: skip
        """Commitments in an area and everything below it, newest first."""
        query = _narrowed(select(commitment), commitment, area, **equal)
        walks = _walks(commitment, status, CommitmentStatus, area, **equal)
        rows, more = await self._read_model.page(query, commitment.c.position, cursor, limit, at_least, walks)
        return CommitmentPage([_shown(row, Commitment) for row in rows], more)

    async def candidates(
        self, area: str, within: Within, cursor: str | None, limit: int, at_least: int | None = None
    ) -> CandidatePage:
        """Candidates of an area and below it, newest first; `at_least` is a position of reports."""
        query = _candidates(select(open_problem), area, public=None if within(area) else True)
        rows, more = await self._reported.page(query, open_problem.c.position, cursor, limit, at_least)
        return CandidatePage([_shown(row, Candidate) for row in rows], more)

    async def candidates_among(self, problems: Sequence[UUID], area: str) -> frozenset[UUID]:
        """Those of some problems that a forum of an area may put on its agenda."""
        if not problems:
            return frozenset()
        query = _candidates(select(open_problem.c.id), area).where(_among(open_problem.c.id, problems))
        return frozenset(row.id for row in await self._reported.all(query))

    async def _meetings(self, rows: Sequence[Row[Any]], within: Within) -> list[Meeting]:
        """The meetings of some rows, with those problems that are public where whoever asks sees no others."""
        named = {problem for row in rows if not within(row.area) for problem in _problems_of(row)}
        public: set[UUID] = set()
        if named:
            query = select(open_problem.c.id).where(_among(open_problem.c.id, named), open_problem.c.public)
            public = {row.id for row in await self._reported.all(query)}
        hidden = named - public
        return [_meeting(row, set() if within(row.area) else hidden) for row in rows]

    async def _forums(self, rows: Sequence[Row[Any]]) -> list[Forum]:
        """The forums of some rows, with what their members come to."""
        count = func.count().label("members")
        kind = (member.c.forum_id, member.c.pillar, member.c.sex)
        officers = func.count().filter(member.c.role == "officer").label("officers")
        query = select(*kind, count, officers).group_by(*kind).order_by(count.desc(), *kind)
        kinds: dict[UUID, list[Row[Any]]] = {row.id: [] for row in rows}
        for one in await self._read_model.all(query.where(_among(member.c.forum_id, kinds))):
            kinds[one.forum_id].append(one)
        return [_forum(row, kinds[row.id]) for row in rows]


def _candidates(query: Select[Any], area: str, public: bool | None = None) -> Select[Any]:
    """What a forum may deliberate: open, here, and found to be so, for reports takes no solution to anything else."""
    return _narrowed(query, open_problem, area, open=True, away=False, public=public).where(
        open_problem.c.status != "reported"
    )


def _narrowed(query: Select[Any], table: Table, area: str | None, **equal: Any) -> Select[Any]:
    """The query for an area and everything below it and for equal columns; None narrows nothing."""
    if area is not None:
        query = query.where(lies_in(table.c.area, area))
    return query.where(*(table.c[name] == value for name, value in equal.items() if value is not None))


def _among(column: Column[UUID], ids: Iterable[UUID]) -> ColumnElement[bool]:
    """Whether a row's is one of some ids: one parameter, where `in` has as many as ids."""
    return column == any_(literal(list(ids), ARRAY(Uuid)))


def _walks(
    table: Table, status: str | None, statuses: Any, area: str | None, **equal: Any
) -> Sequence[ColumnElement[bool]]:
    """The ranges of an index that a page is of: of a status, or else of each one. All rows are in order anyway, and
    those of one meeting are few."""
    if status is not None:
        return [table.c.status == status]
    narrowed = area is not None or equal.get("forum_id") is not None
    return [table.c.status == one for one in get_args(statuses)] if narrowed else []


def _shown(row: Row[Any], kind: type[T], **computed: Any) -> T:
    """A row as what is shown of it: columns it does not name are left out, JSON becomes structs."""
    return msgspec.convert(dict(zip(_names(row._fields), row, strict=True)) | computed, kind)


@cache
def _names(fields: tuple[str, ...]) -> tuple[str, ...]:
    """SQLAlchemy's names of columns are more than text, which msgspec refuses."""
    return tuple(map(str, fields))


def _forum(row: Row[Any], kinds: Sequence[Row[Any]]) -> Forum:
    members = sum(kind.members for kind in kinds)
    computed = {
        "members": members,
        "expected_size": members in EXPECTED_MEMBERS,
        "has_officer": any(kind.officers for kind in kinds),
        "representation": [_shown(kind, Represented) for kind in kinds],
    }
    return _shown(row, Forum, **computed)


def _problems_of(row: Row[Any]) -> list[UUID]:
    """Every problem that a meeting's row names."""
    return [*map(UUID, row.agenda), *map(UUID, row.deferred), *(UUID(one["problem_id"]) for one in row.agreements)]


def _meeting(row: Row[Any], hidden: Set[UUID]) -> Meeting:
    present = sum(one["count"] for one in row.attendance)
    computed = {
        "present": present,
        "officers": sum(one.get("officers", 0) for one in row.attendance),
        "quorum": present * 2 > row.members > 0,
        "agenda": [problem for problem in row.agenda if UUID(problem) not in hidden],
        "deferred": [problem for problem in row.deferred if UUID(problem) not in hidden],
        "agreements": [one for one in row.agreements if UUID(one["problem_id"]) not in hidden],
    }
    return _shown(row, Meeting, **computed)
