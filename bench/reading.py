"""Pages of a million problems, half of them sealed, a tenth in one village: every combination of filters, one problem,
its history, and areas with a wrong letter, over four connections; against FastAPI + SQLAlchemy ORM in clear."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence
from urllib.parse import urlencode

from rembuk.areas.lookup import LEVELS as AREAS
from rembuk.areas.lookup import areas

from bench.many_problems import PUBLIC, STATUSES, Loaded, load
from bench.running import Load, orm_peer, region, wrk_get
from bench.work import Figures, Result, Servers, sized

MANY = sized(1_000_000, tiny=2_000)
SECONDS = sized(1.0, tiny=0.1)
CONNECTIONS = 4
P99_MS = 20
URLS = 200
LEVELS = (0, 2, 5, 8, 13)
"""Digits and dots of an area's code; 0: no area is asked for."""


def run(servers: Servers, _: int) -> list[Result]:
    """One pass over all combinations of filters: each is a measure of its own."""
    peer_database = servers.database(kernel=False)
    with region(servers, {"reports": ("api",)}) as ours:
        database = ours.region.database("reports").service_url.rpartition("/")[2]
        owner_url = f"{servers.postgres_url.rpartition('/')[0]}/{database}"
        loaded = asyncio.run(load(owner_url, peer_database, ours.region.region_key, MANY))
        with orm_peer("orm_reading", peer_database) as peer_url:
            return _measured(ours.region.url("reports"), peer_url, loaded)


def _measured(url: str, peer_url: str, loaded: Loaded) -> list[Result]:
    chance = random.Random(1)
    pages, peers, slowest = Figures("Rembuk, pages", "requests/s"), Figures("FastAPI + ORM", "requests/s"), []
    times: dict[str, float] = {}
    combinations = itertools.product(LEVELS, (False, True), (False, True), (False, True))
    for asked in list(combinations)[:: sized(1, tiny=20)]:
        paths = [_list(chance, loaded.villages, *asked) for _ in range(URLS)]
        mine, theirs = _both(url, peer_url, paths)
        pages.runs.append(mine.rate)
        peers.runs.append(theirs.rate)
        times[f"{_named(*asked)}: {mine.rate:,.0f}/s, the peer {theirs.rate:,.0f}/s"] = mine.rate / theirs.rate
        slowest.append(mine.p99)
    worst = min(times, key=times.__getitem__)
    listed = Result(f"a page of 50 of {MANY:,} problems, {len(times)} combinations of filters", pages, [peers], runs=1)
    listed.goals.append((f"{times[worst]:.2f} x at the worst combination (goal 3)", times[worst] >= 3))
    listed.under(P99_MS, max(slowest), "p99 of the slowest combination, ms,")
    listed.notes.append(f"the worst combination is {worst}")

    paths = [f"/v1/problems/{one}" for one in chance.choices(loaded.ids, k=URLS)]
    mine, theirs = _both(url, peer_url, paths)
    single = Result("one problem", Figures("Rembuk", "requests/s", [mine.rate]), [_peer_figure(theirs)])
    single.at_least(3, single.peers[0])

    paths = [f"/v1/problems/{one}/history" for one in chance.choices(loaded.with_history, k=URLS)]
    history = Result("the history of a problem, 8 events", Figures("Rembuk", "requests/s", [_asked(url, paths).rate]))
    history.over(1_500)

    paths = [f"/v1/areas?{urlencode({'q': _misspelt(chance)})}" for _ in range(URLS)]
    _asked(url, paths[:1])  # the first makes the index
    load_ = _asked(url, paths)
    found = Result("an area with a wrong letter", Figures("Rembuk", "requests/s", [load_.rate]))
    found.over(1_000)
    found.under(10, load_.p99, "p99, ms,")
    return [listed, single, history, found]


def _list(chance: random.Random, villages: Sequence[str], level: int, category: bool, status: bool, since: bool) -> str:
    """A list of problems that is asked for by these filters; a third of the areas are those of the busy village."""
    query = {}
    if level:
        query["area"] = (villages[0] if chance.random() < 1 / 3 else chance.choice(villages))[:level]
    if category:
        query["category"] = chance.choice(PUBLIC)
    if status:
        query["status"] = chance.choice(list(STATUSES))
    if since:
        query["since"] = chance.choice(("2026-09-26T00:00:00Z", "2026-09-01T00:00:00Z", "2025-06-01T00:00:00Z"))
    return f"/v1/problems?{urlencode(query)}"


def _named(level: int, category: bool, status: bool, since: bool) -> str:
    """What a combination of filters asks for."""
    area = [AREAS[level]] if level else []
    others = {"category": category, "status": status, "since": since}
    return " + ".join([*area, *(name for name, asked in others.items() if asked)]) or "no filter"


def _misspelt(chance: random.Random) -> str:
    while True:
        name = areas()[chance.choice(_CODES)].name
        if len(name) > 5 and name.isascii():
            place = chance.randrange(1, len(name))
            return name[:place] + name[place + 1 :]


_CODES = list(areas())


def _both(url: str, peer_url: str, paths: Sequence[str]) -> tuple[Load, Load]:
    return _asked(url, paths), _asked(peer_url, paths)


def _asked(url: str, paths: Sequence[str]) -> Load:
    wrk_get(url, SECONDS, paths, CONNECTIONS)  # pages of the disk and of the server are warm for both
    load_ = wrk_get(url, SECONDS, paths, CONNECTIONS)
    if load_.failed:
        raise RuntimeError(f"{load_.failed} of {paths[0]} failed")
    return load_


def _peer_figure(theirs: Load) -> Figures:
    return Figures("FastAPI + SQLAlchemy ORM", "requests/s", [theirs.rate])
