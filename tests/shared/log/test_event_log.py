"""The event log: positions without a hole, nothing changed, nothing lost, nobody failed by a neighbour."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rembuk.events.codec import MAX_EVENT_BYTES, EventTooLarge
from rembuk.events.event import Metadata
from rembuk.log.event_log import PAGE_BYTES, AlreadyRecorded, Appended, EventLog, VersionConflict
from rembuk.postgres.database import Unavailable
from rembuk.testing.servers import Server
from rembuk.testing.tallies import (
    CODEC,
    Counted,
    TallyOpened,
    TallyRegion,
    count_up,
    eventually,
    everything,
    tally_region,
)

SLOW = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
async def second_log(region: TallyRegion) -> AsyncIterator[EventLog]:
    """The same log as another process has it."""
    log = EventLog(region.url, CODEC, "second")
    await log.start()
    yield log
    await log.stop()


@pytest.fixture
async def service(region: TallyRegion) -> AsyncIterator[asyncpg.Connection]:
    """What a service may do in its database, by hand."""
    connection = await asyncpg.connect(region.url)
    yield connection
    await connection.close()


@pytest.fixture
async def owner(region: TallyRegion) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(region.owner_url)
    yield connection
    await connection.close()


async def append(log: EventLog, stream_id: UUID, expected: int = 0, count: int = 1, note: str = "") -> Appended:
    return await log.append(
        stream_id, expected, [uuid4() for _ in range(count)], [Counted(1, note) for _ in range(count)]
    )


async def test_a_new_log_is_empty(log: EventLog) -> None:
    assert await log.head() == 0
    assert await log.read() == []
    assert await log.read_stream(uuid4()) == []


async def test_an_event_is_read_as_it_was_appended(log: EventLog) -> None:
    stream_id, event_id = uuid4(), uuid4()
    metadata = Metadata("journey", "cause", "officer:7", "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "digest")
    appended = await log.append(stream_id, 0, [event_id], [TallyOpened("35.78")], "35.78", metadata)
    [recorded] = await log.read_stream(stream_id)
    assert [recorded] == await log.read()
    assert (recorded.position, recorded.id, recorded.stream_id, recorded.version) == (
        1,
        event_id,
        stream_id,
        1,
    )
    assert (recorded.area, recorded.event, recorded.metadata) == ("35.78", TallyOpened("35.78"), metadata)
    assert (appended.position, appended.recorded_at) == (1, recorded.recorded_at)
    assert recorded.recorded_at.tzinfo == UTC


STREAMS = [UUID(int=n) for n in range(1, 5)]
ITEMS = st.lists(
    st.tuples(
        st.sampled_from(["new", "conflict", "gap", "repeat", "anywhere"]),
        st.integers(0, 3),
        st.integers(1, 4),
        st.booleans(),
    ),
    min_size=1,
    max_size=40,
)


@SLOW
@given(items=ITEMS)
async def test_positions_are_dense_whatever_is_appended_at_once_from_two_processes(
    log: EventLog, second_log: EventLog, items: list[tuple[str, int, int, bool]]
) -> None:
    before = await everything(log)
    versions = {s: sum(event.stream_id == s for event in before) for s in STREAMS}
    used = [event.id for event in before if event.version == 1]

    async def one(kind: str, stream: int, count: int, second: bool) -> tuple[str, list[UUID], Appended | None]:
        stream_id, expected = STREAMS[stream], versions[STREAMS[stream]]
        ids = [uuid4() for _ in range(count)]
        match kind:
            case "new":
                stream_id, expected = uuid4(), 0
            case "conflict" if expected:
                expected -= 1
            case "gap":
                expected += 1_000
            case "repeat" if used:
                ids[0] = used[stream % len(used)]
        try:
            events = [Counted(n) for n in range(count)]
            return kind, ids, await (second_log if second else log).append(stream_id, expected, ids, events)
        except VersionConflict:
            return f"{kind} conflict", ids, None
        except AlreadyRecorded:
            return f"{kind} known", ids, None

    outcomes = await asyncio.gather(*(one(*item) for item in items))

    after = await everything(log)
    assert after[: len(before)] == before
    assert [event.position for event in after] == list(range(1, len(after) + 1)), "dense"
    assert await log.head() == len(after)
    assert all(one.recorded_at <= next_.recorded_at for one, next_ in itertools.pairwise(after))
    for stream_id in {event.stream_id for event in after}:
        versions_now = [event.version for event in after if event.stream_id == stream_id]
        assert versions_now == list(range(1, len(versions_now) + 1)), "versions are dense, too"
    added = {event.id: event for event in after[len(before) :]}
    for kind, ids, appended in outcomes:
        assert kind not in ("gap", "new conflict", "new known"), "a gap is refused, and nobody is failed by others"
        if appended is not None:
            assert [added[i].position for i in ids] == list(
                range(appended.position - len(ids) + 1, appended.position + 1)
            )
        else:
            assert not added.keys() & set(ids)
    assert len(added) == sum(len(ids) for _, ids, appended in outcomes if appended is not None)


async def test_a_retry_with_the_same_ids_adds_nothing(log: EventLog) -> None:
    stream_id, ids = uuid4(), [uuid4(), uuid4()]
    await log.append(stream_id, 0, ids, [TallyOpened(), Counted(1)])
    await append(log, stream_id, 2)
    for expected in (0, 2, 3):
        with pytest.raises(AlreadyRecorded):
            await log.append(stream_id, expected, ids, [TallyOpened(), Counted(1)])
    assert await log.head() == 3


async def test_one_id_twice_at_the_same_time_is_recorded_once(log: EventLog) -> None:
    one_id = uuid4()
    outcomes = await asyncio.gather(
        *(log.append(uuid4(), 0, [one_id], [Counted(1)]) for _ in range(5)),
        *(append(log, uuid4()) for _ in range(5)),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes[:5]].count(Appended) == 1
    assert [type(outcome) for outcome in outcomes[:5]].count(AlreadyRecorded) == 4
    assert [type(outcome) for outcome in outcomes[5:]] == [Appended] * 5
    assert await log.head() == 6


async def test_of_concurrent_appends_to_one_version_one_wins(log: EventLog, second_log: EventLog) -> None:
    stream_id = uuid4()
    outcomes = await asyncio.gather(
        *(append(log, stream_id) for _ in range(10)), *(append(second_log, stream_id) for _ in range(10)),
        return_exceptions=True,
    )  # fmt: skip
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Appended"] + ["VersionConflict"] * 19


async def test_a_version_that_the_stream_has_not_reached_is_refused(log: EventLog) -> None:
    stream_id = uuid4()
    await append(log, stream_id)
    for expected in (2, 3, 2**31 - 2):
        with pytest.raises(VersionConflict):
            await append(log, stream_id, expected)
    assert await log.head() == 1


BROKEN: dict[str, Callable[[EventLog], Coroutine[Any, Any, Appended]]] = {
    "no events": lambda log: log.append(uuid4(), 0, [], []),
    "fewer ids than events": lambda log: log.append(uuid4(), 0, [uuid4()], [Counted(1), Counted(2)]),
    "the same id twice": lambda log: log.append(uuid4(), 0, [UUID(int=9)] * 2, [Counted(1), Counted(2)]),
    "a version that is no int4": lambda log: append(log, uuid4(), 2**40),
    "a negative version": lambda log: append(log, uuid4(), -1),
    "NUL in the area": lambda log: log.append(uuid4(), 0, [uuid4()], [Counted(1)], "35\x00"),
    "a space in the area": lambda log: log.append(uuid4(), 0, [uuid4()], [Counted(1)], "35 78"),
    "a wildcard as area": lambda log: log.append(uuid4(), 0, [uuid4()], [Counted(1)], "35.>"),
    "an area of empty tokens": lambda log: log.append(uuid4(), 0, [uuid4()], [Counted(1)], "35..78"),
    "a line break in the metadata": lambda log: log.append(
        uuid4(), 0, [uuid4()], [Counted(1)], "", Metadata("a\r\nNats-Rollup: all")
    ),
    "metadata longer than headers may be": lambda log: log.append(
        uuid4(), 0, [uuid4()], [Counted(1)], "", Metadata("a" * 70_000)
    ),
    "a lone surrogate": lambda log: append(log, uuid4(), note="\ud800"),
    "an event too large": lambda log: append(log, uuid4(), note="a" * MAX_EVENT_BYTES),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_what_cannot_be_recorded_or_relayed_is_refused_and_fails_no_neighbour(log: EventLog, what: str) -> None:
    before, after = ([append(log, uuid4()) for _ in range(3)] for _ in "12")
    outcomes = await asyncio.gather(*before, BROKEN[what](log), *after, return_exceptions=True)
    broken = outcomes.pop(3)
    assert isinstance(broken, Exception)
    assert not isinstance(broken, Unavailable), "it would never succeed, so nobody may be told to try again"
    assert all(isinstance(outcome, Appended) for outcome in outcomes), outcomes
    assert await log.head() == 6


async def test_an_event_at_the_limit_is_taken_and_one_byte_more_is_not(log: EventLog) -> None:
    room = MAX_EVENT_BYTES - len(msgspec.json.encode(Counted(1, "-"))) + 1
    await append(log, uuid4(), note="a" * room)
    with pytest.raises(EventTooLarge):
        await append(log, uuid4(), note="a" * (room + 1))


async def test_a_page_holds_fewer_events_where_they_are_large_and_one_at_least(log: EventLog) -> None:
    await count_up(log, 120, tallies=2, note="x" * 200_000)
    size = sum(len(log.codec.encode(event.event)) for event in await log.read())
    assert size <= PAGE_BYTES < size + 200_100
    assert [event.position for event in await everything(log)] == list(range(1, await log.head() + 1))


@pytest.mark.parametrize("note", ["\x00", "a\x00b", "\\u0000", "\u2028", "\U0001f600", "\x7f\x1b\r\n", "'; --", ""])
async def test_any_text_comes_back_as_it_was(log: EventLog, note: str) -> None:
    stream_id = uuid4()
    await append(log, stream_id, note=note)
    assert [event.event for event in await log.read_stream(stream_id)] == [Counted(1, note)]


@pytest.mark.parametrize(
    "change",
    [
        "update log.event set area = 'x'",
        "delete from log.event",
        "truncate log.event",
        "update log.head set position = 0",
        "delete from log.head",
        "insert into log.head values (false, 0, now())",
        "drop table log.event",
        "alter table log.event disable trigger all",
        "drop function log.refuse_change() cascade",
        "create table log.mine ()",
        "insert into log.event select position + 1, gen_random_uuid(), stream_id, 2, type, 1, '', data, metadata,"
        " now() from log.event",
    ],
)
async def test_the_service_can_only_append(log: EventLog, service: asyncpg.Connection, change: str) -> None:
    await append(log, uuid4())
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await service.execute(change)
    assert await log.head() == len(await log.read()) == 1


@pytest.mark.parametrize(
    "change",
    [
        "update log.event set area = 'x'",
        "update log.event set area = 'x' where false",
        "delete from log.event",
        "truncate log.event",
        "delete from log.head",
        "truncate log.head",
    ],
)
async def test_not_even_the_owner_changes_what_was_recorded(
    log: EventLog, owner: asyncpg.Connection, change: str
) -> None:
    await append(log, uuid4())
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await owner.execute(change)
    assert await log.head() == len(await log.read()) == 1


async def test_a_temporary_table_does_not_stand_in_for_the_log(log: EventLog, service: asyncpg.Connection) -> None:
    await service.execute("set search_path = pg_temp, public")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await service.execute("create temp table event (position bigint)")
    await append(log, uuid4())
    assert await log.head() == 1


async def test_time_never_runs_backwards(log: EventLog, owner: asyncpg.Connection) -> None:
    await append(log, uuid4())
    await owner.execute("update log.head set recorded_at = now() + interval '1 hour'")  # the clock was set back since
    later = await append(log, uuid4())
    assert later.recorded_at == (await append(log, uuid4())).recorded_at


async def test_appending_reads_no_table_from_end_to_end(log: EventLog, owner: asyncpg.Connection) -> None:
    await owner.execute("""insert into log.event select n, gen_random_uuid(), gen_random_uuid(), 1,
        'Counted', 1, '', '{"by":1}', '{}', now() from generate_series(1, 50000) n""")
    await owner.execute("update log.head set position = 50000")
    await owner.execute("select pg_stat_force_next_flush()")
    query = "select seq_scan from pg_stat_user_tables where relname = 'event'"
    before = await owner.fetchval(query)
    for _ in range(20):
        await asyncio.gather(*(append(log, uuid4()) for _ in range(10)), return_exceptions=True)
    await log.stop()  # a session that ends reports what it did

    async def reported() -> None:
        await owner.execute("select pg_stat_clear_snapshot()")
        assert await owner.fetchval("select n_tup_ins from pg_stat_user_tables where relname = 'event'") == 50_200
        assert await owner.fetchval(query) == before

    await eventually(reported)


async def test_a_caller_that_has_gone_fails_nobody(log: EventLog) -> None:
    leaving = [asyncio.create_task(append(log, uuid4())) for _ in range(20)]
    await asyncio.sleep(0)
    for task in leaving[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*leaving, append(log, uuid4()), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes[1::2]] == [Appended] * 10
    assert isinstance(outcomes[-1], Appended)


async def test_stopping_records_what_was_waiting_and_takes_no_more(region: TallyRegion, log: EventLog) -> None:
    stopping = EventLog(region.url, CODEC)
    await stopping.start()
    waiting = [asyncio.create_task(append(stopping, uuid4())) for _ in range(1_000)]
    await asyncio.sleep(0)
    await stopping.stop()
    assert sorted(appended.position for appended in await asyncio.gather(*waiting)) == list(range(1, 1_001))
    with pytest.raises(Unavailable):
        await append(stopping, uuid4())
    assert await log.head() == 1_000


async def test_a_killed_postgres_loses_nothing_acknowledged(
    own_postgres: Callable[[], Server],
) -> None:
    server = own_postgres()
    log = EventLog((await tally_region(server.url)).url, CODEC)
    await log.start()
    acknowledged: dict[UUID, int] = {}
    unknown: set[UUID] = set()
    stopping = asyncio.Event()

    async def client() -> None:
        while not stopping.is_set():
            ids = [uuid4(), uuid4()]
            try:
                appended = await log.append(uuid4(), 0, ids, [TallyOpened(), Counted(1)])
            except Unavailable:
                unknown.add(ids[0])
                await asyncio.sleep(0.01)
            else:
                acknowledged[ids[0]] = appended.position

    async def reach(count: int) -> None:
        async def reached() -> None:
            assert len(acknowledged) >= count

        await eventually(reached)

    clients = [asyncio.create_task(client()) for _ in range(32)]
    for _ in range(2):
        await reach(len(acknowledged) + 500)
        await asyncio.to_thread(server.kill)
        with pytest.raises(Unavailable):
            await log.head()
        await asyncio.to_thread(server.start)
    await reach(len(acknowledged) + 500)
    stopping.set()
    await asyncio.gather(*clients)

    events = await everything(log)
    await log.stop()
    await asyncio.to_thread(server.kill)  # quicker than its shutdown checkpoint
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    firsts = {event.id: event.position for event in events if event.version == 1}
    assert {event_id: firsts[event_id] + 1 for event_id in acknowledged} == acknowledged
    assert unknown
    assert firsts.keys() <= acknowledged.keys() | unknown
    assert len(events) == 2 * len(firsts), "an append is there whole or not at all"
