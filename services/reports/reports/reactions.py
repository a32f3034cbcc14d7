"""What reports does by itself when another service speaks: a forum's agreement becomes a proposed solution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
from rembuk.contracts.forums import ForumHeld
from rembuk.event import Recorded
from rembuk.reactions import Wish

from reports.commands import ProposeSolution
from reports.domain import PROBLEM

NAME = "agreements"


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
