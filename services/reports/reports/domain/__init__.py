"""What may happen to a problem, at home and between regions. Pure: no clock, no database, no network."""

from __future__ import annotations

from typing import assert_never

from rembuk.contracts.reports import (
    ProblemAnalysed,
    ProblemClosed,
    ProblemEvent,
    ProblemPrioritised,
    ProblemRejected,
    ProblemReopened,
    ProblemReported,
    ProblemVerified,
    ReferralEvent,
    SolutionApplied,
    SolutionAssessed,
    SolutionProposed,
)
from rembuk.events.decider import Decider

from reports.commands import (
    AcceptReferral,
    AnalyseProblem,
    ApplySolution,
    AssessSolution,
    CloseProblem,
    DeclineReferral,
    EndOffer,
    HandOver,
    OfferReferral,
    PrioritiseProblem,
    ProblemCommand,
    ProposeSolution,
    ReferProblem,
    RejectProblem,
    ReopenProblem,
    ReportProblem,
    ReturnReferral,
    VerifyProblem,
    WithdrawReferral,
)
from reports.domain import life, referring
from reports.domain.states import Applied, Closed, Open, ProblemFacts, Rejected, Solved, State, Unreported, Unverified


def decide(command: ProblemCommand, state: State) -> list[ProblemEvent]:
    """The events a wish leads to in a state; raises Refused with the rule it breaks."""
    match command:
        case ReportProblem():
            return life.report(command, state)
        case VerifyProblem():
            return life.verify(command, state)
        case RejectProblem():
            return life.reject(command, state)
        case AnalyseProblem():
            return life.analyse(command, state)
        case PrioritiseProblem():
            return life.prioritise(command, state)
        case ProposeSolution():
            return life.propose_solution(command, state)
        case ApplySolution():
            return life.apply_solution(command, state)
        case AssessSolution():
            return life.assess_solution(command, state)
        case CloseProblem():
            return life.close(command, state)
        case ReopenProblem():
            return life.reopen(command, state)
        case ReferProblem():
            return referring.refer(command, state)
        case WithdrawReferral():
            return referring.withdraw(command, state)
        case OfferReferral():
            return referring.offer(command, state)
        case EndOffer():
            return referring.end_offer(command, state)
        case AcceptReferral():
            return referring.accept(command, state)
        case DeclineReferral():
            return referring.decline(command, state)
        case HandOver():
            return referring.hand_over(command, state)
        case ReturnReferral():
            return referring.take_back(command, state)
        case _:
            assert_never(command)


def evolve(state: State, event: ProblemEvent) -> State:
    """The state after an event."""
    match event:
        case ProblemReported():
            return Unverified(ProblemFacts(event.area, event.category, event.disclosure))
        case _ if isinstance(event, ReferralEvent):
            return referring.evolve(state, event)
        case _:
            assert not isinstance(state, Unreported), "a problem begins by being reported or offered"
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
        case _:
            assert_never(event)


def area_of(state: State) -> str:
    return "" if isinstance(state, Unreported) else state.problem.area


PROBLEM: Decider[ProblemCommand, State, ProblemEvent] = Decider(
    Unreported(), decide, evolve, area_of, ProblemEvent.__args__
)
