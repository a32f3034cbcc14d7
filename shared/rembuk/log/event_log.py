"""The event log of one service in its PostgreSQL: append in groups, read by stream and by position."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

import asyncpg
import msgspec
from prometheus_client import Counter, Histogram

from rembuk import tracing
from rembuk.events.codec import Codec
from rembuk.events.event import Event, Metadata, RecordedEvent
from rembuk.events.rows import COLUMNS, recorded
from rembuk.keys.region_key import WrappedKey
from rembuk.log.standing import last_position
from rembuk.postgres.database import (
    ANSWER_S,
    UNREACHABLE,
    KeptConnection,
    Pool,
    Unavailable,
    borrowed,
    is_unreachable,
    open_pool,
)
from rembuk.process.vital import vital
from rembuk.proof.promises import Promising

MAX_ITEMS = 256
"""Items of one grouped append: past this a larger group gained nothing."""
MAX_WAITING = 20_000
"""Items that may wait for their turn before callers are told that the log is unavailable."""

_APPEND = f"select base, at, verdicts from log.append({', '.join(f'${n}' for n in range(1, 15))})"
_AT = "select * from log.event where position = $1"

PAGE_BYTES = 8 * 1024 * 1024
"""Of event data in one page of the log: large events must make nobody large."""
PAGE = f"""
    select {COLUMNS}
    from (select *, sum(octet_length(data::text)) over (order by position) as bytes
          from (select * from log.event where position > $1 order by position limit $2) as page) as sized
    where bytes <= {PAGE_BYTES} or position = $1 + 1 order by position"""
"""The events after position $1, in order: at most $2, and as many of them as `PAGE_BYTES` hold, one at least."""

# What headers and subjects of the broker can carry: the relay must never stumble over what the log has taken.
_AREA = re.compile(r"(?:[0-9A-Za-z_-]+(?:\.[0-9A-Za-z_-]+){0,7})?")
# Of JSON, where a backslash would escape what is no header's; a space or % CloudEvents has percent-encoded there.
_METADATA = re.compile(rb"[!-$&-\[\]-~]{2,2048}")


_group_size = Histogram(
    "rembuk_append_items", "Items recorded by one grouped append", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
_failed = Counter(
    "rembuk_appends_failed",
    "Appends that were not recorded, by why: PostgreSQL is away, its disk is full, too many wait, or it refused them",
    ["why"],
)
_away, _full, _busy, _bad = (_failed.labels(why) for why in ("away", "full", "busy", "refused"))


class VersionConflict(Exception):
    """The stream has moved on: its version is no longer the expected one."""


class AlreadyRecorded(Exception):
    """An event with this id is in the log: the append is a retry, its first outcome stands."""


class Appended(msgspec.Struct, frozen=True):
    """Where an append ended: `position` of its last event in the log, and when (UTC). `together` with what it was
    recorded, in a log that makes promises."""

    position: int
    recorded_at: datetime
    together: Together | None


@dataclass(slots=True)
class _Item:
    stream_id: UUID
    expected_version: int
    ids: Sequence[UUID]
    events: Sequence[Event]
    datas: Sequence[str]
    area: str
    metadata: str
    keys: Sequence[WrappedKey]
    outcome: asyncio.Future[Appended]


class Together:
    """The events that one grouped append recorded after position `base`, as rows of log.event: promised together, if
    anybody asks. It knows no item, for an item's outcome knows it: such circles cost 60 µs a report to collect."""

    def __init__(self, base: int, rows: list[dict[str, Any]], promising: Promising) -> None:
        self._base, self._rows, self._promising = base, rows, promising

    def promise(self, position: int) -> str:
        return self._promises[position - self._base - 1]

    @cached_property
    def _promises(self) -> list[str]:
        return self._promising(self._rows)


class EventLog:
    """One service's log. Start it before use, stop it to finish what was accepted.

    Concurrent appends of a process are collected while the group before them commits, and written by one call
    of log.append(); under load a commit is shared by up to `MAX_ITEMS` items, alone an append waits for nobody.
    """

    def __init__(
        self, url: str, codec: Codec, name: str = "rembuk", readers: int = 4, promising: Promising | None = None
    ) -> None:
        self.codec, self._promising = codec, promising
        self._open_readers = partial(open_pool, url, f"{name} log reader", readers)
        self._readers: Pool
        self._writer = KeptConnection(url, f"{name} log writer")
        self.turns: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()  # of who waits for an aggregate
        self._encode_metadata = msgspec.json.Encoder().encode
        self._waiting: deque[_Item] = deque()
        self._work = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._readers = self._open_readers()
        self._task = vital(self._write_groups(), "event log writer", lambda: self._stopping)

    async def stop(self) -> None:
        """Record what is waiting, then close the connections."""
        self._stopping = True
        self._work.set()
        if self._task is not None:
            await self._task
        self._writer.drop()
        await self._readers.close()

    async def append(
        self,
        stream_id: UUID,
        expected_version: int,
        ids: Sequence[UUID],
        events: Sequence[Event],
        area: str = "",
        metadata: Metadata = Metadata(),  # noqa: B008 - frozen
        keys: Sequence[WrappedKey] = (),
    ) -> Appended:
        """Record `events` (at least one, each with its id) durably as versions `expected_version` + 1, + 2, ...

        With them, in the same transaction, the `keys` of persons first met in them are put into the vault.

        `area` is "" or up to eight words of letters and digits between dots; the metadata are visible ASCII and no
        `%`, at most 2 KiB of JSON. Raises ValueError where that is not so, VersionConflict, AlreadyRecorded,
        EventTooLarge, or Unavailable (then it is unknown whether the events were recorded; the same ids may simply be
        appended again).
        """
        if self._stopping or len(self._waiting) >= MAX_WAITING:
            _busy.inc()
            raise Unavailable("the log takes no more appends now")
        if not events or len(ids) != len(events):
            raise ValueError(f"{len(events)} events with {len(ids)} ids")
        encoded_metadata = self._encode_metadata(metadata)
        if not (_AREA.fullmatch(area) and _METADATA.fullmatch(encoded_metadata)):
            raise ValueError(f"no header or subject can carry the area {area!r} or the metadata {metadata!r:.300}")
        encode = self.codec.encode
        item = _Item(
            stream_id, expected_version, ids, events, [encode(event).decode() for event in events], area,
            encoded_metadata.decode(), keys, asyncio.get_running_loop().create_future(),
        )  # fmt: skip
        self._waiting.append(item)
        self._work.set()
        if not tracing.on:
            return await item.outcome
        kind = type(events[0]).__name__
        with tracing.under(metadata.traceparent, f"append {kind}", "PRODUCER", type=kind, area=area) as span:
            appended = await item.outcome
            span.tell(position=appended.position)
            return appended

    async def _write_groups(self) -> None:
        while self._waiting or not self._stopping:
            if not self._waiting:
                self._work.clear()
                await self._work.wait()
                continue
            try:
                await self._writer.get()
            except Exception as error:  # nobody shall wait in line for a server that is not there
                waiting = list(self._waiting)
                self._waiting.clear()
                self._fail(waiting, error)
                continue
            group = self._next_group()
            try:
                await self._write(group)
            except Exception as error:
                if is_unreachable(error) or len(group) == 1:
                    self._fail(group, error)
                else:
                    await self._write_singly(group)

    async def _write_singly(self, group: list[_Item]) -> None:
        """One item is at fault for what PostgreSQL refused: let it fail by itself, and record its neighbours."""
        for number, item in enumerate(group):
            try:
                await self._write([item])
            except Exception as error:
                if is_unreachable(error):
                    self._fail(group[number:], error)
                    return
                self._fail([item], error)

    def _fail(self, items: list[_Item], error: Exception) -> None:
        self._writer.drop()
        away = is_unreachable(error)
        reason = Unavailable(f"the log cannot be written: {error}") if away else error
        full = isinstance(error, asyncpg.DiskFullError)
        (_full if full else _away if away else _bad).inc(len(items))
        for item in items:
            if not item.outcome.done():
                item.outcome.set_exception(reason)

    def _next_group(self) -> list[_Item]:
        """The longest waiting items, no two of one stream; a second one of a stream waits for the next group."""
        group: dict[UUID, _Item] = {}
        put_back: list[_Item] = []
        while self._waiting and len(group) < MAX_ITEMS:
            item = self._waiting.popleft()
            if item.outcome.cancelled():
                continue
            if item.stream_id in group:
                put_back.append(item)
            else:
                group[item.stream_id] = item
        self._waiting.extendleft(reversed(put_back))
        return list(group.values())

    async def _write(self, group: list[_Item]) -> None:
        if not group:
            return
        events = [
            (number, item.ids[offset], event, item.datas[offset], item)
            for number, item in enumerate(group, 1)
            for offset, event in enumerate(item.events)
        ]
        keys = [(number, *key) for number, item in enumerate(group, 1) for key in item.keys]
        connection = await self._writer.get()
        row = await connection.fetchrow(
            _APPEND,
            [item.stream_id for item in group],
            [item.expected_version for item in group],
            [item.ids[0] for item in group],
            [number for number, *_ in events],
            [event_id for _, event_id, *_ in events],
            [type(event).__name__ for _, _, event, *_ in events],
            [event.schema_version for _, _, event, *_ in events],
            [item.area for *_, item in events],
            [data for _, _, _, data, _ in events],
            [item.metadata for *_, item in events],
            *map(list, zip(*keys, strict=True) if keys else ((), (), (), ())),
            timeout=ANSWER_S,
        )
        assert row is not None
        position = row["base"]
        appended = [item for item, verdict in zip(group, row["verdicts"], strict=True) if verdict == "appended"]
        together = None
        if self._promising:
            together = Together(position, _appended(position, row["at"], appended), self._promising)
        for item, verdict in zip(group, row["verdicts"], strict=True):
            if verdict == "appended":
                position += len(item.events)
            if item.outcome.done():  # its caller has gone
                continue
            if verdict == "appended":
                item.outcome.set_result(Appended(position, row["at"], together))
            elif verdict == "known":
                item.outcome.set_exception(AlreadyRecorded(str(item.ids[0])))
            else:
                item.outcome.set_exception(VersionConflict(f"{item.stream_id} is not at {item.expected_version}"))
        _group_size.observe(len(group))

    async def promise(self, position: int) -> str:
        """A promise for one event of the log; raises Unavailable."""
        assert self._promising is not None, "this log makes no promises"
        [promise] = self._promising(await self._rows(_AT, position))
        return promise

    async def read_stream(self, stream_id: UUID, *, leniently: bool = False) -> list[RecordedEvent[Any]]:
        """Every event of one aggregate in order; [] for an unknown one. Raises Unavailable, and Undecodable unless
        `leniently` an Unreadable will do."""
        return [recorded(self.codec, row, leniently=leniently) for row in await self.rows_of(stream_id)]

    async def read(self, after: int = 0, limit: int = 500) -> list[RecordedEvent[Any]]:
        """A page of events of positions > `after`, in order: `limit` at most, fewer where they are large, none at the
        end only. Raises Unavailable, Undecodable."""
        return [recorded(self.codec, row) for row in await self.rows(after, limit)]

    async def rows_of(self, stream_id: UUID) -> list[asyncpg.Record]:
        """As `read_stream`: rows of log.event, whatever they say. Raises Unavailable."""
        return await self._rows(f"select {COLUMNS} from log.event where stream_id = $1 order by version", stream_id)

    async def rows(self, after: int, limit: int) -> list[asyncpg.Record]:
        """As `read`: rows of log.event, whatever they say. Raises Unavailable."""
        return await self._rows(PAGE, after, limit)

    async def head(self) -> int:
        """The last position, 0 for an empty log. Raises Unavailable."""
        async with self.reader() as connection:
            return await last_position(connection)

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        """A connection for a short question. Raises Unavailable, also for what asyncpg raises in the block."""
        try:
            async with borrowed(self._readers) as connection:
                yield connection
        except UNREACHABLE as error:
            raise Unavailable(f"the log cannot be read: {error}") from error

    async def _rows(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        async with self.reader() as connection:
            return list(await connection.fetch(query, *arguments))


def _appended(position: int, at: datetime, items: list[_Item]) -> list[dict[str, Any]]:
    """What was appended after a position, as log.event has it."""
    rows = []
    for item in items:
        for offset, event in enumerate(item.events):
            position += 1
            rows.append({
                "position": position, "id": item.ids[offset], "stream_id": item.stream_id,
                "version": item.expected_version + offset + 1, "type": type(event).__name__,
                "schema_version": event.schema_version, "area": item.area, "data": item.datas[offset],
                "metadata": item.metadata, "recorded_at": at,
            })  # fmt: skip
    return rows
