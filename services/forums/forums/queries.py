"""What can be asked about forums, meetings and commitments: answered from the read models alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Literal, get_args
from uuid import UUID

import msgspec
from asyncpg import Record
from rembuk.contracts.forums import Agreement, Attendance, ForumModel, MemberRole, MissReason, Promise
from rembuk.contracts.polmas import Pillar, Sex
from rembuk.contracts.reports import Level
from rembuk.postgres.area_keys import lies_in
from rembuk.web.lists import ALL, ListedRows, each_of
from rembuk.web.partner_access import Within
from rembuk.web.reading import ReadModel, Timestamp

from forums.tables import CANDIDATE

MeetingStatus = Literal["scheduled", "held"]
CommitmentStatus = Literal["due", "kept", "missed"]

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


FORUMS = ListedRows(
    "forum",
    """forum.id, version, area, model, name, hall, counted.members, counted.officers, counted.kinds, founded_at,
       changed_at, position""",
    joined="""cross join lateral (
        select coalesce(sum(members), 0)::integer as members, coalesce(sum(officers), 0)::integer as officers,
               json_agg(json_build_object('pillar', pillar, 'sex', sex, 'members', members)
                        order by members desc, pillar, sex)::text as kinds
        from (select pillar, sex, count(*) as members, count(*) filter (where role = 'officer') as officers
              from {0}member where forum_id = forum.id group by pillar, sex) as kind) as counted""",
)
MEETINGS = ListedRows(
    "meeting",
    """id, version, forum_id, area, at, place, status, agenda, attendance, agreements, promises, deferred, held_at,
       scheduled_at, changed_at,
       (select count(*) from {0}member
        where member.forum_id = meeting.forum_id
            and (held_position is null or member.position < held_position)) as members,
       array(select open_problem.id
             from jsonb_array_elements_text(agenda || deferred || jsonb_path_query_array(agreements, '$[*].problem_id'))
                  as named (id)
             join {0}open_problem on open_problem.id = named.id::uuid and open_problem.public) as public,
       position""",
)
COMMITMENTS = ListedRows(
    "commitment",
    "id, version, forum_id, meeting_id, area, who, what, by, status, reason, made_at, changed_at, position",
)
CANDIDATES = ListedRows(
    "open_problem", "id, area, category, title, status, priority, root_cause, reported_at, position"
)


def _members(schema: str) -> str:
    return f"select id, pillar, role, sex, joined_at from {schema}member where forum_id = $1 order by position"


def _candidates_among(schema: str) -> str:
    return f"select id, area from {schema}open_problem where id = any($1) and {CANDIDATE}"


_kinds, _ids = msgspec.json.Decoder(list[Represented]).decode, msgspec.json.Decoder(list[UUID]).decode
_attendances, _agreements, _promises = (
    msgspec.json.Decoder(list[Attendance]).decode, msgspec.json.Decoder(list[Agreement]).decode,
    msgspec.json.Decoder(list[Promise]).decode,
)  # fmt: skip


class ForumQueries:
    """Reads of the tables of our own stream (`read_model`) and of `open_problem` (`reported`)."""

    def __init__(self, read_model: ReadModel, reported: ReadModel) -> None:
        self._read_model, self._reported = read_model, reported

    async def forum(self, forum_id: UUID, at_least: int | None = None) -> Forum | None:
        """The forum, None for an unknown one; raises Behind."""
        row = await self._read_model.one(FORUMS, forum_id, at_least)
        return None if row is None else _forum(row)

    async def forums(self, area: str | None, cursor: str | None, limit: int, at_least: int | None = None) -> ForumPage:
        """Forums of an area and everything below it, newest first."""
        rows, more = await self._read_model.page(FORUMS, lies_in(area), cursor, limit, at_least)
        return ForumPage([_forum(row) for row in rows], more)

    async def members(self, forum_id: UUID, at_least: int | None = None) -> list[Member]:
        """A forum's members in the order they joined."""
        await self._read_model.reached(at_least)
        return [Member(*row) for row in await self._read_model.rows(_members, forum_id)]

    async def meeting(self, meeting_id: UUID, within: Within, at_least: int | None = None) -> Meeting | None:
        """The meeting, None for an unknown one; raises Behind."""
        row = await self._read_model.one(MEETINGS, meeting_id, at_least)
        return None if row is None else _meeting(row, within)

    async def meetings(
        self, area: str | None, within: Within, status: MeetingStatus | None, forum_id: UUID | None,
        cursor: str | None, limit: int, at_least: int | None = None,
    ) -> MeetingPage:  # fmt: skip
        """Meetings in an area and everything below it, the last scheduled first."""
        equal = lies_in(area) | {"forum_id": forum_id, "status": status}
        walks = _walks(MeetingStatus, status, area, forum_id)
        rows, more = await self._read_model.page(MEETINGS, equal, cursor, limit, at_least, walks)
        return MeetingPage([_meeting(row, within) for row in rows], more)

    async def commitment(self, commitment_id: UUID, at_least: int | None = None) -> Commitment | None:
        """The commitment, None for an unknown one; raises Behind."""
        row = await self._read_model.one(COMMITMENTS, commitment_id, at_least)
        return None if row is None else Commitment(*row[:-1])

    async def commitments(
        self, area: str | None, status: CommitmentStatus | None, forum_id: UUID | None, meeting_id: UUID | None,
        cursor: str | None, limit: int, at_least: int | None = None,
    ) -> CommitmentPage:  # fmt: skip
        """Commitments in an area and everything below it, newest first."""
        equal = lies_in(area) | {"forum_id": forum_id, "meeting_id": meeting_id, "status": status}
        walks = _walks(CommitmentStatus, status, area, forum_id)
        rows, more = await self._read_model.page(COMMITMENTS, equal, cursor, limit, at_least, walks)
        return CommitmentPage([Commitment(*row[:-1]) for row in rows], more)

    async def candidates(
        self, area: str, within: Within, cursor: str | None, limit: int, at_least: int | None = None
    ) -> CandidatePage:
        """Candidates of an area and below it, newest first; `at_least` is a position of reports."""
        walks = (CANDIDATE if within(area) else f"{CANDIDATE} and public",)
        rows, more = await self._reported.page(CANDIDATES, lies_in(area), cursor, limit, at_least, walks)
        return CandidatePage([Candidate(*row[:-1]) for row in rows], more)

    async def candidates_among(self, problems: Sequence[UUID], area: str) -> frozenset[UUID]:
        """Those of some problems that a forum of an area may put on its agenda."""
        rows = await self._reported.rows(_candidates_among, problems) if problems else ()
        return frozenset(row["id"] for row in rows if f"{row['area']}.".startswith(f"{area}."))


def _walks(statuses: Any, status: str | None, area: str | None, forum_id: UUID | None) -> Sequence[str]:
    """Of an area or a forum the rows of each status lie together. All rows are in order anyway, and those of one
    meeting are few."""
    return ALL if status is not None or (area is None and forum_id is None) else each_of("status", get_args(statuses))


def _forum(row: Record) -> Forum:
    members = row["members"]
    kinds = _kinds(row["kinds"]) if members else []
    told = [*row[:7], members in EXPECTED_MEMBERS, row["officers"] > 0, kinds, *row[9:-1]]
    return Forum(*told)


def _meeting(row: Record, within: Within) -> Meeting:
    """By place, with those problems that are public where whoever asks sees no others."""
    members, attendance, agenda = row["members"], _attendances(row["attendance"]), _ids(row["agenda"])
    deferred, agreements = _ids(row["deferred"]), _agreements(row["agreements"])
    if not within(row["area"]):
        public = row["public"]
        agenda, deferred = [one for one in agenda if one in public], [one for one in deferred if one in public]
        agreements = [one for one in agreements if one.problem_id in public]
    present = sum(one.count for one in attendance)
    officers = sum(one.officers for one in attendance)
    quorum = present * 2 > members > 0
    promises = _promises(row["promises"])
    told = [*row[:7], agenda, attendance, present, officers, members, quorum, agreements, promises, deferred]
    return Meeting(*told, *row[12:15])
