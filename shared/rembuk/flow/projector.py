"""The projector: events become rows; rows and checkpoint commit in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Any

import asyncpg
from nats.aio.msg import Msg

from rembuk import tracing
from rembuk.broker import streams
from rembuk.events.codec import Codec
from rembuk.events.event import RecordedEvent
from rembuk.flow import quarantine
from rembuk.flow.checkpoints import Checkpoint
from rembuk.flow.following import unseen
from rembuk.postgres import bulk
from rembuk.postgres.bulk import Change
from rembuk.postgres.database import is_unreachable

Project = Callable[[RecordedEvent[Any]], Sequence[Change]]
"""What an event means for the rows; pure. () for an event this read model has no use for."""


class Projector:
    """Projects one stream into one read model. `process` is what a Follower calls. Positions in `skipped` are passed
    over unread."""

    def __init__(self, checkpoint: Checkpoint, codec: Codec, project: Project, skipped: Set[int] = frozenset()) -> None:
        self.checkpoint = checkpoint
        self._codec, self._project, self._skipped = codec, project, skipped

    def beside(self, checkpoint: Checkpoint, skipped: Set[int]) -> Projector:
        """The same projection into other tables."""
        return Projector(checkpoint, self._codec, self._project, skipped)

    async def process(self, messages: list[Msg]) -> None:
        """Project what is unseen, in bulk; when that fails for a reason in the events, one by one, poison set aside."""
        async with self.checkpoint.connected() as connection:
            try:
                await self._in_bulk(connection, messages)
            except Exception as error:
                if not _blames_events(error, connection):
                    raise
                await self._one_by_one(connection, messages)

    async def _in_bulk(self, connection: asyncpg.Connection[Any], messages: list[Msg]) -> None:
        async with connection.transaction():
            new = unseen(messages, await self.checkpoint.read(connection))
            if not new:
                return
            if held := await quarantine.held(connection, self.checkpoint):
                aside = [message for message in self._read(new) if quarantine.aggregate_of(message) in held]
                for message in aside:
                    await quarantine.set_aside(connection, self.checkpoint, message, None)
            facts = [streams.recorded(self._codec, message) for message in self._read(new)]
            ours = [fact for fact in facts if str(fact.stream_id) not in held] if held else facts
            changes = ((fact.stream_id, self._project(fact)) for fact in ours)
            await bulk.execute(connection, bulk.grouped(changes))
            await self.checkpoint.move(connection, streams.sequence(new[-1]), facts[-1].recorded_at if facts else None)

    async def retry(self, connection: asyncpg.Connection[Any], aggregate: str) -> int:
        """Project what is set aside of an aggregate, in order, beside the live follower; how many events are left.

        The first that fails again keeps its place, with today's error, and those behind it wait on."""
        async with connection.transaction():
            await quarantine.hold_still(connection)
            messages = await quarantine.waiting(connection, self.checkpoint, aggregate)
            follower, stream = self.checkpoint.key
            with tracing.batch("retry", stream, map(streams.about, messages), follower=follower):
                done = await self._up_to_a_failure(connection, messages)
            await quarantine.release(connection, self.checkpoint, messages[:done])
            return len(messages) - done

    async def _up_to_a_failure(self, connection: asyncpg.Connection[Any], messages: list[Msg]) -> int:
        """How many could be projected before one could not."""
        for done, message in enumerate(messages):
            try:
                async with connection.transaction():
                    await self._alone(connection, message)
            except Exception as error:
                if not _blames_events(error, connection):
                    raise
                await quarantine.still(connection, self.checkpoint, message, error)
                return done
        return len(messages)

    async def _alone(self, connection: asyncpg.Connection[Any], message: Msg) -> RecordedEvent[Any]:
        fact = streams.recorded(self._codec, message)
        await bulk.execute(connection, bulk.grouped([(fact.stream_id, self._project(fact))]))
        return fact

    def _read(self, messages: list[Msg]) -> list[Msg]:
        if not self._skipped:
            return messages
        return [message for message in messages if streams.sequence(message) not in self._skipped]

    async def _one_by_one(self, connection: asyncpg.Connection[Any], messages: list[Msg]) -> None:
        async with connection.transaction():
            new = unseen(messages, await self.checkpoint.read(connection))
            held = await quarantine.held(connection, self.checkpoint)
            last = None
            for message in self._read(new):
                if quarantine.aggregate_of(message) in held:
                    await quarantine.set_aside(connection, self.checkpoint, message, None)
                    continue
                try:
                    async with connection.transaction():
                        last = (await self._alone(connection, message)).recorded_at
                except Exception as error:
                    if not _blames_events(error, connection):
                        raise
                    await quarantine.set_aside(connection, self.checkpoint, message, error)
                    held.add(quarantine.aggregate_of(message))
            if new:
                await self.checkpoint.move(connection, streams.sequence(new[-1]), last)


def _blames_events(error: Exception, connection: asyncpg.Connection[Any]) -> bool:
    """Whether an event may be the cause: not where PostgreSQL is away, nor where it knows no such table or gives us no
    right to it, which is a migration's fault and would set every event aside."""
    return not (is_unreachable(error) or connection.is_closed() or isinstance(error, asyncpg.SyntaxOrAccessError))
