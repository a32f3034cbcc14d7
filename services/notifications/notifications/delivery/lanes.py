"""What is on its way of each kind of message: so many begin at a time, and those that hang count apart.

A receiver that hangs costs us a socket and nothing else. So a message that has been on its way for a moment leaves its
place to the next one, where its channel bounds by itself how much goes to one receiver.
"""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

YOUNG_S = 0.5
"""After so long a message lingers: most are answered by then."""


class Lane:
    """So many messages have a place, and `lingering` more may be on their way for longer than `YOUNG_S`."""

    def __init__(self, places: int, lingering: int = 0) -> None:
        self._places, self._lingering = places, lingering
        self.tasks: dict[UUID, asyncio.Task[None]] = {}
        self._began: dict[UUID, float] = {}
        self.empty = False  # of what is due, as far as is known

    def begin(self, delivery_id: UUID, task: asyncio.Task[None]) -> None:
        self.tasks[delivery_id], self._began[delivery_id] = task, time.monotonic()

    def clear(self) -> None:
        """Forget what has come to its end."""
        for delivery_id in [delivery_id for delivery_id, task in self.tasks.items() if task.done()]:
            del self._began[delivery_id]
            self.tasks.pop(delivery_id).result()

    def room(self) -> int:
        """How many may begin."""
        old = min(self._old(), self._lingering)
        return self._places - len(self.tasks) + old

    def more_room_in(self) -> float | None:
        """The seconds after which there is more room though nothing ends; None where nothing waits for it."""
        if self.empty or self._old() >= self._lingering:
            return None
        now = time.monotonic()
        return min((left for began in self._began.values() if (left := began + YOUNG_S - now) > 0), default=None)

    def _old(self) -> int:
        now = time.monotonic()
        return sum(began + YOUNG_S <= now for began in self._began.values())


def lanes() -> dict[str, Lane]:
    """By channel and kind. A code never waits behind alerts, nor a mail behind webhooks, all mails go to one server."""
    return {
        "email alert": Lane(20),
        "email code": Lane(5),
        "webhook alert": Lane(40, lingering=400),
        "webhook code": Lane(20, lingering=400),
    }
