"""Reactions: another service's event becomes our own command, once, whatever is replayed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from nats.aio.msg import Msg

from rembuk import quarantine, streams
from rembuk.checkpoints import Checkpoint
from rembuk.codec import Codec, Undecodable
from rembuk.database import Unavailable, is_unreachable
from rembuk.decider import Decider, Refused
from rembuk.event import Metadata, Recorded
from rembuk.event_log import EventLog
from rembuk.following import unseen
from rembuk.handling import handle

_DONE = "select event_id, command from reaction where follower = $1 and event_id = any($2)"
_ADD = """insert into reaction (follower, event_id, command, outcome, detail) values ($1, $2, $3, $4, $5)
          on conflict do nothing"""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wish:
    """A command that an event gives rise to, for the aggregate `stream_id`. `name` tells several of one event apart."""

    decider: Decider[Any, Any, Any]
    stream_id: UUID
    command: Any
    name: str
    new: bool = False


React = Callable[[Sequence[Recorded[Any]], "asyncpg.Connection[Any]"], Awaitable[Sequence[Sequence[Wish]]]]
"""The wishes each of some events gives rise to, in the order of the events; may read our own database."""


class Reactor:
    """Reacts to one stream. `process` is what a Follower calls.

    A command's event ids derive from the event it answers, so the log itself refuses a second time; the ledger
    (table `reaction`) tells what came of it. A refusal by the domain is an outcome, not an error.
    """

    def __init__(self, checkpoint: Checkpoint, codec: Codec, react: React, log: EventLog) -> None:
        self.checkpoint = checkpoint
        self._codec, self._react, self._log = codec, react, log

    async def process(self, messages: list[Msg]) -> None:
        """React to what is unseen, then move the checkpoint; an event we cannot react to is set aside."""
        connection = await self.checkpoint.connection.get()
        try:
            await self._process(connection, messages)
        except Exception:
            if connection.is_closed():
                self.checkpoint.connection.drop()
            raise

    async def _process(self, connection: asyncpg.Connection[Any], messages: list[Msg]) -> None:
        new = unseen(messages, await self.checkpoint.read(connection))
        if not new:
            return
        held = await quarantine.held(connection, self.checkpoint)
        facts: list[tuple[Msg, Recorded[Any]]] = []
        aside: list[tuple[Msg, Exception | None]] = []
        for message in new:
            try:
                facts.append((message, streams.recorded(self._codec, message)))
            except Undecodable as error:
                aside.append((message, error))
        wishes = await self._react([fact for _, fact in facts], connection)
        ids = [fact.id for (_, fact), its in zip(facts, wishes, strict=True) if its]
        done = {(row["event_id"], row["command"]) for row in await connection.fetch(_DONE, self._name, ids)} if ids else ()
        outcomes: list[tuple[str, UUID, str, str, str]] = []
        by_aggregate: dict[UUID, list[tuple[Msg, Recorded[Any], Sequence[Wish]]]] = {}
        for (message, fact), its_wishes in zip(facts, wishes, strict=True):
            due = [wish for wish in its_wishes if (fact.id, wish.name) not in done]
            if due:
                by_aggregate.setdefault(fact.stream_id, []).append((message, fact, due))

        async def one_aggregate(work: list[tuple[Msg, Recorded[Any], Sequence[Wish]]]) -> None:
            stopped = str(work[0][1].stream_id) in held
            for message, fact, due in work:
                if stopped:
                    aside.append((message, None))
                    continue
                try:
                    for wish in due:
                        outcomes.append(await self._grant(fact, wish))
                except Exception as error:
                    if isinstance(error, Unavailable) or is_unreachable(error):
                        raise
                    aside.append((message, error))
                    stopped = True

        await asyncio.gather(*map(one_aggregate, by_aggregate.values()))
        async with connection.transaction():
            for message, reason in aside:
                await quarantine.set_aside(connection, self.checkpoint, message, reason)
            if outcomes:
                await connection.executemany(_ADD, outcomes)
            await self.checkpoint.move(connection, streams.sequence(new[-1]), facts[-1][1].recorded_at if facts else None)

    @property
    def _name(self) -> str:
        return self.checkpoint.follower

    async def _grant(self, fact: Recorded[Any], wish: Wish) -> tuple[str, UUID, str, str, str]:
        """Handle one command; its line for the ledger."""
        metadata = Metadata(
            correlation_id=fact.metadata.correlation_id or str(fact.id),
            causation_id=str(fact.id),
            actor=f"reaction:{self._name}",
            traceparent=fact.metadata.traceparent,
        )
        key = f"{self._name}:{fact.id}:{wish.name}"
        try:
            await handle(self._log, wish.decider, wish.stream_id, wish.command, key, metadata, new=wish.new)
        except Refused as refusal:
            _log.info("reaction refused", reaction=self._name, event=str(fact.id), rule=refusal.rule)
            return (self._name, fact.id, wish.name, "refused", refusal.rule)
        return (self._name, fact.id, wish.name, "done", "")
