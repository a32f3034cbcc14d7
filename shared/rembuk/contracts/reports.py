"""What the service `reports` publishes: the life of a problem."""

from __future__ import annotations

from datetime import date
from typing import Any, ClassVar, Literal
from uuid import UUID

import msgspec

from rembuk.codec import Codec
from rembuk.contracts.polmas import Disclosure, Pillar, Strategy
from rembuk.contracts.privacy import PrivacyEvent
from rembuk.event import Event
from rembuk.texts import Code, Public, Sealed

RejectionCode = Literal["not_a_problem", "outside_area", "not_enough_information", "handled_elsewhere", "emergency"]
Level = Literal["low", "medium", "high", "critical"]
Partner = Literal["officer", "residents", "forum", "government", "organisation", "business"]


class ProblemReported(Event, frozen=True):
    """A resident or officer reported a problem. Sealed are the description and the location (the JSON of `lat` and
    `lon`, WGS 84; "" for none) under a key of this event's own, and the reporter (the JSON of `name` and `phone`; ""
    for an anonymous one) under another. What was recorded before version 2 has description and location in clear."""

    schema_version: ClassVar[int] = 2

    area: Code
    category: Code
    title: Public
    description: Sealed
    disclosure: Disclosure
    location: Sealed = ""
    reporter: Sealed = ""


class ProblemVerified(Event, frozen=True):
    """An officer looked and found it so."""

    schema_version: ClassVar[int] = 2

    note: Sealed = ""


class ProblemRejected(Event, frozen=True):
    """It is not taken up, for a reason that the reporter is told in words."""

    code: RejectionCode
    reason: Public


class ProblemAnalysed(Event, frozen=True):
    """Why it happens: the root cause, and the three sides of the problem triangle."""

    schema_version: ClassVar[int] = 2

    root_cause: Public
    victims: Sealed = ""
    offenders: Sealed = ""
    place: Sealed = ""


class ProblemPrioritised(Event, frozen=True):
    """How pressing it is. `impact`, `urgency` and `reach` are 1..5; `level` follows from their product."""

    impact: int
    urgency: int
    reach: int
    level: Level


class SolutionProposed(Event, frozen=True):
    """What is to be done; `meeting_id` names the forum meeting that agreed on it, where one did."""

    proposal: Public
    strategies: tuple[Strategy, ...]
    root_cause: Public = ""
    forum_id: UUID | None = None
    meeting_id: UUID | None = None


class SolutionApplied(Event, frozen=True):
    """Police and community did something about it, together; from the first day to the last. Category and disclosure
    are the problem's: whoever tells others of it has to know whether it may be told."""

    category: Code
    disclosure: Disclosure
    done: Public
    strategies: tuple[Strategy, ...]
    partners: tuple[Partner, ...]
    pillars: tuple[Pillar, ...]
    since: date
    until: date


class SolutionAssessed(Event, frozen=True):
    """Did it work? Occurrences counted over equal periods before and after."""

    schema_version: ClassVar[int] = 2

    as_planned: bool
    effective: bool
    before: int
    after: int
    note: Sealed = ""


class ProblemClosed(Event, frozen=True):
    """Its applied solution held."""

    schema_version: ClassVar[int] = 2

    note: Sealed = ""


class ProblemReopened(Event, frozen=True):
    """It is back, or was never gone."""

    schema_version: ClassVar[int] = 2

    reason: Sealed


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


def _location_as_text(reported: dict[str, Any]) -> dict[str, Any]:
    location = reported.get("location")
    return {**reported, "location": msgspec.json.encode(location).decode() if location else ""}


CODEC = Codec(
    (*ProblemEvent.__args__, *PrivacyEvent.__args__),
    {
        ("ProblemReported", 1): _location_as_text,
        # what came to be sealed with version 2 stands in clear where it was recorded before
        **{(event.__name__, 1): dict for event in (ProblemVerified, ProblemAnalysed, SolutionAssessed, ProblemClosed)},
        ("ProblemReopened", 1): dict,
    },
)
