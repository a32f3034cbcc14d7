"""Reports accepted durably over HTTP, 64 connections: one reports process alone, and with the whole region running
behind it, against an ordinary FastAPI + SQLAlchemy ORM insert service under uvicorn."""

from __future__ import annotations

import asyncio

from bench.running import LagWatch, Load, RunningRegion, level, orm_peer, region, wrk
from bench.work import Figures, Result, Servers, sized

SECONDS = sized(8, tiny=1)
WARM_UP_S = sized(2, tiny=1)
LAG_S = 1.0
DELAYS_MS = sized((0, 2, 4, 8, 12, 16, 24), tiny=(24,))
"""Pauses of each of the 64 connections, tried from the shortest on until no projection falls 1 s behind."""


def run(servers: Servers, runs: int) -> list[Result]:
    alone = Figures("Rembuk, API process alone", "requests/s")
    p99 = Figures("Rembuk p99", "ms")
    whole = Figures("Rembuk, whole region", "requests/s")
    lags = Figures("worst lag", "s")
    peer = Figures("(a) FastAPI + SQLAlchemy ORM", "requests/s")
    peer_p50 = Figures("(a) median", "ms")
    with orm_peer("orm_service", servers.database()) as peer_url, region(servers, {"reports": ("api",)}) as ours:
        url = ours.region.url("reports")
        for each in (peer_url, url):
            wrk(each, WARM_UP_S)
        for _ in range(runs):
            load = _clean(wrk(peer_url, SECONDS))
            peer.runs.append(load.rate)
            peer_p50.runs.append(load.p50)
            load = _clean(wrk(url, SECONDS))
            alone.runs.append(load.rate)
            p99.runs.append(load.p99)
    with orm_peer("orm_service", servers.database()) as peer_url, region(servers) as ours:
        url = ours.region.url("reports")
        delay = _sustainable(ours, url)
        again = Figures("(a) FastAPI + SQLAlchemy ORM", "requests/s")
        for _ in range(runs):
            again.runs.append(_clean(wrk(peer_url, SECONDS)).rate)
            watch = LagWatch(ours.region)
            watch.start()
            whole.runs.append(_clean(wrk(url, SECONDS, delay)).rate)
            lags.runs.append(watch.end())
            asyncio.run(level(ours.region))
    by_itself = Result("accept, the process alone", alone, [peer], notes=[f"p99 {p99}; (a)'s median {peer_p50}"])
    by_itself.at_least(8, peer)
    by_itself.under(peer_p50.median, p99.median, "p99, ms,")
    notes = [
        f"worst lag of any projection {lags}",
        f"each connection pauses {delay} ms between requests; nobody subscribed, so no alert follows",
    ]
    with_all = Result("accept, whole region running", whole, [again], notes=notes)
    with_all.at_least(4.5, again)
    with_all.under(LAG_S, max(lags.runs), "worst lag, s,")
    return [by_itself, with_all]


def _sustainable(ours: RunningRegion, url: str) -> int:
    """The shortest pause at which every projection stays less than half the allowed lag behind."""
    for delay in DELAYS_MS:
        watch = LagWatch(ours.region)
        watch.start()
        wrk(url, SECONDS, delay)
        worst = watch.end()
        asyncio.run(level(ours.region))
        if worst < LAG_S / 2:
            return delay
    return DELAYS_MS[-1]


def _clean(load: Load) -> Load:
    if load.failed:
        raise RuntimeError(f"{load.failed} requests failed: the figure would not count")
    return load
