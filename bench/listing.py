"""Pages of the lists of forums, of notifications and of the hub, hundreds of thousands of rows of which nine in ten are
in one village and one forum; and of the events feed at its beginning, in its middle and at its head, by one partner and
by 50. Over four connections, against FastAPI + SQLAlchemy ORM on the same tables."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

from rembuk.partners.partners import Scope
from rembuk.testing.services import PARTNER, RunningRegion

from bench.many_rows import BUSY, FORUM, LAST_ALERT, MANY, QUIET, QUIET_FORUM, fill
from bench.running import Load, orm_peer, wrk_get
from bench.work import Figures, Result, Servers, sized

SECONDS = sized(1.0, tiny=0.1)
CONNECTIONS = 4
PARTNERS = sized(50, tiny=2)
AREAS = ("", f"area={BUSY}", f"area={BUSY[:5]}", f"area={QUIET}", f"area={QUIET[:2]}")
LISTS = {
    "forums": {
        "forums": ("/v1/forums", [AREAS]),
        "meetings": ("/v1/meetings", [(*AREAS, f"forum_id={FORUM}"), ("", "status=scheduled")]),
        "commitments": ("/v1/commitments", [(*AREAS, f"forum_id={FORUM}"), ("", "status=due")]),
        "candidates in the busy village": (f"/v1/forums/{FORUM}/agenda-candidates", [("",)]),
        "candidates in a quiet one": (f"/v1/forums/{QUIET_FORUM}/agenda-candidates", [("",)]),
    },
    "notifications": {
        "alerts": ("/v1/alerts", [AREAS, ("", "category=theft")]),
        "deliveries of an alert": (f"/v1/alerts/{LAST_ALERT}/deliveries", [("", "state=given_up")]),
    },
    "hub": {
        "the hub's problems": (
            "/v1/problems",
            [AREAS, ("", "category=theft", "status=verified", "status=referred", "region=jatim", "region=region7")],
        ),
        "the hub's deliberations": ("/v1/deliberations", [("by=region", "by=month"), ("", f"area={QUIET}")]),
    },
}


def run(servers: Servers, _: int) -> list[Result]:
    """One pass: each list is a measure, of all its filters together."""
    region = RunningRegion(servers.postgres_url, servers.nats_url, ("reports", *LISTS), {})
    region.prepare()
    asyncio.run(fill(region))
    results = []
    try:
        for service, lists in LISTS.items():
            url = _started(region, service)
            with orm_peer("orm_listing", region.region.database(service).owner_url) as peer:
                results += [_listed(name, url, peer, *asked) for name, asked in lists.items()]
        url = _started(region, "reports")
        with orm_peer("orm_listing", region.region.database("reports").owner_url) as peer:
            results += _fed(region, url, peer)
    finally:
        region.stop_all()
    return results


def _started(region: RunningRegion, service: str) -> str:
    region.start(service, "api")
    region.ready(service)
    return region.region.url(service)


def _listed(name: str, url: str, peer: str, path: str, filters: Sequence[Sequence[str]]) -> Result:
    """Each combination of filters by itself: one that is slow is not hidden by those that are not."""
    ours, theirs = Figures("Rembuk", "requests/s"), Figures("FastAPI + ORM", "requests/s")
    combinations = ["&".join(filter(None, chosen)) for chosen in itertools.product(*filters)][:: sized(1, tiny=30)]
    worst, slowest, why = 1e9, 0.0, ""
    for asked in combinations:
        mine, other = (_asked(one, [f"{path}?{asked}"]) for one in (url, peer))
        ours.runs.append(mine.rate)
        theirs.runs.append(other.rate)
        slowest = max(slowest, mine.p99)
        if mine.rate / other.rate < worst:
            worst, why = mine.rate / other.rate, asked or "no filter"
    result = Result(f"{name}: a page of 50 of {MANY:,}, {len(combinations)} filters", ours, [theirs], runs=1)
    result.goals.append((f"{worst:.2f} x at the worst filter (goal 1)", worst >= 1))
    result.notes.append(f"worst: {why}; p99 of the slowest {slowest:.0f} ms")
    return result


def _fed(region: RunningRegion, url: str, peer: str) -> list[Result]:
    """The feed of a log, 100 events a page."""
    readers = [PARTNER, *(region.partner(f"reader{n}", Scope(("reports",))) for n in range(1, PARTNERS))]
    results = []
    for many in (1, PARTNERS):
        ours, theirs = Figures("Rembuk", "requests/s"), Figures("FastAPI + ORM", "requests/s")
        for after in (0, MANY // 2, MANY - 100, MANY)[:: sized(1, tiny=4)]:
            path = f"/v1/events?after={after}&limit=100"
            ours.runs.append(_asked(url, [path], [one["Authorization"] for one in readers[:many]]).rate)
            theirs.runs.append(_asked(peer, [path]).rate)
        worst = min(mine / other for mine, other in zip(ours.runs, theirs.runs, strict=True))
        result = Result(f"the events feed, 100 of {MANY:,} at four places, read by {many}", ours, [theirs], runs=1)
        result.goals.append((f"{worst:.2f} x at the worst place (goal 1)", worst >= 1))
        results.append(result)
    return results


def _asked(url: str, paths: Sequence[str], tokens: Sequence[str] = ()) -> Load:
    if sized(True, tiny=False):
        wrk_get(url, SECONDS, paths, CONNECTIONS, tokens)  # pages of the disk and of the server are warm for both
    load = wrk_get(url, SECONDS, paths, CONNECTIONS, tokens)
    if load.failed:
        raise RuntimeError(f"{load.failed} of {paths[0]} failed")
    return load
