"""Where a follower stands: one row a follower and stream, held by one process at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import copy
from datetime import datetime
from typing import Any, Self

import asyncpg

from rembuk.broker.stream_names import stream_name
from rembuk.postgres.database import AS_LONG_AS_IT_TAKES_S, KeptConnection, is_unreachable
from rembuk.settings import Settings

_OPEN = "insert into checkpoint (follower, stream) values ($1, $2) on conflict do nothing"
_READ = "select position from checkpoint where follower = $1 and stream = $2"
_REACHED = "select recorded_at from checkpoint where follower = $1 and stream = $2"
_MOVE = """update checkpoint set position = $3, recorded_at = greatest(recorded_at, $4)
           where follower = $1 and stream = $2"""


class Checkpoint:
    """The position of `follower` in `stream`, on a connection of its own that holds the follower's advisory lock."""

    def __init__(self, url: str, follower: str, stream: str) -> None:
        self.follower, self.stream = follower, stream
        self._held_together = [follower]
        self.connection = KeptConnection(url, f"follower {follower} of {stream}", self._lead)

    @classmethod
    def of(cls, settings: Settings, follower: str, source: str) -> Checkpoint:
        """That of a follower of our service in the stream of the service `source`."""
        return cls(settings.database_url, follower, stream_name(settings.region, source))

    def beside(self, follower: str) -> Self:
        """That of another follower of the same stream, held together with ours on one connection: two processes that
        took one each would wait for each other."""
        other = copy(self)
        other.follower = follower
        self._held_together.append(follower)
        return other

    @property
    def key(self) -> tuple[str, str]:
        """Follower and stream."""
        return self.follower, self.stream

    async def _lead(self, connection: asyncpg.Connection[Any]) -> None:
        for follower in self._held_together:
            name = f"{follower} of {self.stream}"
            await connection.execute("select pg_advisory_lock(hashtext($1))", name, timeout=AS_LONG_AS_IT_TAKES_S)
            await connection.execute(_OPEN, follower, self.stream)

    async def position(self) -> int:
        """Wait for the lock, then tell the last position that was processed; 0 before the first."""
        async with self.connected() as connection:
            return await self.read(connection)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        """The connection for a while; dropped where PostgreSQL turns out to be away, for it may be dead unknowingly."""
        connection = await self.connection.get()
        try:
            yield connection
        except Exception as error:
            if is_unreachable(error) or connection.is_closed():
                self.connection.drop()
            raise

    async def read(self, connection: asyncpg.Connection[Any]) -> int:
        return int(await connection.fetchval(_READ, self.follower, self.stream))

    async def reached(self, connection: asyncpg.Connection[Any]) -> datetime | None:
        """When the last event that was processed was recorded; in a restored log, when the last restored event was."""
        moment: datetime | None = await connection.fetchval(_REACHED, self.follower, self.stream)
        return moment

    async def move(self, connection: asyncpg.Connection[Any], position: int, recorded_at: datetime | None) -> None:
        """Say that everything up to `position` is done, within the caller's transaction."""
        await connection.execute(_MOVE, self.follower, self.stream, position, recorded_at)
