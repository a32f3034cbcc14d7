"""Facts become rows: one fact, its named statements and their parameters; the projector runs them in bulk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from rembuk.bulk import Change, change, insert_into, update
from rembuk.contracts.privacy import PersonErased, SealedDataOpened
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
from rembuk.event import Recorded
from rembuk.persons import project_privacy
from rembuk.sealing import texts_of
from rembuk.vault import person_of

from reports.tables import problem

NAME = "projection"

ADD = insert_into(problem, *problem.columns.keys())
STATUS = update(problem, "version", "status", "changed_at")
REJECTED = update(problem, "version", "status", "rejection", "changed_at")
ANALYSED = update(problem, "version", "root_cause", "changed_at")
PRIORITISED = update(problem, "version", "priority", "changed_at")
PROPOSED = update(problem, "version", "status", "proposal", "changed_at")


def project(fact: Recorded[ReportsEvent]) -> Sequence[Change]:
    """What a problem's event changes in its row, and an erasure among the erased."""
    row = {"id": fact.stream_id, "version": fact.version, "changed_at": fact.recorded_at}
    match fact.event:
        case ProblemReported() as event:
            return (
                change(
                    ADD,
                    **row,
                    position=fact.position,
                    area=event.area,
                    category=event.category,
                    title=event.title,
                    description=event.description,
                    event_id=fact.id,
                    texts_of=texts_of(fact.id),
                    reporter_of=person_of(event.reporter) if event.reporter else None,
                    disclosure=event.disclosure,
                    status="reported",
                    priority=None,
                    root_cause=None,
                    proposal=None,
                    rejection=None,
                    reported_at=fact.recorded_at,
                ),
            )
        case ProblemVerified():
            return (change(STATUS, **row, status="verified"),)
        case ProblemRejected() as event:
            return (change(REJECTED, **row, status="rejected", rejection=event.reason),)
        case ProblemAnalysed() as event:
            return (change(ANALYSED, **row, root_cause=event.root_cause),)
        case ProblemPrioritised() as event:
            return (change(PRIORITISED, **row, priority=event.level),)
        case SolutionProposed() as event:
            changes = [change(PROPOSED, **row, status="solution_proposed", proposal=event.proposal)]
            if event.root_cause:
                changes.append(change(ANALYSED, **row, root_cause=event.root_cause))
            return changes
        case SolutionApplied():
            return (change(STATUS, **row, status="unassessed"),)
        case SolutionAssessed() as event:
            return (change(STATUS, **row, status="solved" if event.effective else "verified"),)
        case ProblemClosed():
            return (change(STATUS, **row, status="closed"),)
        case ProblemReopened():
            return (change(STATUS, **row, status="reopened"),)
        case ProblemReferred() | ReferralWithdrawn() | ProblemHandedOver() | ReferralReturned():
            return ()
        case ReferralOffered() | ReferralAccepted() | ReferralDeclined() | RegionIntroduced():
            return ()
        case PersonErased() | SealedDataOpened():
            return project_privacy(fact)
        case event:
            assert_never(event)
