"""SQLAlchemy over asyncpg, for queries of read models: connections with an end, and what its errors mean."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoneFree
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from rembuk.postgres import database
from rembuk.postgres.database import ANSWER_S, CLOSE_S, CONNECT_S, UNREACHABLE


def is_unreachable(error: BaseException) -> bool:
    """As `rembuk.postgres.database.is_unreachable`, of what a query of ours may raise."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or isinstance(getattr(error.orig, "__cause__", None), UNREACHABLE)
    return isinstance(error, NoneFree) or database.is_unreachable(error)


def engine(url: str, name: str, size: int = 4, settings: dict[str, str] | None = None) -> AsyncEngine:
    """SQLAlchemy over asyncpg, for queries of read models; each connection has the `settings` of PostgreSQL. A question
    is one statement, hence no transaction: beginning and ending one would take two round trips more."""
    return create_async_engine(
        _driven(url),
        pool_size=size, max_overflow=0, pool_timeout=CONNECT_S, pool_pre_ping=False,
        isolation_level="AUTOCOMMIT", json_deserializer=msgspec.json.decode,
        hide_parameters=True,  # in messages of errors, hence in logs
        connect_args={"timeout": CONNECT_S, "command_timeout": 30,
                      "server_settings": {"application_name": name, **(settings or {})}},
    )  # fmt: skip


def owners_engine(url: str, name: str) -> AsyncEngine:
    """One connection, for migrations: with transactions, and with all the time that millions of rows take."""
    return create_async_engine(
        _driven(url), pool_size=1, max_overflow=0,
        connect_args={"timeout": CONNECT_S, "server_settings": {"application_name": name}},
    )  # fmt: skip


def _driven(url: str) -> str:
    return url.replace("postgresql://", "postgresql+asyncpg://", 1)


async def close_engine(engine: AsyncEngine) -> None:
    """Close its connections; of a server that does not say good-bye they end with the process."""
    with suppress(*UNREACHABLE):
        await asyncio.wait_for(engine.dispose(), CLOSE_S)


@asynccontextmanager
async def connected(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection of the engine for a short query, with an end: what takes longer is cancelled and its connection
    given up."""
    async with asyncio.timeout(ANSWER_S), engine.connect() as connection:
        yield connection
