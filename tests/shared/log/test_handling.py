"""Handling: decided on the newest state, recorded once, and a retry gets the first answer."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from rembuk.events.decider import Refused
from rembuk.events.event import Metadata
from rembuk.events.ids import derive_id
from rembuk.log import handling
from rembuk.log.event_log import EventLog
from rembuk.log.handling import Contended, KeyReused, Outcome, VersionMismatch, fingerprint, handle
from rembuk.testing.tallies import CODEC, TALLY, Counted, CountUp, TallyOpened, TallyRegion, everything


@pytest.fixture
async def second_log(region: TallyRegion) -> AsyncIterator[EventLog]:
    """The same log as another process has it."""
    log = EventLog(region.url, CODEC, "second")
    await log.start()
    yield log
    await log.stop()


async def count(
    log: EventLog,
    tally: UUID,
    command: CountUp,
    key: UUID | str | None = None,
    *,
    expected_version: int | None = None,
    new: bool = False,
) -> Outcome:
    metadata = Metadata(fingerprint=fingerprint(command, str(key)) if key else "")
    return await handle(
        log, TALLY, tally, command, key or uuid4(), metadata, expected_version=expected_version, new=new
    )


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("parts", [1, 3])
async def test_a_key_met_again_returns_the_first_outcome(log: EventLog, parts: int, new: bool) -> None:
    tally, command = uuid4(), CountUp(2, parts)
    first = await count(log, tally, command, "key", new=new)
    assert (first.version, first.position, first.repeated) == (parts + 1, parts + 1, False)
    await count(log, uuid4(), CountUp(1))
    await count(log, tally, CountUp(5, 2))
    again = await count(log, tally, command, "key", new=new)
    assert (again.stream_id, again.version, again.position, again.recorded_at) == (
        tally, first.version, first.position, first.recorded_at,
    )  # fmt: skip
    assert again.repeated
    assert len(await log.read_stream(tally)) == parts + 3


async def test_a_key_met_again_is_answered_before_the_state_is_asked(log: EventLog) -> None:
    tally, command = uuid4(), CountUp(6, at_most=10)
    first = await count(log, tally, command, "key", expected_version=0)
    assert (await count(log, tally, command, "key", expected_version=0)).position == first.position
    with pytest.raises(Refused):
        await count(log, tally, command, "other key")


async def test_one_key_at_the_same_time_from_two_processes_is_one_command(log: EventLog, second_log: EventLog) -> None:
    tally = uuid4()
    outcomes = await asyncio.gather(
        *(count(one, tally, CountUp(1, 2), "key", new=new) for one in (log, second_log) for new in (True, False) * 5)
    )
    assert {(outcome.version, outcome.position) for outcome in outcomes} == {(3, 3)}
    assert [outcome.repeated for outcome in outcomes].count(False) == 1
    assert await log.head() == 3


async def test_a_key_with_another_wish_is_refused(log: EventLog) -> None:
    tally = uuid4()
    await count(log, tally, CountUp(1), "key")
    for new in (True, False):
        with pytest.raises(KeyReused):
            await count(log, tally, CountUp(2), "key", new=new)
    assert await log.head() == 2


async def test_a_key_used_for_another_aggregate_is_refused(log: EventLog) -> None:
    await count(log, uuid4(), CountUp(1), "key")
    for new in (True, False):
        with pytest.raises(KeyReused):
            await count(log, uuid4(), CountUp(1), "key", new=new)
    assert await log.head() == 2


async def test_who_expects_another_version_is_told_the_actual_one(log: EventLog) -> None:
    tally = uuid4()
    await count(log, tally, CountUp(1, 2))
    for expected in (0, 2, 4):
        with pytest.raises(VersionMismatch) as mismatch:
            await count(log, tally, CountUp(1), expected_version=expected)
        assert (mismatch.value.expected, mismatch.value.actual) == (expected, 3)
    assert (await count(log, tally, CountUp(1), expected_version=3)).version == 4


async def test_of_two_who_expect_the_same_version_one_wins(log: EventLog, second_log: EventLog) -> None:
    tally = uuid4()
    await count(log, tally, CountUp(1))
    outcomes = await asyncio.gather(
        *(count(one, tally, CountUp(1), expected_version=2) for one in (log, second_log) * 4), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Outcome"] + ["VersionMismatch"] * 7


async def test_concurrent_commands_are_each_decided_on_the_newest_state(log: EventLog, second_log: EventLog) -> None:
    tally = uuid4()
    await count(log, tally, CountUp(1))
    outcomes = await asyncio.gather(
        *(count(one, tally, CountUp(1, at_most=5)) for one in (log, second_log) for _ in range(4)),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Outcome"] * 4 + ["Refused"] * 4
    events = [event.event for event in await log.read_stream(tally)]
    assert events == [TallyOpened(), *[Counted(1)] * 5]


async def test_however_many_change_one_aggregate_at_once_each_has_its_turn(log: EventLog) -> None:
    tally = uuid4()
    outcomes = await asyncio.gather(*(count(log, tally, CountUp(1)) for _ in range(100)))
    assert sorted(outcome.version for outcome in outcomes) == list(range(2, 102))
    assert TALLY.fold(event.event for event in await log.read_stream(tally)).total == 100
    assert not log.turns, "nobody waits any more"


async def test_who_waits_too_long_for_a_turn_hears_so_and_may_ask_again(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handling, "TURN_S", 0.05)
    tally, key = uuid4(), uuid4()
    turn = log.turns.setdefault(tally, asyncio.Lock())
    async with turn:
        with pytest.raises(Contended):
            await count(log, tally, CountUp(1), key)
    assert (await count(log, tally, CountUp(1), key)).version == 2


async def test_new_for_a_stream_that_exists_is_decided_on_its_state(log: EventLog) -> None:
    tally = uuid4()
    await count(log, tally, CountUp(3))
    assert (await count(log, tally, CountUp(4), new=True)).version == 3
    with pytest.raises(Refused):
        await count(log, tally, CountUp(4, at_most=10), new=True)
    assert [event.event for event in await log.read_stream(tally)] == [TallyOpened(), Counted(3), Counted(4)]


async def test_a_command_that_changes_nothing_records_nothing(log: EventLog) -> None:
    tally = uuid4()
    assert await count(log, tally, CountUp(1, 0)) == Outcome(tally, 0, 0, None)
    done = await count(log, tally, CountUp(1))
    nothing = await count(log, tally, CountUp(1, 0))
    assert (nothing.version, nothing.position, nothing.recorded_at) == (2, 2, done.recorded_at)
    assert await log.head() == 2


async def test_a_refused_command_records_nothing_and_may_be_asked_again(log: EventLog) -> None:
    tally = uuid4()
    with pytest.raises(Refused, match="too much"):
        await count(log, tally, CountUp(7, at_most=5), "key")
    assert await log.head() == 0
    assert (await count(log, tally, CountUp(7, at_most=7), "key")).version == 2


async def test_a_retry_of_what_was_new_is_answered_though_it_would_be_refused_by_now(log: EventLog) -> None:
    tally, key = uuid4(), uuid4()
    first = await handle(log, TALLY, tally, CountUp(1), key, Metadata(), new=True)
    again = await handle(log, TALLY, tally, CountUp(1, at_most=0), key, Metadata(), new=True)
    assert (again.position, again.repeated) == (first.position, True)


async def test_the_events_of_a_command_carry_its_metadata_area_and_derived_ids(log: EventLog) -> None:
    tally, key = uuid4(), uuid4()
    metadata = Metadata("journey", "cause", "officer")
    await handle(log, TALLY, tally, CountUp(1, 2, area="35.78"), key, metadata)
    events = await everything(log)
    assert [event.id for event in events] == [derive_id(key, n) for n in range(3)]
    assert {event.area for event in events} == {"35.78"}
    assert {event.metadata for event in events} == {metadata}


def test_a_derived_id_is_the_same_for_ever() -> None:
    assert derive_id("key", 0) == UUID("ea92d6e0-4db7-5348-b9e7-351fdaf3eece")


def test_parts_of_an_id_do_not_run_together() -> None:
    assert len({derive_id("ab", "c"), derive_id("a", "bc"), derive_id("abc"), derive_id("abc", "")}) == 4
