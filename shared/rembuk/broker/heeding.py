"""Questions on NATS from outside, of which no more than some a second are heeded: the server itself keeps back what
comes beyond them, and says to who asks that nobody answers. Otherwise one that asks without end would hold up whoever
answers, in all else that he does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

WITHIN_S = 1.0

_log = structlog.get_logger(__name__)


async def heed(
    client: Client, subject: str, answer: Callable[[Msg], Awaitable[None]], most: int, queue: str = ""
) -> None:
    """Answer what is asked on a subject, one after the other and at most so many a second, until cancelled or the
    connection is closed. A question that cannot be answered is none of the others' concern."""
    with suppress(nats.errors.ConnectionClosedError):
        while True:
            began = time.monotonic()
            asked = await client.subscribe(subject, queue=queue)
            try:
                await asked.unsubscribe(most)  # the server ends it behind the last of them
                for _ in range(most):
                    question = await asked.next_msg(None)
                    try:
                        await answer(question)
                    except Exception as error:
                        _log.warning("a question is not answered", subject=subject, error=repr(error))
            except asyncio.CancelledError:
                await asked.unsubscribe()
                raise
            await asyncio.sleep(max(0.0, began + WITHIN_S - time.monotonic()))
