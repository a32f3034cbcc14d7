"""For each test that asks: a region of tallies, its log, and the broker its stream is on."""

from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client
from rembuk.broker.connecting import connect
from rembuk.log.event_log import EventLog
from rembuk.testing.tallies import CODEC, TallyRegion, renewed, tally_region


@pytest.fixture(scope="session")
async def databases(postgres_url: str) -> list[TallyRegion]:
    """Two databases on the shared PostgreSQL, for all tests one after the other."""
    return [await tally_region(postgres_url) for _ in range(2)]


@pytest.fixture
async def region(databases: list[TallyRegion]) -> TallyRegion:
    """A region with an empty log and a stream of its own."""
    return await renewed(databases[0])


@pytest.fixture
async def other_region(databases: list[TallyRegion]) -> TallyRegion:
    """Another region, to react to the first."""
    return await renewed(databases[1])


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
