"""What reports does by itself when others speak: a forum's agreement becomes a proposed solution; what another region
says about a problem that one of us refers to the other is taken up, and answered where that needs no officer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, assert_never

import asyncpg
from rembuk.contracts.forums import ForumHeld
from rembuk.contracts.reports import (
    ProblemReferred,
    ReferralAccepted,
    ReferralDeclined,
    ReferralWithdrawn,
    addressed,
)
from rembuk.event import Recorded
from rembuk.ids import event_id
from rembuk.reactions import React, Wish, key_of
from rembuk.referral_key import KeyPair
from rembuk.vault import Vault

from reports.briefs import offered
from reports.commands import EndOffer, HandOver, OfferReferral, ProblemCommand, ProposeSolution, ReturnReferral
from reports.domain import PROBLEM

NAME = "agreements"
REFERRALS = "referrals"

KeyPairOf = Callable[["asyncpg.Connection[Any]"], Awaitable[KeyPair]]
"""Our own pair, from our database."""


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
    """The reaction to what other regions say to ours. A brief that our key does not open (NotForUs), or that is none,
    is set aside."""

    async def react(facts: Sequence[Recorded[Any]], connection: asyncpg.Connection[Any]) -> list[list[Wish]]:
        said = [(addressed(fact.event) or ("", ""))[1] == region for fact in facts]
        offers = any(ours and isinstance(fact.event, ProblemReferred) for ours, fact in zip(said, facts, strict=True))
        pair = await key_pair(connection) if offers else None
        return [[_answer(fact, vault, pair)] if ours else [] for ours, fact in zip(said, facts, strict=True)]

    return react


def _answer(fact: Recorded[Any], vault: Vault, pair: KeyPair | None) -> Wish:
    if not isinstance(fact.event, ProblemReferred):
        return Wish(PROBLEM, fact.stream_id, taken_up(fact.event), "answer")
    assert pair is not None
    event, key = offered(fact, pair, vault, event_id(key_of(REFERRALS, fact.id, "offer")))
    return Wish(PROBLEM, fact.stream_id, OfferReferral(event), "offer", keys=(key,))


def taken_up(event: ReferralWithdrawn | ReferralAccepted | ReferralDeclined) -> ProblemCommand:
    """What is to be done about what another region says of an offer."""
    match event:
        case ReferralWithdrawn():
            return EndOffer(event.origin)
        case ReferralAccepted():
            return HandOver(event.to)
        case ReferralDeclined():
            return ReturnReferral(event.to, event.code, event.reason)
        case _:
            assert_never(event)
