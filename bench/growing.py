"""Memory and the length of the log: each process of a region, caught up, at 10,000 events and at 1,000,000."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import uvloop
from psutil import Process
from rembuk.contracts.reports import CODEC
from rembuk.events.event import Metadata
from rembuk.log.event_log import EventLog

from bench.processes import megabytes
from bench.running import RunningRegion, level, region, wrk
from bench.work import EVENT, Figures, Result, Servers, sized

FEW, MANY = sized((10_000, 1_000_000), tiny=(1_000, 3_000))
WARM_UP_S = sized(3, tiny=1)
ALLOWED_MB = 20


def run(servers: Servers, _: int) -> list[Result]:
    """One run: a million events take minutes."""
    with region(servers) as running:
        wrk(running.region.url("reports"), WARM_UP_S)
        few = _at(running, servers, FEW)
        many = _at(running, servers, MANY)
    growth = {name: many[name] - few[name] for name in few}
    worst = max(growth, key=lambda name: growth[name])
    ours = Figures("growth of the process that grew most", "MB", list(growth.values()))
    ours.runs = sorted(growth.values())
    notes = [f"{name}: {few[name]:.0f} → {many[name]:.0f} MB" for name in few]
    notes.append("PostgreSQL is not among them: its memory is the buffers it was given")
    result = Result(f"memory, {FEW:,} → {MANY:,} events", ours, notes=notes, runs=1)
    result.under(ALLOWED_MB, growth[worst], f"MB ({worst})")
    return [result]


def _at(running: RunningRegion, servers: Servers, events: int) -> dict[str, float]:
    """Fill the log up to about `events`, let everybody catch up, and weigh each process."""
    uvloop.run(fill(running, events))
    asyncio.run(level(running.region, within=900))
    pids = {name: child.pid for name, child in running.children.items()} | {"nats-server": servers.pids[1]}
    return {name: megabytes([Process(pid)]) for name, pid in pids.items()}


async def fill(running: RunningRegion, events: int) -> None:
    """Bring the log of reports to about so many events."""
    log = EventLog(running.region.database("reports").service_url, CODEC)
    await log.start()
    missing = events - await log.head()

    async def write() -> None:
        for _ in range(missing // 128):
            await log.append(uuid4(), 0, [uuid4()], [EVENT], EVENT.area, Metadata(correlation_id=str(uuid4())))

    await asyncio.gather(*(write() for _ in range(128)))
    await log.stop()
