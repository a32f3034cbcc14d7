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


def is_unreachable(error: BaseException) -> bool:
    """Whether trying again later may help, as opposed to an error that would come back."""
    return isinstance(error, (Unavailable, *UNREACHABLE))


async def connect(url: str, name: str, patience_s: float | None = 60) -> asyncpg.Connection[Any]:
    """One connection for a task that keeps it, each statement answered within `patience_s`; `name` shows in
    pg_stat_activity. Raises what `UNREACHABLE` lists."""
    return await asyncpg.connect(
        url,
        timeout=CONNECT_S,
        command_timeout=patience_s,
        server_settings={"application_name": name, **_NOTICED_DEAD},
    )


async def open_pool(
    url: str,
    name: str,
    size: int,
    settings: Mapping[str, str] | None = None,
    opened: Callable[[Any], Coroutine[Any, Any, None]] | None = None,
) -> asyncpg.Pool[Any]:
    """A pool for short statements on the running loop; its connections open when first needed, each with the `settings`
    of PostgreSQL and seen by `opened`. Whoever borrows one leaves nothing behind that outlasts a transaction."""
    return await asyncpg.create_pool(
        url, min_size=0, max_size=size, timeout=CONNECT_S, command_timeout=ANSWER_S, init=opened, reset=_leave,
        max_inactive_connection_lifetime=30, server_settings={"application_name": name, **(settings or {})},
    )  # fmt: skip


async def _leave(_: object) -> None:
    """Let a connection be used again as it is. By default asyncpg asks the server after each use to forget settings,
    locks and listeners: one more round trip for every question, and there is none of these."""


async def close_pool(pool: asyncpg.Pool[Any]) -> None:
    """Close its connections, hard when the server does not say good-bye."""
    try:
        await asyncio.wait_for(pool.close(), CLOSE_S)
    except UNREACHABLE:
        pool.terminate()


@asynccontextmanager
async def borrowed(pool: asyncpg.Pool[Any]) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection of the pool; one that does not answer in time is given up at once, without asking it to cancel."""
    connection: Any = await pool.acquire(timeout=CONNECT_S)
    try:
        yield connection
    except TimeoutError:
        connection.terminate()
        raise
    finally:
        await pool.release(connection)


class PlainSql:
    """A pool for questions in SQL, without SQLAlchemy in between, which would cost as much as a question itself. Start
    it before use, stop it after. Moments have to be finite."""

    def __init__(self, url: str, name: str, size: int = 4, settings: Mapping[str, str] | None = None) -> None:
        self._open = partial(open_pool, url, name, size, {"timezone": "UTC", **(settings or {})}, _read_moments_as_text)
        self._pool: asyncpg.Pool[Any]

    async def start(self) -> None:
        self._pool = await self._open()

    async def stop(self) -> None:
        await close_pool(self._pool)

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
