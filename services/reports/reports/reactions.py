"""What reports does by itself when others speak: a forum's agreement becomes a proposed solution; what another region
says about a problem that one of us refers to the other is taken up, and answered where that needs no officer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg
import msgspec
from rembuk.contracts.forums import ForumHeld
from rembuk.contracts.reports import (
    Brief,
    ProblemReferred,
    ReferralAccepted,
    ReferralDeclined,
    ReferralOffered,
    ReferralWithdrawn,
    addressed,
)
from rembuk.event import Recorded
from rembuk.ids import event_id
from rembuk.reactions import React, Wish, key_of
from rembuk.referral_key import KeyPair
from rembuk.sealing import texts_of
from rembuk.vault import Vault

from reports.commands import EndOffer, HandOver, OfferReferral, ProblemCommand, ProposeSolution, ReturnReferral
from reports.domain import PROBLEM

NAME = "agreements"
REFERRALS = "referrals"

KeyPairOf = Callable[["asyncpg.Connection[Any]"], Awaitable[KeyPair]]
"""Our own pair, from our database."""

_brief = msgspec.json.Decoder(Brief).decode


async def react(facts: Sequence[Recorded[Any]], _: asyncpg.Connection[Any]) -> list[list[Wish]]:
    """For each agreement of a held forum: propose that solution to its problem."""
    return [proposals(fact) if isinstance(fact.event, ForumHeld) else [] for fact in facts]


def proposals(fact: Recorded[ForumHeld]) -> list[Wish]:
    """The wishes that one held forum gives rise to, named by the problem."""
    held = fact.event
    return [
        Wish(
            PROBLEM,
            agreement.problem_id,
            ProposeSolution(
                agreement.proposal, agreement.strategies, agreement.root_cause, held.forum_id, fact.stream_id
            ),
            f"propose {agreement.problem_id}",
        )
        for agreement in held.agreements
    ]


def referrals(region: str, vault: Vault, key_pair: KeyPairOf) -> React:
    """The reaction to what other regions say to ours. Only that region opens a brief: what was sealed for another key
    is set aside (NotForUs), and what is no brief as well."""

    async def react(facts: Sequence[Recorded[Any]], connection: asyncpg.Connection[Any]) -> list[list[Wish]]:
        ours = [fact for fact in facts if (said := addressed(fact.event)) and said[1] == region]
        pair = await key_pair(connection) if any(isinstance(fact.event, ProblemReferred) for fact in ours) else None
        return [[_wish(fact, vault, pair)] if fact in ours else [] for fact in facts]

    return react


def answer(event: ReferralWithdrawn | ReferralAccepted | ReferralDeclined) -> ProblemCommand:
    """What is to be done about what another region says of an offer."""
    match event:
        case ReferralWithdrawn():
            return EndOffer(event.origin)
        case ReferralAccepted():
            return HandOver(event.to)
        case ReferralDeclined():
            return ReturnReferral(event.to, event.code, event.reason)


def _wish(fact: Recorded[Any], vault: Vault, pair: KeyPair | None) -> Wish:
    if isinstance(fact.event, ProblemReferred):
        assert pair is not None
        return _offer(fact, vault, pair)
    return Wish(PROBLEM, fact.stream_id, answer(fact.event), "answer")


def _offer(fact: Recorded[ProblemReferred], vault: Vault, pair: KeyPair) -> Wish:
    """The offer, its texts sealed anew as those of a report are."""
    referred = fact.event
    brief = _brief(pair.open(referred.brief, sealed_for(fact.stream_id, fact.id)))
    recorded_as = event_id(key_of(REFERRALS, fact.id, "offer"))
    texts = vault.new_key(texts_of(recorded_as))

    def sealed(text: str) -> str:
        return texts.seal(recorded_as, text) if text else ""

    offered = ReferralOffered(
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
        history=brief.history,
    )
    return Wish(PROBLEM, fact.stream_id, OfferReferral(offered), "offer", keys=(texts.wrapped,))
