"""Facts become rows: one fact, its named statements and their parameters; the projector runs them in bulk.

Two streams are projected: our own, and the inbox, for what became of our problems in other regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never
from uuid import UUID

import msgspec
from rembuk.contracts.disclosure import may_see
from rembuk.contracts.privacy import PersonErased, SealedDataOpened
from rembuk.contracts.reports import (
    Earlier,
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
    addressed,
    earlier,
)
from rembuk.contracts.status import between_after, status_after
from rembuk.events.event import RecordedEvent
from rembuk.events.ids import derive_id
from rembuk.postgres.bulk import Change, change, insert_into, update
from rembuk.sealing.persons import project_privacy
from rembuk.sealing.sealing import texts_of
from rembuk.sealing.vault import person_of

from reports.tables import elsewhere, problem

NAME = "projection"
ELSEWHERE = "elsewhere"

ADD = insert_into(problem, *problem.columns.keys())
STATUS = update(problem, "version", "status", "changed_at")
REJECTED = update(problem, "version", "status", "rejection", "changed_at")
ANALYSED = update(problem, "version", "root_cause", "changed_at")
PRIORITISED = update(problem, "version", "priority", "changed_at")
PROPOSED = update(problem, "version", "status", "proposal", "changed_at")
CHANGED = update(problem, "version", "changed_at")
REFERRED = update(problem, "version", "referral", "referred_to", "changed_at")
WITHDRAWN = update(problem, "version", "referral", "changed_at")
OFFERED = update(problem, "version", "status", "referral", "referred_from", "referred_to", "changed_at")
ANSWERED = update(
    problem, "referral", "referred_from",
    where="problem.referral = 'offered' and problem.referred_from = new.referred_from",
)  # fmt: skip
ADD_ELSEWHERE = insert_into(elsewhere, *elsewhere.columns.keys())


def project(fact: RecordedEvent[ReportsEvent]) -> Sequence[Change]:
    """What a problem's event changes in its row, and an erasure among the erased."""
    row = {"id": fact.stream_id, "version": fact.version, "changed_at": fact.recorded_at}
    match fact.event:
        case ProblemReported() as event:
            reporter = person_of(event.reporter) if event.reporter else None
            told = {"status": status_after(event), "reporter_of": reporter, "reported_at": fact.recorded_at}
            between = {"referral": None, "referred_from": None, "referred_to": None}
            return (added(fact, event, **row, **told, **between, root_cause=None),)
        case ProblemVerified() | SolutionApplied() | SolutionAssessed() | ProblemClosed() | ProblemReopened() as event:
            return (change(STATUS, **row, status=status_after(event)),)
        case ProblemRejected() as event:
            return (change(REJECTED, **row, status=status_after(event), rejection=event.reason),)
        case ProblemAnalysed() as event:
            return (change(ANALYSED, **row, root_cause=event.root_cause),)
        case ProblemPrioritised() as event:
            return (change(PRIORITISED, **row, priority=event.level),)
        case SolutionProposed() as event:
            changes = [change(PROPOSED, **row, status=status_after(event), proposal=event.proposal)]
            if event.root_cause:
                changes.append(change(ANALYSED, **row, root_cause=event.root_cause))
            return changes
        case ProblemReferred() | ProblemHandedOver() as event:
            return (change(REFERRED, **row, referral=between_after(event), referred_to=event.to),)
        case ReferralWithdrawn() as event:
            return (change(WITHDRAWN, **row, referral=between_after(event)),)
        case ReferralReturned() as event:
            return (change(REFERRED, **row, referral=between_after(event), referred_to=None),)
        case ReferralOffered() as event:
            return offered(fact, event)
        case ReferralAccepted() | ReferralDeclined() as event:
            return (
                change(CHANGED, **row),
                change(ANSWERED, id=fact.stream_id, referral=between_after(event), referred_from=event.origin),
            )
        case RegionIntroduced():
            return ()
        case PersonErased() | SealedDataOpened():
            return project_privacy(fact)
        case event:
            assert_never(event)


def added(fact: RecordedEvent[ReportsEvent], event: ProblemReported | ReferralOffered, **rest: Any) -> Change:
    """The new row of a problem that is reported here or offered to us."""
    return change(
        ADD,
        position=fact.position,
        area=event.area,
        category=event.category,
        title=event.title,
        description=event.description,
        event_id=fact.id,
        texts_of=texts_of(fact.id),
        disclosure=event.disclosure,
        public=may_see("public", event.category, event.disclosure),
        priority=None,
        proposal=None,
        rejection=None,
        **rest,
    )


def offered(fact: RecordedEvent[ReportsEvent], event: ReferralOffered) -> Sequence[Change]:
    """The row of a problem that another region offers, or of one that comes back: its texts stay those that it had
    here. And what happened to it before."""
    row = {"id": fact.stream_id, "version": fact.version, "changed_at": fact.recorded_at}
    row |= {"status": status_after(event), "referral": between_after(event)}
    row |= {"referred_from": event.origin, "referred_to": None}
    return (
        added(fact, event, **row, reporter_of=None, reported_at=event.reported_at, root_cause=event.root_cause or None),
        change(OFFERED, **row),
        *(_elsewhere(fact.stream_id, one) for one in event.history),
    )


def project_elsewhere(fact: RecordedEvent[ReportsEvent]) -> Sequence[Change]:
    """An event of another region's, as our inbox has it, in its newest shape."""
    said = addressed(fact.event)
    event = earlier(said[0] if said else "", fact, fact.event)
    return (_elsewhere(fact.stream_id, event, msgspec.json.encode(fact.metadata).decode()),)


def _elsewhere(problem_id: UUID, event: Earlier, metadata: str | None = None) -> Change:
    """Of what the inbox has and of what an offer tells each its own row: which comes first is nobody's to say."""
    heard = metadata is not None
    return change(
        ADD_ELSEWHERE,
        **msgspec.structs.asdict(event)
        | {
            "id": derive_id("elsewhere", heard, event.id, event.position),
            "heard": heard,
            "region": event.region or None,
            "event_id": event.id,
            "stream_id": problem_id,
            "metadata": metadata or "{}",
        },
    )
