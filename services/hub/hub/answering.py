"""What the hub tells a region that asks: how far it knows the region, and what it holds of it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import asyncpg
import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from rembuk.database import UNREACHABLE, borrowed
from rembuk.hub_regions import INBOX, MIRROR, STANDING, Known, Wanted
from rembuk.streams import stream_name

from hub.projection import CODECS

PAGE, PAGE_BYTES = 500, 4 << 20
"""What one question brings at most, messages and bytes."""

_KNOWN = "select service, position, state, looked_at from region_stream where region = $1 order by service"

_log = structlog.get_logger(__name__)


async def answer(client: Client, pool: asyncpg.Pool[Any], region: str) -> None:
    """Answer whoever asks in a region's account, as long as the connection lasts. What an answer is sent to is an inbox
    and nothing else: we may write to the account's JetStream, who asks may not."""

    async def tell(question: Msg) -> None:
        if not _from_inbox(question):
            return
        with suppress(*UNREACHABLE):  # an answer that does not come is one, too
            async with borrowed(pool) as connection:
                known = [Known(**row) for row in await connection.fetch(_KNOWN, region)]
            await question.respond(msgspec.json.encode(known))

    async def send(question: Msg) -> None:
        """Have the nats-server itself send what it holds."""
        try:
            wanted = msgspec.json.decode(question.data, type=Wanted)
        except msgspec.MsgspecError as error:
            _log.warning("a region asks for nothing that can be sent", region=region, error=str(error))
            return
        if _from_inbox(question) and wanted.service in CODECS:
            page = {"seq": wanted.after + 1, "batch": min(wanted.limit, PAGE), "max_bytes": PAGE_BYTES}
            get = f"$JS.API.DIRECT.GET.{stream_name(region, wanted.service)}"
            await client.publish(get, msgspec.json.encode(page), reply=question.reply)

    await client.subscribe(STANDING, cb=tell)
    await client.subscribe(MIRROR, cb=send)


def _from_inbox(question: Msg) -> bool:
    return question.reply.startswith(f"{INBOX}.")
