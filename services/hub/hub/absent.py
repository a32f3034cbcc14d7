"""Who answers a mirror in the stead of a region that is not there: nats-server would wait 30 s for an answer that was
lost or cannot come, and again longer and longer, whether or not the region is back by then."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import APIError

PATIENCE_S = 10.0
"""How long a region may take to answer that is there, or was a moment ago."""
ANSWER_S = 1.0
"""After so long it is asked anew: a link that broke meanwhile took the question with it."""
HEARD_S = 3.0
"""A mirror whose question was answered hears its region each second, events or not."""
MIRRORS = b'"JS_MIRROR_'
"""What nats-server has the name of a mirror's consumer begin with, from 2.14 on."""
_UNAVAILABLE = msgspec.json.encode(
    {"error": {"code": 503, "err_code": 10008, "description": "the region is not there"}}
)


async def answer_for_absent(client: Client, region: str, stream: str) -> None:
    """As long as the connection lasts: when a stream's mirror asks for its consumer and the region is not there, or
    the question was lost, the answer is no. The server then asks again after a while, and as soon as the region is
    back."""

    async def heed(question: Msg) -> None:
        if MIRRORS in question.data and not await answered():
            with suppress(nats.errors.Error):
                await question.respond(_UNAVAILABLE)

    async def answered() -> bool:
        asked_at = time.monotonic()
        while time.monotonic() - asked_at < PATIENCE_S:
            try:
                await client.request(f"$JS.{region}.API.INFO", timeout=ANSWER_S)
                await asyncio.sleep(HEARD_S)
                mirror = (await client.jetstream(timeout=ANSWER_S).stream_info(stream)).mirror
                return mirror is not None and 0 <= (mirror.active or 0) < HEARD_S * 1e9
            except nats.errors.NoRespondersError:
                return False
            except (nats.errors.Error, APIError, TimeoutError):
                continue
        return False

    await client.subscribe(f"$JS.{region}.API.CONSUMER.CREATE.{stream}", cb=heed)
