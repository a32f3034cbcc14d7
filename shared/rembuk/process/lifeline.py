"""Children that end with the process that started them, even when it is killed."""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def end_with_us(how: signal.Signals | None) -> Callable[[], None] | None:
    """What a child calls before it becomes its program (`preexec_fn`), to get the signal when the thread that
    started it ends. None, hence no such promise, where none is asked for and where the system has no way (Linux has).
    """
    if how is None or sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, how.value)
