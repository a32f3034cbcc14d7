"""A problem between two regions: offered by one, accepted or declined by the other.

Each offer gets one answer, and until it comes no other offer is made: so a problem has one home. Whoever withdraws an
offer goes on at once; the answer tells him whether the receiver knew in time. Where it had accepted, that stands."""

from __future__ import annotations

from typing import assert_never

import msgspec
from rembuk.contracts.categories import CATEGORIES
from rembuk.contracts.reports import (
    ProblemEvent,
    ProblemHandedOver,
    ProblemReferred,
    ReferralAccepted,
    ReferralDeclined,
    ReferralEvent,
    ReferralOffered,
    ReferralReturned,
    ReferralWithdrawn,
)
from rembuk.events.decider import Refused

from reports.commands import (
    AcceptReferral,
    DeclineReferral,
    EndOffer,
    HandOver,
    OfferReferral,
    ReferProblem,
    ReturnReferral,
    WithdrawReferral,
)
from reports.domain.states import (
    AtHome,
    Declined,
    HandedOver,
    Offered,
    Open,
    ProblemFacts,
    Referred,
    State,
    Unreported,
    as_open,
)


def refer(command: ReferProblem, state: State) -> list[ProblemEvent]:
    problem = as_open(state).problem
    if command.to == command.region:
        raise Refused("own-region", "the problem lives here", field="to")
    if problem.asked:
        raise Refused("withdrawal-unanswered", f"{problem.asked} has not said yet whether it had accepted")
    return [
        ProblemReferred(
            origin=command.region,
            to=command.to,
            area=problem.area,
            category=problem.category,
            disclosure=problem.disclosure,
            reported_at=command.reported_at,
            brief=command.brief,
            note=command.note,
        )
    ]


def withdraw(command: WithdrawReferral, state: State) -> list[ProblemEvent]:
    match state:
        case Referred():
            return [ReferralWithdrawn(state.here, state.problem.asked, command.note)]
        case Unreported():
            raise Refused("unknown-problem")
        case HandedOver():
            raise Refused("handed-over", f"the problem lives in {state.to} now")
        case _:
            raise Refused("not-referred")


def offer(command: OfferReferral, state: State) -> list[ProblemEvent]:
    """The offer; or at once the answer, where the problem is ours already, or cannot be."""
    offered = command.offered
    if offered.category not in CATEGORIES:
        reason = f"there is no category {offered.category}"
        return [ReferralDeclined(offered.origin, offered.to, "not_understood", reason)]
    match state:
        case Unreported() | HandedOver() | Declined():
            return [offered]
        case _ if state.problem.origin != offered.origin:
            return [ReferralDeclined(offered.origin, offered.to, "id_taken", "another problem has this id")]
        case Offered():
            return []
        case _:
            return [ReferralAccepted(offered.origin, offered.to)]


def end_offer(command: EndOffer, state: State) -> list[ProblemEvent]:
    """The answer to a withdrawal; none where the offer was answered before it came."""
    if isinstance(state, Offered) and state.problem.origin == command.origin:
        return [ReferralDeclined(command.origin, state.here, "withdrawn")]
    return []


def accept(command: AcceptReferral, state: State) -> list[ProblemEvent]:
    offered = _offered(state)
    return [ReferralAccepted(offered.problem.origin, offered.here, command.note)]


def decline(command: DeclineReferral, state: State) -> list[ProblemEvent]:
    offered = _offered(state)
    return [ReferralDeclined(offered.problem.origin, offered.here, command.code, command.reason)]


def hand_over(command: HandOver, state: State) -> list[ProblemEvent]:
    _asked(command.to, state)
    return [ProblemHandedOver(command.to)]


def take_back(command: ReturnReferral, state: State) -> list[ProblemEvent]:
    _asked(command.to, state)
    return [ReferralReturned(command.to, command.code, command.reason)]


def _offered(state: State) -> Offered:
    match state:
        case Offered():
            return state
        case Unreported():
            raise Refused("unknown-problem")
        case _:
            raise Refused("not-offered", "no referral waits for an answer")


def _asked(region: str, state: State) -> None:
    """Refuses the answer of a region that has not been asked."""
    if isinstance(state, Unreported) or state.problem.asked != region:
        raise Refused("not-referred", f"{region} was not asked")


def evolve(state: State, event: ReferralEvent) -> State:
    """The state after an event between two regions."""
    if isinstance(event, ReferralOffered):
        return Offered(ProblemFacts(event.area, event.category, event.disclosure, event.origin), event.to)
    if isinstance(state, Unreported):
        return state  # an offer that was declined as it came
    problem = state.problem
    unasked = msgspec.structs.replace(problem, asked="")
    match event:
        case ProblemReferred():
            proposed = isinstance(state, Open) and state.proposed
            return Referred(msgspec.structs.replace(problem, asked=event.to), event.origin, proposed)
        case ReferralWithdrawn():
            return _resumed(state, problem)
        case ReferralReturned():
            return _resumed(state, unasked)
        case ProblemHandedOver():
            return HandedOver(unasked, event.to)
        case ReferralAccepted():
            return Open(problem) if isinstance(state, Offered) else state
        case ReferralDeclined():
            ended = isinstance(state, Offered) and problem.origin == event.origin
            return Declined(problem) if ended else state
        case _:
            assert_never(event)


def _resumed(state: AtHome | Referred | HandedOver | Offered | Declined, problem: ProblemFacts) -> State:
    """Referred no more; where work has gone on already, as that left it."""
    match state:
        case Referred():
            return Open(problem, state.proposed)
        case _:
            return msgspec.structs.replace(state, problem=problem)
