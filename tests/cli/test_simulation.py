"""Simulated load: the same seed gives the same requests, on real villages, in requests that the service takes."""

from datetime import date, timedelta
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from rembuk.areas.lookup import areas
from rembuk.contracts.categories import CATEGORIES
from rembuk_cli.demo.simulation import FIRST_DAY, REPORT, Course, phrases, simulate
from reports.api.reporting import ACTIONS
from reports.commands import ProblemReport, ReportProblem
from reports.domain import PROBLEM

SURABAYA = "35.78"
seeds = st.integers(0, 2**32)
places = st.sampled_from([SURABAYA, "31", "94.01", "11.01.01", "35.78.08.1004"])


def courses(seed: int, days: int = 30, problems: int = 25, area: str = SURABAYA) -> list[Course]:
    return list(simulate(areas(), seed, days, problems, area))


def report(course: Course) -> dict[str, Any]:
    return msgspec.json.decode(course[0].body, type=dict[str, Any])


@given(seeds, places)
def test_the_same_seed_gives_the_same_requests_byte_for_byte(seed: int, area: str) -> None:
    assert courses(seed, area=area) == courses(seed, area=area)


@given(seeds, seeds)
def test_another_seed_gives_other_requests_and_other_keys(one: int, other: int) -> None:
    if one != other:
        assert courses(one) != courses(other)
        keys = {request.key for course in courses(one) for request in course}
        assert keys.isdisjoint(request.key for course in courses(other) for request in course)


@given(seeds, st.integers(0, 20))
def test_asking_for_fewer_problems_gives_the_first_of_them(seed: int, fewer: int) -> None:
    assert courses(seed, problems=fewer) == courses(seed)[:fewer]


@given(seeds)
def test_no_key_is_used_twice(seed: int) -> None:
    keys = [request.key for course in courses(seed) for request in course]
    assert len(set(keys)) == len(keys)


@given(seeds, places)
def test_every_area_is_a_real_village_within_the_asked_area(seed: int, area: str) -> None:
    for course in courses(seed, area=area):
        code = report(course)["area"]
        assert areas()[code].level == "village"
        assert area in [above.code for above in areas().ancestors(code)]


@settings(max_examples=30)
@given(seeds, st.integers(1, 400))
def test_every_course_is_one_that_the_domain_of_reports_accepts(seed: int, days: int) -> None:
    for course in courses(seed, days):
        assert course[0].path == REPORT
        told = msgspec.json.decode(course[0].body, type=ProblemReport)
        wishes: list[Any] = [
            ReportProblem(told.area, told.category, told.title, told.description, told.disclosure),
            *(msgspec.json.decode(one.body, type=ACTIONS[one.path.rpartition("/")[2]]) for one in course[1:]),
        ]
        state: Any = PROBLEM.initial
        for wish in wishes:
            for event in PROBLEM.decide(wish, state):
                state = PROBLEM.evolve(state, event)


def test_every_category_has_its_phrases_and_a_month_tells_of_nearly_all() -> None:
    assert set(phrases().categories) == set(CATEGORIES)
    told = {report(course)["category"] for course in courses(1, problems=2000)}
    assert len(told) >= len(CATEGORIES) - 2


def test_frequent_troubles_are_frequent_and_robbery_is_rare() -> None:
    told = [report(course)["category"] for course in courses(1, problems=2000)]
    assert told.count("noise") > told.count("theft") > told.count("robbery") < 30


def test_no_text_is_left_with_an_open_slot_and_hardly_two_are_alike() -> None:
    texts = [report(course)["description"] for course in courses(7, problems=2000)]
    assert not any("{" in text or "}" in text for text in texts)
    assert len(set(texts)) > 1990


def test_solutions_are_applied_after_the_report_and_end_after_they_begin() -> None:
    for course in courses(3, days=10, problems=300):
        for request in course:
            if request.path.endswith("/apply-solution"):
                body = msgspec.json.decode(request.body)
                since, until = date.fromisoformat(body["since"]), date.fromisoformat(body["until"])
                assert FIRST_DAY < since < until < FIRST_DAY + timedelta(days=90)
