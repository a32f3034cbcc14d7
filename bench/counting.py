"""What the hub counts among 5,000,000 problems of 38 regions, four in five of them in one regency, 25,000 referred and
not taken up yet: each question by itself over one connection; and how long an upgrade takes that counts them all."""

from __future__ import annotations

import asyncio
import time

import asyncpg
from rembuk.areas.lookup import areas
from rembuk.postgres.migrations import upgrade
from rembuk.testing.services import RunningRegion

from bench.many_problems import villages
from bench.many_rows import id_of
from bench.running import wrk_get
from bench.work import Figures, Result, Servers, sized

MANY = sized(5_000_000, tiny=2_000)
REFERRED = MANY // 200
"""How many are referred; a fifth of them lives elsewhere already, while their own region has not heard of it."""
SECONDS = sized(2.0, tiny=0.1)
WITHIN_MS = 5.0
BEFORE, HUB = "0005", "hub"
REGENCY = "35.78"
BUSY = [village.code for village in areas().villages(REGENCY)]
ELSEWHERE = [village for village in villages() if not village.startswith(REGENCY)]
SINCE = "since=2025-03-16T12:00:00Z"
"""In the middle of a month and of a day, of which the smaller part is read: nothing takes longer."""
QUESTIONS = (
    "by=region", "by=area", "by=category", "by=status", "by=month", f"by=area&area={REGENCY}",
    f"by=month&area={REGENCY}", "by=region&category=theft", "by=region&status=referred",
    f"by=region&{SINCE}", f"by=category&{SINCE}", f"by=area&category=theft&{SINCE}",
    f"by=status&area={REGENCY}&{SINCE}",
)  # fmt: skip

_AREA = f"""case when i % 5 > 0 then (array{BUSY})[1 + i % {len(BUSY)}]
            else (array{ELSEWHERE})[1 + (i / 5) % {len(ELSEWHERE)}] end"""
_FILL = f"""
    insert into problem (region, id, area, category, status, referral, reported_at, changed_at)
    select case when i % 5 > 0 then 'jatim' else 'region' || i % 37 end, {id_of("problem")}, {_AREA},
           (array['theft', 'noise', 'fraud', 'burglary', 'vandalism'])[1 + i % 5],
           case when i % 100 = 0 then 'verified' else 'closed' end,
           case when i <= {REFERRED} then 'referred' end,
           timestamptz '2024-01-01Z' + i * interval '12 seconds', now()
    from generate_series(1, {MANY}) i;
    insert into problem (region, id, area, category, status, reported_at, changed_at)
    select 'other', {id_of("problem")}, {_AREA}, 'theft', 'reported', timestamptz '2024-01-01Z', now()
    from generate_series(1, {REFERRED // 5}) i;
    vacuum analyze"""


def run(servers: Servers, _: int) -> list[Result]:
    """One pass."""
    hub = RunningRegion(servers.postgres_url, servers.nats_url, (HUB,), {})
    asyncio.run(hub.region.provision(hub.services))
    database = hub.region.database(HUB)
    upgrade(HUB, database.owner_url, database.role, BEFORE)
    asyncio.run(_filled(database.owner_url))
    began = time.monotonic()
    upgrade(HUB, database.owner_url, database.role)
    took = time.monotonic() - began
    try:
        hub.start(HUB, "api")
        hub.ready(HUB)
        return [_counted(hub.region.url(HUB), took)]
    finally:
        hub.stop_all()


async def _filled(owner_url: str) -> None:
    owner = await asyncpg.connect(owner_url)
    for statement in _FILL.split(";"):  # vacuum stands alone
        await owner.execute(statement)
    await owner.close()


def _counted(url: str, took: float) -> Result:
    medians = {}
    for asked in QUESTIONS:
        path = f"/v1/counts?{asked}"
        wrk_get(url, SECONDS / 4, [path], 1)
        load = wrk_get(url, SECONDS, [path], 1)
        if load.failed:
            raise RuntimeError(f"{load.failed} of {path} failed")
        medians[asked] = load.p50
    slowest = max(medians, key=lambda asked: medians[asked])
    result = Result(
        f"the hub's counts of {MANY:,} problems, {len(medians)} questions",
        Figures("Rembuk, median of each", "ms", [*medians.values()]),
        notes=[f"slowest: {slowest}", f"upgrade to this release, counting included: {took:.0f} s"],
        runs=1,
    )
    result.under(WITHIN_MS, medians["by=region"], "by region, ms,")
    result.under(WITHIN_MS, medians[slowest], "the slowest, ms,")
    return result
