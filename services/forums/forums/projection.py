"""Facts become rows: one fact, its named statements and their parameters; the projector runs them in bulk.

Two streams are projected: our own, and that of reports for the problems a forum may put on its agenda.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never
from uuid import UUID

import msgspec
from rembuk.contracts.disclosure import may_see
from rembuk.contracts.forums import (
    AttendanceRecorded,
    CommitmentEvent,
    CommitmentKept,
    CommitmentMade,
    CommitmentMissed,
    ForumEvent,
    ForumFounded,
    ForumHeld,
    MeetingEvent,
    MeetingScheduled,
    MemberJoined,
)
from rembuk.contracts.privacy import PersonErased, PrivacyEvent, SealedDataOpened
from rembuk.contracts.reports import (
    ProblemAnalysed,
    ProblemClosed,
    ProblemEvent,
    ProblemHandedOver,
    ProblemPrioritised,
    ProblemReferred,
    ProblemRejected,
    ProblemReopened,
    ProblemReported,
    ProblemVerified,
    ReferralAccepted,
    ReferralDeclined,
    ReferralOffered,
    ReferralReturned,
    ReferralWithdrawn,
    RegionIntroduced,
    ReportsEvent,
    SolutionApplied,
    SolutionAssessed,
    SolutionProposed,
)
from rembuk.contracts.status import OPEN, status_after
from rembuk.events.event import RecordedEvent
from rembuk.postgres.bulk import Change, change, insert_into, update
from rembuk.sealing.persons import project_privacy

from forums.tables import commitment, forum, meeting, member, open_problem

NAME = "projection"
OPEN_PROBLEMS = "open_problems"

ADD_FORUM = insert_into(forum, *forum.columns.keys())
FORUM_CHANGED = update(forum, "version", "changed_at")
ADD_MEMBER = insert_into(member, *member.columns.keys())
ADD_MEETING = insert_into(meeting, *meeting.columns.keys())
ATTENDED = update(meeting, "version", "attendance", "changed_at")
HELD = update(
    meeting, "version", "status", "attendance", "agreements", "promises", "deferred",
    "held_position", "held_at", "changed_at",
)  # fmt: skip
ADD_COMMITMENT = insert_into(commitment, *commitment.columns.keys())
ENDED = update(commitment, "version", "status", "reason", "changed_at")

ADD_PROBLEM = insert_into(open_problem, *open_problem.columns.keys())
PROBLEM_STATUS = update(open_problem, "status", "open")
PROBLEM_AWAY = update(open_problem, "away")
PROBLEM_OFFERED = update(open_problem, "status", "open", "away")
PROBLEM_PRIORITY = update(open_problem, "priority")
PROBLEM_CAUSE = update(open_problem, "root_cause")


def project(fact: RecordedEvent[ForumEvent | MeetingEvent | CommitmentEvent | PrivacyEvent]) -> Sequence[Change]:
    """What an event of ours changes in the rows of its forum, meeting or commitment, or among the erased."""
    row = {"id": fact.stream_id, "version": fact.version, "changed_at": fact.recorded_at}
    match fact.event:
        case ForumFounded() as event:
            return (
                change(
                    ADD_FORUM,
                    **row,
                    position=fact.position,
                    area=event.area,
                    model=event.model,
                    name=event.name,
                    hall=event.hall,
                    founded_at=fact.recorded_at,
                ),
            )
        case MemberJoined() as event:
            return (
                change(FORUM_CHANGED, **row),
                change(
                    ADD_MEMBER,
                    id=event.member_id,
                    position=fact.position,
                    forum_id=fact.stream_id,
                    pillar=event.pillar,
                    role=event.role,
                    sex=event.sex,
                    joined_at=fact.recorded_at,
                ),
            )
        case MeetingScheduled() as event:
            return (
                change(
                    ADD_MEETING,
                    **row,
                    position=fact.position,
                    forum_id=event.forum_id,
                    area=event.area,
                    at=event.at,
                    place=event.place,
                    status="scheduled",
                    agenda=_json(event.agenda),
                    attendance="[]",
                    agreements="[]",
                    promises="[]",
                    deferred="[]",
                    held_position=None,
                    held_at=None,
                    scheduled_at=fact.recorded_at,
                ),
            )
        case AttendanceRecorded() as event:
            return (change(ATTENDED, **row, attendance=_json(event.attendance)),)
        case ForumHeld() as event:
            return (
                change(
                    HELD,
                    **row,
                    status="held",
                    attendance=_json(event.attendance),
                    agreements=_json(event.agreements),
                    promises=_json(event.promises),
                    deferred=_json(event.deferred),
                    held_position=fact.position,
                    held_at=fact.recorded_at,
                ),
            )
        case CommitmentMade() as event:
            return (
                change(
                    ADD_COMMITMENT,
                    **row,
                    position=fact.position,
                    forum_id=event.forum_id,
                    meeting_id=event.meeting_id,
                    area=event.area,
                    who=event.who,
                    what=event.what,
                    by=event.by,
                    status="due",
                    reason=None,
                    made_at=fact.recorded_at,
                ),
            )
        case CommitmentKept():
            return (change(ENDED, **row, status="kept", reason=None),)
        case CommitmentMissed() as event:
            return (change(ENDED, **row, status="missed", reason=event.reason),)
        case PersonErased() | SealedDataOpened():
            return project_privacy(fact)
        case event:
            assert_never(event)


def project_open_problems(fact: RecordedEvent[ReportsEvent]) -> Sequence[Change]:
    """What a problem's event, as reports tells it, changes in what forums may put on their agenda."""
    match fact.event:
        case ProblemReported() as event:
            if not _for_forums(event):
                return ()  # no row: what comes later then changes nothing
            row = {"id": fact.stream_id, **_standing(event), "away": False}
            return (_added(fact, event, **row, root_cause=None, reported_at=fact.recorded_at),)
        case ProblemVerified() | ProblemRejected() | SolutionApplied() | SolutionAssessed() as event:
            return _status(fact.stream_id, event)
        case ProblemClosed() | ProblemReopened() as event:
            return _status(fact.stream_id, event)
        case ProblemAnalysed() as event:
            return (change(PROBLEM_CAUSE, id=fact.stream_id, root_cause=event.root_cause),)
        case ProblemPrioritised() as event:
            return (change(PROBLEM_PRIORITY, id=fact.stream_id, priority=event.level),)
        case SolutionProposed() as event:
            found = [change(PROBLEM_CAUSE, id=fact.stream_id, root_cause=event.root_cause)]
            return [*_status(fact.stream_id, event), *(found if event.root_cause else ())]
        case ProblemReferred() | ProblemHandedOver():
            return (change(PROBLEM_AWAY, id=fact.stream_id, away=True),)
        case ReferralWithdrawn() | ReferralReturned() | ReferralAccepted():
            return (change(PROBLEM_AWAY, id=fact.stream_id, away=False),)
        case ReferralOffered() as event:
            if not _for_forums(event):
                return ()
            row = {"id": fact.stream_id, **_standing(event), "away": True}
            added = _added(fact, event, **row, root_cause=event.root_cause or None, reported_at=event.reported_at)
            return (added, change(PROBLEM_OFFERED, **row))
        case ReferralDeclined() | RegionIntroduced():
            return ()  # it stays away, or was never offered
        case PersonErased() | SealedDataOpened():
            return ()  # nothing of what is sealed is here
        case event:
            assert_never(event)


def _for_forums(event: ProblemReported | ReferralOffered) -> bool:
    return may_see("forum", event.category, event.disclosure)


def _added(fact: RecordedEvent[ReportsEvent], event: ProblemReported | ReferralOffered, **rest: Any) -> Change:
    return change(
        ADD_PROBLEM,
        position=fact.position,
        area=event.area,
        category=event.category,
        public=may_see("public", event.category, event.disclosure),
        title=event.title,
        priority=None,
        **rest,
    )


def _status(problem: UUID, event: ProblemEvent) -> Sequence[Change]:
    return (change(PROBLEM_STATUS, id=problem, **_standing(event)),)


def _standing(event: ProblemEvent) -> dict[str, Any]:
    status = status_after(event)
    return {"status": status, "open": status in OPEN}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
