"""Reactions: another service's event becomes our own command, once, whatever is replayed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from nats.aio.msg import Msg

from rembuk import tracing
from rembuk.broker import streams
from rembuk.events.codec import Codec, Undecodable
from rembuk.events.decider import Decider, Refused
from rembuk.events.event import Metadata, RecordedEvent
from rembuk.flow import quarantine
from rembuk.flow.checkpoints import Checkpoint
from rembuk.flow.following import unseen
from rembuk.keys.region_key import WrappedKey
from rembuk.log.event_log import EventLog, VersionConflict
from rembuk.log.handling import handle
from rembuk.postgres.database import is_unreachable
from rembuk.process import logs

_DONE = "select event_id, command from reaction where follower = $1 and event_id = any($2)"
_ADD = """insert into reaction (follower, event_id, command, outcome, detail) values ($1, $2, $3, $4, $5)
          on conflict do nothing"""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wish:
    """A command that an event gives rise to, for the aggregate `stream_id`. `name` tells several of one event apart;
    `keys` are those under which something in it is sealed (see `key_of`)."""

    decider: Decider[Any, Any, Any]
    stream_id: UUID
    command: Any
    name: str
    new: bool = False
    keys: Sequence[WrappedKey] = ()


def key_of(follower: str, event_id: UUID, name: str) -> str:
    """The idempotency key of the wish of this name that a follower's reaction to an event has."""
    return f"{follower}:{event_id}:{name}"


React = Callable[[Sequence[RecordedEvent[Any]], "asyncpg.Connection[Any]"], Awaitable[Sequence[Sequence[Wish]]]]
"""The wishes each of some events gives rise to, in the order of the events; may read our own database."""


@dataclass(slots=True)
class _Case:
    """A message, what it says if we can read it, what that gives rise to, and what went wrong on the way."""

    message: Msg
    fact: RecordedEvent[Any] | None = None
    wishes: Sequence[Wish] = ()
    error: Exception | None = None


@dataclass(slots=True)
class _Reacted:
    """What came of some messages: when the last event was recorded, lines for the ledger, what has to be set aside."""

    last: datetime | None
    outcomes: list[tuple[str, UUID, str, str, str]] = field(default_factory=list)
    aside: list[tuple[Msg, Exception | None]] = field(default_factory=list)


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
        async with self.checkpoint.connected() as connection:
            await self._process(connection, messages)

    async def _process(self, connection: asyncpg.Connection[Any], messages: list[Msg]) -> None:
        new = unseen(messages, await self.checkpoint.read(connection))
        if not new:
            return
        held, reached = await quarantine.held(connection, self.checkpoint), await self.checkpoint.reached(connection)
        reacted = await self._react_to(connection, new, held, reached)
        async with connection.transaction():
            for message, reason in reacted.aside:
                await quarantine.set_aside(connection, self.checkpoint, message, reason)
            if reacted.outcomes:
                await connection.executemany(_ADD, reacted.outcomes)
            await self.checkpoint.move(connection, streams.sequence(new[-1]), reacted.last)

    async def retry(self, connection: asyncpg.Connection[Any], aggregate: str) -> int:
        """React to what is set aside of an aggregate, in order, beside the live follower; how many events are left.

        The first that fails again keeps its place, with today's error, and those behind it wait on."""
        messages = await quarantine.waiting(connection, self.checkpoint, aggregate)
        with tracing.batch("retry", self.checkpoint.stream, map(streams.about, messages), follower=self._name):
            reacted = await self._react_to(connection, messages, set())
        aside = [message for message, _ in reacted.aside]
        async with connection.transaction():
            await connection.executemany(_ADD, reacted.outcomes)
            for message, reason in reacted.aside:
                if reason is not None:
                    await quarantine.still(connection, self.checkpoint, message, reason)
            done = [message for message in messages if message not in aside]
            await quarantine.release(connection, self.checkpoint, done)
        return len(aside)

    async def _react_to(
        self,
        connection: asyncpg.Connection[Any],
        messages: list[Msg],
        held: set[str],
        reached: datetime | None = None,
    ) -> _Reacted:
        """Handle what some messages give rise to; what of it is to be noted is for the caller to note. What was
        recorded before `reached` was reacted to by the log that ours was restored from."""
        cases = await self._cases(messages, connection, reached)
        ids = [case.fact.id for case in cases if case.fact and case.wishes]
        done = (
            {(row["event_id"], row["command"]) for row in await connection.fetch(_DONE, self._name, ids)} if ids else ()
        )
        reacted = _Reacted(next((case.fact.recorded_at for case in reversed(cases) if case.fact), None))
        by_aggregate: dict[str, list[_Case]] = {}
        for case in cases:
            if case.fact:
                case.wishes = [wish for wish in case.wishes if (case.fact.id, wish.name) not in done]
            if case.wishes or case.error:
                by_aggregate.setdefault(quarantine.aggregate_of(case.message), []).append(case)

        async def one_aggregate(aggregate: str, its_cases: list[_Case]) -> None:
            stopped = aggregate in held
            for case in its_cases:
                if stopped:
                    reacted.aside.append((case.message, None))
                    continue
                try:
                    if case.error or not case.fact:
                        raise case.error or Undecodable()
                    for wish in case.wishes:
                        reacted.outcomes.append(await self._grant(case.fact, wish, streams.sequence(case.message)))
                except Exception as error:
                    if isinstance(error, VersionConflict) or is_unreachable(error):
                        raise  # contended, or away: it passes
                    reacted.aside.append((case.message, error))
                    stopped = True

        ended = await asyncio.gather(*(one_aggregate(*one) for one in by_aggregate.items()), return_exceptions=True)
        for error in filter(None, ended):
            raise error
        return reacted

    async def _cases(
        self, messages: list[Msg], connection: asyncpg.Connection[Any], reached: datetime | None
    ) -> list[_Case]:
        """What each message gives rise to; where `react` fails on them together, each is asked about by itself."""
        cases = [_Case(message) for message in messages]
        for case in cases:
            try:
                case.fact = streams.recorded(self._codec, case.message)
            except Undecodable as error:
                case.error = error
        open_cases = [
            (case, case.fact) for case in cases if case.fact and (reached is None or case.fact.recorded_at >= reached)
        ]
        try:
            all_wishes = await self._react([fact for _, fact in open_cases], connection)
            for (case, _), wishes in zip(open_cases, all_wishes, strict=True):
                case.wishes = wishes
        except Exception as error:
            if is_unreachable(error) or connection.is_closed():
                raise
            for case, fact in open_cases:
                await self._ask_alone(case, fact, connection)
        return cases

    async def _ask_alone(self, case: _Case, fact: RecordedEvent[Any], connection: asyncpg.Connection[Any]) -> None:
        try:
            [case.wishes] = await self._react([fact], connection)
        except Exception as error:
            if is_unreachable(error) or connection.is_closed():
                raise
            case.error, case.wishes = error, ()

    @property
    def _name(self) -> str:
        return self.checkpoint.follower

    async def _grant(self, fact: RecordedEvent[Any], wish: Wish, place: int) -> tuple[str, UUID, str, str, str]:
        """Handle one command that an event at this place of the stream gives rise to; its line for the ledger."""
        metadata = Metadata(
            correlation_id=fact.metadata.correlation_id or str(fact.id),
            causation_id=str(fact.id),
            actor=f"reaction:{self._name}",
            traceparent=tracing.handling(place, fact.metadata.traceparent),
        )
        logs.begin_journey(metadata.correlation_id)
        key = key_of(self._name, fact.id, wish.name)
        try:
            await handle(
                self._log, wish.decider, wish.stream_id, wish.command, key, metadata, new=wish.new, keys=wish.keys
            )
        except Refused as refusal:
            _log.info("reaction refused", reaction=self._name, event_id=str(fact.id), rule=refusal.rule)
            return (self._name, fact.id, wish.name, "refused", refusal.rule)
        return (self._name, fact.id, wish.name, "done", "")
