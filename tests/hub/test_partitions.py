"""Regions under load while a link, a nats-server or the hub itself is cut, stalled, slow or killed: each goes on
accepting, and the hub has every event of theirs once and in order when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import msgspec
import pytest
from nats.js.api import AckPolicy, ConsumerConfig
from rembuk.streams import stream_name
from rembuk.testing.link import Link
from rembuk.testing.load import Ask, Clients
from rembuk.testing.services import RunningRegion, eventually

if TYPE_CHECKING:
    from conftest import Hub

pytestmark = [pytest.mark.drills, pytest.mark.timeout(240)]

PROBLEM = {"area": "35.78.08", "category": "theft", "title": "Motor hilang", "description": "Di depan rumah."}
MORE = 150
"""Reports that are accepted while something is amiss."""


class Joined:
    """A region whose processes run, and whose nats-server reaches the hub through a link that can be cut."""

    def __init__(self, hub: Hub, postgres_url: str, extra: dict[str, str] | None = None) -> None:
        self.hub, self.federation = hub, hub.federation
        self.link = Link(hub.federation.leaf_port)
        self.running = RunningRegion(postgres_url, "", ("reports",), extra or {})
        self.name = self.running.region.name
        self.federation.admit(self.name)
        self.nats = self.federation.start_region(self.name, self.link.port)
        self.running.region = msgspec.structs.replace(self.running.region, nats_url=self.nats.url)
        self.running.prepare()
        self.running.start_all()

    @asynccontextmanager
    async def under_load(self) -> AsyncIterator[Clients]:
        """Clients who report; nobody is told to come again."""
        draw = lambda _: Ask("reports", "/v1/problems", PROBLEM)  # noqa: E731
        async with Clients(lambda _: self.running.url("reports"), draw, clients=6, at_most=3_000) as clients:
            await clients.more(20)
            yield clients
        assert set(clients.answers) == {201}
        assert not clients.broken

    async def log(self) -> list[str]:
        """The ids of all events, in order."""
        database = await asyncpg.connect(self.running.region.database("reports").service_url)
        ids = [str(row["id"]) for row in await database.fetch("select id from log.event order by position")]
        await database.close()
        return ids

    async def mirror(self) -> list[str]:
        """The ids of all events that the hub holds, in order."""
        stream = stream_name(self.name, "reports")
        async with self.federation.at_hub(self.name) as jetstream:
            consumer = await jetstream.add_consumer(stream, ConsumerConfig(ack_policy=AckPolicy.NONE, mem_storage=True))
            pull = await jetstream.pull_subscribe_bind(consumer.name, stream)
            ids: list[str] = []
            while len(ids) < consumer.num_pending:
                ids += [(message.headers or {})["Nats-Msg-Id"] for message in await pull.fetch(500, 5)]
            return ids

    async def level(self) -> None:
        """The hub comes to hold and show all of it, each event once."""
        ids = await self.log()
        await asyncio.to_thread(self.hub.comes_to, self.name, "level", len(ids))
        assert await self.mirror() == ids
        assert self.hub.events(self.name) == len(ids)

    def end(self) -> None:
        self.running.stop_all()
        self.link.end()


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
