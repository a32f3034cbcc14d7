"""What the hub tells a region that asks how far it knows it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import asyncpg
import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from rembuk.database import UNREACHABLE, borrowed
from rembuk.hub_regions import STANDING, Known

_KNOWN = "select service, position, state, looked_at from region_stream where region = $1 order by service"


async def answer(client: Client, pool: asyncpg.Pool[Any], region: str) -> None:
    """Answer whoever asks in a region's account, as long as the connection lasts."""

    async def tell(question: Msg) -> None:
        with suppress(*UNREACHABLE):  # an answer that does not come is one, too
            async with borrowed(pool) as connection:
                known = [Known(**row) for row in await connection.fetch(_KNOWN, region)]
            await question.respond(msgspec.json.encode(known))

    await client.subscribe(STANDING, cb=tell)
