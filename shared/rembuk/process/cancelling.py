"""Ending tasks: cancelled until they have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

ROUNDS = 10


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel `tasks`, once a second for ten seconds at most. Once is not always enough: before Python 3.12 a wait_for
    may swallow it, and some answer by tidying up, such as a transaction's roll-back on a PostgreSQL that hangs."""
    rest = {task for task in tasks if not task.done()}
    for _ in range(ROUNDS):
        if not rest:
            return
        for task in rest:
            task.cancel()
        _, rest = await asyncio.wait(rest, timeout=1)
