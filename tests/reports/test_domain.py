"""What may happen to a problem: each rule of its life, given-when-then."""

from datetime import date
from itertools import product
from math import prod
from typing import Any

import msgspec
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from rembuk.contracts.categories import CATEGORIES
from rembuk.contracts.reports import (
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
from rembuk.testing.scenario import Scenario
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
from reports.domain import PROBLEM
from reports.domain.life import priority
from reports.domain.states import Unreported

AREA = "35.78.08.1004"
DAY = date(2026, 11, 23)
LAMPS = {"strategies": ("problem_solving",), "since": DAY, "until": DAY}

VERIFIED = ProblemVerified()
PROPOSED = SolutionProposed("Memasang lampu", ("problem_solving",))
APPLIED = SolutionApplied(
    "street_lighting", "public", "Lampu dipasang", ("problem_solving",), ("residents",), (), DAY, DAY
)
HELD = SolutionAssessed(as_planned=True, effective=True, before=5, after=0)
FAILED = SolutionAssessed(as_planned=True, effective=False, before=5, after=5)
CLOSED = ProblemClosed()
REJECTED = ProblemRejected("outside_area", "Di luar wilayah kami")

ANALYSE = AnalyseProblem("Gang gelap")
PRIORITISE = PrioritiseProblem(impact=3, urgency=4, reach=2)
PROPOSE = ProposeSolution("Memasang lampu", ("problem_solving",))
APPLY = ApplySolution("Lampu dipasang", partners=("residents",), **LAMPS)  # type: ignore[arg-type]
ASSESS = AssessSolution(as_planned=True, effective=True, before=5, after=0)
REOPEN = ReopenProblem("Masih gelap")
REJECT = RejectProblem("outside_area", "Di luar wilayah kami")
COMMANDS: tuple[ProblemCommand, ...] = (
    ReportProblem(AREA, "noise", "Musik keras", "Musik keras tiap malam"),
    VerifyProblem(), REJECT, ANALYSE, PRIORITISE, PROPOSE, APPLY, ASSESS, CloseProblem(), REOPEN,
)  # fmt: skip


def reported(category: str = "street_lighting") -> ProblemReported:
    return ProblemReported(AREA, category, "Lampu padam", "Lampu gang padam", "public")


def given(*events: ProblemEvent) -> Scenario[Any, Any, Any]:
    return Scenario(PROBLEM).given(*events)


def test_a_report_says_what_was_told() -> None:
    command = ReportProblem(AREA, "theft", "Motor hilang", "Semalam", "officer", "sealed:v1:y", "sealed:v1:x")
    given().when(command).then(
        ProblemReported(AREA, "theft", "Motor hilang", "Semalam", "officer", "sealed:v1:y", "sealed:v1:x")
    )


def test_a_report_needs_a_category_that_there_is() -> None:
    given().when(ReportProblem(AREA, "magic", "Apa ini", "Apa ini")).refused("unknown-category", "category")


@pytest.mark.parametrize("command", COMMANDS[1:], ids=lambda command: type(command).__name__)
def test_nothing_can_be_asked_of_a_problem_nobody_reported(command: ProblemCommand) -> None:
    given().when(command).refused("unknown-problem")


def test_a_reported_problem_is_verified_or_rejected_once() -> None:
    given(reported()).when(VerifyProblem("benar")).then(ProblemVerified("benar"))
    given(reported()).when(REJECT).then(REJECTED)
    given(reported(), VERIFIED).when(VerifyProblem()).refused("already-verified")
    given(reported(), VERIFIED).when(REJECT).refused("already-verified")
    given(reported(), REJECTED).when(VerifyProblem()).refused("already-rejected")
    given(reported(), REJECTED).when(REJECT).refused("already-rejected")


@pytest.mark.parametrize("command", [ANALYSE, PRIORITISE, PROPOSE, APPLY], ids=lambda command: type(command).__name__)
def test_only_what_was_found_to_be_so_is_worked_on(command: ProblemCommand) -> None:
    given(reported()).when(command).refused("not-verified")
    given(reported(), REJECTED).when(command).refused("already-rejected")


def test_an_open_problem_is_analysed_and_prioritised_as_often_as_needed() -> None:
    given(reported(), VERIFIED).when(ANALYSE).then(ProblemAnalysed("Gang gelap"))
    given(reported(), VERIFIED).when(PRIORITISE).then(ProblemPrioritised(3, 4, 2, "medium"))
    given(reported(), VERIFIED, PROPOSED, ProblemAnalysed("a")).when(ANALYSE).then(ProblemAnalysed("Gang gelap"))


def test_a_solution_is_proposed_before_it_is_applied() -> None:
    given(reported(), VERIFIED).when(APPLY).refused("no-solution-proposed")
    given(reported(), VERIFIED).when(PROPOSE).then(PROPOSED)
    given(reported(), VERIFIED, PROPOSED).when(APPLY).then(APPLIED)


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_crime_is_not_solved_without_an_officer(category: str) -> None:
    scenario = given(reported(category), VERIFIED, PROPOSED)
    if CATEGORIES[category].crime:
        scenario.when(APPLY).refused("officer-required")
    else:
        scenario.when(APPLY).then(msgspec.structs.replace(APPLIED, category=category))
    scenario.when(
        ApplySolution("Lampu dipasang", partners=("officer", "residents"), **LAMPS)  # type: ignore[arg-type]
    ).then(msgspec.structs.replace(APPLIED, category=category, partners=("officer", "residents")))


def test_a_solution_does_not_end_before_it_begins() -> None:
    backwards = ApplySolution("Lampu", ("partnership",), ("residents",), DAY, date(2026, 11, 22))
    given(reported(), VERIFIED, PROPOSED).when(backwards).refused("ends-before-it-begins", "until")


def test_an_applied_solution_without_an_assessment_is_never_done() -> None:
    unassessed = given(reported(), VERIFIED, PROPOSED, APPLIED)
    unassessed.when(CloseProblem()).refused("not-assessed")
    unassessed.when(APPLY).refused("already-applied")
    unassessed.when(ASSESS).then(HELD)


def test_only_an_applied_solution_is_assessed() -> None:
    given(reported(), VERIFIED, PROPOSED).when(ASSESS).refused("no-applied-solution")
    given(reported(), VERIFIED, PROPOSED, APPLIED, HELD).when(ASSESS).refused("no-applied-solution")


def test_what_did_not_work_is_open_again_and_needs_another_proposal() -> None:
    failed = given(reported(), VERIFIED, PROPOSED, APPLIED, FAILED)
    failed.when(CloseProblem()).refused("not-solved")
    failed.when(APPLY).refused("no-solution-proposed")
    failed.when(PROPOSE).then(PROPOSED)


def test_what_held_is_closed_and_then_left_alone() -> None:
    given(reported(), VERIFIED, PROPOSED, APPLIED, HELD).when(CloseProblem()).then(CLOSED)
    done = given(reported(), VERIFIED, PROPOSED, APPLIED, HELD, CLOSED)
    done.when(PROPOSE).refused("already-solved")
    done.when(CloseProblem()).refused("not-solved")


def test_whoever_says_not_solved_reopens_it() -> None:
    reopened = ProblemReopened("Masih gelap")
    for end in ((PROPOSED, APPLIED, HELD), (PROPOSED, APPLIED, HELD, CLOSED)):
        given(reported(), VERIFIED, *end).when(REOPEN).then(reopened)
    given(reported(), REJECTED).when(REOPEN).then(reopened)
    given(reported(), VERIFIED).when(REOPEN).refused("still-open")
    given(reported(), VERIFIED, PROPOSED, APPLIED, HELD, reopened).when(PROPOSE).then(PROPOSED)


grades = st.integers(1, 5)


@for_all(grades, grades, grades)
def test_more_of_anything_is_never_less_pressing(impact: int, urgency: int, reach: int) -> None:
    levels = ("low", "medium", "high", "critical")
    rank = levels.index(priority(impact, urgency, reach))
    assert rank <= levels.index(priority(min(impact + 1, 5), urgency, reach))
    assert priority(impact, urgency, reach) == priority(reach, impact, urgency)


@pytest.mark.parametrize(
    ("level", "least", "most"),
    [("low", 1, 17), ("medium", 18, 47), ("high", 48, 79), ("critical", 80, 125)],
)
def test_each_level_of_priority_begins_and_ends_at_its_product(level: str, least: int, most: int) -> None:
    """Of three grades the nearest products are 16 and 18, 45 and 48, 75 and 80; the bounds are as the text has them."""
    assert [priority(number, 1, 1) for number in (least, most)] == [level] * 2
    of_grades = list(product(range(1, 6), repeat=3))
    assert {prod(one) for one in of_grades if priority(*one) == level} == {
        prod(one) for one in of_grades if least <= prod(one) <= most
    }


def test_the_ends_of_the_scale_of_priorities() -> None:
    assert [priority(n, n, n) for n in (1, 2, 3, 4, 5)] == ["low", "low", "medium", "high", "critical"]


@for_all(st.lists(st.sampled_from(COMMANDS), max_size=25))
def test_no_order_of_wishes_leads_out_of_the_life_of_a_problem(commands: list[ProblemCommand]) -> None:
    """Whatever is asked in whatever order: it is answered or refused, and what follows can be replayed."""
    events: list[ProblemEvent] = []
    state: Any = Unreported()
    for command in commands:
        try:
            new = PROBLEM.decide(command, state)
        except Refused:
            continue
        events += new
        state = PROBLEM.fold(new, state)
    assert state == PROBLEM.fold(events)
    closed = [index for index, event in enumerate(events) if isinstance(event, ProblemClosed)]
    for index in closed:
        held = [event for event in events[:index] if isinstance(event, SolutionAssessed)]
        assert held
        assert held[-1].effective
