"""A process as it is noted in a file and found again later, also after the clock was set."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil  # type: ignore[import-untyped]

_SAME_PROCESS_S = 2.0


class Process(msgspec.Struct, frozen=True):
    """A process as it can be found again: its number, and when it was made, since numbers are used again. That is told
    in seconds since the system's `boot`, which stay the same when the clock is set; in those of the clock without."""

    pid: int
    created: float
    restarts: int = 0
    boot: str = ""

    @classmethod
    def of(cls, pid: int | None, restarts: int = 0) -> Process:
        """The process with this number now; one that is never found for None."""
        boot, created = "", 0.0
        with suppress(psutil.Error, OSError):
            here = _boot()
            boot, created = here, _created(pid or 0, bool(here))
        return cls(pid or 0, created, restarts, boot)

    def find(self) -> psutil.Process | None:
        """The running process; None when it has ended."""
        with suppress(psutil.Error, OSError):
            process = psutil.Process(self.pid)
            same = abs(_created(self.pid, bool(self.boot)) - self.created) < _SAME_PROCESS_S
            same = same and self.boot in ("", _boot())
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        return None


def _boot() -> str:
    """What tells this run of the system from all others; "" where it does not say (not Linux)."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _created(pid: int, since_boot: bool) -> float:
    """When a process was made. Raises OSError or psutil.Error where there is none."""
    if not since_boot:
        return float(psutil.Process(pid).create_time())
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]  # proc(5): starttime
    return int(ticks) / os.sysconf("SC_CLK_TCK")
