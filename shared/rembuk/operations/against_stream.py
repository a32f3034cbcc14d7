"""A log against its stream: every message is, to the byte, what the relay makes of the event at its position."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import asyncpg
import msgspec

from rembuk.broker import nats_wire, stream_names, streams
from rembuk.broker.raw_stream import RawMessage, RawStream
from rembuk.broker.stream_names import subject_prefix
from rembuk.log.standing import is_older
from rembuk.operations.steps import Wrong

STANDS_STILL_S = 30.0
"""How long an event may be recorded and not published."""

_BEGIN = b"NATS/1.0\r\n"
_OF_THE_BATCH = re.compile(
    rb"(?:Nats-(?:Batch-Id|Batch-Sequence|Batch-Commit|Expected-Last-Sequence): [0-9a-f]+\r\n)*\r\n"
)


class AgainstStream:
    """Takes the events of a log in order, and reads the stream beside them, whose last sequence was `tail`."""

    def __init__(self, stream: RawStream, tail: int, region: str, service: str) -> None:
        self._stream, self.tail = stream, tail
        self._region, self._service = region, service
        self._read = 0
        self._held: dict[int, RawMessage] = {}

    async def take(self, rows: Sequence[asyncpg.Record], headers: Sequence[str | None] = ()) -> list[Wrong]:
        """The next events, with the header lines of each where they are known. Raises nats.errors.Error."""
        if not rows:
            return []
        last = min(rows[-1]["position"], self.tail)
        await self._read_until(last)
        wrong = []
        for row, header in zip_longest(rows, headers):
            position = row["position"]
            if position > last:
                break
            if said := difference(self._region, self._service, row, self._held.pop(position, None), header):
                wrong.append(Wrong("stream", said, position))
        self._held = {sequence: one for sequence, one in self._held.items() if sequence > last}
        return wrong

    async def end(self, head: int, connection: asyncpg.Connection[Any]) -> list[Wrong]:
        """After the last event, at `head`: what the stream has beyond, and what it should have by now."""
        if self.tail > head:
            return [Wrong("stream", f"goes on to {self.tail}, and the log ends before that", head + 1)]
        if self.tail < head and await is_older(connection, self.tail + 1, STANDS_STILL_S):
            return [Wrong("stream", "nothing was published from here on: see the log of the worker", self.tail + 1)]
        return []

    async def _read_until(self, position: int) -> None:
        while self._read < position:
            messages = await self._stream.more()
            if not messages:
                return
            self._read = messages[-1].sequence
            self._held.update((message.sequence, message) for message in messages)


def difference(
    region: str, service: str, row: asyncpg.Record, message: RawMessage | None, header: str | None = None
) -> str:
    """How a message is not what the relay makes of a row, whose `header` lines may be known; "" where it is."""
    if message is None:
        return "is missing in the stream"
    if message.data != row["data"].encode():
        return "has other data in the stream"
    subject = stream_names.subject(subject_prefix(region, service), row["type"], row["area"])
    if message.subject != subject.encode():
        return f"stands under the subject {message.subject.decode(errors='replace')}, not {subject}"
    try:
        lines = header or streams.header_lines(region, service, row)
    except (ValueError, msgspec.MsgspecError) as error:
        return f"cannot have been published: {error}"
    for written in (streams.published_lines(lines), lines):  # by this release, by those before it
        begin = _BEGIN + written.encode()
        if message.header.startswith(begin) and _OF_THE_BATCH.fullmatch(message.header, len(begin)):
            return ""
    theirs = nats_wire.parse_header_lines(message.header)
    if different := streams.another(lines, theirs):
        name, value = different
        return f"has another {name} in the stream: {theirs.get(name)!r}, not {value!r}"
    return "has headers in the stream that no relay writes"
