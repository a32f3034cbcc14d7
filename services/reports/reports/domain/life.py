"""What is done about a problem at home, from the report to its end. A problem that is not at home is refused here."""

from __future__ import annotations

from rembuk.contracts.categories import CATEGORIES
from rembuk.contracts.reports import (
    Level,
    ProblemAnalysed,
    ProblemClosed,
    ProblemEvent,
    ProblemPrioritised,
    ProblemRejected,
    ProblemReopened,
    ProblemReported,
    ProblemVerified,
    SolutionApplied,
    SolutionAssessed,
    SolutionProposed,
)
from rembuk.events.decider import Refused

from reports.commands import (
    AnalyseProblem,
    ApplySolution,
    AssessSolution,
    CloseProblem,
    PrioritiseProblem,
    ProposeSolution,
    RejectProblem,
    ReopenProblem,
    ReportProblem,
    VerifyProblem,
)
from reports.domain.states import Applied, Closed, Rejected, Solved, State, Unreported, Unverified, as_open, at_home


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
    match at_home(state):
        case Unverified():
            return [ProblemVerified(command.note)]
        case _:
            raise Refused("already-verified" if not isinstance(state, Rejected) else "already-rejected")


def reject(command: RejectProblem, state: State) -> list[ProblemEvent]:
    match at_home(state):
        case Unverified():
            return [ProblemRejected(command.code, command.reason)]
        case _:
            raise Refused("already-verified" if not isinstance(state, Rejected) else "already-rejected")


def analyse(command: AnalyseProblem, state: State) -> list[ProblemEvent]:
    as_open(state)
    return [ProblemAnalysed(command.root_cause, command.victims, command.offenders, command.place)]


def prioritise(command: PrioritiseProblem, state: State) -> list[ProblemEvent]:
    as_open(state)
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
    as_open(state)
    return [
        SolutionProposed(command.proposal, command.strategies, command.root_cause, command.forum_id, command.meeting_id)
    ]


def apply_solution(command: ApplySolution, state: State) -> list[ProblemEvent]:
    found = as_open(state)
    problem = found.problem
    if not found.proposed:
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
    match at_home(state):
        case Applied():
            return [
                SolutionAssessed(command.as_planned, command.effective, command.before, command.after, command.note)
            ]
        case _:
            raise Refused("no-applied-solution")


def close(command: CloseProblem, state: State) -> list[ProblemEvent]:
    match at_home(state):
        case Solved():
            return [ProblemClosed(command.note)]
        case Applied():
            raise Refused("not-assessed", "an applied solution without an assessment is never done")
        case _:
            raise Refused("not-solved")


def reopen(command: ReopenProblem, state: State) -> list[ProblemEvent]:
    match at_home(state):
        case Solved() | Closed() | Rejected():
            return [ProblemReopened(command.reason)]
        case _:
            raise Refused("still-open")
