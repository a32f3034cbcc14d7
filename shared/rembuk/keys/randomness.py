"""Random bytes for keys and nonces, had from the kernel by the page: each question to it is a system call, and a report
needs four."""

from __future__ import annotations

import os
from collections import deque

BLOCK = 32  # bytes
_PAGE = 128  # blocks

_blocks: deque[bytes] = deque()


def take(size: int) -> bytes:
    """At most a `BLOCK` of `os.urandom`, which nobody else gets: popping is atomic among threads, and what a process
    forked has is forgotten."""
    try:
        return _blocks.pop()[:size]
    except IndexError:
        page = os.urandom(_PAGE * BLOCK)
        _blocks.extend(page[at : at + BLOCK] for at in range(BLOCK, len(page), BLOCK))
        return page[:size]


os.register_at_fork(after_in_child=_blocks.clear)
