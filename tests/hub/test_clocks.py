"""Clocks that differ by an hour: order, completeness and who leads hang on none of them, and a lag is never hidden."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import msgspec
import pytest
from rembuk.contracts.reports import ProblemClosed, ProblemReopened, ProblemVerified
from rembuk.testing.services import PARTNER, eventually

from tests.hub.conftest import STALLED_S, Hub, reported
from tests.hub.joined import Joined

HOUR = timedelta(hours=1)

pytestmark = [pytest.mark.drills, pytest.mark.timeout(240)]

SHIFTED = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    if (!failed && clock == CLOCK_REALTIME) now->tv_sec += atol(getenv("SHIFT_SECONDS"));
    return failed;
}

time_t time(time_t *to) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict to, void *restrict zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    to->tv_sec = now.tv_sec;
    to->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"""
"""A library by which a process takes the time for another; what measures a duration is as it was."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler to make a clock that is wrong")
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(SHIFTED)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", "clock.so", "clock.c", "-ldl"], cwd=folder, check=True)
    return folder / "clock.so"


@pytest.fixture(params=[HOUR, -HOUR], ids=["ahead", "behind"])
def shifted(request: pytest.FixtureRequest, library: Path) -> dict[str, str]:
    """What processes are told to have the wrong time."""
    off: timedelta = request.param
    told = {"LD_PRELOAD": str(library), "SHIFT_SECONDS": str(int(off.total_seconds()))}
    tell = [sys.executable, "-c", "from datetime import *; print(datetime.now(UTC).isoformat())"]
    said = datetime.fromisoformat(subprocess.check_output(tell, env=os.environ | told, text=True).strip())
    assert abs(said - datetime.now(UTC) - off) < timedelta(minutes=1)
    return told


@pytest.fixture
def joined(hub: Hub, postgres_url: str, shifted: dict[str, str], tmp_path: Path) -> Iterator[Joined]:
    """A region whose processes all have the wrong time, unlike its servers; the hub is a witness of its log."""
    witnesses = tmp_path / "witnesses"
    witnesses.write_text(f"{hub.service.url('hub')}/v1/witness {hub.api.get('/v1/witness/key').text}\n")
    made = Joined(hub, postgres_url, shifted | {"REMBUK_WITNESSES": str(witnesses)})
    logs = hub.federation.roster.with_name("logs")
    [key, *_] = httpx.get(f"{made.running.url('reports')}/v1/log/keys").raise_for_status().text.splitlines()
    logs.write_text(f"{logs.read_text()}{key}\n")
    yield made
    made.end()


@pytest.fixture
def restarted(hub: Hub) -> Iterator[Callable[[dict[str, str]], None]]:
    """Has the hub's worker run anew, told something more; afterwards it runs as it did."""
    right = hub.service.region

    def again(told: dict[str, str]) -> None:
        hub.service.stop("hub", "worker")
        hub.service.region = msgspec.structs.replace(right, extra=right.extra | told)
        hub.service.start("hub", "worker")

    yield again
    hub.service.region = right
    hub.service.start("hub", "worker")


async def test_a_region_whose_processes_are_an_hour_off_is_level_and_its_log_is_cosigned(
    hub: Hub, joined: Joined
) -> None:
    async with joined.under_load() as clients:
        await clients.more(60)
    await joined.level()
    head = len(await joined.log())
    feed = f"{joined.running.url('reports')}/v1/events"
    page = httpx.get(feed, params={"after": head - 5}, headers=PARTNER).raise_for_status().json()
    assert len(page) == 5

    def cosigned() -> None:
        assert (hub.stream(joined.name)["cosigned"] or {"size": 0})["size"] == head

    await asyncio.to_thread(eventually, cosigned)
    assert hub.stream(joined.name)["behind_s"] == 0


@pytest.mark.parametrize("off", [HOUR, -HOUR], ids=["ahead", "behind"])
async def test_events_that_were_recorded_an_hour_off_are_shown_once_and_in_order(hub: Hub, off: timedelta) -> None:
    region, (problem, event) = hub.admitted(), reported()
    now = datetime.now(UTC)
    told = [event, ProblemVerified(), ProblemClosed(), ProblemReopened("x")]
    for number, one in enumerate(told):  # as a clock that is set right in their midst tells of them
        await hub.told(region, (problem, one), at=now + (off if number % 2 else timedelta(0)))
    hub.comes_to(region, "level", 4)
    [shown] = hub.get("/v1/problems", region=region)["items"]
    assert shown["status"] == "reopened"
    assert hub.stream(region)["behind_s"] == 0


async def test_what_a_region_records_in_the_future_is_late_from_the_moment_in_which_it_is_missing(hub: Hub) -> None:
    region = hub.admitted(deny_exports=["$JS.M.>"])
    await hub.told(region, reported(), at=datetime.now(UTC) + HOUR)
    hub.comes_to(region, "stalled", 0)

    def late() -> None:
        assert STALLED_S <= hub.stream(region)["behind_s"] < 600
        assert (hub.metric("rembuk_hub_lag_seconds", region) or 0) >= STALLED_S

    eventually(late)


async def test_what_a_region_records_in_the_past_is_as_late_as_that_at_once(hub: Hub) -> None:
    region = hub.admitted(deny_exports=["$JS.M.>"])
    await hub.told(region, reported(), at=datetime.now(UTC) - HOUR)
    hub.comes_to(region, "stalled", 0)
    assert hub.stream(region)["behind_s"] >= HOUR.total_seconds()


async def test_a_hub_whose_worker_is_an_hour_off_watches_all_the_same_and_is_missed_when_it_is_dead(
    hub: Hub, shifted: dict[str, str], restarted: Callable[[dict[str, str]], None]
) -> None:
    region = hub.admitted()
    restarted(shifted)
    await hub.told(region, reported())
    hub.comes_to(region, "level", 1)
    assert (hub.metric("rembuk_hub_looked_seconds", region) or 0) < 20
    hub.service.kill("hub", "worker")

    def unwatched() -> None:
        assert hub.stream(region)["state"] == "unwatched"
        assert (hub.metric("rembuk_hub_looked_seconds", region) or 0) > 20

    eventually(unwatched)
    set_back = "update region_stream set looked_at = now() + interval '1 hour'"
    await asyncio.to_thread(hub.service.ask, "hub", set_back)
    eventually(unwatched)  # by itself it would not be for an hour
