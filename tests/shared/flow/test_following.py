"""Following through FastStream and a real stream: nothing is missed, nothing counts twice, whoever dies in between."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from rembuk.broker.connecting import connect
from rembuk.broker.pulling import Pull
from rembuk.flow.following import BATCH, Hole, unseen
from rembuk.log.event_log import EventLog
from rembuk.log.relay import Relay
from rembuk.testing.servers import Broker, Server
from rembuk.testing.tallies import (
    CODEC,
    FOLLOWER,
    SERVICE,
    Counted,
    TallyOpened,
    TallyRegion,
    background,
    count_up,
    eventually,
    everything,
    level,
    projecting,
    rows,
    rows_of,
    shown,
    tally_region,
)
from structlog.testing import capture_logs

Process = Callable[[list[Msg]], Awaitable[None]]


@asynccontextmanager
async def relaying(region: TallyRegion, nats_url: str) -> AsyncIterator[None]:
    broker = await connect(nats_url, "relay")
    async with background(Relay(region.url, broker, region.name, SERVICE).run()):
        yield
    await broker.close()


@pytest.fixture
async def relayed(region: TallyRegion, nats_url: str) -> AsyncIterator[None]:
    """The region's relay runs."""
    async with relaying(region, nats_url):
        yield


@asynccontextmanager
async def database(region: TallyRegion) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(region.owner_url)
    yield connection
    await connection.close()


async def position(region: TallyRegion) -> int:
    async with database(region) as connection:
        return int(await connection.fetchval("select position from checkpoint") or 0)


async def test_rows_follow_the_log(log: EventLog, region: TallyRegion, nats_url: str, relayed: None) -> None:
    await count_up(log, 1_700)
    async with projecting(region, nats_url):
        await shown(region, log)
        for count in (1, 2, 700, 1):
            await count_up(log, count, tallies=3)
            await shown(region, log)
    assert await position(region) == await log.head()


async def test_a_follower_started_again_goes_on_at_its_checkpoint(
    log: EventLog, region: TallyRegion, nats_url: str, relayed: None
) -> None:
    for _ in range(3):
        await count_up(log, 40)
        async with projecting(region, nats_url):
            await shown(region, log)


async def test_a_follower_waits_for_a_stream_that_is_not_there_yet(
    log: EventLog, region: TallyRegion, nats_url: str
) -> None:
    await count_up(log, 10)
    async with projecting(region, nats_url):
        assert await rows(region) == {}
        async with relaying(region, nats_url):
            await shown(region, log)


@pytest.mark.parametrize("fails", ["before", "after"])
async def test_what_fails_before_or_after_the_commit_is_tried_again_and_counts_once(
    log: EventLog, region: TallyRegion, nats_url: str, relayed: None, fails: str
) -> None:
    failures = iter([ConnectionResetError("gone"), ValueError("a bug"), ConnectionResetError("gone")])

    def failing(process: Process) -> Process:
        async def failing_process(batch: list[Msg]) -> None:
            error = next(failures, None)
            if error is None or fails == "after":
                await process(batch)
            if error is not None:
                raise error

        return failing_process

    await count_up(log, 600)
    async with projecting(region, nats_url, failing):
        await shown(region, log)
        await count_up(log, 100)
        await shown(region, log)


async def test_who_is_behind_takes_full_batches(
    log: EventLog, region: TallyRegion, nats_url: str, broker: Client, relayed: None
) -> None:
    sizes: list[int] = []

    def counting(process: Process) -> Process:
        async def counted(batch: list[Msg]) -> None:
            sizes.append(len(batch))
            await process(batch)

        return counted

    await count_up(log, 3_000)
    await eventually(lambda: level(log, broker, region.stream), retry=Exception)
    async with projecting(region, nats_url, counting):
        await shown(region, log)
    assert sizes[1:5] == [BATCH] * 4


async def test_what_is_too_much_for_one_transaction_is_taken_in_smaller_ones(
    log: EventLog, region: TallyRegion, nats_url: str, relayed: None
) -> None:
    sizes: list[int] = []

    def slow(process: Process) -> Process:
        async def slow_process(batch: list[Msg]) -> None:
            sizes.append(len(batch))
            if len(batch) > 100:
                raise TimeoutError
            await process(batch)

        return slow_process

    await count_up(log, 900)
    async with projecting(region, nats_url, slow):
        await shown(region, log)
    assert max(sizes) > 100


async def test_a_consumer_that_somebody_deleted_is_made_again(
    log: EventLog, broker: Client, region: TallyRegion, nats_url: str, relayed: None
) -> None:
    await count_up(log, 100)
    async with projecting(region, nats_url):
        await shown(region, log)
        for _ in range(2):
            await broker.jetstream().delete_consumer(region.stream, region.consumer)
            await count_up(log, 100)
            await shown(region, log)


async def test_a_fault_of_ours_in_fetching_is_logged_once_a_try_and_followed_by_the_rest(
    log: EventLog, region: TallyRegion, nats_url: str, relayed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, tries = Pull.take, 0

    async def fail_at_first(pull: Pull, *arguments: Any) -> list[Msg]:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ValueError("a fault of ours")
        return await take(pull, *arguments)

    monkeypatch.setattr(Pull, "take", fail_at_first)
    await count_up(log, 10)
    with capture_logs() as lines:
        async with projecting(region, nats_url):
            await shown(region, log)
    assert [line["error"] for line in lines if line["event"] == "pull failed"] == ["ValueError('a fault of ours')"] * 2


async def test_a_consumer_that_a_killed_broker_forgot_before_it_was_subscribed_to_is_made_again(
    log: EventLog, region: TallyRegion, nats_url: str, relayed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe = JetStreamContext.pull_subscribe

    async def subscribe_late(jetstream: JetStreamContext, *arguments: Any, **named: Any) -> Any:
        await jetstream.delete_consumer(region.stream, region.consumer)  # as one in memory is gone with its server
        return await subscribe(jetstream, *arguments, **named)

    monkeypatch.setattr(JetStreamContext, "pull_subscribe", subscribe_late)
    await count_up(log, 10)
    async with projecting(region, nats_url):
        await shown(region, log)


async def test_a_read_model_put_back_is_rebuilt_with_the_next_event(
    log: EventLog, region: TallyRegion, nats_url: str, relayed: None
) -> None:
    await count_up(log, 700)
    async with projecting(region, nats_url):
        await shown(region, log)
        async with database(region) as connection:
            await connection.execute("delete from tally; update checkpoint set position = 0")
        await count_up(log, 1)
        await shown(region, log)


async def test_a_hole_in_the_stream_stops_the_rows_before_it_until_the_stream_is_whole(
    log: EventLog, broker: Client, region: TallyRegion, nats_url: str
) -> None:
    await broker.jetstream().add_stream(
        name=region.stream, subjects=[f"{region.prefix}.>"], allow_atomic=True, allow_direct=True
    )
    async with AsyncExitStack() as stack:
        await count_up(log, 20, tallies=4)
        async with relaying(region, nats_url):

            async def full() -> None:
                assert (await broker.jetstream().stream_info(region.stream)).state.last_seq == 20

            await eventually(full)
            await broker.jetstream().delete_msg(region.stream, 8)
        tries = 0

        def counted(process: Process) -> Process:
            async def counting(batch: list[Msg]) -> None:
                nonlocal tries
                tries += 1
                await process(batch)

            return counting

        await stack.enter_async_context(projecting(region, nats_url, counted))

        async def before_the_hole() -> None:
            assert await rows(region) == rows_of((await everything(log))[:7])

        await eventually(before_the_hole)

        async def tried_again() -> None:
            assert tries > 1

        await eventually(tried_again)  # it is not taken for the end of the stream
        assert await position(region) == 7
        before = tries
        await asyncio.sleep(1)  # nothing is to happen often in that time
        assert tries - before < 10
        await broker.jetstream().delete_stream(region.stream)
        await stack.enter_async_context(relaying(region, nats_url))
        await shown(region, log)


async def test_poison_stops_one_aggregate_and_the_follower_goes_on(
    log: EventLog, region: TallyRegion, nats_url: str, relayed: None
) -> None:
    ill = uuid4()
    async with projecting(region, nats_url):
        await log.append(ill, 0, [uuid4(), uuid4()], [TallyOpened(), Counted(1)])
        await log.append(ill, 2, [uuid4()], [Counted(1, "poison")])
        await count_up(log, 100)
        await log.append(ill, 3, [uuid4()], [Counted(1)])
        await count_up(log, 100)

        async def all_but_the_ill() -> None:
            good = [event for event in await everything(log) if event.stream_id != ill or event.version <= 2]
            assert await rows(region) == rows_of(good)
            assert await position(region) == await log.head()

        await eventually(all_but_the_ill)
    async with database(region) as connection:
        aside = await connection.fetch("select stream_id, position from quarantine order by position")
    assert [tuple(row) for row in aside] == [(str(ill), 3), (str(ill), 104)]


async def test_postgres_may_go_away_and_come_back(own_postgres: Callable[[], Server], nats_url: str) -> None:
    server = own_postgres()
    region = await tally_region(server.url)
    log = EventLog(region.url, CODEC)
    await log.start()
    async with relaying(region, nats_url), projecting(region, nats_url):
        await count_up(log, 600)
        await shown(region, log)
        for end in (server.kill, server.stop):
            await count_up(log, 600)
            await asyncio.to_thread(end)
            await asyncio.to_thread(server.start)
            await count_up(log, 10)
            await shown(region, log)
    await log.stop()
    await asyncio.to_thread(server.kill)


async def test_nats_may_go_away_and_come_back_with_or_without_its_disk(
    log: EventLog, region: TallyRegion, own_nats: Callable[[], Broker]
) -> None:
    server = own_nats()
    async with relaying(region, server.url), projecting(region, server.url):
        await count_up(log, 600)
        await shown(region, log)
        for disk_lost in (False, True):
            await asyncio.to_thread(server.kill)
            await count_up(log, 300)
            if disk_lost:
                await asyncio.to_thread(server.lose_disk)
            await asyncio.to_thread(server.start)
            await shown(region, log)
            await count_up(log, 10)
            await shown(region, log)


FOLLOW = """
import asyncio, sys
from rembuk.testing.tallies import TallyRegion, projecting
async def main():
    name, role, owner_url, url, nats_url = sys.argv[1:]
    async with projecting(TallyRegion(name, role, owner_url, url), nats_url):
        print("started", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.fixture
def follow(region: TallyRegion, nats_url: str) -> Iterator[Callable[[], "subprocess.Popen[bytes]"]]:
    """Starts a process that does nothing but follow."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> "subprocess.Popen[bytes]":
        arguments = [region.name, region.role, region.owner_url, region.url, nats_url]
        process = subprocess.Popen(
            [sys.executable, "-c", FOLLOW, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=dict(os.environ),
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


async def test_of_two_processes_one_follows_and_the_other_takes_over_when_it_is_killed(
    log: EventLog, region: TallyRegion, relayed: None, follow: Callable[[], "subprocess.Popen[bytes]"]
) -> None:
    first, second = await asyncio.gather(asyncio.to_thread(follow), asyncio.to_thread(follow))
    await count_up(log, 2_000)
    await shown(region, log)

    async def leader() -> int:
        async with database(region) as connection:
            return int(await connection.fetchval(
                "select pid from pg_locks where locktype = 'advisory' and granted and pid in (select pid from"
                " pg_stat_activity where application_name = $1)", f"follower {FOLLOWER} of {region.stream}"
            ))  # fmt: skip

    leading = await leader()
    counting = asyncio.create_task(count_up(log, 3_000))
    for process in (first, second):
        process.kill()
        await asyncio.to_thread(process.wait)
        if process is first:
            third = await asyncio.to_thread(follow)
    await counting
    await shown(region, log)
    assert await leader() != leading
    assert third.poll() is None


async def test_a_follower_that_lost_its_turn_does_no_harm(
    log: EventLog, region: TallyRegion, nats_url: str, postgres_url: str, relayed: None
) -> None:
    """Two of one name; again and again whoever leads loses its connection, and the other has the lock."""
    admin = await asyncpg.connect(postgres_url)
    async with projecting(region, nats_url), projecting(region, nats_url):
        for _ in range(2):
            await count_up(log, 400)
            await admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1"
                " and application_name like 'follower %' and wait_event_type is distinct from 'Lock'", region.role
            )  # fmt: skip
            await count_up(log, 10)
            await shown(region, log)
    await admin.close()


def message(sequence: int) -> Msg:
    return Msg(None, reply=f"$JS.ACK.S.C.1.{sequence}.{sequence}.1.0")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("delivered", "at", "follow_on"),
    [
        ([], 0, []),
        ([1, 2, 3], 0, [1, 2, 3]),
        ([1, 2, 3], 2, [3]),
        ([1, 2, 3], 3, []),
        ([1, 2, 3], 9, []),
        ([3, 1, 2], 0, [1, 2, 3]),
        ([1, 1, 2, 2, 3], 0, [1, 2, 3]),
    ],
)
def test_what_was_seen_is_left_out(delivered: list[int], at: int, follow_on: list[int]) -> None:
    found = unseen([message(n) for n in delivered], at)
    assert [int(one.reply.split(".")[5]) for one in found] == follow_on


@pytest.mark.parametrize(("delivered", "at"), [([2], 0), ([5, 4], 2), ([1, 2, 9], 4)])
def test_a_hole_is_noticed(delivered: list[int], at: int) -> None:
    with pytest.raises(Hole) as hole:
        unseen([message(n) for n in delivered], at)
    assert hole.value.expected == at + 1
