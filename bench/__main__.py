"""`make bench`, or `python -m bench [MEASURE ...] [--runs N]`: run measures with their peers and write the results.
`make bench-tiny`, or `--tiny`: run each with little of everything, once; it fails when a measure does, and its figures
mean nothing."""

from __future__ import annotations

import argparse
import importlib
import os
import tempfile
import time
import traceback
from collections.abc import Sequence
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
"""How long a measure may take in its tiny form."""


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
    """Run each measure in its tiny form; which failed."""
    os.environ[TINY] = "1"
    failed, results = [], list[Result]()
    for name in chosen:
        began = time.monotonic()
        try:
            with servers() as both:
                results += importlib.import_module(f"bench.{name}").run(both, 1)
        except Exception:
            traceback.print_exc()
            failed.append(name)
        took = time.monotonic() - began
        if took > TINY_S:
            failed.append(f"{name} (took longer than {TINY_S} s: what has no tiny form?)")
        print(f"{name}: {took:.1f} s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report.write(results, Path(folder))
    return f"make bench-tiny: FAILED {', '.join(failed)}" if failed else None


if __name__ == "__main__":
    main()
