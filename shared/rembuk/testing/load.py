"""Requests under load as careful clients make them: each under a key of its own, repeated until it is acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from uuid import UUID, uuid4

import httpx

PAUSE_S = 0.05
"""How long a client waits before it asks again: far less than Retry-After says, so that a crash sees a crowd."""


@dataclass(frozen=True)
class Ask:
    """One POST that makes something new."""

    service: str
    path: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Acknowledged:
    """What a service said to a request: it is recorded under this id at this position; after so many attempts."""

    ask: Ask
    id: UUID
    position: int
    attempts: int


class Clients:
    """Some clients at once, each with one request under way, from the block's begin to its end.

    A request that gets no answer, or 503 with Retry-After, is made again with its key; any other answer than
    success fails the block. With `once` it is not repeated, which leaves open what became of it. Bounded: at most
    `at_most` requests, none repeated for longer than `patience` seconds.
    """

    def __init__(
        self,
        urls: Callable[[str], str],
        draw: Callable[[int], Ask],
        *,
        clients: int = 12,
        at_most: int = 4_000,
        patience: float = 45.0,
        once: bool = False,
    ) -> None:
        self._urls, self._draw = urls, draw
        self._clients, self._at_most, self._patience, self._once = clients, at_most, patience, once
        self._http = httpx.AsyncClient(timeout=30, limits=httpx.Limits(max_connections=None))
        self._begun = 0
        self._enough = False
        self._tasks: list[asyncio.Task[None]] = []
        self.acknowledged: dict[str, Acknowledged] = {}
        self.unanswered: dict[str, Ask] = {}
        self.answers: Counter[int] = Counter()
        self.broken: Counter[str] = Counter()

    async def __aenter__(self) -> Clients:
        self._tasks = [asyncio.create_task(self._one_after_another()) for _ in range(self._clients)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Ask nothing new; what is under way is brought to its end."""
        self._enough = True
        if error is not None:
            for task in self._tasks:
                task.cancel()
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.aclose()
        if error is None:
            for outcome in outcomes:
                if outcome is not None:
                    raise outcome

    async def more(self, acknowledged: int, within: float = 45.0) -> None:
        """Return when so many more requests were acknowledged, or when all there are to be were made."""
        goal = len(self.acknowledged) + acknowledged
        deadline = time.monotonic() + within
        while len(self.acknowledged) < goal and any(not task.done() for task in self._tasks):
            assert time.monotonic() < deadline, f"{len(self.acknowledged)} of {goal} acknowledged, {self.broken}"
            for task in self._tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.005)

    async def ask(self, ask: Ask, key: str = "") -> dict[str, Any]:
        """One request until it is acknowledged; what was answered. Raises AssertionError when patience ends."""
        key = key or str(uuid4())
        deadline = time.monotonic() + self._patience
        attempts = 0
        self.unanswered[key] = ask
        while True:
            attempts += 1
            try:
                answer = await self._http.post(
                    self._urls(ask.service) + ask.path, json=ask.body, headers={"Idempotency-Key": key}
                )
            except httpx.TransportError as error:
                self.broken[type(error).__name__] += 1
            else:
                self.answers[answer.status_code] += 1
                if answer.is_success:
                    said: dict[str, Any] = answer.json()
                    self.acknowledged[key] = Acknowledged(ask, UUID(said["id"]), said["position"], attempts)
                    del self.unanswered[key]
                    return said
                assert answer.status_code == 503, f"{ask} was answered {answer.status_code}: {answer.text}"
                assert int(answer.headers["Retry-After"]) > 0
            if self._once:
                return {}
            assert time.monotonic() < deadline, f"{ask} was not acknowledged in {attempts} attempts"
            await asyncio.sleep(PAUSE_S)

    async def _one_after_another(self) -> None:
        while not self._enough and self._begun < self._at_most:
            self._begun += 1
            await self.ask(self._draw(self._begun))
