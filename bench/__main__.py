"""`make bench`, or `python -m bench [MEASURE ...] [--runs N]`: run measures with their peers and write the results."""

from __future__ import annotations

import argparse
import importlib

from bench import report
from bench.work import Result, servers

MEASURES = (
    "accepting",
    "appending",
    "streaming",
    "seeing",
    "idling",
    "growing",
    "rebuilding",
    "federating",
    "partnering",
    "receipts",
    "newcomer",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=f"among {', '.join(MEASURES)}; all by default")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    chosen = arguments.measures or MEASURES
    if unknown := set(chosen) - set(MEASURES):
        parser.error(f"no measure {', '.join(sorted(unknown))}")
    results: list[Result] = []
    for name in chosen:
        print(f"measuring: {name}", flush=True)
        with servers() as both:
            results += importlib.import_module(f"bench.{name}").run(both, arguments.runs)
        print(report.write(results), flush=True)


if __name__ == "__main__":
    main()
