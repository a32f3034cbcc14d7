"""A problem between two regions: each rule, given-when-then; and in whatever order they speak, it has one home."""

from collections import deque
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from rembuk.contracts.reports import (
    ProblemAnalysed,
    ProblemEvent,
    ProblemHandedOver,
    ProblemReferred,
    ProblemReported,
    ProblemVerified,
    ReferralAccepted,
    ReferralDeclined,
    ReferralOffered,
    ReferralReturned,
    ReferralWithdrawn,
    RegionIntroduced,
    SolutionProposed,
    addressed,
)
from rembuk.events.decider import Refused
from rembuk.testing.scenario import Scenario
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
    ReturnReferral,
    VerifyProblem,
    WithdrawReferral,
)
from reports.domain import PROBLEM
from reports.domain.states import HandedOver, Offered, Referred, Unreported
from reports.reactions import taken_up

AREA, DAY, AT = "35.78.08.1004", date(2026, 11, 23), datetime(2026, 3, 2, tzinfo=UTC)

REPORTED = ProblemReported(AREA, "theft", "Motor hilang", "sealed:v1:x", "forum")
VERIFIED = ProblemVerified()
PROPOSED = SolutionProposed("Ronda malam", ("partnership",))
REFERRED = ProblemReferred("jatim", "jateng", AREA, "theft", "forum", AT, "hpke:v1:x")
WITHDRAWN = ReferralWithdrawn("jatim", "jateng")
HANDED_OVER = ProblemHandedOver("jateng")
RETURNED = ReferralReturned("jateng", "no_capacity", "Kurang orang")
OFFERED = ReferralOffered("jatim", AREA, "theft", "Motor hilang", "sealed:v1:y", "forum", AT, to="jateng")
ACCEPTED = ReferralAccepted("jatim", "jateng")
DECLINED = ReferralDeclined("jatim", "jateng", "no_capacity", "Kurang orang")

REFER = ReferProblem("jatim", "jateng", AT, "hpke:v1:x")
DECLINE = DeclineReferral("no_capacity", "Kurang orang")
WORK: tuple[ProblemCommand, ...] = (
    VerifyProblem(),
    RejectProblem("outside_area", "Di luar wilayah"),
    AnalyseProblem("Gang gelap"),
    PrioritiseProblem(3, 4, 2),
    ProposeSolution("Ronda malam", ("partnership",)),
    ApplySolution("Ronda", ("partnership",), ("officer",), DAY, DAY),
    AssessSolution(True, True, 5, 0),
    CloseProblem(),
    ReopenProblem("Masih ada"),
    REFER,
)


def given(*events: ProblemEvent) -> Scenario[Any, Any, Any]:
    return Scenario(PROBLEM).given(*events)


AT_HOME = given(REPORTED, VERIFIED)
ASKED = given(REPORTED, VERIFIED, REFERRED)
IN_DOUBT = given(REPORTED, VERIFIED, REFERRED, WITHDRAWN)
GONE = given(REPORTED, VERIFIED, REFERRED, HANDED_OVER)
ARRIVED = given(OFFERED, ACCEPTED)


def test_an_open_problem_is_referred_as_what_it_is() -> None:
    AT_HOME.when(REFER).then(REFERRED)
    given(REPORTED, VERIFIED, PROPOSED).when(REFER).then(REFERRED)
    given(REPORTED).when(REFER).refused("not-verified")
    AT_HOME.when(msgspec.structs.replace(REFER, to="jatim")).refused("own-region", "to")


@pytest.mark.parametrize("command", WORK, ids=lambda command: type(command).__name__)
def test_nobody_works_on_what_lives_elsewhere_or_may_come_to(command: ProblemCommand) -> None:
    ASKED.when(command).refused("referred")
    GONE.when(command).refused("handed-over")
    given(OFFERED).when(command).refused("not-accepted")
    given(OFFERED, DECLINED).when(command).refused("not-ours")


def test_whoever_is_refused_is_told_where_the_problem_lives() -> None:
    with pytest.raises(Refused, match="jateng"):
        PROBLEM.decide(AnalyseProblem("Gelap"), PROBLEM.fold(GONE.events))


def test_the_answer_of_the_region_that_was_asked_counts_once_and_of_no_other() -> None:
    ASKED.when(HandOver("jateng")).then(HANDED_OVER)
    ASKED.when(ReturnReferral("jateng", "no_capacity", "Kurang orang")).then(RETURNED)
    for scenario in (AT_HOME, GONE, ARRIVED, given(), given(OFFERED), given(*ASKED.events, RETURNED)):
        scenario.when(HandOver("jateng")).refused("not-referred")
        scenario.when(ReturnReferral("jateng", "other", "Tidak")).refused("not-referred")
    ASKED.when(HandOver("bali")).refused("not-referred")
    IN_DOUBT.when(HandOver("bali")).refused("not-referred")


def test_what_comes_back_is_as_it_was() -> None:
    apply = ApplySolution("Ronda", ("partnership",), ("officer",), DAY, DAY)
    given(REPORTED, VERIFIED, REFERRED, RETURNED).when(apply).refused("no-solution-proposed")
    back = given(REPORTED, VERIFIED, PROPOSED, REFERRED, RETURNED)
    assert [type(event).__name__ for event in PROBLEM.decide(apply, PROBLEM.fold(back.events))] == ["SolutionApplied"]
    back.when(REFER).then(REFERRED)


def test_an_offer_is_withdrawn_by_who_made_it_while_it_stands() -> None:
    ASKED.when(WithdrawReferral()).then(WITHDRAWN)
    for scenario in (AT_HOME, IN_DOUBT, given(OFFERED)):
        scenario.when(WithdrawReferral()).refused("not-referred")
    GONE.when(WithdrawReferral()).refused("handed-over")
    given().when(WithdrawReferral()).refused("unknown-problem")


def test_who_withdrew_works_on_and_refers_to_nobody_until_it_is_known_whose_it_is() -> None:
    IN_DOUBT.when(AnalyseProblem("Gang gelap")).then(ProblemAnalysed("Gang gelap"))
    for to in ("jateng", "bali"):
        IN_DOUBT.when(msgspec.structs.replace(REFER, to=to)).refused("withdrawal-unanswered")
    confirmed = ReferralReturned("jateng", "withdrawn")
    worked = given(*IN_DOUBT.events, PROPOSED)
    worked.when(ReturnReferral("jateng", "withdrawn", "")).then(confirmed)
    given(*worked.events, confirmed).when(REFER).then(REFERRED)


def test_an_acceptance_that_a_withdrawal_crossed_stands_whatever_was_done_meanwhile() -> None:
    given(OFFERED, ACCEPTED).when(EndOffer("jatim")).then()
    IN_DOUBT.when(HandOver("jateng")).then(HANDED_OVER)
    worked = given(*IN_DOUBT.events, PROPOSED)
    worked.when(HandOver("jateng")).then(HANDED_OVER)
    given(*worked.events, HANDED_OVER).when(AnalyseProblem("Gelap")).refused("handed-over")


def test_a_withdrawal_that_comes_before_the_answer_is_the_answer() -> None:
    withdrawn = ReferralDeclined("jatim", "jateng", "withdrawn")
    given(OFFERED).when(EndOffer("jatim")).then(withdrawn)
    given(OFFERED).when(EndOffer("bali")).then()
    for command in (AcceptReferral(), DECLINE):
        given(OFFERED, withdrawn).when(command).refused("not-offered")
    given(OFFERED, DECLINED).when(EndOffer("jatim")).then()


def test_an_offer_is_accepted_or_declined_once() -> None:
    given(OFFERED).when(AcceptReferral("sealed:v1:z")).then(ReferralAccepted("jatim", "jateng", "sealed:v1:z"))
    given(OFFERED).when(DECLINE).then(DECLINED)
    for command in (AcceptReferral(), DECLINE):
        given().when(command).refused("unknown-problem")
        for scenario in (AT_HOME, ARRIVED, ASKED, given(OFFERED, DECLINED)):
            scenario.when(command).refused("not-offered")


def test_an_accepted_problem_was_verified_at_home_and_lives_on() -> None:
    ARRIVED.when(VerifyProblem()).refused("already-verified")
    ARRIVED.when(AnalyseProblem("Gang gelap")).then(ProblemAnalysed("Gang gelap"))
    ARRIVED.when(msgspec.structs.replace(REFER, region="jateng", to="bali")).then(
        msgspec.structs.replace(REFERRED, origin="jateng", to="bali")
    )


def test_an_offer_under_the_id_of_another_problem_is_declined_and_changes_nothing() -> None:
    taken = ReferralDeclined("jatim", "jateng", "id_taken", "another problem has this id")
    from_elsewhere = (msgspec.structs.replace(OFFERED, origin="bali"), msgspec.structs.replace(ACCEPTED, origin="bali"))
    for before in ((REPORTED,), (REPORTED, VERIFIED), from_elsewhere[:1], from_elsewhere):
        given(*before).when(OfferReferral(OFFERED)).then(taken)
        assert PROBLEM.fold((*before, taken)) == PROBLEM.fold(before)


def test_an_offer_that_says_nothing_to_us_is_declined() -> None:
    magic = msgspec.structs.replace(OFFERED, category="magic")
    declined = ReferralDeclined("jatim", "jateng", "not_understood", "there is no category magic")
    given().when(OfferReferral(magic)).then(declined)
    given(declined).when(OfferReferral(OFFERED)).then(OFFERED)


def test_an_offer_that_comes_twice_is_one() -> None:
    given(OFFERED).when(OfferReferral(OFFERED)).then()
    ARRIVED.when(OfferReferral(OFFERED)).then(ACCEPTED)
    assert PROBLEM.fold((*ARRIVED.events, PROPOSED, ACCEPTED)) == PROBLEM.fold((*ARRIVED.events, PROPOSED))


def test_what_was_declined_or_handed_over_may_be_offered_again() -> None:
    given(OFFERED, DECLINED).when(OfferReferral(OFFERED)).then(OFFERED)
    back = msgspec.structs.replace(OFFERED, origin="jateng", to="jatim")
    GONE.when(OfferReferral(back)).then(back)
    given(*GONE.events, back).when(AcceptReferral()).then(ReferralAccepted("jateng", "jatim"))


def test_what_regions_say_to_each_other_is_addressed_and_nothing_else() -> None:
    for event in (REFERRED, WITHDRAWN):
        assert addressed(event) == ("jatim", "jateng")
    for event in (ACCEPTED, DECLINED):
        assert addressed(event) == ("jateng", "jatim")
    for other in (REPORTED, HANDED_OVER, RETURNED, OFFERED, PROPOSED, RegionIntroduced("jatim", "x")):
        assert addressed(other) is None


REGIONS = ("jatim", "jateng", "bali")
regions = st.sampled_from(REGIONS)
steps = st.one_of(
    st.tuples(regions, st.builds(ReferProblem, st.just(""), regions, st.just(AT), st.just("hpke:v1:x"))),
    st.tuples(regions, st.sampled_from((WithdrawReferral(), AcceptReferral(), DECLINE, *WORK[2:5]))),
    st.tuples(regions, regions),
)


class Regions:
    """Three regions and one problem; what one says to another comes later, in order. Nobody is offered what is not
    his own: an acceptance under way is the only reason for which two take it for theirs."""

    def __init__(self) -> None:
        self.events: dict[str, list[ProblemEvent]] = {region: [] for region in REGIONS}
        self.events["jatim"] += [REPORTED, VERIFIED]
        self.under_way: dict[tuple[str, str], deque[ProblemEvent]] = {
            (one, other): deque() for one in REGIONS for other in REGIONS
        }

    def state(self, region: str) -> Any:
        return PROBLEM.fold(self.events[region])

    def ask(self, region: str, command: ProblemCommand) -> None:
        if isinstance(command, ReferProblem):
            command = msgspec.structs.replace(command, region=region)
        try:
            events = PROBLEM.decide(command, self.state(region))
        except Refused:
            return
        for event in events:
            self.events[region].append(event)
            if said := addressed(event):
                self.under_way[said].append(event)

    def deliver(self, one: str, other: str) -> None:
        if self.under_way[one, other]:
            event = self.under_way[one, other].popleft()
            if isinstance(event, ProblemReferred):
                offered = msgspec.structs.replace(OFFERED, origin=event.origin, to=event.to)
                self.ask(other, OfferReferral(offered))
            else:
                self.ask(other, taken_up(event))  # type: ignore[arg-type]

    def homes(self) -> set[str]:
        states = {region: self.state(region) for region in REGIONS}
        away = (Unreported, HandedOver, Offered)
        return {name for name, state in states.items() if not isinstance(state, away) and "Declined" not in repr(state)}

    def accepting(self) -> bool:
        return any(isinstance(event, ReferralAccepted) for queue in self.under_way.values() for event in queue)


@for_all(st.lists(steps, max_size=40))
def test_in_whatever_order_regions_speak_a_problem_has_one_home(todo: list[Any]) -> None:
    world = Regions()
    for region, what in todo:
        world.deliver(region, what) if isinstance(what, str) else world.ask(region, what)
        assert len(world.homes()) == 1 + world.accepting()
    while any(world.under_way.values()):
        for pair in world.under_way:
            world.deliver(*pair)
    [home] = world.homes()
    state = world.state(home)
    if isinstance(state, Referred):
        assert isinstance(world.state(state.problem.asked), Offered)
    else:
        assert not state.problem.asked
        assert not any(isinstance(world.state(region), Offered) for region in REGIONS)
