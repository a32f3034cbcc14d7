"""A region that has lost PostgreSQL and NATS comes back from what the hub holds, and can do nothing else there."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from rembuk.broker import streams
from rembuk.broker.stream_names import stream_name
from rembuk.federation.hub_regions import INBOX, MIRROR, STANDING, EventsRequest
from rembuk.federation.hub_source import HubSilent, HubSource
from rembuk.testing.asking import asked
from rembuk.testing.ports import free_ports
from rembuk.transparency.leaves import published_leaf

from tests.hub.conftest import Hub, reported
from tests.hub.joined import Joined


def errand(joined: Joined, *arguments: str) -> tuple[int, str]:
    """How an errand of the region's reports ends, and what it says."""
    done = joined.running.run("reports", *arguments)
    return done.returncode, done.stdout + done.stderr


def lose_both_disks(joined: Joined) -> None:
    """The region as it is after its servers were made anew."""
    joined.running.stop_all()
    joined.nats.kill()
    joined.nats.lose_disk()
    database = joined.running.region.database("reports").role
    asked(joined.running.region.postgres_url, f'drop database "{database}" with (force)')
    joined.running.prepare()
    joined.nats.start()


@pytest.mark.drills
@pytest.mark.timeout(240)
async def test_a_region_that_lost_both_disks_goes_on_where_the_hub_knows_it(hub: Hub, postgres_url: str) -> None:
    joined = await asyncio.to_thread(Joined, hub, postgres_url)
    try:
        async with joined.under_load() as clients:
            await clients.more(700)  # more than the hub sends at once
        await joined.level()
        before = await joined.log()
        await asyncio.to_thread(lose_both_disks, joined)
        code, said = await asyncio.to_thread(errand, joined, "restore", "hub", "0")
        assert (code, f'"position":{len(before)},"events":{len(before)}' in said) == (0, True), said
        assert await joined.log() == before
        joined.running.start_all()
        await joined.level()
        async with joined.under_load() as clients:
            await clients.more(30)
        await joined.level()
        assert (await joined.mirror())[: len(before)] == before
    finally:
        joined.end()


async def test_what_the_hub_sends_is_what_the_region_had_published(hub: Hub) -> None:
    region = hub.admitted()
    await hub.told(region, *(reported() for _ in range(12)))
    hub.comes_to(region, "level", 12)
    async with hub.federation.asking(region) as client:
        source = HubSource(client, region, "reports")
        assert await source.end() == 12
        sent = [*await source.after(0, 5), *await source.after(5, 500)]
        assert [streams.sequence(one) for one in sent] == list(range(1, 13))
        assert await source.after(12, 500) == []
        assert await HubSource(client, region, "forums").end() == 0
    async with hub.federation.at_region(region) as jetstream:
        for position, message in enumerate(sent, 1):
            held = await jetstream.get_msg(stream_name(region, "reports"), seq=position)
            own = streams.stored_message("", position, dict(held.headers or {}), held.data or b"")
            assert published_leaf(message) == published_leaf(own)
            assert streams.row(region, "reports", message) == streams.row(region, "reports", own)


async def test_a_region_that_asks_can_order_nothing_of_the_hubs_jetstream(hub: Hub) -> None:
    """It names the subject to which it is answered, which could be an order; so it is answered in inboxes alone."""
    region = hub.admitted()
    await hub.told(region, reported(), reported())
    hub.comes_to(region, "level", 2)
    before, own = await mirror(hub, region), stream_name(region, "reports")
    wanted = msgspec.json.encode(EventsRequest("reports", 5, 1))  # what is beyond the end is answered without any data
    async with hub.federation.asking(region) as client:
        for order in ("STREAM.DELETE", "STREAM.PURGE", "STREAM.INFO", "DIRECT.GET", "CONSUMER.CREATE"):
            await client.publish(f"$JS.hub.API.{order}.{own}", b"", reply=f"{INBOX}.order")
            for question, data in ((MIRROR, wanted), (STANDING, b"")):
                await client.publish(question, data, reply=f"$JS.API.{order}.{own}")
        for nothing in (
            b"",
            b"{}",
            msgspec.json.encode(EventsRequest("hub", 0, 1)),
            msgspec.json.encode(EventsRequest(">", 0, 1)),
        ):
            await client.publish(MIRROR, nothing, reply=f"{INBOX}.nothing")
        assert await HubSource(client, region, "reports").end() == 2  # what was asked before has been dealt with
    assert await mirror(hub, region) == before


async def mirror(hub: Hub, region: str) -> tuple[Any, ...]:
    """When it was made, and what it holds: the hub makes one anew that is not there."""
    async with hub.federation.at_hub(region) as jetstream:
        info: Any = await jetstream.stream_info(stream_name(region, "reports"))
        return info.created, info.state.first_seq, info.state.last_seq, info.state.messages, info.state.consumer_count


async def test_without_a_hub_a_region_is_told_so(hub: Hub) -> None:
    hub.federation.admit("alone")
    hub.federation.start_region("alone", free_ports())  # where nobody listens
    async with hub.federation.asking("alone") as client:
        with pytest.raises(HubSilent, match="nobody answers at the hub"):
            await HubSource(client, "alone", "reports", link_s=0).end()
