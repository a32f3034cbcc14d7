"""How many connections a server holds, and for how long it waits for what a client has begun: enough for everybody."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Protocol

LOOK_S = 1.0
"""How often it is looked who keeps the server waiting."""
SETTLED_S = 1.0
"""How long a connection is left alone before it may have to make room."""


class Waiting(Protocol):
    """A connection, as it is seen from here."""

    def standing(self) -> Any:
        """Something else than before once the client has done anything."""

    def patience(self) -> float | None:
        """For how long the client may do nothing, seconds; None while the server works."""

    def end(self) -> None:
        """Part with a client that does nothing; it is told why, and may take a moment to read that."""

    def abort(self) -> None:
        """Part with it at once."""


class Room:
    """The connections of one server: at most `most`, of which one address holds half. Who comes when there is no
    room left takes the place of whoever says nothing for longest. An eighth more may be about to leave."""

    def __init__(self, most: int) -> None:
        self._most, self._most_of_one, self._most_leaving = most, max(1, most // 2), max(1, most // 8)
        self._held: dict[Waiting, str] = {}
        self._of_one: Counter[str] = Counter()
        self._since: dict[Waiting, tuple[Any, float]] = {}
        self._leaving: set[Waiting] = set()
        self._made_at = 0.0
        self._looking = False

    def enter(self, connection: Waiting, address: str, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether there is room for it; if so, it leaves once it is lost."""
        if not self._looking:
            self._looking = True
            loop.call_later(LOOK_S, self._look, loop)
        if self._is_full(address):
            self._make(address, loop.time())
            if self._is_full(address):
                return False
        self._held[connection] = address
        self._of_one[address] += 1
        return True

    def sees_off(self, connection: Waiting) -> bool:
        """Whether one that has no room can be told so, and is ended if it does not go."""
        if len(self._leaving) >= self._most_leaving:
            return False
        self._leaving.add(connection)
        return True

    def leave(self, connection: Waiting) -> None:
        self._leaving.discard(connection)
        self._since.pop(connection, None)
        address = self._held.pop(connection, None)
        if address is not None:
            self._of_one[address] -= 1
            if not self._of_one[address]:
                del self._of_one[address]

    def _is_full(self, address: str) -> bool:
        return len(self._held) >= self._most or self._of_one[address] >= self._most_of_one

    def _make(self, address: str, now: float) -> None:
        """End an eighth of those who might, and say nothing for longest: of all, or of the address that is full. Looked
        for seldom, for it takes a while where many knock."""
        if now - self._made_at < LOOK_S / 4:
            return
        self._made_at = now
        everybody = len(self._held) >= self._most
        idle = sorted(
            (since, index, one)
            for index, (one, (standing, since)) in enumerate(self._since.items())
            if now - since >= SETTLED_S
            and (everybody or self._held.get(one) == address)
            and one.patience() is not None
            and one.standing() == standing
        )
        for _, _, one in idle[: self._most_leaving]:
            self.leave(one)
            one.end() if self.sees_off(one) else one.abort()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """End what takes too long, and look again later, for as long as there is anybody."""
        now = loop.time()
        for one in [*self._held, *self._leaving]:
            standing = one.standing()
            before, since = self._since.get(one, (None, now))
            if before != standing:
                self._since[one] = standing, now
            elif (patience := one.patience()) is not None and now - since >= patience:
                one.end()
        self._looking = bool(self._held or self._leaving)
        if self._looking:
            loop.call_later(LOOK_S, self._look, loop)
