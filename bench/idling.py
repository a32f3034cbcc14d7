"""An idle region: processor time and memory of everything it runs, servers and supervisor included; processor time of
the commands that ask about it."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rembuk.testing.ports import free_ports

from bench.processes import megabytes, processor_seconds, with_children
from bench.work import Figures, Result, Servers, sized

SETTLE_S = sized(10, tiny=1)
WATCH_S = sized(20, tiny=1)
ASKED = sized(10, tiny=1)
HELP_S, STATUS_S = 0.15, 0.35


def run(_: Servers, runs: int) -> list[Result]:
    share, memory = Figures("processor", "% of one core"), Figures("memory", "MB PSS")
    python, told, standing = (
        Figures("python -c pass", "s"),
        Figures("rembuk --help", "s"),
        Figures("rembuk status", "s"),
    )
    with tempfile.TemporaryDirectory(prefix="rembuk-idle-") as directory:
        rembuk = [str(Path(sys.executable).with_name("rembuk"))]
        where = ["--data", f"{directory}/region"]
        subprocess.run([*rembuk, "up", "--detach", *where, "--port-base", str(free_ports(10))], check=True)
        try:
            described = json.loads(Path(directory, "region", "region.json").read_text())
            processes = with_children([described["supervisor"]["pid"]])
            time.sleep(SETTLE_S)
            for _ in range(runs):
                before = processor_seconds(processes)
                time.sleep(WATCH_S)
                share.runs.append((processor_seconds(processes) - before) / WATCH_S * 100)
                memory.runs.append(megabytes(processes))
            for _ in range(ASKED):
                python.runs.append(_processor_s([sys.executable, "-c", "pass"]))
                told.runs.append(_processor_s([*rembuk, "--help"]))
                standing.runs.append(_processor_s([*rembuk, "status", *where]))
        finally:
            subprocess.run([*rembuk, "down", *where], check=True, stdout=subprocess.DEVNULL)
    result = Result("idle region", share, notes=[f"{memory.name}: {memory}, {len(processes)} processes"])
    result.under(10, share.median, "% of one core")
    result.under(700, memory.median, "MB PSS")
    return [result, _asked(told, python, HELP_S), _asked(standing, python, STATUS_S)]


def _processor_s(command: list[str]) -> float:
    """Of a command and all that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _asked(command: Figures, python: Figures, most: float) -> Result:
    times = command.median / python.median
    result = Result(
        f"{command.name}, processor time", command, notes=[f"{times:.1f} x `{python.name}` in turn: {python}"]
    )
    result.under(most, command.median, "s")
    return result
