"""Two handlers that share one reading of a stream: each has every event once, from its own place, whatever the other
does, and one process holds both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from rembuk import worker
from rembuk.broker import connecting, nats_wire
from rembuk.broker.streams import sequence
from rembuk.flow.checkpoints import Checkpoint
from rembuk.flow.following import unseen
from rembuk.flow.projector import Projector
from rembuk.log.event_log import EventLog
from rembuk.log.relay import Relay
from rembuk.settings import Settings
from rembuk.testing.tallies import (
    CODEC,
    FOLLOWER,
    SERVICE,
    TallyRegion,
    background,
    count_up,
    eventually,
    project,
    projecting,
    rows,
    shown,
)

NOTING = "noting"


class Noting:
    """Notes the position of each event, or fails."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.noted: list[int] = []
        self.ill = False
        self.tries = 0

    async def process(self, messages: list[Msg]) -> None:
        self.tries += 1
        async with self.checkpoint.connected() as connection, connection.transaction():
            new = unseen(messages, await self.checkpoint.read(connection))
            if self.ill:
                raise ConnectionResetError("ill")
            if new:
                await self.checkpoint.move(connection, sequence(new[-1]), None)
        self.noted += map(sequence, new)

    async def retry(self, *_: object) -> int:
        raise NotImplementedError


@pytest.fixture
async def relayed(region: TallyRegion, broker: Client) -> AsyncIterator[None]:
    """The region's relay runs."""
    async with background(Relay(region.url, broker, region.name, SERVICE).run()):
        yield


@asynccontextmanager
async def together(region: TallyRegion, nats_url: str, ill: bool = False) -> AsyncIterator[Noting]:
    """One reading for what is noted and for the region's projection beside it."""
    settings = Settings(region.name, SERVICE, region.url, nats_url, "", 0)
    checkpoint = Checkpoint(region.url, NOTING, region.stream)
    noting, projector = Noting(checkpoint), Projector(checkpoint.beside(FOLLOWER), CODEC, project)
    noting.ill = ill
    faststream = connecting.broker(nats_url, "followers")
    nats_wire.quicken(await faststream.connect())
    follower = worker.follower_of(faststream, settings, noting, projector)
    try:
        async with background(follower.start()):
            yield noting
            await follower.stop()
    finally:
        await faststream.stop()
        checkpoint.connection.drop()


async def noted(noting: Noting, up_to: int) -> None:
    async def check() -> None:
        assert noting.noted == list(range(1, up_to + 1))

    await eventually(check)


async def test_each_has_every_event_once(log: EventLog, region: TallyRegion, nats_url: str, relayed: None) -> None:
    await count_up(log, 700)
    async with together(region, nats_url) as noting:
        await shown(region, log)
        await count_up(log, 30)
        await shown(region, log)
        await noted(noting, await log.head())


async def test_one_that_begins_later_is_read_for_from_its_own_place(
    log: EventLog, region: TallyRegion, nats_url: str, relayed: None
) -> None:
    await count_up(log, 1_200)
    async with projecting(region, nats_url):
        await shown(region, log)
    async with together(region, nats_url) as noting:
        await noted(noting, await log.head())
        await count_up(log, 20)
        await shown(region, log)
        await noted(noting, await log.head())


async def test_one_that_fails_keeps_its_place_and_what_is_read_reaches_the_other(
    log: EventLog, region: TallyRegion, nats_url: str, relayed: None
) -> None:
    await count_up(log, 40)
    async with together(region, nats_url, ill=True) as noting:

        async def tried_again() -> None:
            assert await rows(region)
            assert noting.tries > 2

        await eventually(tried_again)
        assert noting.noted == []
        noting.ill = False
        await count_up(log, 40)
        await shown(region, log)
        await noted(noting, await log.head())


async def test_who_takes_over_gets_both_and_until_then_neither(region: TallyRegion) -> None:
    """Two that had taken one each would wait for each other."""
    first, second = (Checkpoint(region.url, FOLLOWER, region.stream) for _ in range(2))
    beside_first, beside_second = first.beside(NOTING), second.beside(NOTING)

    async def take_over() -> list[int]:
        return [await one.position() for one in (beside_second, second)]

    await beside_first.position()
    waiting = asyncio.create_task(take_over())
    await first.position()
    assert (await asyncio.wait([waiting], timeout=0.5))[1]
    first.connection.drop()
    assert await waiting == [0, 0]
    second.connection.drop()
