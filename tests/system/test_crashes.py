"""Processes killed under load, again and again: nothing acknowledged is lost, nothing is there twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import nats.errors
import nats.js.errors
import pytest
from rembuk.broker.stream_names import stream_name

if TYPE_CHECKING:
    from conftest import Town
    from rembuk.testing.load import Clients

pytestmark = pytest.mark.drills

KILLS = 3
TRIES = 3
BACKLOG = 700
"""Events a worker finds when it starts: more than one of its batches."""


async def caught(at_work: Callable[[], Awaitable[bool]], within: float = 30.0) -> None:
    """Return the moment a process is seen at work."""
    deadline = time.monotonic() + within
    while True:
        with suppress(nats.errors.Error, nats.js.errors.Error):
            if await at_work():
                return
        assert time.monotonic() < deadline, "never seen at work"


@pytest.mark.parametrize("service", ["reports", "forums", "notifications"])
async def test_an_api_killed_under_load_loses_nothing_it_acknowledged(town: Town, service: str) -> None:
    async with town.clients() as clients:
        meeting = asyncio.create_task(town.meet(clients, await town.candidate(clients)))
        for _ in range(KILLS):
            await clients.more(150)
            await town.kill(service, "api")
            town.start(service, "api")
        await town.ready()
        await clients.more(100)
        await meeting
    assert clients.broken
    await town.assert_sound(clients)


async def _behind(town: Town, clients: Clients, service: str) -> int:
    """A service's worker is killed and the log goes on without it; where its stream stands then."""
    await town.kill(service, "worker")
    await clients.more(BACKLOG)
    return await town.tail("reports")


async def test_a_relay_killed_in_the_midst_of_its_batches_publishes_everything_once(town: Town) -> None:
    in_the_midst = 0  # it may just have finished when the signal comes
    async with town.clients() as clients:
        for _ in range(TRIES):
            before = await _behind(town, clients, "reports")
            town.start("reports", "worker")

            async def publishing(before: int = before) -> bool:
                return before < await town.tail("reports") < await town.head("reports")

            await caught(publishing)
            await town.kill("reports", "worker")
            in_the_midst += before < await town.tail("reports") < await town.head("reports")
            town.start("reports", "worker")
        await town.meet(clients, await town.candidate(clients))
    assert in_the_midst
    await town.assert_sound(clients)


@pytest.mark.parametrize(
    ("service", "follower", "writes"),
    [("reports", "projection", "insert into problem"), ("forums", "open_problems", "insert into open_problem")],
)
async def test_a_projector_killed_in_the_midst_of_a_batch_shows_everything_once(
    town: Town, service: str, follower: str, writes: str
) -> None:
    stream = stream_name(town.region.region.name, "reports")
    query = """select count(*) from pg_stat_activity
               where application_name = $1 and state <> 'idle' and query ilike $2"""
    position = "select position from checkpoint where (follower, stream) = ($1, $2)"

    async def writing() -> bool:
        return bool(await watch.fetchval(query, f"follower {follower} of {stream}", f"{writes}%"))

    watch = await town.administrator()  # others are not told what a role's connections do
    in_the_midst = 0  # it may just have finished when the signal comes
    async with town.clients() as clients:
        for _ in range(TRIES):
            await _behind(town, clients, service)
            rows = await town.database(service)
            before = await rows.fetchval(position, follower, stream)
            town.start(service, "worker")
            await caught(writing)
            await town.kill(service, "worker")
            in_the_midst += before <= await rows.fetchval(position, follower, stream) < await town.tail("reports")
            town.start(service, "worker")
        await town.meet(clients, await town.candidate(clients))
    assert in_the_midst
    await town.assert_sound(clients)


async def test_a_sender_killed_as_it_alerts_leaves_nobody_out_and_repeats_only_under_the_same_id(town: Town) -> None:
    def sent() -> int:
        return sum(len(town.sink.at(path)) for path in town.subscribers.values())

    async with town.clients() as clients:
        meeting = asyncio.create_task(town.meet(clients, await town.candidate(clients)))
        for _ in range(KILLS):
            before = sent()
            await clients.more(200)

            async def sending(before: int = before) -> bool:
                await asyncio.sleep(0)
                return sent() > before + 2

            await caught(sending)
            await town.kill("notifications", "worker")
            await clients.more(100)
            town.start("notifications", "worker")
        await meeting
    await town.assert_sound(clients)


async def test_postgres_killed_under_load_loses_nothing_that_was_acknowledged(town: Town) -> None:
    async with town.clients() as clients:
        meeting = asyncio.create_task(town.meet(clients, await town.candidate(clients)))
        for _ in range(KILLS):
            await clients.more(150)
            await town.kill_postgres()
            await town.start_postgres()
        await clients.more(150)
        await meeting
    assert clients.answers[503]
    await town.assert_sound(clients)


async def test_a_crash_within_postgres_is_recovered_from(town: Town) -> None:
    async with town.clients() as clients:
        meeting = asyncio.create_task(town.meet(clients, await town.candidate(clients)))
        for whose in ("reports log writer", "reports relay", "follower projection", "notifications sender"):
            await clients.more(100)
            await town.crash_a_backend(whose)
        await clients.more(100)
        await meeting
    await town.assert_sound(clients)


@pytest.mark.parametrize("disk", ["kept", "lost"])
async def test_nats_killed_under_load_is_level_again(town: Town, disk: str) -> None:
    async with town.clients() as clients:
        meeting = asyncio.create_task(town.meet(clients, await town.candidate(clients)))
        for _ in range(KILLS):
            await clients.more(200)
            await asyncio.to_thread(town.nats.kill)
            if disk == "lost":
                town.nats.lose_disk()
            await clients.more(100)
            await asyncio.to_thread(town.nats.start)
        await clients.more(100)
        await meeting
    assert not clients.broken
    assert not clients.answers[503]
    await town.assert_sound(clients)


async def test_everything_killed_at_once_comes_back_whole(town: Town) -> None:
    async with town.clients() as clients:
        meeting = asyncio.create_task(town.meet(clients, await town.candidate(clients)))
        await clients.more(300)
        town.sent_again = True
        for child in town.region.processes.values():
            child.kill()
        await asyncio.gather(town.kill_postgres(), asyncio.to_thread(town.nats.kill))
        everybody = list(town.region.processes)
        for service, process in everybody:
            await town.kill(service, process)
            town.start(service, process)  # before their servers are back
        await town.start_postgres()
        await asyncio.to_thread(town.nats.start)
        await clients.more(150)
        await meeting
    await town.assert_sound(clients)
