"""A hub and as many regions as there are provinces, of which only the nats-servers run: how long a first join takes,
and how long after the hub's planned restart all of them are level."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from contextlib import ExitStack
from uuid import uuid4

from rembuk.testing.federation import Federation, federation, publish

from bench.federating import hub_of
from bench.work import EVENT, Figures, Result, Servers, sized

REGIONS, JOINS = sized((38, 20), tiny=(4, 2))
WITHIN_S = 120.0


def run(servers: Servers, runs: int) -> list[Result]:
    """First some regions join, one after the other; then all are there each time that the hub restarts."""
    joined, restarted = Figures("from the region's first event on", "s"), Figures("from the hub's start on", "s")
    with federation() as joint, ExitStack() as stack:
        hub = hub_of(servers, joint, stack)
        hub.start_all()
        url = hub.url("hub")
        names: list[str] = []
        for number in range(REGIONS):
            names.append(f"region{number}")
            joint.admit(names[-1])
            joint.start_region(names[-1])
            if number < JOINS:
                joined.runs.append(_until_level(url, _told(joint, names[-1:])))
        _until_level(url, _told(joint, names))
        for _ in range(runs):
            hub.stop_all()
            joint.hub.stop()
            heads = _told(joint, names)
            began = time.perf_counter()
            joint.hub.start()
            hub.start_all()
            restarted.runs.append(time.perf_counter() - began + _until_level(url, heads))
    join = Result("a region's first join, until the hub shows it level", joined)
    join.under(5, max(joined.runs), "s, the longest,")
    restart = Result(f"the hub's planned restart, until {REGIONS} regions are level", restarted)
    restart.under(10, max(restarted.runs), "s, the longest,")
    return [join, restart]


def _told(joint: Federation, names: list[str]) -> dict[str, int]:
    """Have each of the regions record one event more; their last positions."""

    async def tell(name: str) -> int:
        async with joint.at_region(name) as jetstream:
            return await publish(jetstream, name, "reports", (uuid4(), EVENT))

    async def tell_all() -> list[int]:
        return [await tell(name) for name in names]

    return dict(zip(names, asyncio.run(tell_all()), strict=True))


def _until_level(url: str, heads: dict[str, int]) -> float:
    """How many seconds pass until the hub shows all regions up to these positions, and calls them level."""
    began = time.perf_counter()
    while True:
        with urllib.request.urlopen(f"{url}/v1/regions", timeout=10) as answer:
            shown = {
                region["name"]: stream["shown"]
                for region in json.load(answer)
                for stream in region["streams"]
                if stream["service"] == "reports" and stream["state"] == "level"
            }
        passed = time.perf_counter() - began
        if heads.items() <= shown.items():
            return passed
        assert passed < WITHIN_S, (shown, heads)
        time.sleep(0.05)
