"""How seldom a process looks for garbage."""

from __future__ import annotations

import gc


def look_seldom() -> None:
    """What is imported stays: looking through it again and again is a tenth of a command's time."""
    gc.set_threshold(50_000, 50, 50)
