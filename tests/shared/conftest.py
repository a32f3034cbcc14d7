"""For each test that asks: a region of tallies, its log, and the broker its stream is on."""

from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client
from rembuk.event_log import EventLog
from rembuk.testing.tallies import CODEC, TallyRegion, tally_region
from rembuk.worker import connect


@pytest.fixture
async def region(postgres_url: str) -> TallyRegion:
    """A database of its own on the shared PostgreSQL."""
    return await tally_region(postgres_url)


@pytest.fixture
async def log(region: TallyRegion) -> AsyncIterator[EventLog]:
    """The region's log, as its service has it."""
    log = EventLog(region.url, CODEC)
    await log.start()
    yield log
    await log.stop()


@pytest.fixture
async def broker(nats_url: str) -> AsyncIterator[Client]:
    """A connection to the shared nats-server."""
    client = await connect(nats_url, "test")
    yield client
    await client.close()
