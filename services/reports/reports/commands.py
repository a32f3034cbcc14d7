"""What can be asked of a problem: one struct a wish, validated as it is decoded from JSON."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta
from rembuk.contracts.polmas import Disclosure, Pillar, Strategy
from rembuk.contracts.reports import Decline, DeclineCode, Partner, ReferralOffered, RejectionCode
from rembuk.events.wording import (
    AreaCode,
    CategoryCode,
    Note,
    RegionName,
    SealedNote,
    SealedText,
    Text,
    Title,
    Words,
    pattern,
)

Grade = Annotated[int, Meta(ge=1, le=5)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
PHONE = pattern(r"^\+?[0-9 ()-]{6,20}(?!\n)$", "not a phone number: 6 to 20 digits, spaces, brackets and hyphens")


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """WGS 84 degrees, within the bounding box of Indonesia."""

    lat: Annotated[float, Meta(ge=-11.5, le=6.5)]
    lon: Annotated[float, Meta(ge=94.5, le=141.5)]


class Reporter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who reports; sealed before it is recorded."""

    name: Words
    phone: Annotated[str, Meta(pattern=PHONE)] | None = None


class ProblemReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A report as it comes in. The title is shown to everybody, and is to name nobody; description, location and
    reporter are sealed before they are recorded."""

    area: AreaCode
    category: CategoryCode
    title: Title
    description: SealedText
    disclosure: Disclosure = "public"
    location: Place | None = None
    reporter: Reporter | None = None


class ReportProblem(msgspec.Struct, frozen=True):
    """A report to be recorded: description, location ("" for none) and reporter ("" for an anonymous one) sealed."""

    area: str
    category: str
    title: str
    description: str
    disclosure: Disclosure = "public"
    location: str = ""
    reporter: str = ""


class VerifyProblem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    note: SealedNote = ""


class RejectProblem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    code: RejectionCode
    reason: Text


class AnalyseProblem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    root_cause: Text
    victims: SealedNote = ""
    offenders: SealedNote = ""
    place: SealedNote = ""


class PrioritiseProblem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    impact: Grade
    urgency: Grade
    reach: Grade


class ProposeSolution(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    proposal: Text
    strategies: Annotated[tuple[Strategy, ...], Meta(min_length=1, max_length=10)]
    root_cause: Note = ""
    forum_id: UUID | None = None
    meeting_id: UUID | None = None


class ApplySolution(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    done: Text
    strategies: Annotated[tuple[Strategy, ...], Meta(min_length=1, max_length=10)]
    partners: Annotated[tuple[Partner, ...], Meta(min_length=1, max_length=20)]
    since: date
    until: date
    pillars: Annotated[tuple[Pillar, ...], Meta(max_length=11)] = ()


class AssessSolution(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    as_planned: bool
    effective: bool
    before: Count
    after: Count
    note: SealedNote = ""


class CloseProblem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    note: SealedNote = ""


class ReopenProblem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: SealedText


class Referral(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which region is to take the problem, and what it is told along with it."""

    to: RegionName
    note: SealedNote = ""


class ReferProblem(msgspec.Struct, frozen=True):
    """A referral to be recorded by `region`: the brief sealed for the region `to`, the note for ourselves."""

    region: str
    to: str
    reported_at: datetime
    brief: str
    note: str = ""


class WithdrawReferral(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    note: SealedNote = ""


class AcceptReferral(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    note: SealedNote = ""


class DeclineReferral(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    code: DeclineCode
    reason: Text


class OfferReferral(msgspec.Struct, frozen=True):
    """Another region refers a problem to us; to be recorded as it stands."""

    offered: ReferralOffered


class EndOffer(msgspec.Struct, frozen=True):
    """The region that offered us a problem has withdrawn that."""

    origin: str


class HandOver(msgspec.Struct, frozen=True):
    """The region `to` has accepted."""

    to: str


class ReturnReferral(msgspec.Struct, frozen=True):
    """The region `to` has declined."""

    to: str
    code: Decline
    reason: str


ProblemCommand = (
    ReportProblem
    | VerifyProblem
    | RejectProblem
    | AnalyseProblem
    | PrioritiseProblem
    | ProposeSolution
    | ApplySolution
    | AssessSolution
    | CloseProblem
    | ReopenProblem
    | ReferProblem
    | WithdrawReferral
    | AcceptReferral
    | DeclineReferral
    | OfferReferral
    | EndOffer
    | HandOver
    | ReturnReferral
)
