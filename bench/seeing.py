"""Accepted to visible in another service's projection: 300 reports a second, one by one in time, seen in forums'
table of open problems."""

from __future__ import annotations

import asyncio
import random
import time

import asyncpg
import httpx
import uvloop

from bench.running import RunningRegion, region
from bench.work import REPORT, Figures, Result, Servers, sized

RATE = 300
SECONDS = sized(10, tiny=1)
WARM_UP_S = sized(3, tiny=1)


def run(servers: Servers, runs: int) -> list[Result]:
    p50, p99 = Figures("p50", "ms"), Figures("p99", "ms")
    with region(servers) as running:
        uvloop.run(_seen(running, WARM_UP_S))
        for _ in range(runs):
            delays = sorted(uvloop.run(_seen(running, SECONDS)))
            p50.runs.append(delays[len(delays) // 2] * 1000)
            p99.runs.append(delays[int(len(delays) * 0.99)] * 1000)
    result = Result(f"accepted to visible in another service, {RATE}/s", p50, notes=[f"p99 {p99}"])
    result.under(30, p50.median, "p50, ms,")
    result.under(100, p99.median, "p99, ms,")
    return [result]


async def _seen(running: RunningRegion, seconds: float) -> list[float]:
    """Seconds from each answer to the moment forums' own database shows the report; exponential gaps (a Poisson
    stream), so that reports neither queue up nor march in step with the pollers."""
    url = running.region.url("reports")
    accepted: dict[int, float] = {}
    seen: list[tuple[float, int]] = []
    done = asyncio.Event()

    async def watch() -> None:
        database = await asyncpg.connect(running.region.database("forums").service_url)
        query = "select position from checkpoint where stream = $1"
        stream = f"{running.region.name}_reports".upper()
        last = 0
        while not (done.is_set() and last >= max(accepted)):
            position = await database.fetchval(query, stream)
            if position > last:
                seen.append((time.perf_counter(), position))
                last = position
            await asyncio.sleep(0.002)
        await database.close()

    async def report(client: httpx.AsyncClient) -> None:
        answer = await client.post(f"{url}/v1/problems", json=REPORT)
        accepted[answer.raise_for_status().json()["position"]] = time.perf_counter()

    watching = asyncio.create_task(watch())
    chance = random.Random(1)
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=64), timeout=30) as client:
        requests = []
        started = due = time.perf_counter()
        while due < started + seconds:
            due += chance.expovariate(RATE)
            await asyncio.sleep(max(0, due - time.perf_counter()))
            requests.append(asyncio.create_task(report(client)))
        await asyncio.gather(*requests)
    done.set()
    await asyncio.wait_for(watching, 30)
    delays = []
    for position, at in sorted(accepted.items()):
        visible = next(when for when, reached in seen if reached >= position)
        delays.append(max(0.0, visible - at))
    return delays
