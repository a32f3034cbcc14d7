"""What the service `reports` publishes: the life of a problem."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any, ClassVar, Literal
from uuid import UUID

import msgspec

from rembuk.contracts.polmas import Disclosed, Pillar, Strategy
from rembuk.contracts.privacy import PrivacyEvent
from rembuk.events.codec import Codec
from rembuk.events.event import Event, RecordedEvent
from rembuk.events.texts import Code, Enclosed, Public, Sealed

RejectionCode = Literal["not_a_problem", "outside_area", "not_enough_information", "handled_elsewhere", "emergency"]
Level = Literal["low", "medium", "high", "critical"]
Partner = Literal["officer", "residents", "forum", "government", "organisation", "business"]
DeclineCode = Literal["outside_area", "not_enough_information", "handled_elsewhere", "no_capacity", "other"]
Decline = Literal[DeclineCode, "withdrawn", "id_taken", "not_understood"]
"""Why a referral is declined: the first are an officer's, the others the receiver's own: the origin took it back, the
problem's id is that of another problem there, or there is no such category there."""


class ProblemReported(Event, frozen=True):
    """A resident or officer reported a problem. Sealed are the description and the location (the JSON of `lat` and
    `lon`, WGS 84; "" for none) under a key of this event's own, and the reporter (the JSON of `name` and `phone`; ""
    for an anonymous one) under another. What was recorded before version 2 has description and location in clear."""

    schema_version: ClassVar[int] = 2

    area: Code
    category: Code
    title: Public
    description: Sealed
    disclosure: Disclosed
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
    disclosure: Disclosed
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


class ProblemReferred(Event, frozen=True):
    """Another region is offered the problem; until its answer nobody works on it. `brief` is the JSON of a Brief that
    the receiver alone can open. The reporter is not handed over: `origin` goes on speaking with him. `reported_at` is
    when he told it, wherever that was."""

    origin: Code
    to: Code
    area: Code
    category: Code
    disclosure: Disclosed
    reported_at: datetime
    brief: Enclosed
    note: Sealed = ""


class ReferralWithdrawn(Event, frozen=True):
    """The origin took its offer back. Whatever the receiver says last holds: where it had accepted, the problem is
    handed over all the same."""

    origin: Code
    to: Code
    note: Sealed = ""


class ProblemHandedOver(Event, frozen=True):
    """The other region accepted: from now on the problem lives there."""

    to: Code


class ReferralReturned(Event, frozen=True):
    """The other region declined, or confirmed a withdrawal: the problem lives here as before."""

    to: Code
    code: Decline
    reason: Public = ""


class Earlier(msgspec.Struct, frozen=True):
    """An event of a problem from when it lived elsewhere, without what was sealed in it; `data` is its JSON."""

    region: Code
    id: UUID
    type: Code
    schema_version: int
    position: int
    version: int
    area: Code
    recorded_at: datetime
    data: Public


class Brief(msgspec.Struct, frozen=True):
    """What the receiver of a referral is told in confidence: all that the origin may tell. `location` is the JSON of
    `lat` and `lon`, "" for none."""

    title: str
    description: str
    location: str
    root_cause: str
    note: str
    history: tuple[Earlier, ...]


def brief_about(problem_id: UUID, event_id: UUID) -> bytes:
    """What a brief is sealed along with: it is opened as that of this problem and this ProblemReferred alone."""
    return f"rembuk brief {problem_id} {event_id}".encode()


class ReferralOffered(Event, frozen=True):
    """Another region, `origin`, offers this one, `to`, a problem under the id that it has there. It was found to be so
    where it comes from. Sealed are description, location and note, as of a report, under a key of this event's own."""

    origin: Code
    area: Code
    category: Code
    title: Public
    description: Sealed
    disclosure: Disclosed
    reported_at: datetime
    location: Sealed = ""
    note: Sealed = ""
    root_cause: Public = ""
    history: tuple[Earlier, ...] = ()
    to: Code = ""


class ReferralAccepted(Event, frozen=True):
    """The problem lives here from now on: `to` is this region, and answers `origin`."""

    origin: Code
    to: Code
    note: Sealed = ""


class ReferralDeclined(Event, frozen=True):
    """The problem stays with `origin`, for a reason that it is told in words."""

    origin: Code
    to: Code
    code: Decline
    reason: Public = ""


class RegionIntroduced(Event, frozen=True):
    """By which key others seal what only this region is to read: an X25519 public key in base64url."""

    region: Code
    public_key: Code


ReferralEvent = (
    ProblemReferred
    | ReferralWithdrawn
    | ProblemHandedOver
    | ReferralReturned
    | ReferralOffered
    | ReferralAccepted
    | ReferralDeclined
)
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
    | ReferralEvent
)
ReportsEvent = ProblemEvent | RegionIntroduced | PrivacyEvent
Spoken = ProblemReferred | ReferralWithdrawn | ReferralAccepted | ReferralDeclined
"""What one region says to another."""


def earlier(region: str, fact: RecordedEvent[Any], event: ReportsEvent) -> Earlier:
    """An event of that region's as others are told of it: `event` is the fact's, or what of it may be told."""
    return Earlier(
        region=region,
        id=fact.id,
        type=type(event).__name__,
        schema_version=event.schema_version,
        position=fact.position,
        version=fact.version,
        area=fact.area,
        recorded_at=fact.recorded_at,
        data=CODEC.encode(event).decode(),
    )


def addressed(event: Event) -> tuple[str, str] | None:
    """From which region to which an event is said; None for one that no region says to another."""
    match event:
        case ReferralAccepted() | ReferralDeclined():
            return event.to, event.origin
        case _ if isinstance(event, Spoken):
            return event.origin, event.to
        case _:
            return None


def confided_to(events: Iterable[Event]) -> list[str]:
    """The other regions that were told in confidence of the problem with these events, whatever they answered."""
    return sorted({event.to for event in events if isinstance(event, ProblemReferred)})


def _location_as_text(reported: dict[str, Any]) -> dict[str, Any]:
    location = reported.get("location")
    return {**reported, "location": msgspec.json.encode(location).decode() if location else ""}


CODEC = Codec(
    ReportsEvent.__args__,
    {
        ("ProblemReported", 1): _location_as_text,
        # what came to be sealed with version 2 stands in clear where it was recorded before
        **{(event.__name__, 1): dict for event in (ProblemVerified, ProblemAnalysed, SolutionAssessed, ProblemClosed)},
        ("ProblemReopened", 1): dict,
        ("PersonErased", 1): dict,
    },
)
