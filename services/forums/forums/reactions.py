"""What forums does by itself: each promise of a held forum becomes a commitment, followed up on its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
from rembuk.contracts.forums import ForumHeld
from rembuk.events.event import RecordedEvent
from rembuk.events.ids import derive_id
from rembuk.flow.reactions import Wish

from forums.commands import MakeCommitment
from forums.domain import COMMITMENT

NAME = "commitments"


async def react(facts: Sequence[RecordedEvent[Any]], _: asyncpg.Connection[Any]) -> list[list[Wish]]:
    """For each promise of a held forum: make it a commitment."""
    return [commitments(fact) if isinstance(fact.event, ForumHeld) else [] for fact in facts]


def commitments(fact: RecordedEvent[ForumHeld]) -> list[Wish]:
    """The wishes that one held forum gives rise to, named by the promise's place among its promises."""
    held = fact.event
    return [
        Wish(
            COMMITMENT,
            derive_id("commitment", fact.stream_id, index),
            MakeCommitment(held.forum_id, fact.stream_id, held.area, promise.who, promise.what, promise.by),
            f"commit {index}",
            new=True,
        )
        for index, promise in enumerate(held.promises)
    ]
