"""The results as a table (results.md), as data (results.json) and as a chart (results.svg), in bench/."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.work import Figures, Result

HERE = Path(__file__).parent


def load() -> dict[str, Result]:
    """What earlier runs left, by measure."""
    path = HERE / "results.json"
    if not path.exists():
        return {}
    return {line["measure"]: _result(line) for line in json.loads(path.read_text())}


def _result(line: dict[str, Any]) -> Result:
    line = {"commit": "", **line}  # the oldest know none
    figures = {"ours": Figures(**line["ours"]), "peers": [Figures(**peer) for peer in line["peers"]]}
    return Result(**{**line, **figures})


def write(results: list[Result], into: Path = HERE) -> str:
    """Keep the results beside those of measures that were not run now; returns the table."""
    kept = {**load(), **{result.measure: result for result in results}}
    (into / "results.json").write_text(json.dumps([asdict(result) for result in kept.values()], indent=1) + "\n")
    table = _table(list(kept.values()))
    (into / "results.md").write_text(
        f"# Measured\n\n`make bench`, {platform.machine()}, {_cores()} cores, Python {platform.python_version()}; "
        f"min / median / max of the runs; fsync on everywhere.\n\n"
        f"{table}\n![ratios](results.svg)\n"
    )
    _chart(list(kept.values()), into / "results.svg")
    return table


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0))


def _table(results: list[Result]) -> str:
    lines = ["| measure | Rembuk | peers | against the goals |", "|---|---|---|---|"]
    for result in results:
        peers = "<br>".join(f"{peer.name}: {peer}" for peer in result.peers)
        goals = "<br>".join(f"{'✓' if reached else '✗'} {text}" for text, reached in result.goals)
        notes = "".join(f"<br>{note}" for note in result.notes)
        when = f"{result.runs} run{'s' * (result.runs > 1)}, {result.day}{f', {result.commit}' * bool(result.commit)}"
        lines.append(f"| {result.measure}<br>{when} | {result.ours.name}: {result.ours}{notes} | {peers} | {goals} |")
    return "\n".join(lines) + "\n"


def _chart(results: list[Result], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "rembuk"
    compared = [(result.measure, peer, result.ours) for result in results for peer in result.peers]
    figure, axes = plt.subplots(figsize=(9, 1 + 0.55 * len(compared)))
    labels = [f"{measure}\nvs {peer.name}" for measure, peer, _ in compared]
    ratios = [ours.median / peer.median for _, peer, ours in compared]
    bars = axes.barh(labels, ratios, color="#2a6f97")
    axes.bar_label(bars, [f"{ratio:.1f} x" for ratio in ratios], padding=4)
    axes.axvline(1, color="#888888", linewidth=1)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("Rembuk's median over the peer's, same servers, same run")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
