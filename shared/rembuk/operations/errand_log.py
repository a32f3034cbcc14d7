"""The log of a service as an errand writes to it: for as long as the errand lasts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rembuk.events.codec import Codec
from rembuk.log.event_log import EventLog
from rembuk.settings import Settings


def errand_log(settings: Settings, codec: Codec) -> EventLog:
    """Not started yet."""
    return EventLog(settings.database_url, codec, f"{settings.name} errand")


@asynccontextmanager
async def started(log: EventLog) -> AsyncIterator[EventLog]:
    await log.start()
    try:
        yield log
    finally:
        await log.stop()
