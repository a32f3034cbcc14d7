"""An idle region: processor time and memory of everything it runs, servers and supervisor included."""

from __future__ import annotations

import json
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


def run(_: Servers, runs: int) -> list[Result]:
    share, memory = Figures("processor", "% of one core"), Figures("memory", "MB PSS")
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
        finally:
            subprocess.run([*rembuk, "down", *where], check=True, stdout=subprocess.DEVNULL)
    result = Result("idle region", share, notes=[f"{memory.name}: {memory}, {len(processes)} processes"])
    result.under(10, share.median, "% of one core")
    result.under(700, memory.median, "MB PSS")
    return [result]
