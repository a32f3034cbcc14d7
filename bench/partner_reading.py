"""A process that is many partners at once, `python -m bench.partner_reading`: each reads its durable consumer through a
connection of its own and acknowledges what comes, at a fraction of what nats-py's own way costs. It is told a `Task` in
a line of JSON, and at the end of its input tells in JSON which positions each has got."""

from __future__ import annotations

import asyncio
import sys

import msgspec
import uvloop
from nats.aio.client import Client
from rembuk import nats_wire
from rembuk.nats_accounts import DOMAIN

PULL = 200
WISH = msgspec.json.encode({"batch": PULL, "expires": 60_000_000_000})
LOOK_S = 0.02
"""How often what came is acknowledged, together."""


class Task(msgspec.Struct):
    """Partners by name, with their seeds, and the stream that they read."""

    url: str
    stream: str
    seeds: dict[str, str]


class Reading(Client):
    """A partner's connection. At most two of its pulls wait."""

    def __init__(self, stream: str, name: str) -> None:
        super().__init__()
        self.got: list[int] = []
        self._acknowledgements: list[bytes] = []
        self._awaited, self._sid, inbox = 0, -1, self.new_inbox()
        subject = f"$JS.{DOMAIN}.API.CONSUMER.MSG.NEXT.{stream}.{name}"
        self._inbox, self._pull = inbox, f"PUB {subject} {inbox} {len(WISH)}\r\n".encode() + WISH + b"\r\n"

    async def begin(self) -> None:
        self._sid = (await self.subscribe(self._inbox))._id

    async def go_on(self) -> None:
        """Acknowledge what came, and ask for more."""
        messages, self._acknowledgements = self._acknowledgements, []
        if self._awaited < PULL:
            self._awaited += PULL
            messages.append(self._pull)
        if messages:
            await nats_wire.send(self, messages)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        """What nats-py calls for each message that comes."""
        if sid != self._sid:
            await super()._process_msg(sid, subject, reply, data, headers)
        elif reply:
            tokens = reply.split(b".")
            self.got.append(int(tokens[5] if len(tokens) == 9 else tokens[7]))
            self._acknowledgements.append(b"PUB %b 0\r\n\r\n" % reply)
            self._awaited -= 1
        else:
            self._awaited = 0  # a pull has ended


async def read(task: Task) -> dict[str, list[int]]:
    """What each has got when our input ends, in the order in which it came."""
    readers = {name: Reading(task.stream, name) for name in task.seeds}
    for name, reader in readers.items():
        await reader.connect(task.url, nkeys_seed_str=task.seeds[name])
        await reader.begin()
    ending = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    while not ending.done():
        for reader in readers.values():
            await reader.go_on()
        await asyncio.sleep(LOOK_S)
    for reader in readers.values():
        await reader.close()
    return {name: reader.got for name, reader in readers.items()}


if __name__ == "__main__":
    given = msgspec.json.decode(sys.stdin.readline(), type=Task)
    print(msgspec.json.encode(uvloop.run(read(given))).decode())
