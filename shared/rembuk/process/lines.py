"""A log's file, to which lines are written that never raise."""

from __future__ import annotations

import os
import threading
from contextlib import suppress


class Lines:
    """The file of a descriptor that takes a line or loses it, and never raises: a full disk, a reader that is gone or a
    closed descriptor must not end what was to be told of. A line that was cut stays a line of its own."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._cut = False
        self._turn = threading.Lock()

    def write(self, lines: str) -> int:
        left = lines.encode(errors="backslashreplace")
        with self._turn, suppress(OSError):
            if self._cut:
                left = b"\n" + left
            while left:
                written = os.write(self._descriptor, left)
                self._cut = not left[:written].endswith(b"\n")
                left = left[written:]
        return len(lines)

    def flush(self) -> None:
        """Nothing is held back."""
