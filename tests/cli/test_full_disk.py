"""A region whose disk is full for a while: what was accepted is kept, what is wrong is named, and with the space all is
level again by itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
import httpx
import pytest
from rembuk.embedded.postgres_server import EmbeddedPostgres
from rembuk.testing.asking import asked
from rembuk.testing.services import eventually
from rembuk.testing.small_disk import fill, small_disk
from rembuk_cli.home import disk as disks
from rembuk_cli.home.directory import Home
from rembuk_cli.home.noted_process import Process
from rembuk_cli.home.running import Running

if TYPE_CHECKING:
    from conftest import Command

PROBLEM = {"area": "35.78.08.1004", "category": "theft", "title": "Motor hilang", "description": "Di depan rumah."}
FULL_FOR_S = 30.0
LEVEL_WITHIN_S = 60.0


class Cramped:
    """A region on a disk of 400 MB, and somebody who reports there."""

    def __init__(self, rembuk: Command) -> None:
        self.rembuk, self.disk = rembuk, rembuk.data.parent
        self.url: str = rembuk.note()["urls"]["reports"]
        self.postgres = EmbeddedPostgres(rembuk.data / "postgres", rembuk.note()["ports"]["postgres"])
        self.accepted: list[str] = []

    def report(self) -> int:
        header = {"Idempotency-Key": str(uuid4())}
        answer = httpx.post(f"{self.url}/v1/problems", json=PROBLEM, headers=header, timeout=30)
        if answer.status_code == 201:
            self.accepted.append(answer.json()["id"])
        return answer.status_code

    def failed(self, why: str) -> float:
        """How many appends have, by what is told to Prometheus."""
        lines = httpx.get(f"{self.url}/metrics", timeout=30).text.splitlines()
        return next(
            float(line.split()[-1]) for line in lines if line.startswith(f'rembuk_appends_failed_total{{why="{why}"')
        )

    def postgres_falls(self) -> None:
        """It panics where it can begin no new file of its log."""
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            asked(self.postgres.url, "select pg_switch_wal()")
        assert self.postgres.pid is None

    def is_level(self) -> None:
        standing = self.rembuk.status()
        assert standing["wrong"] == []
        reports = standing["services"][0]
        assert reports["log"] == reports["stream"] == reports["checkpoint"]["size"] == len(self.accepted)
        assert {one["behind"] for service in standing["services"] for one in service["followers"]} == {0}


@pytest.fixture
def cramped(rembuk: Command, tmp_path: Path) -> Iterator[Cramped]:
    with small_disk(tmp_path / "disk", "400m") as disk:
        rembuk.data = disk / "region"
        done = rembuk.up()
        assert done.returncode == 0, done.stderr
        yield Cramped(rembuk)
        rembuk("down")


@pytest.mark.drills
@pytest.mark.timeout(300)
def test_a_full_disk_is_named_and_all_is_level_by_itself_once_there_is_space(cramped: Cramped) -> None:
    assert [cramped.report() for _ in range(5)] == [201] * 5
    supervisor = cramped.rembuk.note()["supervisor"]["pid"]
    fillers = [fill(cramped.disk)]
    until = time.monotonic() + FULL_FOR_S

    def refused() -> None:
        fillers.append(fill(cramped.disk, f"filler{len(fillers)}"))
        assert cramped.report() == 503

    eventually(refused)
    assert cramped.failed("full") > 0

    def named(*what: str) -> None:
        """Whatever room is left or comes to be is taken first."""
        fillers.append(fill(cramped.disk, f"filler{len(fillers)}"))
        said = cramped.rembuk("status")
        assert said.returncode == 1
        for words in ("DISK FULL: 0.0 MB are free", *what):
            assert words in said.stdout, said.stdout

    eventually(lambda: named("NATS stores nothing"))
    eventually(cramped.postgres_falls)
    os.kill(cramped.rembuk.note()["processes"]["nats"]["pid"], signal.SIGKILL)  # started again, it has no room at all
    while time.monotonic() < until:
        eventually(refused)
        eventually(named)
    eventually(lambda: named("postgres does not run"))

    for filler in fillers:
        filler.unlink()
    freed = time.monotonic()
    eventually(cramped.is_level, LEVEL_WITHIN_S)
    assert time.monotonic() - freed < LEVEL_WITHIN_S
    assert cramped.rembuk.note()["supervisor"]["pid"] == supervisor
    assert "some data is corrupted" in cramped.rembuk("logs", "--service", "postgres").stdout
    assert cramped.report() == 201
    eventually(cramped.is_level)
    for id in cramped.accepted:
        assert httpx.get(f"{cramped.url}/v1/problems/{id}").raise_for_status().json()["id"] == id
    assert cramped.rembuk("verify").returncode == 0


def test_a_disk_without_bytes_or_without_inodes_is_full(tmp_path: Path) -> None:
    with small_disk(tmp_path / "large", "64m") as disk:
        assert disks.lack(disk) is None
        filler = fill(disk)
        assert disks.lack(disk) == "0.0 MB are free"
        filler.unlink()
        assert disks.lack(disk) is None
    with small_disk(tmp_path / "few", "64m,nr_inodes=60") as disk:
        assert "new files fit (inodes)" in (disks.lack(disk) or "")
    assert disks.lack(tmp_path / "nowhere") is None


def test_a_disk_that_is_full_is_named_also_where_only_the_logs_are(tmp_path: Path) -> None:
    home = Home(tmp_path)
    running = Running("jatim", Process.of(None), True, {}, "", "", {})
    with small_disk(home.logs, "64m") as disk:
        assert disks.full(home, running) == []
        fill(disk)
        [said] = disks.full(home, running)
        assert said.startswith(f"DISK FULL: 0.0 MB are free where {home.logs} is.")
