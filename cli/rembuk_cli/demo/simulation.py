"""Realistic load: a seed becomes problems as residents report them and as they are worked on. Pure: the same
arguments give the same requests, byte for byte. The phrases are in simulation.json."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from typing import Any
from uuid import UUID, uuid5

import msgspec
from rembuk.areas.lookup import Areas
from rembuk.contracts.categories import CATEGORIES
from rembuk.contracts.polmas import Disclosure, Pillar, Strategy
from rembuk.contracts.reports import RejectionCode

FIRST_DAY = date(2026, 1, 5)
"""The simulated period begins on this Monday; the log records the real time, so day and hour stand in the text."""
PROBLEMS_A_DAY = 66.7
REPORT = "/v1/problems"
_NAMESPACE = UUID("0d4a4c8e-6b1f-5a57-9c86-2f6f0f3a7c11")

NAMED = 0.25
"""How many give their name; the others report anonymously."""
REJECTED, VERIFIED = 0.08, 0.72
"""Of those reported; the rest still waits."""
ANALYSED, PRIORITISED, PROPOSED, APPLIED, ASSESSED, CLOSED = 0.75, 0.85, 0.68, 0.75, 0.82, 0.85
"""How many of those that came so far go one step further."""
EFFECTIVE = 0.78


class Solution(msgspec.Struct, frozen=True):
    """A kind of answer to a problem, in the words of its forum."""

    strategies: tuple[Strategy, ...]
    pillars: tuple[Pillar, ...]
    proposals: tuple[str, ...]
    done: tuple[str, ...]


class Kind(msgspec.Struct, frozen=True):
    """How one category is told: `weight` of how often, `hours` a profile of when; `paired` where the n-th opening
    belongs to the n-th title; `slots` its own words beside those every text may name."""

    weight: int
    hours: str
    solutions: tuple[str, ...]
    titles: tuple[str, ...]
    openings: tuple[str, ...]
    details: tuple[str, ...]
    causes: tuple[str, ...]
    paired: bool = False
    slots: dict[str, tuple[str, ...]] = {}
    disclosure: tuple[Disclosure, ...] = ("public", "public", "public", "public", "forum", "officer")


class Phrases(msgspec.Struct, frozen=True):
    """simulation.json."""

    places: tuple[str, ...]
    streets: tuple[str, ...]
    reporters: tuple[str, ...]
    months: tuple[str, ...]
    weekdays: tuple[str, ...]
    times: tuple[str, ...]
    spans: tuple[str, ...]
    closings: tuple[str, ...]
    notes: tuple[str, ...]
    rejections: dict[RejectionCode, tuple[str, ...]]
    places_found: tuple[str, ...]
    victims: tuple[str, ...]
    assessments: dict[str, tuple[str, ...]]
    closing_notes: tuple[str, ...]
    hours: dict[str, dict[int, int]]
    solutions: dict[str, Solution]
    categories: dict[str, Kind]


class Request(msgspec.Struct, frozen=True):
    """One POST to reports; `{id}` in the path stands for the id that the first request of its course was given."""

    path: str
    key: str
    body: bytes


Course = tuple[Request, ...]
"""One problem's requests, each to be sent after the one before: first the report."""


@cache
def phrases() -> Phrases:
    data = files("rembuk_cli.demo").joinpath("simulation.json").read_bytes()
    return msgspec.json.decode(data, type=Phrases, strict=False)


def simulate(areas: Areas, seed: int, days: int, problems: int, area: str) -> Iterator[Course]:
    """The courses of `problems` problems reported in the villages of an area within `days` days. The first ones are the
    same however many are asked for. Raises KeyError for an unknown area."""
    villages = [village.code for village in areas.villages(area)]
    hotspots = [min(20.0, random.Random(f"{seed} {code}").paretovariate(1.3)) for code in villages]  # noqa: S311
    for number in range(problems):
        name = f"{seed} {area} {days} {number}"
        rng = random.Random(name)  # noqa: S311 - plausible, not secret
        village = rng.choices(villages, hotspots)[0]
        yield _Telling(rng, name, village, rng.randrange(days)).course()


class _Telling:
    """One problem being told. Every choice is drawn in a fixed order."""

    def __init__(self, rng: random.Random, name: str, village: str, day: int) -> None:
        self._rng, self._name, self._village = rng, name, village
        self._words = words = phrases()
        self._category = rng.choices(list(words.categories), [kind.weight for kind in words.categories.values()])[0]
        self._kind = words.categories[self._category]
        self._day = FIRST_DAY + timedelta(days=day)
        self._slots = {
            "tempat": rng.choice(words.places),
            "jalan": f"{rng.choice(words.streets)} {rng.choice(('', 'I', 'II', 'III', 'IV'))}".strip(),
            "rt": f"RT {rng.randint(1, 9):02}/RW {rng.randint(1, 12):02}",
            "waktu": self._when(),
            "kali": rng.choice(words.times),
            "lama": rng.choice(words.spans),
            **{slot: rng.choice(of) for slot, of in self._kind.slots.items()},
        }
        self._requests: list[Request] = []

    def course(self) -> Course:
        self._report()
        fate = self._rng.random()
        if fate < REJECTED:
            self._reject()
        elif fate < REJECTED + VERIFIED:
            self._work_on()
        return tuple(self._requests)

    def _report(self) -> None:
        rng, kind, words = self._rng, self._kind, self._words
        number = rng.randrange(len(kind.titles))
        opening = kind.openings[number] if kind.paired else rng.choice(kind.openings)
        details = rng.sample(kind.details, rng.choice((0, 1, 1, 2)))
        closing = rng.sample(words.closings, rng.choice((0, 1, 1)))
        report: dict[str, Any] = {
            "area": self._village,
            "category": self._category,
            "title": self._fill(kind.titles[number]),
            "description": " ".join([self._fill(opening), *details, *closing]),
            "disclosure": rng.choice(kind.disclosure),
        }
        if rng.random() < NAMED:
            report["reporter"] = {
                "name": rng.choice(words.reporters),
                "phone": f"+62 800 {rng.randint(1000, 9999)} {rng.randint(0, 999):04}",  # no such numbers are given out
            }
        self._ask(REPORT, report)

    def _reject(self) -> None:
        code = self._rng.choice(list(self._words.rejections))
        self._act("reject", {"code": code, "reason": self._rng.choice(self._words.rejections[code])})

    def _work_on(self) -> None:
        rng, words = self._rng, self._words
        self._act("verify", {"note": rng.choice(words.notes)})
        cause = self._fill(rng.choice(self._kind.causes))
        solution = words.solutions[rng.choice(self._kind.solutions)]
        steps: tuple[tuple[float, Callable[[], None]], ...] = (
            (ANALYSED, lambda: self._analyse(cause)),
            (PRIORITISED, self._prioritise),
            (PROPOSED, lambda: self._propose(cause, solution)),
            (APPLIED, lambda: self._apply(solution)),
        )
        for share, step in steps:
            if rng.random() > share:
                return
            step()
        if rng.random() < ASSESSED and self._assess() and rng.random() < CLOSED:
            self._act("close", {"note": rng.choice(words.closing_notes)})

    def _analyse(self, cause: str) -> None:
        victims, place = self._rng.choice(self._words.victims), self._rng.choice(self._words.places_found)
        self._act("analyse", {"root_cause": cause, "victims": victims, "place": place})

    def _prioritise(self) -> None:
        crime = CATEGORIES[self._category].crime
        grades = self._rng.choices(range(1, 6), (1, 3, 5, 4, 2) if crime else (3, 5, 4, 2, 1), k=3)
        self._act("prioritise", dict(zip(("impact", "urgency", "reach"), grades, strict=True)))

    def _propose(self, cause: str, solution: Solution) -> None:
        proposal = self._rng.choice(solution.proposals)
        self._act("propose-solution", {"proposal": proposal, "strategies": solution.strategies, "root_cause": cause})

    def _apply(self, solution: Solution) -> None:
        rng = self._rng
        partners = ["residents", *rng.sample(("forum", "government", "organisation", "business"), rng.randint(0, 2))]
        if CATEGORIES[self._category].crime or rng.random() < 0.6:
            partners.insert(0, "officer")
        since = self._day + timedelta(days=rng.randint(4, 14))
        body = {
            "done": rng.choice(solution.done),
            "strategies": solution.strategies,
            "partners": partners,
            "pillars": solution.pillars,
            "since": since,
            "until": since + timedelta(days=rng.randint(7, 45)),
        }
        self._act("apply-solution", body)

    def _assess(self) -> bool:
        rng = self._rng
        effective = rng.random() < EFFECTIVE
        before = rng.randint(2, 14)
        after = rng.randint(0, before // 3) if effective else rng.randint(max(1, before - 2), before + 2)
        note = rng.choice(self._words.assessments["effective" if effective else "ineffective"])
        planned = effective or rng.random() < 0.5
        body = {"as_planned": planned, "effective": effective, "before": before, "after": after, "note": note}
        self._act("assess", body)
        return effective

    def _when(self) -> str:
        """As people say it: "Sabtu malam sekitar pukul 23.40"."""
        rng, words = self._rng, self._words
        profile = words.hours[self._kind.hours]
        hour = rng.choices(list(profile), list(profile.values()))[0]
        at = f"pukul {hour:02}.{rng.randrange(0, 60, 5):02}"
        weekday = words.weekdays[self._day.weekday()]
        if rng.random() < 0.4:
            return f"{weekday}, {self._day.day} {words.months[self._day.month - 1]}, {at}"
        return f"{weekday} {_part_of_day(hour)} sekitar {at}"

    def _fill(self, template: str) -> str:
        text = template.format_map(self._slots)
        return text[0].upper() + text[1:]

    def _act(self, action: str, body: dict[str, Any]) -> None:
        self._ask(f"{REPORT}/{{id}}/{action}", body)

    def _ask(self, path: str, body: dict[str, Any]) -> None:
        key = uuid5(_NAMESPACE, f"{self._name} {len(self._requests)}")
        self._requests.append(Request(path, str(key), msgspec.json.encode(body)))


def _part_of_day(hour: int) -> str:
    names: Sequence[tuple[int, str]] = ((4, "dini hari"), (11, "pagi"), (15, "siang"), (18, "sore"))
    return next((name for before, name in names if hour < before), "malam")
