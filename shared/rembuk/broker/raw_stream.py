"""A stream read as it lies there: header block and data of each message unparsed, at a sixth of what nats-py's own way
costs (5.7 against 33 µs a message), for who has to look at every byte of it anyway."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import msgspec
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

PULL = 1_000
WAIT_S = 5.0

_PENDING = b"Nats-Pending-Messages: "


class RawMessage(NamedTuple):
    """`header` is `NATS/1.0`, the lines, and an empty line, each ending in CRLF."""

    sequence: int
    subject: bytes
    header: bytes
    data: bytes


class RawStream(Client):
    """A connection that reads one stream from its beginning. At most two pulls of messages are held."""

    def __init__(self) -> None:
        super().__init__()
        self._pulled: list[RawMessage] = []
        self._pulled_news = asyncio.Event()
        self._pulled_sid = -1
        self._pull_inbox = self._pull_subject = ""
        self._pull_awaited = 0

    async def one(self, stream: str, sequence: int) -> RawMessage | None:
        """The message at a sequence; None where there is none. Raises nats.errors.Error."""
        try:
            message = await self.jetstream().get_msg(stream, seq=sequence)
        except nats.js.errors.NotFoundError:
            return None
        lines = "".join([f"{name}: {value}\r\n" for name, value in (message.headers or {}).items()])
        header = f"NATS/1.0\r\n{lines}\r\n".encode()
        return RawMessage(sequence, (message.subject or "").encode(), header, message.data or b"")

    async def begin(self, stream: str) -> None:
        """Read `stream` from its beginning from now on. Raises nats.js.errors.NotFoundError, nats.errors.Error."""
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE, mem_storage=True, inactive_threshold=60
        )
        name = (await self.jetstream().add_consumer(stream, config)).name
        self._pull_subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}"
        self._pull_inbox = self.new_inbox()
        self._pulled, self._pull_awaited = [], 0
        self._pulled_sid = (await self.subscribe(self._pull_inbox))._id

    async def more(self) -> list[RawMessage]:
        """What has come since the last time, waiting up to 5 s for it; [] where nothing comes."""
        if self._pull_awaited < PULL:
            wish = msgspec.json.encode({"batch": PULL, "expires": int(WAIT_S * 1e9)})
            await self.publish(self._pull_subject, wish, reply=self._pull_inbox)
            self._pull_awaited += PULL
        try:
            async with asyncio.timeout(WAIT_S):
                await self._pulled_news.wait()
        except TimeoutError:
            self._pull_awaited = 0
        self._pulled_news.clear()
        arrived, self._pulled = self._pulled, []
        self._pull_awaited -= len(arrived)
        return arrived

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        """What nats-py calls for each message that comes."""
        if sid != self._pulled_sid:
            await super()._process_msg(sid, subject, reply, data, headers)
        elif reply:
            if not self._pulled:
                self._pulled_news.set()
            tokens = reply.split(b".")
            sequence = int(tokens[5] if len(tokens) == 9 else tokens[7])
            self._pulled.append(RawMessage(sequence, bytes(subject), headers, data))
        else:  # a pull has ended before it was full
            _, found, rest = headers.partition(_PENDING)
            self._pull_awaited -= int(rest.partition(b"\r\n")[0]) if found else self._pull_awaited
