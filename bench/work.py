"""What every measure shares: the servers, the piece of work, and the figures of several runs."""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import asyncpg
from rembuk.contracts.reports import ProblemReported
from rembuk.embedded.nats_server import EmbeddedNats
from rembuk.embedded.postgres_server import EmbeddedPostgres
from rembuk.postgres import kernel_versions
from rembuk.testing.ports import free_ports

TINY = "REMBUK_BENCH_TINY"
"""Set by `python -m bench --tiny`: every measure goes through all it does, with little of everything."""

T = TypeVar("T")


def sized(full: T, *, tiny: T) -> T:
    """How much of something a measure has: `full` where its figure counts, `tiny` where it only has to end well."""
    return tiny if TINY in os.environ else full


DESCRIPTION = (
    "Motor hilang di depan rumah pada malam hari, sekitar jam dua. Gang gelap dan portal tidak dijaga. "
    "Warga sudah mencari di sekitar kampung tetapi tidak ketemu."
)
REPORT: dict[str, Any] = {
    "area": "35.78.08.1004",
    "category": "theft",
    "title": "Motor hilang di gang belakang pasar",
    "description": DESCRIPTION,
    "location": {"lat": -7.27, "lon": 112.75},
}
EVENT = ProblemReported(REPORT["area"], REPORT["category"], REPORT["title"], DESCRIPTION, "public")


@dataclass(frozen=True)
class Servers:
    """One PostgreSQL and one nats-server (sync_interval: always) for all measures of a run."""

    postgres_url: str
    nats_url: str
    pids: tuple[int, int]

    def database(self, kernel: bool = True) -> str:
        """The URL of a new database, with the kernel's tables or empty."""
        name = f"bench_{uuid4().hex[:12]}"

        async def create() -> str:
            admin = await asyncpg.connect(self.postgres_url)
            await admin.execute(f'create database "{name}"')
            await admin.close()
            url = f"{self.postgres_url.rpartition('/')[0]}/{name}"
            connection = await asyncpg.connect(url)
            if kernel:
                await connection.execute(kernel_versions.creating())
            await connection.close()
            return url

        return asyncio.run(create())


@contextmanager
def servers() -> Iterator[Servers]:
    """Start both in a new directory; gone afterwards."""
    data = Path(tempfile.mkdtemp(prefix="rembuk-bench-"))
    postgres, nats = EmbeddedPostgres(data / "postgres", free_ports()), EmbeddedNats(data / "nats", free_ports())
    try:
        postgres.start()
        nats.start()
        assert postgres.pid is not None
        assert nats.pid is not None
        yield Servers(postgres.url, nats.url, (postgres.pid, nats.pid))
    finally:
        nats.stop()
        postgres.stop()
        shutil.rmtree(data, ignore_errors=True)


@dataclass
class Figures:
    """What several runs gave, in `unit`."""

    name: str
    unit: str
    runs: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.runs)

    def __str__(self) -> str:
        low, high = min(self.runs), max(self.runs)
        return f"{_short(low)} / {_short(self.median)} / {_short(high)} {self.unit}"


def _commit() -> str:
    """The commit that is measured, with a + where the code differs from it."""
    git = ["git", "-C", str(Path(__file__).parents[1])]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--", ":!bench/results.*"], capture_output=True, check=False
    )
    return head.stdout.strip() + "+" * bool(changed.stdout)


@dataclass
class Result:
    """One line of the table: ours, the peers', the goals as (text, reached), and when how many runs were made of which
    commit."""

    measure: str
    ours: Figures
    peers: list[Figures] = field(default_factory=list)
    goals: list[tuple[str, bool]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    runs: int = 0
    day: str = field(default_factory=lambda: date.today().isoformat())
    commit: str = field(default_factory=_commit)

    def __post_init__(self) -> None:
        self.runs = self.runs or len(self.ours.runs)

    def at_least(self, times: float, peer: Figures) -> None:
        """Goal: our median is at least `times` that of a peer."""
        ratio = self.ours.median / peer.median
        self.goals.append((f"{ratio:.2f} x {peer.name} (goal {times:g})", ratio >= times))

    def over(self, least: float) -> None:
        reached = self.ours.median
        self.goals.append((f"median {_short(reached)} (goal at least {_short(least)})", reached >= least))

    def under(self, most: float, value: float, what: str) -> None:
        self.goals.append((f"{what} {_short(value)} (goal under {_short(most)})", value < most))


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
