"""How regions stand at the hub, with real servers: nobody is called level who is not, whatever has happened."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

import pytest
from nats.aio.msg import Msg
from nats.js.api import StreamConfig
from rembuk.broker.stream_names import stream_name
from rembuk.broker.streams import stream_config
from rembuk.testing.federation import publish
from rembuk.testing.link import link_to
from rembuk.testing.services import eventually

from tests.hub.conftest import STALLED_S, Hub, reported

pytestmark = pytest.mark.drills


async def test_a_first_join_takes_seconds_whether_the_regions_stream_or_its_link_comes_last(hub: Hub) -> None:
    """A mirror that is made before its region answers asks at once, in vain, and pauses for 10 s or waits for 30."""
    without_streams = await hub.begun(3)
    with ExitStack() as links:
        unlinked = {}
        for _ in range(3):
            link = links.enter_context(link_to(hub.federation.leaf_port))
            link.cut()
            region = hub.admitted(port=link.port)
            await hub.told(region, reported(), reported())
            unlinked[region] = link

        async def joined(region: str, last: Callable[[], Awaitable[object]]) -> float:
            await last()
            began = time.monotonic()
            await asyncio.to_thread(hub.comes_to, region, "level", 2)
            return time.monotonic() - began

        took = await asyncio.gather(
            *(joined(region, partial(hub.told, region, reported(), reported())) for region in without_streams),
            *(joined(region, partial(asyncio.to_thread, link.heal)) for region, link in unlinked.items()),
        )
    assert max(took) < 9, took  # 2 s where a machine does nothing else, and 5 at most


async def test_a_region_that_is_away_is_cut_off_and_level_again_when_it_is_back(hub: Hub) -> None:
    region = hub.admitted()
    await hub.told(region, reported(), reported())
    hub.comes_to(region, "level", 2)
    hub.federation.regions[region].kill()
    cut = hub.comes_to(region, "cut_off", 2)
    assert region in cut["error"]

    def silent() -> None:
        assert hub.stream(region)["behind_s"] > cut["behind_s"] + 2

    eventually(silent, 20)
    hub.federation.regions[region].start()
    await hub.told(region, *(reported() for _ in range(30)))
    back = hub.comes_to(region, "level", 32)
    assert (back["behind_events"], back["behind_s"], back["error"]) == (0, 0, "")
    assert hub.events(region) == 32


async def test_a_mirror_that_gets_nothing_from_a_region_that_answers_has_stalled(hub: Hub) -> None:
    """The nats-server calls it level: its lag is 0. How old the first event is that is missing, the region tells."""
    region = hub.admitted(deny_exports=["$JS.M.>"])
    await hub.told(region, reported(), reported(), at=datetime.now(UTC) - timedelta(hours=1))
    stalled = hub.comes_to(region, "stalled", 0)
    assert (stalled["behind_events"], stalled["region_position"]) == (2, 2)
    assert 3600 <= stalled["behind_s"] < 3700
    async with hub.federation.at_hub(region) as jetstream:
        mirror = (await jetstream.stream_info(stream_name(region, "reports"))).mirror
    assert mirror is not None
    assert mirror.lag == 0
    assert hub.metric("rembuk_hub_lag_events", region) == 2
    assert hub.metric("rembuk_hub_lag_seconds", region) >= 3600


async def test_where_the_age_of_what_is_missing_cannot_be_known_it_is_told_for_how_long_nothing_has_come(
    hub: Hub,
) -> None:
    region = "r" + uuid4().hex[:8]
    hub.admitted(region, deny_imports=[f"$JS.{region}.API.CONSUMER.>"])
    await hub.told(region, reported())
    stalled = hub.comes_to(region, "stalled", 0)
    assert stalled["behind_s"] >= STALLED_S
    assert hub.metric("rembuk_hub_lag_seconds", region) >= STALLED_S


async def test_a_mirrors_question_that_a_region_which_is_there_has_not_got_is_answered_for_it(hub: Hub) -> None:
    """So that it is asked again; by itself the nats-server would wait for half a minute."""
    region = "r" + uuid4().hex[:8]
    hub.admitted(region, deny_imports=[f"$JS.{region}.API.CONSUMER.>"])
    questions: asyncio.Queue[float] = asyncio.Queue()

    async def heed(_: Msg) -> None:
        questions.put_nowait(time.monotonic())

    async with hub.federation.client_at_hub(region) as client:
        await client.subscribe(f"$JS.{region}.API.CONSUMER.CREATE.{stream_name(region, 'reports')}", cb=heed)
        await client.flush()
        await hub.told(region, reported())
        first, second = [await asyncio.wait_for(questions.get(), 20) for _ in range(2)]
    assert second - first < 10


async def test_a_region_that_rewrites_its_history_has_diverged_for_good(hub: Hub) -> None:
    region = hub.admitted()
    kept = [reported() for _ in range(3)]
    await hub.told(region, *kept)
    hub.comes_to(region, "level", 3)
    async with hub.federation.at_region(region) as jetstream:
        await jetstream.delete_stream(stream_name(region, "reports"))
        await jetstream.add_stream(stream_config(region, "reports"))
        await publish(jetstream, region, "reports", kept[0])
        assert hub.comes_to(region, "diverged", 3)["region_position"] == 1
        await publish(jetstream, region, "reports", reported(), reported(), reported(), reported())

    def found_out() -> None:
        stream = hub.stream(region)
        assert (stream["state"], stream["diverged_at"], stream["region_position"]) == ("diverged", 3, 5), stream

    eventually(found_out, 30)


async def test_a_history_that_is_rewritten_between_two_looks_is_found_out_too(hub: Hub) -> None:
    region = hub.admitted()
    await hub.told(region, reported(), reported())
    hub.comes_to(region, "level", 2)
    async with hub.federation.at_region(region) as jetstream:
        await jetstream.delete_stream(stream_name(region, "reports"))
        await jetstream.add_stream(stream_config(region, "reports"))
        await publish(jetstream, region, "reports", *(reported() for _ in range(4)))

    def found_out() -> None:
        stream = hub.stream(region)
        assert (stream["state"], stream["diverged_at"]) == ("diverged", 2), stream

    eventually(found_out, 30)


async def test_a_region_whose_stream_is_filled_again_with_the_same_is_level_again(hub: Hub) -> None:
    region = hub.admitted()
    await hub.told(region, reported(), reported())
    hub.comes_to(region, "level", 2)
    async with hub.federation.at_region(region) as jetstream:
        held = [await jetstream.get_msg(stream_name(region, "reports"), seq=n) for n in (1, 2)]
        await jetstream.delete_stream(stream_name(region, "reports"))
        await jetstream.add_stream(stream_config(region, "reports"))
        hub.comes_to(region, "diverged", 2)
        for message in held:
            await jetstream.publish(message.subject or "", message.data or b"", headers=message.headers)
        hub.comes_to(region, "level", 2)
        await publish(jetstream, region, "reports", reported())
    hub.comes_to(region, "level", 3)
    assert hub.events(region) == 3


async def test_a_worker_that_is_dead_leaves_nobody_level_and_goes_on_where_it_was(hub: Hub) -> None:
    region = hub.admitted()
    await hub.told(region, *(reported() for _ in range(10)))
    hub.comes_to(region, "level", 10)
    hub.service.kill("hub", "worker")
    await hub.told(region, *(reported() for _ in range(10)))

    def unwatched() -> None:
        assert hub.stream(region)["state"] == "unwatched"

    eventually(unwatched)
    assert hub.metric("rembuk_hub_looked_seconds", region) > 15
    hub.service.start("hub", "worker")
    hub.comes_to(region, "level", 20)
    assert hub.events(region) == 20
    assert hub.service.stop("hub", "worker") == 0
    hub.service.start("hub", "worker")


async def test_a_region_whose_account_was_not_there_for_a_while_is_read_again(hub: Hub) -> None:
    region, _ = hub.admitted(), hub.admitted()  # a hub without any account lets everybody in
    await hub.told(region, reported())
    hub.comes_to(region, "level", 1)
    server, everybody = hub.federation.hub, hub.federation.admitted
    hub.federation.admitted = [one for one in everybody if one.name != region]  # the hub's list still has it
    server.reload()

    def unwatched() -> None:
        assert hub.stream(region)["state"] == "unwatched"

    eventually(unwatched)
    server.stop()  # where an account is there again by a reload, its JetStream does not answer (nats-server 2.15.1)
    hub.federation.admitted = everybody
    server.start()
    await hub.told(region, reported())
    hub.comes_to(region, "level", 2)
    assert hub.events(region) == 2


async def test_another_stream_in_the_place_of_a_mirror_is_left_as_it_is_and_said(hub: Hub) -> None:
    region = hub.admitted()
    await hub.told(region, reported())
    hub.comes_to(region, "level", 1)
    async with hub.federation.at_hub(region) as jetstream:
        stream = stream_name(region, "reports")
        await jetstream.delete_stream(stream)
        await jetstream.add_stream(StreamConfig(stream, subjects=["other.>"]))

        def said() -> None:
            now = hub.stream(region)
            assert now["state"] == "unwatched"
            assert "other.>" in now["error"]

        await asyncio.to_thread(eventually, said)  # the hub's nats-server ends a connection that does not answer it
        assert (await jetstream.stream_info(stream)).config.subjects == ["other.>"]
        await jetstream.delete_stream(stream)
    hub.comes_to(region, "level", 1)
