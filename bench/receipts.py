"""A receipt verified offline: by the function, by the script that stands alone, and by the command with its start."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from rembuk.proof.cosignature import verifiers
from rembuk.proof.receipt import proven

from bench.running import region, wrk
from bench.work import REPORT, Figures, Result, Servers, sized

SCRIPT = Path(__file__).parents[1] / "docs/verify_receipt.py"
AT_ONCE = 100
"""Verifications of the function that are timed together."""


def run(servers: Servers, runs: int) -> list[Result]:
    with region(servers, {"reports": ("api", "worker")}) as running, tempfile.TemporaryDirectory() as folder:
        url = running.region.url("reports")
        wrk(url, sized(3, tiny=1))  # some thousand leaves
        problem = httpx.post(f"{url}/v1/problems", json=REPORT).raise_for_status().json()["id"]
        keys = httpx.get(f"{url}/v1/log/keys").raise_for_status().text
        receipt = _receipt(f"{url}/v1/problems/{problem}/receipt")
        file, trusted = Path(folder, "receipt"), Path(folder, "keys")
        file.write_text(receipt)
        trusted.write_text(keys)
        by_function, by_script, by_command = (Figures(name, "ms") for name in ("rembuk.receipt", SCRIPT.name, "rembuk"))
        script = [sys.executable, str(SCRIPT), str(file), *keys.split()]
        command = [sys.executable, "-m", "rembuk_cli", "receipt", "verify", str(file), "--key", str(trusted)]
        for _ in range(runs):
            by_function.runs.append(_ms(lambda: [proven(receipt, verifiers(keys)) for _ in range(AT_ONCE)]) / AT_ONCE)
            by_script.runs.append(_ms(lambda: subprocess.run(script, check=True, capture_output=True)))
            by_command.runs.append(_ms(lambda: subprocess.run(command, check=True, capture_output=True)))
    notes = [f"whole processes: docs/{SCRIPT.name} {by_script}", f"rembuk receipt verify {by_command}"]
    result = Result("a receipt verified offline", by_function, notes=notes)
    result.under(100, by_function.median, "ms")
    result.under(100, by_script.median, "ms, the script's whole process,")
    return [result]


def _receipt(url: str) -> str:
    """The receipt, once a tree head covers the report."""
    while (answer := httpx.get(url)).status_code == 409:
        time.sleep(0.2)
    return answer.raise_for_status().text


def _ms(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000
