"""Regions under load while a link, a nats-server or the hub itself is cut, stalled, slow or killed: each goes on
accepting, and the hub has every event of theirs once and in order when it is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from nats.aio.msg import Msg
from rembuk.broker.stream_names import stream_name
from rembuk.testing.load import Clients
from rembuk.testing.services import eventually

from tests.hub.conftest import Hub
from tests.hub.joined import Joined

pytestmark = [pytest.mark.drills, pytest.mark.timeout(240)]

MORE = 150
"""Reports that are accepted while something is amiss."""


@pytest.fixture(scope="module")
def regions(hub: Hub, postgres_url: str) -> Iterator[list[Joined]]:
    joined = [Joined(hub, postgres_url) for _ in range(2)]
    yield joined
    for one in joined:
        one.end()


Amiss = Callable[[Joined, Clients], Awaitable[None]]


async def the_link_is_cut(joined: Joined, clients: Clients) -> None:
    joined.link.cut()
    await clients.more(MORE)
    joined.link.heal()


async def the_link_stalls_and_nobody_is_told(joined: Joined, clients: Clients) -> None:
    joined.link.stall()
    await clients.more(MORE)
    joined.link.heal()


async def the_link_is_slow(joined: Joined, clients: Clients) -> None:
    joined.link.rate = 30_000
    await clients.more(MORE)
    joined.link.heal()


async def the_link_flaps(joined: Joined, clients: Clients) -> None:
    for _ in range(6):
        joined.link.cut()
        await clients.more(MORE // 6)
        joined.link.heal()
        await asyncio.sleep(0.7)  # long enough to be linked, at times not to be level


async def the_regions_nats_is_killed(joined: Joined, clients: Clients) -> None:
    await asyncio.to_thread(joined.nats.kill)
    await clients.more(MORE)
    await asyncio.to_thread(joined.nats.start)


async def the_regions_worker_is_killed(joined: Joined, clients: Clients) -> None:
    joined.running.kill("reports", "worker")
    await clients.more(MORE)
    joined.running.start("reports", "worker")


async def the_hubs_nats_is_killed(joined: Joined, clients: Clients) -> None:
    await asyncio.to_thread(joined.federation.hub.kill)
    await clients.more(MORE)
    await asyncio.to_thread(joined.federation.hub.start)


async def the_hubs_worker_is_killed(joined: Joined, clients: Clients) -> None:
    joined.hub.service.kill("hub", "worker")
    await clients.more(MORE)
    joined.hub.service.start("hub", "worker")


@pytest.mark.parametrize(
    "amiss",
    [
        the_link_is_cut, the_link_stalls_and_nobody_is_told, the_link_is_slow, the_link_flaps,
        the_regions_nats_is_killed, the_regions_worker_is_killed, the_hubs_nats_is_killed, the_hubs_worker_is_killed,
    ],
    ids=lambda amiss: amiss.__name__,
)  # fmt: skip
async def test_a_region_goes_on_and_the_hub_has_each_event_once_when(regions: list[Joined], amiss: Amiss) -> None:
    lone, other = regions
    async with lone.under_load() as clients, other.under_load() as elsewhere:
        await amiss(lone, clients)
        await elsewhere.more(20)
    await lone.level()
    await other.level()


async def test_while_a_link_is_cut_the_hub_says_so_and_goes_on_with_the_others(regions: list[Joined]) -> None:
    lone, other = regions
    lone.link.cut()
    async with lone.under_load() as clients, other.under_load():
        await clients.more(50)
    await other.level()

    def cut_off() -> None:
        assert lone.hub.stream(lone.name)["state"] == "cut_off"

    await asyncio.to_thread(eventually, cut_off)
    lone.link.heal()
    await lone.level()


@asynccontextmanager
async def while_its_mirror_asks(joined: Joined) -> AsyncIterator[None]:
    """What is done in the block ends no sooner than the mirror has asked for its consumer anew: 10 to 20 s after the
    last that it heard."""
    asked = asyncio.Event()

    async def heed(_: Msg) -> None:
        asked.set()

    async with joined.federation.client_at_hub(joined.name) as client:
        stream = stream_name(joined.name, "reports")
        await client.subscribe(f"$JS.{joined.name}.API.CONSUMER.CREATE.{stream}", cb=heed)
        yield
        await asyncio.wait_for(asked.wait(), 30)


async def test_a_region_that_was_away_when_its_mirror_asked_for_it_is_taken_up_as_soon_as_it_is_back(
    regions: list[Joined],
) -> None:
    """By itself the nats-server waits 30 s for the answer that was lost, and then pauses."""
    lone, _ = regions
    async with while_its_mirror_asks(lone), lone.under_load() as clients:
        lone.link.cut()
        await clients.more(50)
    lone.link.heal()
    healed_at = time.monotonic()
    await lone.level()
    assert time.monotonic() - healed_at < 10


async def test_a_question_of_a_mirrors_that_was_lost_with_the_link_is_asked_again(regions: list[Joined]) -> None:
    """By itself the nats-server waits 30 s for its answer, though the link is long back."""
    lone, _ = regions
    async with while_its_mirror_asks(lone):
        lone.link.stall()
        async with lone.under_load() as clients:
            await clients.more(50)
    lone.link.cut()
    lone.link.heal()
    healed_at = time.monotonic()
    await lone.level()
    assert time.monotonic() - healed_at < 10
