"""The brief of a referral: what the origin seals for the receiver, and what the receiver makes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from rembuk.contracts.reports import (
    CODEC,
    Brief,
    Earlier,
    ProblemAnalysed,
    ProblemReferred,
    ProblemReported,
    ReferralOffered,
    SolutionProposed,
    brief_about,
    earlier,
)
from rembuk.events.codec import Undecodable
from rembuk.events.decider import Refused
from rembuk.events.event import RecordedEvent
from rembuk.events.rows import recorded
from rembuk.events.texts import confidential_fields
from rembuk.events.wording import NO_NUL, AreaCode, CategoryCode, RegionName
from rembuk.keys.referral_key import KeyPair, seal_for
from rembuk.sealing.sealing import opened, sealed_in
from rembuk.sealing.vault import NewKey, Vault

History = list[tuple[str, Any]]
"""Events of one problem, here and elsewhere, by time: rows of log.event, each with the region in whose log it is."""
MAX_HISTORY_BYTES = 128 * 1024
"""What a brief has room for: of a longer history the first events are left out."""

_Text = Annotated[str, msgspec.Meta(max_length=4000, pattern=NO_NUL)]
_PLAIN = tuple[RegionName, AreaCode, CategoryCode, _Text, _Text]
_decode = msgspec.json.Decoder(Brief).decode


async def sealed_brief(
    vault: Vault, public_key: str, recorded_as: UUID, region: str, history: History, note: str
) -> str:
    """The brief on a problem that lives in our region, for the one of that public key, to be recorded in the event of
    that id. It has nothing of what was erased. Raises Tampered, WrongRegionKey, Unavailable, BadPublicKey."""
    facts = _facts(region, history)
    told = _told(facts)
    fields = [one for one in sealed_in([told]) if one.name in ("description", "location")]
    texts = dict(zip([one.name for one in fields], await opened(vault, fields), strict=True))
    brief = Brief(
        title=told.event.title,
        description=texts.get("description") or "",
        location=texts.get("location") or "",
        root_cause=_root_cause(facts),
        note=note,
        history=_earlier(history),
    )
    return seal_for(public_key, msgspec.json.encode(brief), brief_about(told.stream_id, recorded_as))


def reported_at(region: str, history: History) -> datetime:
    """When the reporter told of a problem, here or wherever it comes from."""
    told = _told(_facts(region, history))
    return told.event.reported_at if isinstance(told.event, ReferralOffered) else told.recorded_at


def offered(fact: RecordedEvent[ProblemReferred], pair: KeyPair, texts: NewKey, recorded_as: UUID) -> ReferralOffered:
    """The offer that a referral is to its receiver, to be recorded in the event of that id: its texts sealed anew, as
    those of a report are, under that event's key. Raises NotForUs, and msgspec.MsgspecError where it is no brief, or
    says what no region of ours would."""
    referred = fact.event
    brief = _decode(pair.open(referred.brief, brief_about(fact.stream_id, fact.id)))
    msgspec.convert((referred.origin, referred.area, referred.category, brief.title, brief.root_cause), _PLAIN)

    def sealed(text: str) -> str:
        return texts.seal(recorded_as, text) if text else ""

    return ReferralOffered(
        origin=referred.origin,
        to=referred.to,
        area=referred.area,
        category=referred.category,
        title=brief.title,
        description=sealed(brief.description),
        disclosure=referred.disclosure,
        reported_at=referred.reported_at,
        location=sealed(brief.location),
        note=sealed(brief.note),
        root_cause=brief.root_cause,
        history=tuple(_readable(brief.history)),
    )


def _facts(region: str, history: History) -> list[RecordedEvent[Any]]:
    """What we recorded ourselves."""
    return [recorded(CODEC, row, leniently=True) for where, row in history if where == region]


def _told(facts: Sequence[RecordedEvent[Any]]) -> RecordedEvent[ProblemReported | ReferralOffered]:
    """The last event that tells what the problem is. Raises Refused where there is none."""
    told = [fact for fact in facts if isinstance(fact.event, ProblemReported | ReferralOffered)]
    if not told:
        raise Refused("unknown-problem")
    return told[-1]


def _root_cause(facts: Sequence[RecordedEvent[Any]]) -> str:
    telling = (ProblemAnalysed, SolutionProposed, ReferralOffered)
    causes = [fact.event.root_cause for fact in facts if isinstance(fact.event, telling)]
    return next(filter(None, reversed(causes)), "")


def _earlier(history: History) -> tuple[Earlier, ...]:
    """The events as they are told to another region, the last ones where there is no room for all; what we cannot read
    we do not tell."""
    told: list[Earlier] = []
    size = 0
    for region, row in reversed(history):
        with suppress(Undecodable):
            told.append(_without_confidence(region, recorded(CODEC, row)))
            size += len(msgspec.json.encode(told[-1]))
        if size > MAX_HISTORY_BYTES:
            told.pop()
            break
    return tuple(reversed(told))


def _readable(told: Iterable[Earlier]) -> Iterator[Earlier]:
    """The events that are such as we know, each as we would write it."""
    for one in told:
        with suppress(Undecodable, msgspec.MsgspecError):
            msgspec.convert((one.region, one.area), tuple[RegionName, AreaCode])
            event = CODEC.decode(one.type, one.schema_version, one.data)
            yield msgspec.structs.replace(one, schema_version=event.schema_version, data=CODEC.encode(event).decode())


def _without_confidence(region: str, fact: RecordedEvent[Any]) -> Earlier:
    """Without what is sealed in it, and without what it tells of others."""
    event = fact.event
    hidden: dict[str, Any] = dict.fromkeys(confidential_fields(type(event)), "")
    if isinstance(event, ReferralOffered):
        hidden |= {"history": ()}
    return earlier(region, fact, msgspec.structs.replace(event, **hidden))
