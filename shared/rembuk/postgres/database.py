"""Connections to a service's own PostgreSQL, and what it means that it cannot be reached."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any

import asyncpg

CONNECT_S = 5.0
"""How long a connection may take, be it made or waited for in a pool."""
CLOSE_S = 2.0
"""How long the server may take to say good-bye to a process that ends."""
AGAIN_S = 1.0
"""How long a task waits before it looks again whether the server is back."""
IDLE_S = 30.0
"""Between two looks at a pool: a connection that it did without from one to the next is closed."""
ANSWER_S = 8.0
"""How long a statement that somebody waits for may take: behind a PostgreSQL that hangs nobody shall hang."""

_NOTICED_DEAD = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""So that the server gives up the lock of a task that went away without a word in half a minute, not in two hours."""

UNREACHABLE: tuple[type[BaseException], ...] = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # asyncpg lost its place when the server died amid an answer
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,  # its files cannot be read or are gone: it answers on for up to a minute
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
)
"""What asyncpg raises when the server is down, stopping, starting, full, without its files or another's, or when
somebody else's transaction won (deadlock, serialisation): worth trying again later, and nothing the data is to blame
for."""

AS_LONG_AS_IT_TAKES_S = 10 * 365 * 24 * 3600.0
"""The time limit of a statement that waits for its turn (asyncpg takes None for its default)."""


class Unavailable(Exception):
    """PostgreSQL did not answer. Whether an append in flight took place is unknown; the same ids ask again safely."""


AWAY: tuple[type[BaseException], ...] = (*UNREACHABLE, Unavailable)
"""What is raised while PostgreSQL does not answer, by asyncpg or by our own log and vault."""


def is_unreachable(error: BaseException) -> bool:
    """Whether trying again later may help, as opposed to an error that would come back."""
    return isinstance(error, AWAY)


async def connect(url: str, name: str, patience_s: float | None = 60) -> asyncpg.Connection[Any]:
    """One connection for a task that keeps it, each statement answered within `patience_s`; `name` shows in
    pg_stat_activity. Raises what `UNREACHABLE` lists."""
    return await asyncpg.connect(
        url,
        timeout=CONNECT_S,
        command_timeout=patience_s,
        server_settings={"application_name": name, **_NOTICED_DEAD},
    )


class Pool:
    """At most `size` connections on the running loop, each opened when the others are busy, and closed when it was not
    needed for a while. Whoever borrows one leaves nothing behind that outlasts a transaction.

    asyncpg's own pool takes 80 µs to lend one, three times as long as asking takes: two tasks and a timer each time."""

    def __init__(self, opened: Callable[[], Coroutine[Any, Any, asyncpg.Connection[Any]]], size: int) -> None:
        self._opened, self._size, self._room = opened, size, asyncio.Semaphore(size)
        self._lent: set[asyncpg.Connection[Any]] = set()
        self._free: list[asyncpg.Connection[Any]] = []  # the last one is used next
        self._unneeded = 0  # so many of the free, the first ones, have stayed free since the last look
        self._look: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def take(self) -> asyncpg.Connection[Any]:
        """One that nobody else has. Raises what `UNREACHABLE` lists."""
        if self._room.locked():
            await asyncio.wait_for(self._room.acquire(), CONNECT_S)
        else:
            await self._room.acquire()
        try:
            connection = self._left() or await self._opened()
        except BaseException:
            self._room.release()
            raise
        self._lent.add(connection)
        return connection

    def give_back(self, connection: asyncpg.Connection[Any]) -> None:
        self._lent.discard(connection)
        if not connection.is_closed():
            self._free.append(connection)
            if self._look is None:
                self._look = asyncio.get_running_loop().call_later(IDLE_S, self._close_unneeded)
        self._room.release()

    async def close(self) -> None:
        """Lend nothing any more, wait for what is lent and close, hard where that takes too long or the server does not
        say good-bye."""
        try:
            async with asyncio.timeout(CLOSE_S):
                for _ in range(self._size):
                    await self._room.acquire()
                await asyncio.gather(*(one.close() for one in self._free), *self._closing)
        except UNREACHABLE:
            for one in (*self._free, *self._lent):
                one.terminate()
        finally:
            if self._look is not None:
                self._look.cancel()

    def _left(self) -> asyncpg.Connection[Any] | None:
        """The free one that was used last, if any."""
        while self._free:
            connection = self._free.pop()
            self._unneeded = min(self._unneeded, len(self._free))
            if not connection.is_closed():
                return connection
        return None

    def _close_unneeded(self) -> None:
        for connection in self._free[: self._unneeded]:
            closing = asyncio.ensure_future(_closed(connection))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        del self._free[: self._unneeded]
        self._unneeded = len(self._free)
        again = asyncio.get_running_loop().call_later
        self._look = again(IDLE_S, self._close_unneeded) if self._free or self._lent else None


async def _closed(connection: asyncpg.Connection[Any]) -> None:
    try:
        await connection.close(timeout=CLOSE_S)
    except UNREACHABLE:
        connection.terminate()


def open_pool(
    url: str,
    name: str,
    size: int,
    settings: Mapping[str, str] | None = None,
    opened: Callable[[Any], Coroutine[Any, Any, None]] | None = None,
) -> Pool:
    """A pool for short statements; its connections have the `settings` of PostgreSQL and were seen by `opened`."""

    async def connection() -> asyncpg.Connection[Any]:
        made = await asyncpg.connect(
            url, timeout=CONNECT_S, command_timeout=ANSWER_S,
            server_settings={"application_name": name, **(settings or {})},
        )  # fmt: skip
        try:
            if opened is not None:
                await opened(made)
        except BaseException:
            made.terminate()
            raise
        return made

    return Pool(connection, size)


@asynccontextmanager
async def borrowed(pool: Pool) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection of the pool; one that does not answer in time is given up at once, without asking it to cancel."""
    connection = await pool.take()
    try:
        yield connection
    except BaseException as error:
        if isinstance(error, TimeoutError) or not isinstance(error, Exception):
            connection.terminate()
        raise
    finally:
        pool.give_back(connection)


class PlainSql:
    """A pool for questions in SQL, without SQLAlchemy in between, which would cost as much as a question itself. Each
    is planned once, as a walk along an index whatever is asked. Start it before use, stop it after. Moments have to be
    finite."""

    def __init__(self, url: str, name: str, size: int = 4) -> None:
        settings = {"timezone": "UTC", "plan_cache_mode": "force_generic_plan", "enable_bitmapscan": "off"}
        self._open = partial(open_pool, url, name, size, settings, _read_moments_as_text)
        self._pool: Pool

    async def start(self) -> None:
        self._pool = self._open()

    async def stop(self) -> None:
        await self._pool.close()

    async def rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """What a query finds, prepared once a connection. Raises what `UNREACHABLE` lists."""
        async with borrowed(self._pool) as connection:
            rows: list[asyncpg.Record] = await connection.fetch(query, *arguments)
            return rows


async def _read_moments_as_text(connection: asyncpg.Connection[Any]) -> None:
    """Which takes Python 0.2 µs each; asyncpg's own way takes 1.4 µs, a tenth of a page of 50 with two each."""
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", encoder=datetime.isoformat, decoder=datetime.fromisoformat
    )


class KeptConnection:
    """A connection one task keeps for itself: opened when first asked for, replaced after it broke."""

    def __init__(
        self,
        url: str,
        name: str,
        opened: Callable[[asyncpg.Connection[Any]], Any] | None = None,
    ) -> None:
        self._url, self._name, self._opened = url, name, opened
        self._connection: asyncpg.Connection[Any] | None = None
        self._opening = asyncio.Lock()

    async def get(self) -> asyncpg.Connection[Any]:
        """The live connection; `opened` is awaited with each new one. Raises what `UNREACHABLE` lists."""
        async with self._opening:  # two that ask at once must not wait for each other's advisory lock
            if self._connection is None or self._connection.is_closed():
                connection = await connect(self._url, self._name)
                if self._opened is not None:
                    try:
                        await self._opened(connection)
                    except BaseException:
                        connection.terminate()
                        raise
                self._connection = connection
            return self._connection

    async def keep_at(self, work: Callable[[], Awaitable[None]], pause_s: float) -> None:
        """Have `work`, which asks for this connection, done with a pause after each time, until cancelled. While the
        server is away it is tried each second; what else it raises is raised."""
        import structlog  # a tenth of a second, which whoever only asks a question does not wait

        log = structlog.get_logger(__name__)
        try:
            while True:
                try:
                    await work()
                    await asyncio.sleep(pause_s)
                except UNREACHABLE as error:
                    log.warning("waiting for the database", task=self._name, error=repr(error))
                    self.drop()
                    await asyncio.sleep(AGAIN_S)
        finally:
            self.drop()

    def drop(self) -> None:
        """Forget the connection at once, without a word to the server; the next `get` opens another."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
