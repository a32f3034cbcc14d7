"""What the hub tells a region that asks: how far it knows it and what it holds of it, which others there are, and what
they say to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg
import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from rembuk.broker.heeding import heed
from rembuk.broker.stream_names import stream_name
from rembuk.federation.hub_regions import ADDRESSED, INBOX, MIRROR, REGIONS, STANDING, EventsRequest, Introduced, Known
from rembuk.federation.inbox import Letter, LetterPage
from rembuk.postgres.database import UNREACHABLE, Pool, borrowed
from rembuk.postgres.provisioning import SERVICES

PAGE, PAGE_BYTES = 50, 256 * 1024
"""Letters of one answer, and after how many bytes no other is added: with the largest event it fits into a message."""
SENT, SENT_BYTES = 500, 4 << 20
"""What one question brings at most of a mirror, messages and bytes."""
QUESTIONS = 50
"""So many of each kind are heeded of a region in a second."""

_KNOWN = "select service, position, state, looked_at from region_stream where region = $1 order by service"
_INTRODUCED = """select introduced.region as name, public_key from introduced
                 join region on region.name = introduced.region where revoked_at is null order by introduced.region"""
_LAST = "select coalesce(max(position), 0) from inbox where region = $1"
_EVENT_ID = "select headers::json ->> 'ce-id' from inbox where region = $1 and position = $2"
_LETTERS = "select position, headers, data from inbox where region = $1 and position > $2 order by position limit $3"
_READ = """insert into inbox_read (region, position, asked_at) values ($1, $2, now())
           on conflict (region) do update set position = excluded.position, asked_at = now()
           where inbox_read.position <> excluded.position or inbox_read.asked_at < now() - interval '10 s'"""

_log = structlog.get_logger(__name__)

Answer = Callable[["asyncpg.Connection[Any]", Msg], Awaitable[bytes]]
Respond = Callable[[Msg], Awaitable[None]]


async def answer(client: Client, pool: Pool, region: str) -> None:
    """Answer whoever asks in a region's account, until cancelled or the connection ends. An answer goes to an inbox and
    nowhere else: we may write to the account's JetStream, who asks may not."""

    async def standing(connection: asyncpg.Connection[Any], _: Msg) -> bytes:
        return msgspec.json.encode([Known(**row) for row in await connection.fetch(_KNOWN, region)])

    async def regions(connection: asyncpg.Connection[Any], _: Msg) -> bytes:
        return msgspec.json.encode([Introduced(**row) for row in await connection.fetch(_INTRODUCED)])

    async def letters(connection: asyncpg.Connection[Any], question: Msg) -> bytes:
        return msgspec.msgpack.encode(await _page(connection, region, int(question.data)))

    def told(answered: Answer) -> Respond:
        async def tell(question: Msg) -> None:
            with suppress(*UNREACHABLE):  # an answer that does not come is one, too
                async with borrowed(pool) as connection:
                    await question.respond(await answered(connection, question))

        return tell

    async def send(question: Msg) -> None:
        """Have the nats-server itself send what it holds."""
        try:
            wanted = msgspec.json.decode(question.data, type=EventsRequest)
        except msgspec.MsgspecError as error:
            _log.warning("a region asks for nothing that can be sent", region=region, error=str(error))
            return
        if wanted.service in SERVICES:
            page = {"seq": wanted.after + 1, "batch": min(wanted.limit, SENT), "max_bytes": SENT_BYTES}
            get = f"$JS.API.DIRECT.GET.{stream_name(region, wanted.service)}"
            await client.publish(get, msgspec.json.encode(page), reply=question.reply)

    def to_inbox(respond: Respond) -> Respond:
        async def to_inbox_alone(question: Msg) -> None:
            if question.reply.startswith(f"{INBOX}."):
                await respond(question)

        return to_inbox_alone

    answers = {MIRROR: send, STANDING: told(standing), REGIONS: told(regions), ADDRESSED: told(letters)}
    async with asyncio.TaskGroup() as together:
        for subject, respond in answers.items():
            together.create_task(heed(client, subject, to_inbox(respond), QUESTIONS))


async def _page(connection: asyncpg.Connection[Any], region: str, after: int) -> LetterPage:
    """What others have said to a region behind a position; that it has come so far is written down."""
    await connection.execute(_READ, region, after)
    last = await connection.fetchval(_LAST, region)
    letters: list[Letter] = []
    size = 0
    for row in await connection.fetch(_LETTERS, region, after, PAGE):
        if size > PAGE_BYTES:
            break
        letters.append(Letter(row["position"], msgspec.json.decode(row["headers"]), row["data"]))
        size += len(row["data"]) + len(row["headers"])
    return LetterPage(last, await connection.fetchval(_EVENT_ID, region, after) or "", letters)
