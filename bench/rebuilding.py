"""A million events gone through: `rembuk verify`, and `rembuk rebuild` alone and while the service accepts at half its
full rate, against the `eventsourcing` package's projection runner and Emmett's rebuild, all into the same table."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import asyncpg
import uvloop
from psutil import Process

from bench.growing import fill
from bench.peers import emmett, projection_runner
from bench.processes import megabytes
from bench.running import CONNECTIONS, Load, RunningRegion, level, region, wrk
from bench.work import Figures, Result, Servers, sized

EVENTS = sized(1_000_000, tiny=5_000)
OF_PEERS = sized(20_000, tiny=400)
FLAT_MB = 20
FULL_SECONDS = sized(60, tiny=1)  # what the service keeps up, not a burst
PIECE_S = sized(5, tiny=1)
AIM = 0.55  # of the full rate: who is held at a half exactly has been under it as often as over


def run(servers: Servers, runs: int) -> list[Result]:
    """One run of ours, for a million events take minutes; `runs` of the peers'."""
    peers = [Figures("eventsourcing, ProjectionRunner", "events/s"), Figures("Emmett, rebuild", "events/s")]
    for peer, rebuilt in zip(peers, (projection_runner.rebuilt, emmett.rebuilt), strict=True):
        database = servers.database(kernel=False)
        peer.runs = [OF_PEERS / seconds for seconds in rebuilt(database, OF_PEERS, runs)]
    peers = [peer for peer in peers if peer.runs]
    with region(servers, {"reports": ("api", "worker")}) as running:
        uvloop.run(fill(running, EVENTS))
        asyncio.run(level(running.region, within=900, services=("reports",)))
        asyncio.run(_signed(running))
        checked = Figures("Rembuk, verify", "events/s")
        verified = _errands(running, checked, "verify", "rebuild compare")
        alone = Figures("Rembuk, rebuild", "events/s")
        grown = _errands(running, alone, "rebuild swap")
        full = wrk(running.region.url("reports"), FULL_SECONDS).rate
        amid = Figures("Rembuk, rebuild at half the full rate", "events/s")
        with HalfLoad(running, full) as load:
            grown_amid = _errands(running, amid, "rebuild swap")
    sound = Result(f"verify, {EVENTS:,} events", checked, runs=1)
    sound.under(60, EVENTS / checked.median, "s")
    sound.under(FLAT_MB, verified, "MB growth")
    quiet = Result(f"rebuild, {EVENTS:,} events", alone, peers, runs=1)
    quiet.over(15_000)
    quiet.at_least(3, max(peers, key=lambda peer: peer.median))
    quiet.under(FLAT_MB, grown, "MB growth")
    busy = Result(f"rebuild, {EVENTS:,} events, amid traffic", amid, runs=1)
    busy.under(1, load.failed, "requests failed")
    busy.under(FLAT_MB, grown_amid, "MB growth")
    share = load.rate / full
    busy.goals.append((f"accepted {share:.1%} of the full rate meanwhile (goal at least 50%)", share >= 0.5))
    busy.notes.append(f"accepted {load.rate:,.0f} requests/s, of {full:,.0f} at full rate; p99 {load.p99:.0f} ms")
    return [sound, quiet, busy]


async def _signed(running: RunningRegion) -> None:
    """Wait until a tree head covers the log, as one does within seconds where nobody fills it with a million."""
    log = await asyncpg.connect(running.region.database("reports").service_url)
    while not await log.fetchval("select position = (select max(size) from log.tree_head) from log.head"):
        await asyncio.sleep(0.5)
    await log.close()


def _errands(running: RunningRegion, figures: Figures, *errands: str) -> float:
    """Run errands of reports side by side, from their start to the end of the last; by how many MB the one that grew
    most did so after its first tenth."""
    started = time.perf_counter()
    with ThreadPoolExecutor() as side_by_side:
        grown = max(side_by_side.map(partial(_errand, running), errands))
    figures.runs.append(EVENTS / (time.perf_counter() - started))
    return grown


def _errand(running: RunningRegion, errand: str) -> float:
    name, *arguments = errand.split()
    process = running.region.spawn("reports", name, subprocess.PIPE, arguments=arguments, errors=None)
    assert process.stdout is not None
    at_first = most = 0.0
    steps = []
    for line in process.stdout:
        steps.append(step := json.loads(line))
        if step["kind"] == "progress" and step["position"] > EVENTS // 10:
            most = max(most, megabytes([Process(process.pid)]))
            at_first = at_first or most
    assert process.wait() == 0
    ends = {step["kind"] for step in steps if step["kind"] != "progress"}
    assert ends in ({"verified"}, {"compared"}, {"compared", "swapped"}), steps[-3:]
    assert not any(step.get("wrong") or step.get("changed") for step in steps), steps[-3:]
    return most - at_first


class HalfLoad(threading.Thread):
    """wrk at a little more than half the full rate, in pieces of some seconds, until it is left. A connection waits for
    its answer before it asks again, so what has been missing is made up for by a shorter pause in the next piece."""

    def __init__(self, running: RunningRegion, full: float) -> None:
        super().__init__(daemon=True)
        self._url, self._every_ms = running.region.url("reports"), CONNECTIONS / (full * AIM) * 1000
        self._left = threading.Event()
        self._pieces: list[Load] = []

    def __enter__(self) -> HalfLoad:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self.join()

    def run(self) -> None:
        pause = self._every_ms * AIM  # at the full rate the rest is what an answer takes
        while not self._left.is_set():
            self._pieces.append(wrk(self._url, PIECE_S, round(pause)))
            pause = max(pause + self._every_ms - CONNECTIONS / self.rate * 1000, 0)

    @property
    def failed(self) -> int:
        return sum(piece.failed for piece in self._pieces)

    @property
    def rate(self) -> float:
        return sum(piece.rate for piece in self._pieces) / len(self._pieces)

    @property
    def p99(self) -> float:
        return max(piece.p99 for piece in self._pieces)
