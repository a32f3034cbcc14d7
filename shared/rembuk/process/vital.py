"""Tasks without which a process is of no use: where one ends though nobody asked it to, the process ends as well, and
is started again by whoever keeps it running."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import structlog

_log = structlog.get_logger(__name__)


def vital(
    work: Coroutine[Any, Any, None], name: str, may_end: Callable[[], bool] = lambda: False
) -> asyncio.Task[None]:
    """Do it as a task that ends by being cancelled, or by itself when it `may_end`. Otherwise this process gets
    SIGTERM, upon which it finishes what it has accepted."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(partial(_ended, may_end))
    return task


def _ended(may_end: Callable[[], bool], task: asyncio.Task[None]) -> None:
    if task.cancelled() or (task.exception() is None and may_end()):
        return
    os.kill(os.getpid(), signal.SIGTERM)
    _log.critical("a vital task ended", task=task.get_name(), exc_info=task.exception())
