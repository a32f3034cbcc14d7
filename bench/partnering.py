"""What partners on a region's NATS cost it: reports accepted at the full rate by a whole region, without partners and
with many, each in an account of its own, who read what their scopes see as it comes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import msgspec
import nats
from rembuk.areas.lookup import areas
from rembuk.broker.stream_names import stream_name
from rembuk.embedded.region import PROCESSES
from rembuk.embedded.region_nats import RegionNats
from rembuk.embedded.server import HOST
from rembuk.partners.nats_accounts import new_credentials
from rembuk.partners.partners import Partner, Partners, Scope
from rembuk.postgres.provisioning import SERVICES
from rembuk.settings import PARTNERS
from rembuk.testing.ports import free_ports

from bench.partner_reading import Task
from bench.running import RunningRegion, level, relayed, wrk
from bench.work import Figures, Result, Servers, sized

MANY = sized(200, tiny=20)
SECONDS = sized(8.0, tiny=1.0)
WARM_UP_S = sized(2, tiny=1)
WITHIN_S = 120.0
PROVINCE = "35"
SOLVED = ("SolutionApplied", "ProblemClosed")


def run(servers: Servers, runs: int) -> list[Result]:
    """Each run has a region of its own; every other one begins with the partners."""
    alone, read = Figures("nobody reads", "requests/s"), Figures(f"{MANY} partners read", "requests/s")
    told, late = Figures("partners told of each report", ""), Figures("level after the load within", "s")
    for number in range(runs):
        with _region(servers) as region:
            _accepted(region, WARM_UP_S)
            for figures in (read, alone) if number % 2 else (alone, read):
                asyncio.run(level(region.region))
                with _partners(region, MANY if figures is read else 0) as reader:
                    figures.runs.append(_accepted(region, SECONDS))
                    if figures is read:
                        late.runs.append(asyncio.run(_level(region)))
                        told.runs.append(asyncio.run(_told(region, reader)))
    result = Result(f"accepting, {MANY} partners", read, [alone], notes=[f"{told.name} {told}", f"{late.name} {late}"])
    result.at_least(0.8, alone)
    return [result]


class PartneredRegion(RunningRegion):
    """A whole region whose nats-server has accounts, as that of `rembuk up`."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        super().__init__(servers, dict.fromkeys(SERVICES, PROCESSES))
        (password := folder / "password").write_text("bench-" * 4)
        self.partners = Partners(folder / "partners.json")
        self.server = RegionNats(folder / "nats", free_ports(), self.region.name, password, self.partners.path)
        extra = {PARTNERS: str(self.partners.path)}
        self.region = msgspec.structs.replace(self.region, nats_url=self.server.url, extra=extra)
        self.stream = stream_name(self.region.name, "reports")

    def start(self) -> None:
        self.server.start()
        super().start()

    def stop(self) -> None:
        super().stop()
        self.server.stop()

    def admit(self, scopes: list[Scope]) -> dict[str, str]:
        """Make partners of these scopes, known by now; the seed of each."""
        seeds = {}
        with self.partners.changing() as known:
            for scope in scopes:
                name = f"partner-{len(known)}"
                seeds[name], nkey = new_credentials()
                known.append(Partner(name, scope, "", datetime.now(UTC), nkey))
        self.server.reload()
        return seeds

    def revoke(self) -> None:
        """Nobody is a partner any more."""
        now = datetime.now(UTC)
        with self.partners.changing() as known:
            known[:] = [msgspec.structs.replace(one, revoked_at=now) for one in known]
        self.server.reload()


@contextmanager
def _region(servers: Servers) -> Iterator[PartneredRegion]:
    with tempfile.TemporaryDirectory(prefix="rembuk-bench-") as folder:
        region = PartneredRegion(servers, Path(folder))
        try:
            region.start()
            yield region
        finally:
            region.stop()


def _scopes(many: int) -> list[Scope]:
    """As partners might have them: of twenty one reads of the whole province, mostly what was solved; the others read
    of a regency everything, what is reported or what was solved, or everything of a district."""
    regencies = [one.code for one in areas().children(PROVINCE)]
    scopes = []
    for number in range(many):
        area = regencies[number % len(regencies)]
        types = ((), ("ProblemReported",), SOLVED, (), ())[number % 5]
        if number % 20 == 0:
            area, types = PROVINCE, () if number % 100 == 0 else SOLVED
        elif number % 5 > 2:
            area = areas().children(area)[0].code
        scopes.append(Scope(("reports",), types, (area,)))
    return scopes


def _villages() -> list[str]:
    """One of each district of the province, from which reports come."""
    districts = (one for regency in areas().children(PROVINCE) for one in areas().children(regency.code))
    return [areas().villages(district.code)[0].code for district in districts]


def _accepted(region: PartneredRegion, seconds: float) -> float:
    """Reports a second."""
    load = wrk(region.region.url("reports"), seconds, areas=_villages())
    assert not load.failed, f"{load.failed} requests failed: the figure would not count"
    return load.rate


@contextmanager
def _partners(region: PartneredRegion, many: int) -> Iterator[subprocess.Popen[bytes]]:
    """So many partners, who have read what there is; the process in which they are. They are none any more then."""
    task = Task(f"nats://{HOST}:{region.server.port}", region.stream, region.admit(_scopes(many)))
    program = [sys.executable, "-m", "bench.partner_reading"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdin is not None
        reader.stdin.write(msgspec.json.encode(task) + b"\n")
        reader.stdin.flush()
        try:
            asyncio.run(_level(region))
            yield reader
        finally:
            reader.kill()
    region.revoke()
    asyncio.run(_level(region))


async def _level(region: PartneredRegion) -> float:
    """Wait until there are the consumers of all partners and nobody else's, and each has acknowledged all that it is to
    have; after how many seconds that was so."""
    began = time.perf_counter()
    await relayed(region)
    wanted = {one.name for one in region.partners.active()}
    client = await nats.connect(region.server.url)
    while True:
        told = await client.jetstream().consumers_info(region.stream)
        partners = {one.name: one for one in told if one.name.startswith("partner-")}
        if partners.keys() == wanted and not any(one.num_pending or one.num_ack_pending for one in partners.values()):
            break
        assert time.perf_counter() - began < WITHIN_S, "the partners do not catch up"
        await asyncio.sleep(0.1)
    await client.close()
    return time.perf_counter() - began


async def _told(region: PartneredRegion, reader: subprocess.Popen[bytes]) -> float:
    """How many partners were told of an event, on average; each of all that its scope sees, which is asserted."""
    log = await asyncpg.connect(region.region.database("reports").service_url)
    events = await log.fetch("select position, type, area from log.event order by position")
    await log.close()
    got: dict[str, list[int]] = msgspec.json.decode(reader.communicate()[0])
    for partner in region.partners.active():
        seen = [one["position"] for one in events if partner.scope.sees("reports", one["type"], one["area"])]
        assert sorted(set(got[partner.name])) == seen, f"{partner.name} ({partner.scope}) has not got what it should"
    return sum(map(len, got.values())) / len(events)
