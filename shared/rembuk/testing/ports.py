"""Ports for the servers of tests and benches, which bind them seconds after they were chosen."""

import os
import random
from itertools import count

from rembuk.embedded.server import is_free

_FIRST, _BEYOND = map(int, os.environ.get("REMBUK_TEST_PORTS", "20000-32000").split("-"))
"""Below the range from which systems number outgoing connections. What goes on beside tests is given other ports."""


def free_ports(number: int = 1) -> int:
    """The first of `number` ports in a row that nothing listens on.

    No port is handed out again before all others have been, and each worker of pytest-xdist has its own share of them:
    of two regions that start at the same time, neither takes what the other was promised."""
    while True:
        row = [_MINE[next(_next) % len(_MINE)] for _ in range(number)]
        if row[-1] - row[0] == number - 1 and all(map(is_free, row)):
            return row[0]


def _share() -> range:
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    size = (_BEYOND - _FIRST) // workers
    return range(_FIRST + worker * size, _FIRST + (worker + 1) * size)


_MINE = _share()
_next = count(random.randrange(len(_MINE)))
