"""How a problem stands after each of its events: the one rule that every service's read model applies."""

from __future__ import annotations

from typing import Literal, assert_never

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
    ReferralEvent,
    ReferralOffered,
    ReferralReturned,
    ReferralWithdrawn,
    SolutionApplied,
    SolutionAssessed,
    SolutionProposed,
)

Progress = Literal[
    "reported", "verified", "rejected", "solution_proposed", "unassessed", "solved", "closed", "reopened"
]
"""What was done about a problem so far."""

Between = Literal["referred", "handed_over", "offered", "declined", "withdrawn"]
"""How a problem stands between two regions."""

Status = Literal[Progress, Between]
"""What is shown of a problem: how it stands between two regions, or else what was done so far."""

OPEN: frozenset[Progress] = frozenset({"reported", "verified", "solution_proposed", "reopened"})
"""Something is still to be decided or done: a forum may put the problem on its agenda."""


def status_after(event: ProblemEvent) -> Progress | None:
    """What was done so far, after an event; None where that stays as it was."""
    match event:
        case ProblemReported():
            return "reported"
        case ProblemVerified() | ReferralOffered():
            return "verified"  # an officer of the origin had verified what is offered
        case ProblemRejected():
            return "rejected"
        case SolutionProposed():
            return "solution_proposed"
        case SolutionApplied():
            return "unassessed"
        case SolutionAssessed():
            return "solved" if event.effective else "verified"  # what did not work needs a new proposal
        case ProblemClosed():
            return "closed"
        case ProblemReopened():
            return "reopened"
        case ProblemAnalysed() | ProblemPrioritised():
            return None
        case ProblemReferred() | ReferralWithdrawn() | ProblemHandedOver() | ReferralReturned():
            return None
        case ReferralAccepted() | ReferralDeclined():
            return None
        case _:
            assert_never(event)


def between_after(event: ReferralEvent) -> Between | None:
    """How a problem stands between two regions after an event, in the region whose log has the event; None where this
    region works on it."""
    match event:
        case ProblemReferred():
            return "referred"
        case ProblemHandedOver():
            return "handed_over"
        case ReferralOffered():
            return "offered"
        case ReferralDeclined():
            return "withdrawn" if event.code == "withdrawn" else "declined"
        case ReferralWithdrawn() | ReferralReturned() | ReferralAccepted():
            return None
        case _:
            assert_never(event)
