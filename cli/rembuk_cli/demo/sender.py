"""Sends simulated courses to reports through its public API: many at once, each in its order, over kept connections.

Whatever may not have arrived is sent again under its Idempotency-Key, so nothing is ever recorded twice. HTTP/1.1 is
spoken by hand: a general client took four times the processor of the service it spoke to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import urlsplit

import msgspec

from rembuk_cli.demo.simulation import Course, Request

AT_ONCE = 32
"""Courses under way: enough that appends share their commits, few enough that nobody waits long."""
TRIES = 8
FIRST_PAUSE_S = 0.1
ANSWER_S = 30.0


class NotTaken(Exception):
    """The service refused a request or did not answer in several tries; says which and why."""


class SendingResult(msgspec.Struct):
    """What came of it; `position` is the highest log position that was answered."""

    problems: int = 0
    requests: int = 0
    position: int = 0


class Acknowledgement(msgspec.Struct):
    """What a command is answered with."""

    id: str
    position: int


class HttpConnection:
    """One connection, kept as long as it lives; one request at a time."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, key: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer. Raises OSError, EOFError, TimeoutError when there is none."""
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nContent-Type: application/json\r\n"
            f"Idempotency-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            async with asyncio.timeout(ANSWER_S):
                if self._streams is None:
                    self._streams = await asyncio.open_connection(self._host, self._port)
                reader, writer = self._streams
                writer.write(head.encode() + body)
                lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                said = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
                answer = await reader.readexactly(int(said["content-length"]))
        except BaseException:
            self.close()
            raise
        if said.get("connection") == "close":
            self.close()
        return int(lines[0].split()[1]), answer

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def send(
    url: str, courses: Iterable[Course], progress: Callable[[int], None], at_once: int = AT_ONCE
) -> SendingResult:
    """Send every course to the service at `url`, telling `progress` the number of each one's requests as it ends.
    Raises NotTaken, in a group."""
    sent = SendingResult()
    remaining = iter(courses)
    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(_send_in_turn(url, remaining, sent, progress))
    return sent


async def _send_in_turn(
    url: str, remaining: Iterator[Course], sent: SendingResult, progress: Callable[[int], None]
) -> None:
    lane = HttpConnection(url)
    try:
        for course in remaining:
            problem_id = ""
            for request in course:
                answer = await _post(lane, request, request.path.replace("{id}", problem_id))
                problem_id = problem_id or answer.id
                sent.requests += 1
                sent.position = max(sent.position, answer.position)
            sent.problems += 1
            progress(len(course))
    finally:
        lane.close()


async def _post(lane: HttpConnection, request: Request, path: str) -> Acknowledgement:
    why = ""
    for attempt in range(TRIES):
        if attempt:
            await asyncio.sleep(FIRST_PAUSE_S * 2 ** (attempt - 1))
        try:
            status, body = await lane.post(path, request.key, request.body)
        except (OSError, EOFError) as error:  # TimeoutError is an OSError
            why = repr(error)
            continue
        if status < 300:
            return msgspec.json.decode(body, type=Acknowledgement)
        why = f"{status} {body.decode(errors='replace')}"
        if status != 503:
            break
    raise NotTaken(f"POST {path}: {why}")
