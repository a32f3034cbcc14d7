"""What may happen to a problem. Pure: no clock, no database, no network."""

from __future__ import annotations

from typing import assert_never

import msgspec
from rembuk.contracts.categories import CATEGORIES
from rembuk.contracts.polmas import Disclosure
from rembuk.contracts.reports import (
    Level,
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
    SolutionApplied,
    SolutionAssessed,
    SolutionProposed,
)
from rembuk.decider import Decider, Refused

from reports.commands import (
    AnalyseProblem,
    ApplySolution,
    AssessSolution,
    CloseProblem,
    PrioritiseProblem,
    ProblemCommand,
    ProposeSolution,
    RejectProblem,
    ReopenProblem,
    ReportProblem,
    VerifyProblem,
)


class Unreported(msgspec.Struct, frozen=True):
    """Nobody has told us."""


class Problem(msgspec.Struct, frozen=True):
    """What a problem stays, whatever becomes of it."""

    area: str
    category: str
    disclosure: Disclosure

    @property
    def crime(self) -> bool:
        return CATEGORIES[self.category].crime


class Reported(msgspec.Struct, frozen=True):
    """Told, not yet looked at."""

    problem: Problem


class Open(msgspec.Struct, frozen=True):
    """Found to be so; being analysed, prioritised, deliberated. `proposed` once there is a solution to apply."""

    problem: Problem
    proposed: bool = False


class Applied(msgspec.Struct, frozen=True):
    """A solution was applied and is not assessed yet: never "done"."""

    problem: Problem


class Solved(msgspec.Struct, frozen=True):
    """The applied solution was assessed as effective."""

    problem: Problem


class Closed(msgspec.Struct, frozen=True):
    """Solved, and put away."""

    problem: Problem


class Rejected(msgspec.Struct, frozen=True):
    """Not taken up."""

    problem: Problem


State = Unreported | Reported | Open | Applied | Solved | Closed | Rejected


def decide(command: ProblemCommand, state: State) -> list[ProblemEvent]:
    """The events a wish leads to in a state; raises Refused with the rule it breaks."""
    match command:
        case ReportProblem():
            return report(command, state)
        case VerifyProblem():
            return verify(command, state)
        case RejectProblem():
            return reject(command, state)
        case AnalyseProblem():
            _open(state)
            return [ProblemAnalysed(command.root_cause, command.victims, command.offenders, command.place)]
        case PrioritiseProblem():
            return prioritise(command, state)
        case ProposeSolution():
            return propose_solution(command, state)
        case ApplySolution():
            return apply_solution(command, state)
        case AssessSolution():
            return assess_solution(command, state)
        case CloseProblem():
            return close(command, state)
        case ReopenProblem():
            return reopen(command, state)
        case _:
            assert_never(command)


def report(command: ReportProblem, state: State) -> list[ProblemEvent]:
    if not isinstance(state, Unreported):
        raise Refused("already-reported")
    if command.category not in CATEGORIES:
        raise Refused("unknown-category", f"there is no category {command.category}", field="category")
    return [
        ProblemReported(
            area=command.area,
            category=command.category,
            title=command.title,
            description=command.description,
            disclosure=command.disclosure,
            location=command.location,
            reporter=command.reporter,
        )
    ]


def verify(command: VerifyProblem, state: State) -> list[ProblemEvent]:
    match state:
        case Reported():
            return [ProblemVerified(command.note)]
        case Unreported():
            raise Refused("unknown-problem")
        case _:
            raise Refused("already-verified" if not isinstance(state, Rejected) else "already-rejected")


def reject(command: RejectProblem, state: State) -> list[ProblemEvent]:
    match state:
        case Reported():
            return [ProblemRejected(command.code, command.reason)]
        case Unreported():
            raise Refused("unknown-problem")
        case _:
            raise Refused("already-verified" if not isinstance(state, Rejected) else "already-rejected")


def prioritise(command: PrioritiseProblem, state: State) -> list[ProblemEvent]:
    _open(state)
    level = priority(command.impact, command.urgency, command.reach)
    return [ProblemPrioritised(command.impact, command.urgency, command.reach, level)]


def priority(impact: int, urgency: int, reach: int) -> Level:
    """The level of impact x urgency x reach, each 1..5 (so 1..125): quarters of the product's range on a cubic scale,
    where three times "middling" (27) is `medium` and three times "serious" (64) is `high`."""
    product = impact * urgency * reach
    if product >= 80:
        return "critical"
    if product >= 48:
        return "high"
    return "medium" if product >= 18 else "low"


def propose_solution(command: ProposeSolution, state: State) -> list[ProblemEvent]:
    _open(state)
    return [
        SolutionProposed(command.proposal, command.strategies, command.root_cause, command.forum_id, command.meeting_id)
    ]


def apply_solution(command: ApplySolution, state: State) -> list[ProblemEvent]:
    opened = _open(state)
    problem = opened.problem
    if not opened.proposed:
        raise Refused("no-solution-proposed")
    if problem.crime and "officer" not in command.partners:
        raise Refused("officer-required", "a crime is not solved without an officer")
    if command.until < command.since:
        raise Refused("ends-before-it-begins", "until is before since", field="until")
    return [
        SolutionApplied(
            category=problem.category,
            disclosure=problem.disclosure,
            done=command.done,
            strategies=command.strategies,
            partners=command.partners,
            pillars=command.pillars,
            since=command.since,
            until=command.until,
        )
    ]


def assess_solution(command: AssessSolution, state: State) -> list[ProblemEvent]:
    match state:
        case Applied():
            return [
                SolutionAssessed(command.as_planned, command.effective, command.before, command.after, command.note)
            ]
        case Unreported():
            raise Refused("unknown-problem")
        case _:
            raise Refused("no-applied-solution")


def close(command: CloseProblem, state: State) -> list[ProblemEvent]:
    match state:
        case Solved():
            return [ProblemClosed(command.note)]
        case Unreported():
            raise Refused("unknown-problem")
        case Applied():
            raise Refused("not-assessed", "an applied solution without an assessment is never done")
        case _:
            raise Refused("not-solved")


def reopen(command: ReopenProblem, state: State) -> list[ProblemEvent]:
    match state:
        case Solved() | Closed() | Rejected():
            return [ProblemReopened(command.reason)]
        case Unreported():
            raise Refused("unknown-problem")
        case _:
            raise Refused("still-open")


def _open(state: State) -> Open:
    """The state as an open problem; refuses with the reason why it is none."""
    match state:
        case Open():
            return state
        case Unreported():
            raise Refused("unknown-problem")
        case Reported():
            raise Refused("not-verified")
        case Rejected():
            raise Refused("already-rejected")
        case Applied():
            raise Refused("already-applied", "a solution was applied; assess it first")
        case Solved() | Closed():
            raise Refused("already-solved")
        case _:
            assert_never(state)


def evolve(state: State, event: ProblemEvent) -> State:
    """The state after an event."""
    match event:
        case ProblemReported():
            return Reported(Problem(event.area, event.category, event.disclosure))
        case _:
            assert not isinstance(state, Unreported), "a problem begins by being reported"
    match event:
        case ProblemVerified() | ProblemReopened():
            return Open(state.problem)
        case ProblemRejected():
            return Rejected(state.problem)
        case ProblemAnalysed() | ProblemPrioritised():
            return state
        case SolutionProposed():
            return Open(state.problem, proposed=True)
        case SolutionApplied():
            return Applied(state.problem)
        case SolutionAssessed():
            # what did not work is open again, its proposal used up
            return Solved(state.problem) if event.effective else Open(state.problem)
        case ProblemClosed():
            return Closed(state.problem)
        case ProblemReferred() | ReferralWithdrawn() | ProblemHandedOver() | ReferralReturned():
            return state
        case ReferralOffered() | ReferralAccepted() | ReferralDeclined():
            return state
        case _:
            assert_never(event)


def area_of(state: State) -> str:
    return "" if isinstance(state, Unreported) else state.problem.area


PROBLEM: Decider[ProblemCommand, State, ProblemEvent] = Decider(
    Unreported(), decide, evolve, area_of, ProblemEvent.__args__
)
