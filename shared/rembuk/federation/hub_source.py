"""What the hub holds of a region's stream, read by the region that has lost it.

The region may read nothing at the hub by itself: a pull names where its messages go, and so could name an order to the
hub's JetStream. It asks the hub's worker, which has the hub's nats-server send the messages to the inbox of who asked.
"""

from __future__ import annotations

import asyncio
import time

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from rembuk.broker import streams
from rembuk.broker.stream_names import stream_name
from rembuk.federation.hub_regions import MIRROR, EventsRequest

ANSWER_S = 5.0
AT_MOST = 500
LINK_S = 30.0
"""How long the link to the hub may take to be there after the region's nats-server has started."""


class HubSilent(Exception):
    """The hub does not answer, or answers no more."""


class HubSource:
    """A stream as the hub holds it. `client` is in the region's account, its inboxes begin with `hub_regions.INBOX`."""

    def __init__(self, client: Client, region: str, service: str, link_s: float = LINK_S) -> None:
        self._client, self._service, self._link_s = client, service, link_s
        self._stream = stream_name(region, service)

    async def after(self, position: int, limit: int) -> list[Msg]:
        """None beyond the end. Raises HubSilent, nats.errors.Error."""
        messages, _ = await self._answered(position, min(limit, AT_MOST))
        return messages

    async def end(self) -> int:
        """The last position; 0 where the hub holds nothing. Raises HubSilent, nats.errors.Error."""
        messages, left = await self._answered(0, 1)
        return streams.sequence(messages[0]) + left if messages else 0

    async def _answered(self, after: int, limit: int) -> tuple[list[Msg], int]:
        """As `_ask`, asked again for as long as a link may take; the hub answers so many questions a second."""
        deadline = time.monotonic() + self._link_s
        while True:
            try:
                return await self._ask(after, limit)
            except HubSilent:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.5)

    async def _ask(self, after: int, limit: int) -> tuple[list[Msg], int]:
        """The messages, and how many there are behind them."""
        inbox = self._client.new_inbox()
        answers = await self._client.subscribe(inbox)
        messages: list[Msg] = []
        try:
            wanted = msgspec.json.encode(EventsRequest(self._service, after, limit))
            await self._client.publish(MIRROR, wanted, reply=inbox)
            while True:
                answer = await answers.next_msg(ANSWER_S)
                headers = answer.headers or {}
                match headers.get("Status"):
                    case None:
                        position = int(headers["Nats-Sequence"])
                        messages.append(streams.stored_message(self._stream, position, headers, answer.data))
                    case "503":
                        raise HubSilent("nobody answers at the hub")
                    case "404":
                        return [], 0
                    case _:  # the end of the batch
                        return messages, int(headers["Nats-Num-Pending"])
        except (KeyError, ValueError) as error:
            raise HubSilent(f"the hub answers what is none of its messages: {error!r}") from error
        except nats.errors.TimeoutError as error:
            raise HubSilent(f"the hub has not answered for {ANSWER_S:.0f} s") from error
        finally:
            await answers.unsubscribe()
