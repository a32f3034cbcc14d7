"""What the service `reports` publishes: the life of a problem."""

from __future__ import annotations

from datetime import date
from typing import Literal
from uuid import UUID

import msgspec

from rembuk.codec import Codec
from rembuk.contracts.polmas import Disclosure, Pillar, Strategy
from rembuk.event import Event

RejectionCode = Literal["not_a_problem", "outside_area", "not_enough_information", "handled_elsewhere", "emergency"]
Level = Literal["low", "medium", "high", "critical"]
Partner = Literal["officer", "residents", "forum", "government", "organisation", "business"]


class Location(msgspec.Struct, frozen=True):
    """WGS 84 degrees, within Indonesia."""

    lat: float
    lon: float


class ProblemReported(Event, frozen=True):
    """A resident or officer reported a problem. `reporter` is sealed, "" for an anonymous one."""

    area: str
    category: str
    title: str
    description: str
    disclosure: Disclosure
    location: Location | None = None
    reporter: str = ""


class ProblemVerified(Event, frozen=True):
    """An officer looked and found it so."""

    note: str = ""


class ProblemRejected(Event, frozen=True):
    """It is not taken up, for a reason that the reporter is told in words."""

    code: RejectionCode
    reason: str


class ProblemAnalysed(Event, frozen=True):
    """Why it happens: the root cause, and the three sides of the problem triangle."""

    root_cause: str
    victims: str = ""
    offenders: str = ""
    place: str = ""


class ProblemPrioritised(Event, frozen=True):
    """How pressing it is. `impact`, `urgency` and `reach` are 1..5; `level` follows from their product."""

    impact: int
    urgency: int
    reach: int
    level: Level


class SolutionProposed(Event, frozen=True):
    """What is to be done; `meeting_id` names the forum meeting that agreed on it, where one did."""

    proposal: str
    strategies: tuple[Strategy, ...]
    root_cause: str = ""
    forum_id: UUID | None = None
    meeting_id: UUID | None = None


class SolutionApplied(Event, frozen=True):
    """Police and community did something about it, together; from the first day to the last. Category and disclosure
    are the problem's: whoever tells others of it has to know whether it may be told."""

    category: str
    disclosure: Disclosure
    done: str
    strategies: tuple[Strategy, ...]
    partners: tuple[Partner, ...]
    pillars: tuple[Pillar, ...]
    since: date
    until: date


class SolutionAssessed(Event, frozen=True):
    """Did it work? Occurrences counted over equal periods before and after."""

    as_planned: bool
    effective: bool
    before: int
    after: int
    note: str = ""


class ProblemClosed(Event, frozen=True):
    """Its applied solution held."""

    note: str = ""


class ProblemReopened(Event, frozen=True):
    """It is back, or was never gone."""

    reason: str


ProblemEvent = (
    ProblemReported
    | ProblemVerified
    | ProblemRejected
    | ProblemAnalysed
    | ProblemPrioritised
    | SolutionProposed
    | SolutionApplied
    | SolutionAssessed
    | ProblemClosed
    | ProblemReopened
)

CODEC = Codec(ProblemEvent.__args__)
