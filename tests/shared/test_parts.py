"""Whatever ends of a process that was to go on ends the process, so that its supervisor starts it again."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

import pytest
from rembuk.process.vital import vital
from rembuk.worker import SideBySide

Part = Callable[[], Awaitable[None]]


async def for_ever() -> None:
    await asyncio.Event().wait()


async def at_once() -> None:
    """Ends as if it were done."""


async def fail() -> None:
    raise RuntimeError("why")


async def be_cancelled() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("part", [at_once, fail, be_cancelled])
async def test_a_part_of_a_worker_that_ends_however_ends_the_worker(part: Part) -> None:
    parts = SideBySide()
    parts.keep(for_ever(), "goes on")
    parts.keep(part(), "ends")  # type: ignore[arg-type]
    await asyncio.wait_for(parts.stopping.wait(), 5)
    assert parts.failed
    await parts.cancel()


@pytest.mark.parametrize(("part", "failed"), [(at_once, False), (fail, True), (be_cancelled, True)])
async def test_what_only_begins_something_may_end_but_not_fail(part: Part, failed: bool) -> None:
    parts = SideBySide()
    parts.begin(part(), "begins")  # type: ignore[arg-type]
    parts.keep(for_ever(), "goes on")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert parts.failed is parts.stopping.is_set() is failed
    await parts.cancel()


async def test_what_ends_because_the_worker_stops_is_no_failure() -> None:
    parts = SideBySide()
    for number in range(3):
        parts.keep(for_ever(), f"part {number}")
    parts.keep(parts.stopping.wait(), "waits for the end")  # type: ignore[arg-type]
    parts.stopping.set()
    await asyncio.sleep(0)
    await parts.cancel()
    assert not parts.failed


@pytest.mark.parametrize("part", [at_once, fail])
async def test_a_vital_task_that_ends_ends_its_process(part: Part) -> None:
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    try:
        task = vital(part(), "ends")  # type: ignore[arg-type]
        await asyncio.wait_for(told.wait(), 5)
        assert task.done()
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)


async def test_a_vital_task_may_be_cancelled_and_end_when_it_may() -> None:
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    try:
        cancelled = vital(for_ever(), "is cancelled")
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([cancelled, vital(at_once(), "may end", lambda: True)])
        await asyncio.sleep(0)
        assert not told.is_set()
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
