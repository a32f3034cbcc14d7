"""The processes of a region as the system knows them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec
import psutil  # type: ignore[import-untyped]

from rembuk_cli.home.running import Running
from rembuk_cli.terminal.options import suggested


class ProcessStanding(msgspec.Struct, frozen=True):
    """A process of ours with its children; `memory_mb` is its share of memory (PSS), where the system tells."""

    name: str
    pid: int
    restarts: int
    memory_mb: float | None


def running_processes(running: Running) -> list[ProcessStanding]:
    everything = {"supervisor": running.supervisor, **running.processes}
    return [
        ProcessStanding(name, process.pid, process.restarts, _memory(process.pid, children=name == "postgres"))
        for name, process in everything.items()
        if process.find() is not None
    ]


def missing_processes(running: Running) -> list[str]:
    """What is wrong of them, in words: whether one does not run, or was halted by a signal."""
    return [
        f"{name} does not run; it is being started again, see: {suggested(f'logs --service {name}')}"
        for name, process in running.processes.items()
        if process.find() is None
    ] + [
        f"{name} was halted by a signal and does nothing until: kill -CONT {process.pid}"
        for name, process in {"supervisor": running.supervisor, **running.processes}.items()
        if (found := process.find()) is not None and _halted(found)
    ]


def _halted(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return bool(process.status() == psutil.STATUS_STOPPED)
    return False


def _memory(pid: int, children: bool) -> float | None:
    """Of a process, or with its children: the supervisor's are told one by one, and those of PostgreSQL have none."""
    with suppress(psutil.Error, AttributeError):
        process = psutil.Process(pid)
        family = [process, *(_children(process) if children else ())]
        bytes_: int = sum(one.memory_full_info().pss for one in family)
        return round(bytes_ / 1e6, 1)
    return None


def _children(process: psutil.Process) -> list[psutil.Process]:
    """By Linux's own list, where it keeps one: psutil asks every process of the machine for its parent."""
    try:
        pids = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    except OSError:
        return list(process.children())
    return [psutil.Process(int(pid)) for pid in pids]
