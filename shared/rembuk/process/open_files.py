"""How many files and connections this process and its children may have open: as many as the system lets us."""

from __future__ import annotations

import resource


def open_files() -> int:
    """The limit, brought to where the hard one is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # macOS takes no unlimited number of files
            return soft
        soft = hard
    return soft if soft != resource.RLIM_INFINITY else 1 << 20
