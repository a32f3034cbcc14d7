"""The demo's second pair of eyes: sees every event on NATS as another system does, and every message that arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar
from uuid import UUID

from rembuk.embedded.region import RegionConfig

from rembuk_cli.demo.sink import Hook, Mail
from rembuk_cli.region.event_lines import show
from rembuk_cli.region.log_reading import EventFilter, RegionEvent, follow_streams
from rembuk_cli.terminal.writing import escape, out

T = TypeVar("T")
PATIENCE_S = 60.0


class NotSeen(Exception):
    """What had to come did not come in time; says what."""


class DemoWatch:
    """Prints what comes as it comes, and lets the story wait for it."""

    def __init__(self, region: RegionConfig, wanted: EventFilter) -> None:
        self._events: list[RegionEvent] = []
        self._messages: list[Mail | Hook] = []
        self._news = asyncio.Condition()
        self._source = follow_streams(region, wanted)
        self._task: asyncio.Task[None] | None = None
        self._telling: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._look())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def arrived(self, message: Mail | Hook) -> None:
        """A message came."""
        match message:
            case Mail():
                out.print(
                    f"         [yellow]e-mail[/]        to {escape(message.to)}: {escape(message.subject.strip())}"
                )
            case Hook():
                signed = "signature right" if message.signed else "[red]signature wrong[/]"
                about = message.data.get("headline") or "the code that confirms it"
                out.print(f"         [yellow]webhook[/]       {escape(message.type)}, {signed}: {escape(str(about))}")
        self._messages.append(message)
        self._telling.add(task := asyncio.create_task(self._tell()))
        task.add_done_callback(self._telling.discard)

    async def event(self, name: str, stream_id: UUID | str = "", service: str = "") -> RegionEvent:
        """The first event of this type (about this aggregate) that was or will be seen. Raises NotSeen."""

        def seen() -> RegionEvent | None:
            for told in self._events:
                right = type(told.recorded.event).__name__ == name and service in ("", told.service)
                if right and str(stream_id) in ("", str(told.recorded.stream_id)):
                    return told
            return None

        return await self._wait(seen, name)

    async def reached(self, service: str, position: int) -> None:
        """Wait until everything of the service up to a position was seen; only what is watched counts."""

        def seen() -> bool | None:
            return any(told.service == service and told.recorded.position >= position for told in self._events) or None

        await self._wait(seen, f"position {position} of {service}")

    async def message(self, what: str, right: Callable[[Mail | Hook], bool]) -> Mail | Hook:
        """The latest message that is right, once there is one. Raises NotSeen."""
        return await self._wait(lambda: next((one for one in reversed(self._messages) if right(one)), None), what)

    async def heard(self, times: int, of: str) -> None:
        """Wait until so many messages have come by each channel. Raises NotSeen."""

        def enough() -> bool | None:
            mails = sum(isinstance(one, Mail) for one in self._messages)
            return min(mails, len(self._messages) - mails) >= times or None

        await self._wait(enough, f"the messages about {of}")

    async def _look(self) -> None:
        async for told in self._source:
            show(told)
            self._events.append(told)
            await self._tell()

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def _wait(self, look: Callable[[], T | None], what: str) -> T:
        async def until() -> T:
            async with self._news:
                while (found := look()) is None:
                    await self._news.wait()
                return found

        try:
            return await asyncio.wait_for(until(), PATIENCE_S)
        except TimeoutError:
            if self._task is not None and self._task.done():
                self._task.result()
            raise NotSeen(f"{what} was not seen within {PATIENCE_S:.0f} s") from None
