"""Facts of the regions become rows: of every problem and meeting what a national picture needs, and how much happened.
Nothing that a region has sealed is among them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, assert_never

from rembuk.contracts import forums, notifications, reports
from rembuk.contracts.disclosure import may_see, shown_area
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
from rembuk.contracts.status import between_after, status_after
from rembuk.events.event import RecordedEvent
from rembuk.flow.projector import Project
from rembuk.postgres.bulk import Change, add_to, change, insert_into, update

from hub import deliberating
from hub.counting import ALONE, MOVED, TIDY, counted
from hub.tables import WITHHELD, activity, meeting, problem

NAME = "projection"
CODECS = {"reports": reports.CODEC, "forums": forums.CODEC, "notifications": notifications.CODEC}
"""Which services' streams are projected, and how their events are read."""

ADD_ACTIVITY = insert_into(activity, *activity.columns.keys())
HAPPENED = add_to(activity, "events")
ADD_PROBLEM = counted(insert_into(problem, *problem.columns.keys()))
STATUS = counted(update(problem, "region", "status", "changed_at", where="problem.region = new.region"))
CHANGED = update(problem, "region", "changed_at", where="problem.region = new.region")
REFERRAL = counted(update(problem, "region", "referral", "changed_at", where="problem.region = new.region"))
OFFERED = counted(update(problem, "region", "status", "referral", "changed_at", where="problem.region = new.region"))
ANSWERED = counted(
    update(
        problem, "region", "referral", "changed_at",
        where="problem.region = new.region and problem.referral = 'offered'",
    )
)  # fmt: skip
ADD_MEETING = deliberating.counted(insert_into(meeting, *meeting.columns.keys()))
HELD = deliberating.counted(update(meeting, "region", "agreements", "held_at", where="meeting.region = new.region"))


def projection(region: str, service: str) -> Project:
    """What the events of a region's service change."""
    return partial(_project, region, service)


def _project(region: str, service: str, fact: RecordedEvent[Any]) -> Sequence[Change]:
    name, month = type(fact.event).__name__, fact.recorded_at.date().replace(day=1)
    row = {"id": f"{region} {service} {name} {month}", "events": 0}
    happened = (
        change(ADD_ACTIVITY, **row, region=region, service=service, type=name, month=month),
        change(HAPPENED, **row | {"events": 1}),
    )
    match service:
        case "reports":
            return (*happened, *_of_problem(region, fact))
        case "forums":
            return (*happened, *_of_meeting(region, fact))
        case _:
            return happened


def _of_problem(region: str, fact: RecordedEvent[ReportsEvent]) -> Sequence[Change]:
    row: dict[str, Any] = {"region": region, "id": fact.stream_id, "changed_at": fact.recorded_at}
    moves = [change(statement, id=fact.stream_id) for statement in (ALONE, MOVED, TIDY)]
    match fact.event:
        case ProblemReported() as event:
            what = {**_shown(event), "status": status_after(event), "referral": None}
            # in the past two regions could give two problems one id
            return (change(ADD_PROBLEM, **row, **what, reported_at=fact.recorded_at), change(MOVED, id=fact.stream_id))
        case ProblemAnalysed() | ProblemPrioritised():
            return (change(CHANGED, **row),)
        case ProblemVerified() | ProblemRejected() | SolutionProposed() | SolutionApplied() as event:
            return (change(STATUS, **row, status=status_after(event)),)
        case SolutionAssessed() | ProblemClosed() | ProblemReopened() as event:
            return (change(STATUS, **row, status=status_after(event)),)
        case ProblemReferred() | ReferralWithdrawn() | ReferralReturned() | ProblemHandedOver() as event:
            return (change(REFERRAL, **row, referral=between_after(event)), *moves)
        case ReferralOffered() as event:
            row |= {"status": status_after(event), "referral": between_after(event)}
            added = change(ADD_PROBLEM, **row, **_shown(event), reported_at=event.reported_at)
            return (added, change(OFFERED, **row), *moves)
        case ReferralDeclined(code="id_taken" | "not_understood"):
            return (change(CHANGED, **row),)  # another offer, or none
        case ReferralAccepted() | ReferralDeclined() as event:
            return (change(ANSWERED, **row, referral=between_after(event)), *moves)
        case RegionIntroduced():
            return ()
        case PersonErased() | SealedDataOpened():
            return ()
        case event:
            assert_never(event)


def _shown(event: ProblemReported | ReferralOffered) -> dict[str, Any]:
    """Where and what it is, as everybody may know: nobody asks the hub who he is."""
    if may_see("public", event.category, event.disclosure):
        return {"area": event.area, "category": event.category}
    return {"area": shown_area(event.area), "category": WITHHELD}


def _of_meeting(
    region: str, fact: RecordedEvent[ForumEvent | MeetingEvent | CommitmentEvent | PrivacyEvent]
) -> Sequence[Change]:
    row = {"region": region, "id": fact.stream_id}
    match fact.event:
        case MeetingScheduled() as event:
            unheld = {"agreements": None, "held_at": None}
            return (change(ADD_MEETING, **row, area=event.area, scheduled_at=fact.recorded_at, **unheld),)
        case ForumHeld() as event:
            return (change(HELD, **row, agreements=len(event.agreements), held_at=fact.recorded_at),)
        case ForumFounded() | MemberJoined() | AttendanceRecorded():
            return ()
        case CommitmentMade() | CommitmentKept() | CommitmentMissed():
            return ()
        case PersonErased() | SealedDataOpened():
            return ()
        case event:
            assert_never(event)
