"""The log for partners as it grows: Server-Sent Events (WHATWG), from any position on, until the partner is revoked.

A stream is told what is past in pages, then what a commit adds as the process's one `LogTail` read it. Nothing is made
ready before the socket took what was before it, so a slow reader costs one chunk, and a reader that takes nothing
loses its connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any

import msgspec
import structlog
from litestar import Request, Response, get
from litestar.exceptions.http_exceptions import TooManyRequestsException
from litestar.params import HeaderParameter
from litestar.types import Guard, Receive, Send
from litestar.types import Scope as Connection

from rembuk.broker.cloud_events import published
from rembuk.log.event_log import EventLog
from rembuk.partners import scoped
from rembuk.partners.partners import Partner, Partners
from rembuk.partners.roster import BadRoster
from rembuk.partners.tailing import CHUNK_BYTES, LogTail, TailPage
from rembuk.postgres.database import AGAIN_S, Unavailable
from rembuk.process.cancelling import cancel
from rembuk.process.vital import vital
from rembuk.settings import Settings
from rembuk.web.events_feed import After, none_beyond
from rembuk.web.partner_access import REQUIRED
from rembuk.web.problem_details import documented
from rembuk.web.protocol import WIRE, Wire

MEDIA_TYPE = "text/event-stream"
PAGE = 100
"""Of events that are past: none is so long that requests wait for it noticeably."""
MOST_OF_A_PARTNER, MOST = 50, 1_000
"""Streams that a process keeps open at a time: for one partner, for all."""
BEHIND_AT_ONCE = 2
"""Streams that read pages of the past at a time; the others wait for their turn."""
HEARTBEAT_S = 15.0
STALLED_S = 30.0
"""How long a reader may take nothing at all."""
PART_S = 1.0
"""How long a reader that is parted with may take to hear so."""
WATCH_S = 1.0
"""How often it is looked whether a partner is still one."""

_RETRY_MS = 2_000
_BEGIN = b"retry: %d\n\n" % _RETRY_MS

_LINE_ENDS = {
    b"\r": b" ", b"\n": b" ", b"\xc2\x85": b"\\u0085", b"\xe2\x80\xa8": b"\\u2028", b"\xe2\x80\xa9": b"\\u2029",
}  # fmt: skip
"""What might end a line, and what means the same in JSON: CR and LF stand between its tokens alone; the others, which
end no line here but do so for clients that split text as Python does (httpx), within its strings."""

_encode = msgspec.json.Encoder().encode
_log = structlog.get_logger(__name__)


class Streams:
    """Every stream of a process; started and stopped with it."""

    def __init__(self, settings: Settings, log: EventLog, partners: Partners | None) -> None:
        self.log, self._partners = log, partners
        self._of = settings.region, settings.service
        self.tail = LogTail(settings.database_url, settings.name, settings.service, self.tell)
        self.behind = asyncio.Semaphore(BEHIND_AT_ONCE)
        self._open: dict[asyncio.Event, Partner] = {}
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.tail.start()
        self._watch = vital(self._keep_watch(), "partners' watch")

    async def stop(self) -> None:
        if self._watch is not None:
            await cancel([self._watch])
        await self.tail.stop()

    def tell(self, row: Any) -> bytes:
        """A row of log.event as a Server-Sent Event."""
        data = _encode(published(*self._of, row))
        for end, instead in _LINE_ENDS.items():
            data = data.replace(end, instead)
        return b"id: %d\nevent: %b\ndata: %b\n\n" % (row["position"], row["type"].encode(), data)

    @contextmanager
    def opened(self, partner: Partner) -> Iterator[asyncio.Event]:
        """A place, taken as it is found free; what is set when the stream is to end. Raises
        TooManyRequestsException, Unavailable."""
        if len(self._open) >= MOST:
            raise Unavailable("as many streams are open as may be")
        if sum(one.name == partner.name for one in self._open.values()) >= MOST_OF_A_PARTNER:
            why = f"{partner.name} has {MOST_OF_A_PARTNER} streams open; close one"
            raise TooManyRequestsException(why, headers={"Retry-After": "30"})
        over = asyncio.Event()
        self._open[over] = partner
        try:
            with self.tail.followed():
                yield over
        finally:
            del self._open[over]

    async def _keep_watch(self) -> None:
        """End the streams of whoever is no partner any more, or one with another scope."""
        while True:
            await asyncio.sleep(WATCH_S)
            if not self._open or self._partners is None:
                continue
            try:
                active = self._partners.active()
            except BadRoster as error:
                _log.critical("partners cannot be told apart: their streams end", why=str(error))
                active = []
            for over, partner in self._open.items():
                if partner not in active:
                    over.set()


class EventStreamResponse(Response[str]):
    """One reader's; it is an answer to Litestar, and writes to the wire itself."""

    def __init__(self, streams: Streams, partner: Partner, after: int, field: str) -> None:
        super().__init__("")
        self._streams, self._partner, self._position, self._field = streams, partner, after, field

    def to_asgi_response(self, app: Any, request: Any, **_: Any) -> Any:
        return self

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        wire: Wire | None = (scope.get("extensions") or {}).get(WIRE)  # type: ignore[assignment]
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        with self._streams.opened(self._partner) as over:
            with none_beyond(self._field):
                await self._require_reached()  # 503 is an answer, an empty stream would be none
            if wire is not None:
                wire.when_closing(over.set)
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            tasks = [
                asyncio.create_task(work, name=f"stream of {self._partner.name}")
                for work in (self._tell(send), _left(receive), over.wait())
            ]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await cancel(tasks)
        for task in done:
            if (error := task.exception()) is not None and not isinstance(error, TimeoutError):
                _log.error("stream fails", partner=self._partner.name, exc_info=error)
        try:
            async with asyncio.timeout(PART_S):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            if wire is not None:
                wire.abort()
                await _left(receive)

    async def _require_reached(self) -> None:
        head = await self._streams.log.head()
        if self._position > head:
            raise scoped.BeyondTheHead(self._position, head)

    async def _tell(self, send: Send) -> None:
        """What is past, then what comes; raises TimeoutError for a reader that takes nothing."""
        now = asyncio.get_running_loop().time
        await _sent(send, _BEGIN)
        due = now() + HEARTBEAT_S
        while True:
            grown = self._streams.tail.grown
            data, reached = await self._next()
            is_level, self._position = reached == self._position, reached
            if not data and now() >= due:  # an id without data is no event, and yet where its reader goes on from
                data = b":\nid: %d\n\n" % self._position
            if data:
                await _sent(send, data)
                due = now() + HEARTBEAT_S
            elif is_level:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await grown.wait()

    async def _next(self) -> TailPage:
        """What follows, at once; nothing at the end of the log."""
        streams, scope = self._streams, self._partner.scope
        while (at_hand := streams.tail.after(self._position, scope)) is None:
            try:
                async with streams.behind, streams.log.reader() as reader:
                    page = await scoped.page(reader, scope, self._position, PAGE, CHUNK_BYTES)
            except Unavailable:
                await asyncio.sleep(AGAIN_S)
                continue
            if page.position > self._position:
                return TailPage(b"".join(map(streams.tell, page.rows)), page.position)
            await asyncio.sleep(AGAIN_S / 10)  # level with the log, before its tail was first read
        return at_hand


async def _sent(send: Send, data: bytes) -> None:
    """Returns when the socket has room for more; raises TimeoutError."""
    async with asyncio.timeout(STALLED_S):
        await send({"type": "http.response.body", "body": data, "more_body": True})
        await asyncio.sleep(0)  # the protocol writes then, and knows whether there is room


async def _left(receive: Receive) -> None:
    """Until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def event_stream(streams: Streams, guard: Guard) -> Any:
    """The route handler of `GET /v1/events/stream`."""

    @get(
        "/v1/events/stream",
        guards=[guard],
        security=REQUIRED,
        summary="Events after a position, and as they come",
        description="Server-Sent Events, whose `id` is the position, whose `event` is the type and whose `data` is the "
        "CloudEvent. An `id` alone, every 15 s at most, says that everything up to there was told.",
        media_type=MEDIA_TYPE,
        responses=documented(400, 401, 403, 422, 429, 503),
        tags=["events"],
        sync_to_thread=False,
    )
    def follow_events(
        request: Request[Partner, Any, Any],
        after: After = 0,
        last_event_id: Annotated[
            int | None,
            HeaderParameter(
                name="Last-Event-ID",
                ge=0,
                le=2**62,
                description="The last `id` that was told, as browsers send it; before `after`",
                schema_extra={"minimum": 0},
            ),
        ] = None,
    ) -> Response[str]:
        if last_event_id is None:
            return EventStreamResponse(streams, request.user, after, "after")
        return EventStreamResponse(streams, request.user, last_event_id, "Last-Event-ID")

    return follow_events
