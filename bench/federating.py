"""A hub and three regions on one machine: how fast the hub takes in and shows what it missed while every link was cut,
and what accepting in a region costs with the hub there and away."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import statistics
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from rembuk.broker.stream_names import stream_name
from rembuk.broker.streams import tail_of
from rembuk.testing.federation import Federation, federation
from rembuk.testing.link import NetworkLink, link_to
from rembuk.testing.services import RunningRegion as Service

from bench.growing import fill
from bench.running import RunningRegion, relayed, wrk
from bench.work import Figures, Result, Servers, sized

REGIONS = sized(3, tiny=2)
EVENTS, FEW = sized((100_000, 1_000), tiny=(2_000, 300))
WITHIN_S = 120.0
LOAD_S = sized(10, tiny=1)
LOADS = sized(3, tiny=1)

Known = Callable[[], dict[str, int]]
"""How many events of reports the hub knows, by region."""


def run(servers: Servers, runs: int) -> list[Result]:
    """Each run cuts the links, has EVENTS recorded in the regions, and heals them."""
    took, rate = Figures("level after the links are back", "s"), Figures("the hub, from the first event on", "events/s")
    alone = Figures("nats-server's mirrors, nobody reading", "events/s")
    here, away = Figures("accepting, the hub there", "requests/s"), Figures("accepting, the hub away", "requests/s")
    with Path(os.devnull).open("wb") as unheard, federation() as joint, ExitStack() as stack:
        hub = hub_of(servers, joint, stack)
        hub.output = unheard
        hub.start_all()
        url = hub.url("hub")
        links, regions = [], []
        for _ in range(REGIONS):
            links.append(link := stack.enter_context(link_to(joint.leaf_port)))
            regions.append(_region(servers, joint, link.port, stack))
        for one in regions:
            uvloop.run(fill(one, FEW))
        _until(partial(_shown, url), {one.region.name: asyncio.run(relayed(one)) for one in regions})
        for number in range(1, runs + 1):
            end, a_second = _missed(links, regions, FEW + number * EVENTS // REGIONS, partial(_shown, url))
            took.runs.append(end)
            rate.runs.append(a_second)
        hub.stop("hub", "worker")
        for number in range(runs + 1, 2 * runs + 1):
            mirrored = partial(_mirrored, joint, [one.region.name for one in regions])
            alone.runs.append(_missed(links, regions, FEW + number * EVENTS // REGIONS, mirrored)[1])
        hub.start("hub", "worker")
        p99: dict[str, list[float]] = {here.name: [], away.name: []}
        for _ in range(max(runs, LOADS)):
            for figures in (here, away):
                if figures is away:
                    joint.hub.stop()
                load = wrk(regions[0].region.url("reports"), LOAD_S)
                figures.runs.append(load.rate)
                p99[figures.name].append(load.p99)
            joint.hub.start()
    missed = Result(f"hub: {EVENTS:,} events missed by cut links, {REGIONS} regions", took)
    missed.under(60, max(took.runs), "s, the longest,")
    ingest = Result(f"hub: taken in and shown, {REGIONS} regions", rate, [alone])
    ingest.over(5_000)
    accepting = Result("accepting in a region without its hub", away, [here])
    ratio = statistics.median(p99[away.name]) / statistics.median(p99[here.name])
    accepting.under(1.1, ratio, "p99 as against the hub there,")
    return [missed, ingest, accepting]


def _missed(links: list[NetworkLink], regions: list[RunningRegion], events: int, known: Known) -> tuple[float, float]:
    """Have each region record up to so many events behind a cut link; how long after its return the last of them is
    known, and how many a second were from the first on."""
    for link in links:
        link.cut()
    heads = {}
    for one in regions:
        uvloop.run(fill(one, events))
        heads[one.region.name] = asyncio.run(relayed(one))
    before = sum(known().values())
    for link in links:
        link.heal()
    first, end = _until(known, heads)
    assert known() == heads, "each event once"
    return end, (sum(heads.values()) - before) / (end - first)


def hub_of(servers: Servers, joint: Federation, stack: ExitStack) -> Service:
    """The hub, prepared; its processes end with the block."""
    extra = {
        "REMBUK_HUB_REGIONS": str(joint.roster),
        "REMBUK_HUB_KEY": base64.b64encode(joint.key).decode(),
    }
    hub = Service(servers.postgres_url, joint.hub.url, ("hub",), extra)
    stack.callback(hub.stop_all)
    hub.prepare()
    return hub


def _region(servers: Servers, joint: Federation, port: int, stack: ExitStack) -> RunningRegion:
    """A region's reports, on a nats-server of its own that reaches the hub by this port."""
    running = RunningRegion(servers, {"reports": ("api", "worker")})
    joint.admit(running.region.name)
    server = joint.start_region(running.region.name, port)
    running.region = msgspec.structs.replace(running.region, nats_url=server.url)
    stack.callback(running.stop)
    running.start()
    return running


def _until(known: Known, heads: dict[str, int]) -> tuple[float, float]:
    """When the hub first knew something new, and when it knew all up to these positions, in seconds from now."""
    began, before, first = time.perf_counter(), known(), 0.0
    while True:
        found, passed = known(), time.perf_counter() - began
        first = first or (passed if found != before else 0.0)
        if all(found.get(name, -1) >= head for name, head in heads.items()):
            return first, passed
        assert passed < WITHIN_S, (found, heads)
        time.sleep(0.05)


def _mirrored(joint: Federation, names: list[str]) -> dict[str, int]:
    """The last position of each region's mirror of reports."""

    async def position(name: str) -> int:
        async with joint.at_hub(name) as jetstream:
            return await tail_of(jetstream, stream_name(name, "reports"))

    async def positions() -> list[int]:
        return await asyncio.gather(*map(position, names))

    return dict(zip(names, asyncio.run(positions()), strict=True))


def _shown(url: str) -> dict[str, int]:
    """How many events of reports the hub has projected, by region."""
    with urllib.request.urlopen(f"{url}/v1/activity?by=region", timeout=10) as answer:
        told: list[dict[str, Any]] = json.load(answer)
    return {one["key"]: one["events"] for one in told}
