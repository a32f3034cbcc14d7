"""Sweeping: what falls due after some days is done by a worker's task, a batch at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog

from rembuk.postgres.database import AGAIN_S, KeptConnection, is_unreachable

PAUSE_S, REST_S = 1.0, 3600.0
"""Seconds after a batch that was full, of which rows have to hear first and which is to be no storm, and after the
last."""

_log = structlog.get_logger(__name__)


def now() -> datetime:
    return datetime.now(UTC)


async def sweep_until_cancelled(
    name: str, connection: KeptConnection, sweep: Callable[[], Awaitable[int]], batch: int
) -> None:
    """Have `sweep`, which asks for this connection, do up to `batch` of what is due and say how many those were, again
    and again. While the server is away it waits; what else it raises is raised."""
    try:
        while True:
            try:
                pause = PAUSE_S if await sweep() == batch else REST_S
            except Exception as error:
                if not is_unreachable(error):
                    raise
                _log.warning(f"{name} waits for its database", error=repr(error))
                connection.drop()
                pause = AGAIN_S
            await asyncio.sleep(pause)
    finally:
        connection.drop()
