"""What processes cost: memory shared out fairly (PSS) and processor time."""

from __future__ import annotations

from collections.abc import Iterable

import psutil


def with_children(pids: Iterable[int]) -> list[psutil.Process]:
    """The processes and everything they started."""
    found = [psutil.Process(pid) for pid in pids]
    return found + [child for process in found for child in process.children(recursive=True)]


def megabytes(processes: Iterable[psutil.Process]) -> float:
    """Their memory in MB (10^6 bytes), pages that several share counted once between them."""
    return sum(process.memory_full_info().pss for process in processes if process.is_running()) / 1e6


def processor_seconds(processes: Iterable[psutil.Process]) -> float:
    """User and system time they have used so far."""
    return sum(sum(process.cpu_times()[:2]) for process in processes if process.is_running())
