"""Errands of a service: what is true of each, whatever it does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rembuk.embedded.region import RegionConfig
from rembuk.main import ERRAND_NICENESS
from rembuk.testing.services import RunningRegion
from rembuk_cli.region.services import told_by
from rembuk_cli.terminal.unable import Unable


@pytest.fixture(scope="module")
def reports(postgres_url: str, nats_url: str) -> RunningRegion:
    running = RunningRegion(postgres_url, nats_url, ("reports",), {})
    running.prepare()
    return running


def test_an_errand_leaves_the_processor_to_whoever_serves_people(reports: RunningRegion) -> None:
    running = reports.region.spawn("reports", "rebuild", subprocess.PIPE, arguments=["compare"])
    assert running.stdout is not None
    said = running.stdout.read()
    niceness = os.getpriority(os.PRIO_PROCESS, running.pid)  # it has ended, but nobody has asked how
    assert (running.wait(), niceness) == (0, ERRAND_NICENESS), said


def test_no_code_is_run_that_lies_where_an_errand_is_begun(
    reports: RunningRegion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("http", "json", "asyncpg", "reports"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('somebody else')")
    monkeypatch.chdir(tmp_path)
    running = reports.region.spawn("reports", "reconcile", subprocess.PIPE, arguments=["sound"])
    said, _ = running.communicate()
    assert (running.returncode, said.strip().isdigit()) == (0, True), said


def test_of_an_errand_that_was_killed_it_is_said(reports: RunningRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    def spawn(*arguments: Any, **more: Any) -> subprocess.Popen[bytes]:
        running = spawned(*arguments, **more)
        running.kill()
        return running

    spawned = RegionConfig.spawn
    monkeypatch.setattr(RegionConfig, "spawn", spawn)
    with pytest.raises(Unable, match="reports could not rebuild: SIGKILL has ended it"):
        list(told_by(reports.region, "reports", "rebuild", "compare"))


def test_whoever_verifies_waits_for_nothing_that_serves_or_works(reports: RunningRegion) -> None:
    said = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "reports", "verify"],
        env=reports.region.environment("reports"), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert '"kind"' in said.stdout
    imported = {line.rpartition("|")[2].strip() for line in said.stderr.splitlines() if line.startswith("import time:")}
    assert "rembuk.operations.verifying" in imported
    assert imported & {"faststream", "litestar", "reports.app", "reports.worker", "sqlalchemy"} == set()


@pytest.mark.parametrize(
    ("errand", "usage"),
    [
        (["rebuild", "everything"], "rebuild swap | compare | discard | as-of WHEN"),
        (["export", "parquet"], "export FORMAT DIRECTORY AREA SINCE UNTIL"),
        (["erase"], "erase ID request | retention | other"),
        (["dance"], "api | worker | migrate"),
    ],
)
def test_an_errand_told_wrongly_says_how_it_is_told(reports: RunningRegion, errand: list[str], usage: str) -> None:
    done = reports.run("reports", *errand)
    assert done.returncode == 2
    assert usage in done.stderr
    assert "Traceback" not in done.stderr
