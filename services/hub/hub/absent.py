"""Who answers a mirror in the stead of a region that is not there: nats-server would wait 30 s for the answer that
cannot come, and again longer and longer, whether or not the region is back by then."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

PATIENCE_S = 10.0
"""How long a region may take to answer that is there, or was a moment ago."""
MIRRORS = b'"JS_MIRROR_'
"""What nats-server has the name of a mirror's consumer begin with, from 2.14 on."""
_UNAVAILABLE = msgspec.json.encode(
    {"error": {"code": 503, "err_code": 10008, "description": "the region is not there"}}
)


async def answer_for_absent(client: Client, region: str, stream: str) -> None:
    """As long as the connection lasts: when the mirror of a stream asks for its consumer and the region is not there,
    the answer is that. The server then asks again after a while, and as soon as the region is back."""

    async def heed(request: Msg) -> None:
        if MIRRORS in request.data:
            try:
                await client.request(f"$JS.{region}.API.INFO", timeout=PATIENCE_S)
            except (nats.errors.Error, TimeoutError):
                with suppress(nats.errors.Error):
                    await request.respond(_UNAVAILABLE)

    await client.subscribe(f"$JS.{region}.API.CONSUMER.CREATE.{stream}", cb=heed)
