"""The end of a log, read once for all who follow it: what a commit adds costs one page, however many are told."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

import asyncpg
import structlog

from rembuk.log.event_log import PAGE
from rembuk.log.standing import last_position
from rembuk.partners.partners import Scope
from rembuk.postgres.database import AGAIN_S, UNREACHABLE, KeptConnection
from rembuk.process.cancelling import cancel
from rembuk.process.vital import vital

BATCH = 200
"""Events of one page: none is so long that requests wait for it noticeably."""
KEPT, KEPT_BYTES = 2_000, 8 * 1024 * 1024
"""The last events, at most so many and of so many bytes, that are at hand; whoever is further behind reads pages."""
PACE_S = 0.1
"""How long a page that is not full is followed by no other: under load events gather, a lone one waits for nobody."""
CHECK_S = 5.0
"""How often the log is looked at without word from it."""
REMEMBERED = 100
"""So many answers, of at most `CHUNK_BYTES` each, are kept for others who ask the same before the log grows."""
CHUNK_BYTES = 64 * 1024
"""Where an answer is cut: what a reader holds who is slow to take it."""

_log = structlog.get_logger(__name__)


class _Kept(NamedTuple):
    type: str
    area: str
    told: bytes


class TailPage(NamedTuple):
    """What follows a position, as it is told, and the position up to which that is everything."""

    data: bytes
    position: int


class LogTail:
    """The last events of a service's log, each as `tell` words it. It reads while somebody follows; `run` is a task."""

    def __init__(self, url: str, name: str, service: str, tell: Callable[[Any], bytes]) -> None:
        self._service, self._tell = service, tell
        self._connection = KeptConnection(url, f"{name} tail", self._listen)
        self._news, self._wanted, self.grown = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._followers = 0
        self._position: int | None = None
        self._kept: deque[_Kept] = deque()
        self._bytes = 0
        self._answers: dict[tuple[Scope, int], TailPage] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = vital(self._run(), "log tail")

    async def stop(self) -> None:
        if self._task is not None:
            await cancel([self._task])

    @contextmanager
    def followed(self) -> Iterator[None]:
        self._followers += 1
        self._wanted.set()
        try:
            yield
        finally:
            self._followers -= 1
            if not self._followers:
                self._wanted.clear()
                self._news.set()

    def after(self, position: int, scope: Scope) -> TailPage | None:
        """What `scope` sees after a position; None where that is no longer, or not yet, at hand. Whoever has
        everything waits for `grown`, taken before asking."""
        if self._position is None or position < self._position - len(self._kept):
            return None
        if position >= self._position:
            return TailPage(b"", position)
        key = (scope, position)
        if key not in self._answers:
            if len(self._answers) >= REMEMBERED:
                self._answers.clear()
            self._answers[key] = self._seen(position, scope)
        return self._answers[key]

    def _seen(self, position: int, scope: Scope) -> TailPage:
        assert self._position is not None
        parts: list[bytes] = []
        size = 0
        first = len(self._kept) - (self._position - position)
        for one in islice(self._kept, first, None):
            if scope.sees(self._service, one.type, one.area):
                if parts and size + len(one.told) > CHUNK_BYTES:
                    break
                parts.append(one.told)
                size += len(one.told)
            position += 1
        return TailPage(b"".join(parts), position)

    async def _run(self) -> None:
        try:
            while True:
                await self._wanted.wait()
                try:
                    await self._read(await self._connection.get())
                except UNREACHABLE as error:
                    _log.warning("tail waits for the log", error=repr(error))
                    self._connection.drop()
                    await asyncio.sleep(AGAIN_S)
        finally:
            self._connection.drop()

    async def _listen(self, connection: asyncpg.Connection[Any]) -> None:
        await connection.add_listener("event_log", lambda *_: self._news.set())
        connection.add_termination_listener(lambda *_: self._news.set())

    async def _read(self, connection: asyncpg.Connection[Any]) -> None:
        """Keep what comes, from the end of the log on, until nobody follows."""
        if self._position is None:
            self._position = await last_position(connection)
        while self._followers:
            self._news.clear()
            if rows := await connection.fetch(PAGE, self._position, BATCH):
                self._keep(rows)
                await asyncio.sleep(PACE_S if len(rows) < BATCH else 0)
                continue
            try:
                async with asyncio.timeout(CHECK_S):
                    await self._news.wait()
            except TimeoutError:
                pass
        self._connection.drop()
        self._position, self._bytes = None, 0
        self._kept.clear()
        self._answers.clear()

    def _keep(self, rows: list[asyncpg.Record]) -> None:
        for row in rows:
            kept = _Kept(row["type"], row["area"], self._tell(row))
            self._kept.append(kept)
            self._bytes += len(kept.told)
        while len(self._kept) > KEPT or (self._bytes > KEPT_BYTES and len(self._kept) > 1):
            self._bytes -= len(self._kept.popleft().told)
        self._position = rows[-1]["position"]
        self._answers.clear()
        grown, self.grown = self.grown, asyncio.Event()
        grown.set()
