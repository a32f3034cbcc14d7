"""What reports does by itself when others speak: a forum's agreement becomes a proposed solution; what another region
says about a problem that one of us refers to the other is taken up, and answered where that needs no officer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
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
from rembuk.events.event import RecordedEvent
from rembuk.events.ids import event_id
from rembuk.flow.reactions import React, Wish, key_of
from rembuk.keys.referral_key import KeyPair, load_pair
from rembuk.keys.region_key import RegionKey, RegionKeys
from rembuk.sealing.sealing import texts_of
from rembuk.sealing.vault import NewKey

from reports.briefs import offered
from reports.commands import EndOffer, HandOver, OfferReferral, ProblemCommand, ProposeSolution, ReturnReferral
from reports.domain import PROBLEM

NAME = "agreements"
REFERRALS = "referrals"


async def react(facts: Sequence[RecordedEvent[Any]], _: asyncpg.Connection[Any]) -> list[list[Wish]]:
    """For each agreement of a held forum: propose that solution to its problem."""
    return [proposals(fact) if isinstance(fact.event, ForumHeld) else [] for fact in facts]


def proposals(fact: RecordedEvent[ForumHeld]) -> list[Wish]:
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


def referrals(region: str, region_keys: Callable[[], RegionKeys]) -> React:
    """The reaction to what other regions say to ours. A brief that our key does not open (NotForUs), or that is none,
    is set aside. The region's keys are asked for when the first offer comes."""
    kept = cache(region_keys)

    async def react(facts: Sequence[RecordedEvent[Any]], connection: asyncpg.Connection[Any]) -> list[list[Wish]]:
        wishes: list[list[Wish]] = []
        for fact in facts:
            said = addressed(fact.event)
            if said is None or said[1] != region:
                wishes.append([])
            elif isinstance(fact.event, ProblemReferred):
                wishes.append([_offer(fact, await load_pair(connection, kept(), region), kept().current)])
            else:
                wishes.append([Wish(PROBLEM, fact.stream_id, taken_up(fact.event), _named(said[0], "answer"))])
        return wishes

    return react


def _offer(fact: RecordedEvent[ProblemReferred], pair: KeyPair, region_key: RegionKey) -> Wish:
    name = _named(fact.event.origin, "offer")
    recorded_as = event_id(key_of(REFERRALS, fact.id, name))
    texts = NewKey(texts_of(recorded_as), region_key)
    command = OfferReferral(offered(fact, pair, texts, recorded_as))
    return Wish(PROBLEM, fact.stream_id, command, name, keys=(texts.wrapped,))


def _named(speaker: str, what: str) -> str:
    """The name of a wish: events of two regions may have one id."""
    return f"{what} of {speaker}"


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
