"""Pulling the messages of a JetStream consumer, all that wait at once: nats-py asks for each of them by two tasks of
its own, a quarter of what a follower cost."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import DEFAULT_PREFIX
from nats.js.errors import APIError

ANSWER_S = 5.0
"""How long the broker may take to answer; one that was restarted has forgotten what it was asked."""
MAX_BYTES = 8 * 1024 * 1024
"""Of what is taken at once, headers included: large events must make nobody large."""
_NONE = ("404", "408")
"""Statuses that end a request: no messages wait, none came in time."""

_encode = msgspec.json.Encoder().encode


class Pull:
    """Requests for a consumer's next messages, one at a time (NATS ADR-37). Each has an answer's subject of its own, so
    that a late end of one is not taken for that of another. Close it after use."""

    def __init__(self, client: Client, stream: str, consumer: str) -> None:
        self._client, self._next = client, f"{DEFAULT_PREFIX}.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = client.new_inbox()
        self._subscription: Subscription | None = None
        self._asked, self._requests, self._most = "", 0, 0
        self._came: list[Msg] = []
        self._answered: asyncio.Future[Msg | None] | None = None

    async def close(self) -> None:
        """What comes after is dropped. Raises nats.errors.Error."""
        if self._subscription is not None:
            await self._subscription.unsubscribe()

    async def take(self, most: int, within: float = 0.0) -> list[Msg]:
        """The messages that wait, at most so many and `MAX_BYTES` of them; where none does, and `within` (seconds) is
        given, the first that comes in that time; [] for none. Raises nats.errors.Error, also where there is no such
        consumer."""
        if not self._came:
            await self._request(most, {"batch": most, "max_bytes": MAX_BYTES, "no_wait": True})
        if not self._came and within:
            await self._request(1, {"batch": 1, "expires": int(within * 1e9)}, within)
        came, self._came = self._came, []
        return came

    async def _request(self, most: int, request: dict[str, Any], within: float = 0.0) -> None:
        if self._subscription is None:
            self._subscription = await self._client.subscribe(f"{self._inbox}.*", cb=self._take_in)
        self._requests += 1
        self._asked, self._most = f"{self._inbox}.{self._requests}", most
        self._answered = asyncio.get_running_loop().create_future()
        await self._client.publish(self._next, _encode(request), self._asked)
        with suppress(TimeoutError):
            async with asyncio.timeout(within + ANSWER_S):
                status = await self._answered
                if status is not None and not self._came and (status.headers or {}).get("Status") not in _NONE:
                    APIError.from_msg(status)

    async def _take_in(self, message: Msg) -> None:
        if message.reply:  # the subject of its acknowledgement: a status has none
            self._came.append(message)
            if len(self._came) < self._most:
                return
        elif message.subject != self._asked:
            return
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(None if message.reply else message)
