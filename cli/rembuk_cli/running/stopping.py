"""Stopping a region or the hub."""

from __future__ import annotations

import time

import psutil  # type: ignore[import-untyped]
from rembuk.process.state_file import Damaged

from rembuk_cli.home.directory import Home
from rembuk_cli.running.leftovers import end_leftovers
from rembuk_cli.terminal.options import cannot_run
from rembuk_cli.terminal.writing import err, escape, many, out

STOP_S = 150.0
"""Longer than the services' grace and the servers' own patience together."""


def stop(home: Home) -> None:
    """Stop whatever runs there and wait until it is gone."""
    started = time.monotonic()
    try:
        running = home.running()
        name, supervisor = (running.region, running.supervisor.find()) if running else ("", None)
    except Damaged as error:
        err.print(escape(str(error)))
        name, supervisor = "what ran", home.lock.holder()
    with err.status("stopping"):
        if not name:
            left = end_leftovers(home)
        elif supervisor is not None:
            supervisor.terminate()
            try:
                supervisor.wait(STOP_S)
            except psutil.TimeoutExpired:
                cannot_run(f"pid {supervisor.pid} did not stop within {STOP_S:.0f} s; see {home.logs}")
    if name:
        out.print(f"{name} stopped in {time.monotonic() - started:.1f} s")
    elif left:
        out.print(f"ended {many(left, 'process', 'es')} that a killed supervisor had left in {home.data}")
    else:
        out.print(f"nothing runs in {home.data}")
