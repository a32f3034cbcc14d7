"""A region's PostgreSQL and NATS as a command asks them: they answer within seconds, or it is told that they do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from rembuk.broker.stream_names import OWN_INBOX

from rembuk_cli.terminal.unable import Unable

if TYPE_CHECKING:
    import asyncpg
    from nats.aio.client import Client
    from rembuk.broker.nats_asking import Asking
    from rembuk.embedded.region import RegionConfig

CONNECT_S, AGAIN_S = 3, 1
PING_S = 5
"""How often NATS is asked whether it is there; after two that it did not answer it is lost."""


@asynccontextmanager
async def database(region: RegionConfig, service: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection to a service's database. What asyncpg raises in the block, too, is raised as Unable."""
    import asyncpg
    from rembuk.postgres.database import UNREACHABLE

    away: tuple[type[BaseException], ...] = (*UNREACHABLE, asyncpg.PostgresError)
    connection = None
    try:
        connection = await asyncpg.connect(region.database(service).service_url, timeout=CONNECT_S)
        yield connection
    except asyncpg.InvalidCatalogNameError as error:
        raise Unable(f"{error}; an empty one is made when the region starts", "down", "up --servers-only") from error
    except away as error:
        raise Unable(f"the database of {service} does not answer: {str(error) or repr(error)}", "status") from error
    finally:
        if connection is not None:
            connection.terminate()


@asynccontextmanager
async def questions(url: str, name: str, inbox: str = OWN_INBOX) -> AsyncIterator[Asking]:
    """A connection to NATS for a few questions, made in a tenth of a `broker`'s time. Raises Unable; what is asked in
    the block raises Unanswered."""
    from rembuk.broker.nats_asking import Unanswered, asking

    async with AsyncExitStack() as stack:
        try:
            asked = await stack.enter_async_context(asking(url, name, CONNECT_S, inbox))
        except Unanswered as error:
            raise Unable(f"NATS does not answer: {error}", "status") from error
        yield asked


@asynccontextmanager
async def broker(
    url: str,
    name: str,
    lost: Callable[[], Awaitable[None]] | None = None,
    seed: str | None = None,
    inbox: str = OWN_INBOX,
) -> AsyncIterator[Client]:
    """A connection to NATS, not made again when it is `lost`: what is subscribed to would be silent. `seed` is that of
    an nkey, where NATS asks who we are. Raises Unable."""
    import nats
    import nats.errors

    last: Exception | None = None

    async def said(error: Exception) -> None:
        nonlocal last
        last = error

    try:
        async with asyncio.timeout(CONNECT_S + AGAIN_S):  # one that hangs is not asked a second time
            client = await nats.connect(
                url, name=name, connect_timeout=CONNECT_S, error_cb=said, closed_cb=lost, ping_interval=PING_S,
                allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=AGAIN_S, nkeys_seed_str=seed,
                inbox_prefix=inbox,
            )  # fmt: skip
    except (OSError, nats.errors.Error) as error:
        raise Unable(f"NATS does not answer: {last or error!r}", "status") from error
    try:
        yield client
    finally:
        await client.close()
