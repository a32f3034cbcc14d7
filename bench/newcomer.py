"""`make demo` on a bare copy of the checkout, packages in the installer's cache: seconds until the region answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rembuk.embedded.region import PORT_OFFSETS
from rembuk.postgres.provisioning import SERVICES
from rembuk.testing.ports import free_ports

from bench.running import wait_until_answers
from bench.work import Figures, Result, Servers, sized

ROOT = Path(__file__).parents[1]
GOAL_S = 60


def run(_: Servers, runs: int) -> list[Result]:
    answering = Figures("until every service answers", "s")
    for _ in range(runs):
        folder = Path(tempfile.mkdtemp(prefix="rembuk-newcomer-"))
        base = free_ports(10)
        environment = {**os.environ, "REMBUK_PORT_BASE": str(base)}
        try:
            _copy(folder)
            if sized(False, tiny=True):  # so is the setting up
                (folder / ".venv").symlink_to(Path(sys.prefix))
            started = time.monotonic()
            demo = subprocess.Popen(["make", "demo"], cwd=folder, env=environment, stdout=subprocess.DEVNULL)
            for service in SERVICES:
                wait_until_answers(f"http://127.0.0.1:{base + PORT_OFFSETS[service]}/health/ready", 600, demo)
            answering.runs.append(time.monotonic() - started)
            if sized(False, tiny=True):  # its story is README's test
                demo.terminate()
                demo.wait()
            elif demo.wait():
                raise RuntimeError("make demo failed: the figure would not count")
        finally:
            subprocess.run(["make", "stop"], cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=False)
            shutil.rmtree(folder, ignore_errors=True)
    result = Result("make demo from a bare checkout, warm package cache", answering)
    result.under(GOAL_S, answering.median, "s")
    return [result]


def _copy(folder: Path) -> None:
    """What git tracks, as it stands."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
