"""A process that is many partners at once, `python -m bench.partner_reading`: each reads its durable consumer through a
connection of its own and acknowledges what comes, at a fraction of what nats-py's own way costs: real partners are on
machines of their own. It is told a `Task` in a line of JSON, and at the end of its input tells in JSON which positions
each has got."""

from __future__ import annotations

import asyncio
import sys

import msgspec
import nats
import uvloop
from rembuk.partners.nats_accounts import DOMAIN

PULL = 200
WISH = msgspec.json.encode({"batch": PULL, "expires": 60_000_000_000})
LOOK_S = 0.02
"""How often what came is acknowledged, together."""


class Task(msgspec.Struct):
    """Partners by name, with their seeds, and the stream that they read."""

    url: str
    stream: str
    seeds: dict[str, str]


class Reading(asyncio.Protocol):
    """A partner's connection, which nats-py opens. At most two of its pulls wait."""

    def __init__(self, transport: asyncio.Transport, inbox: str, pull_at: str) -> None:
        self.got: list[int] = []
        self._transport, self._rest, self._awaited = transport, b"", 0
        self._acknowledgements: list[bytes] = []
        self._pull = f"PUB {pull_at} {inbox} {len(WISH)}\r\n".encode() + WISH + b"\r\n"

    @classmethod
    async def begin(cls, task: Task, name: str) -> Reading:
        client = await nats.connect(task.url, nkeys_seed_str=task.seeds[name])
        await client.subscribe(inbox := client.new_inbox())
        await client.flush()
        assert client._reading_task
        assert client._transport
        client._reading_task.cancel()
        transport = client._transport._io_writer.transport  # type: ignore[attr-defined]
        reading = cls(transport, inbox, f"$JS.{DOMAIN}.API.CONSUMER.MSG.NEXT.{task.stream}.{name}")
        transport.set_protocol(reading)
        return reading

    def data_received(self, data: bytes) -> None:
        """The NATS protocol: lines, and behind that of a message so many bytes as its last word says."""
        data, at = self._rest + data, 0
        while (end := data.find(b"\r\n", at) + 2) > 1:
            words = data[at:end].split()
            if words[0] in (b"MSG", b"HMSG"):
                end += int(words[-1]) + 2
                if end > len(data):
                    break
                self._came(words[3])
            elif words[0] == b"PING":
                self._transport.write(b"PONG\r\n")
            at = end
        self._rest = data[at:]

    def _came(self, reply: bytes) -> None:
        if reply.startswith(b"$JS.ACK."):
            tokens = reply.split(b".")
            self.got.append(int(tokens[5] if len(tokens) == 9 else tokens[7]))
            self._acknowledgements.append(b"PUB %b 0\r\n\r\n" % reply)
            self._awaited -= 1
        else:
            self._awaited = 0  # a pull has ended

    def go_on(self) -> None:
        """Acknowledge what came, and ask for more."""
        messages, self._acknowledgements = self._acknowledgements, []
        if self._awaited < PULL:
            self._awaited += PULL
            messages.append(self._pull)
        if messages:
            self._transport.write(b"".join(messages))


async def read(task: Task) -> dict[str, list[int]]:
    """What each has got when our input ends, in the order in which it came."""
    readers = {name: await Reading.begin(task, name) for name in task.seeds}
    ending = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    while not ending.done():
        for reader in readers.values():
            reader.go_on()
        await asyncio.sleep(LOOK_S)
    return {name: reader.got for name, reader in readers.items()}


if __name__ == "__main__":
    given = msgspec.json.decode(sys.stdin.readline(), type=Task)
    print(msgspec.json.encode(uvloop.run(read(given))).decode())
