"""Where events are read again: our own log, or another service's stream; both as the messages that a follower gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import asyncpg
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from rembuk.broker import streams
from rembuk.broker.pulling import Pull
from rembuk.log.event_log import PAGE
from rembuk.postgres.database import UNREACHABLE
from rembuk.process.cancelling import cancel

WAIT_S = 5.0
PULL = 500

SERVERS_AWAY: tuple[type[BaseException], ...] = (*UNREACHABLE, nats.errors.Error)
"""What is raised where PostgreSQL or NATS does not answer."""

_END = "select coalesce(max(position), 0) from log.event"


class Source(Protocol):
    """Reads messages after a position, in order: `limit` at most, fewer where they are large or the end is near."""

    async def after(self, position: int, limit: int) -> list[Msg]: ...


class Ending(Source, Protocol):
    """A source that tells where it ends."""

    async def end(self) -> int: ...


class Exhausted(Exception):
    """A source ends where there should be more."""


@asynccontextmanager
async def ahead(source: Source, position: int, target: int, limit: int) -> AsyncIterator[AsyncIterator[list[Msg]]]:
    """The messages after `position` up to `target`, `limit` at a time, each page read while the one before it is
    worked on. Behind the block nothing is read any more: whoever leaves early may ask the source again. Raises
    Exhausted."""
    reading: asyncio.Task[list[Msg]] | None = None

    async def pages() -> AsyncIterator[list[Msg]]:
        nonlocal position, reading
        while position < target:
            messages = await (reading or source.after(position, min(limit, target - position)))
            if not messages:
                raise Exhausted(f"there is nothing after position {position}, though {target} should be there")
            position = streams.sequence(messages[-1])
            if position < target:
                reading = asyncio.create_task(source.after(position, min(limit, target - position)))
            yield messages

    try:
        yield pages()
    finally:
        if reading is not None:
            await cancel([reading])


class LogSource:
    """A log, on a connection of its own."""

    def __init__(self, connection: asyncpg.Connection[Any], region: str, service: str) -> None:
        self._connection, self._region, self._service = connection, region, service

    async def after(self, position: int, limit: int) -> list[Msg]:
        """Raises what `rembuk.postgres.database.UNREACHABLE` lists."""
        return [
            streams.LoggedMessage(self._region, self._service, row)
            for row in await self._connection.fetch(PAGE, position, limit)
        ]

    async def end(self) -> int:
        """The last position of which there is an event. Raises what `rembuk.postgres.database.UNREACHABLE` lists."""
        return int(await self._connection.fetchval(_END))


class StreamSource:
    """A stream, through a consumer that ends with the connection and is made anew where the reader jumps."""

    def __init__(self, client: Client, stream: str) -> None:
        self._client, self._stream = client, stream
        self._pull: Pull | None = None
        self._position = 0

    async def after(self, position: int, limit: int) -> list[Msg]:
        """Waits up to 5 s for the first. Raises nats.errors.Error."""
        if self._pull is None or position != self._position:
            await self._stand_at(position)
        assert self._pull is not None
        messages = await self._pull.take(min(limit, PULL), WAIT_S)
        self._position = streams.sequence(messages[-1]) if messages else position
        return messages

    async def end(self) -> int:
        """Its last sequence; 0 where there is no such stream (yet). Raises nats.errors.Error."""
        return await streams.tail_of(self._client.jetstream(), self._stream)

    async def _stand_at(self, position: int) -> None:
        jetstream = self._client.jetstream()
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=position + 1,
            ack_policy=AckPolicy.NONE,
            mem_storage=True,
            inactive_threshold=60,
        )
        name = (await jetstream.add_consumer(self._stream, config)).name
        if self._pull is not None:
            await self._pull.close()
        self._pull = Pull(self._client, self._stream, name)
