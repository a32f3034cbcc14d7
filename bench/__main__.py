"""`make bench`, or `python -m bench [MEASURE ...] [--runs N]`: run measures with their peers and write the results.
`make bench-tiny`, or `--tiny`: run each with little of everything, once, some at the same time; it fails when a measure
does, and its figures mean nothing."""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

from bench import report
from bench.work import TINY, Result, servers

MEASURES = (
    "accepting",
    "reading",
    "listing",
    "counting",
    "appending",
    "streaming",
    "seeing",
    "idling",
    "growing",
    "rebuilding",
    "federating",
    "joining",
    "partnering",
    "receipts",
    "newcomer",
)

TINY_S = 60
"""Of a processor, servers included: how long a tiny form takes depends on what goes on beside it."""
SIDE_BY_SIDE = 3
"""Measures at the same time in their tiny form: half of each is waiting for a server to start or to end."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=f"among {', '.join(MEASURES)}; all by default")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="see whether every measure still runs; write no results")
    arguments = parser.parse_args()
    chosen = arguments.measures or MEASURES
    if unknown := set(chosen) - set(MEASURES):
        parser.error(f"no measure {', '.join(sorted(unknown))}")
    if arguments.tiny:
        raise SystemExit(_tiny(chosen))
    results: list[Result] = []
    for name in chosen:
        print(f"measuring: {name}", flush=True)
        with servers() as both:
            results += importlib.import_module(f"bench.{name}").run(both, arguments.runs)
        print(report.write(results), flush=True)


def _tiny(chosen: Sequence[str]) -> str | None:
    """Run each measure in its tiny form, several at a time, each in a process of its own; which failed."""
    os.environ[TINY] = "1"
    if len(chosen) == 1:
        return _one_tiny(chosen[0])
    with ThreadPoolExecutor(SIDE_BY_SIDE) as lanes:
        ended = list(lanes.map(_by_itself, chosen, range(len(chosen)), repeat(len(chosen))))
    failed = [name for name, well in zip(chosen, ended, strict=True) if not well]
    return f"make bench-tiny: FAILED {', '.join(failed)}" if failed else None


def _by_itself(name: str, number: int, of: int) -> bool:
    """Whether its process, which has a share of the ports, ended well; what it said is told in one piece."""
    environment = os.environ | {"PYTEST_XDIST_WORKER": f"gw{number}", "PYTEST_XDIST_WORKER_COUNT": str(of)}
    said = subprocess.run(
        [sys.executable, "-m", "bench", "--tiny", name],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    print(said.stdout if said.returncode else said.stdout.splitlines()[-1], flush=True)
    return said.returncode == 0


def _one_tiny(name: str) -> str | None:
    began = time.monotonic()
    with servers() as both:
        results = importlib.import_module(f"bench.{name}").run(both, 1)
    used = sum(os.times()[:4])
    print(f"{name}: {time.monotonic() - began:.1f} s, {used:.1f} s of a processor", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report.write(results, Path(folder))
    return f"{name} used more than {TINY_S} s of a processor: what has no tiny form?" if used > TINY_S else None


if __name__ == "__main__":
    main()
