"""Connections to NATS that are tried for ever, first and again: no service falls with its broker."""

from __future__ import annotations

import asyncio
from typing import Any

import nats
import structlog
from faststream.nats import NatsBroker
from faststream.nats.security import NatsNKey
from nats.aio.client import Client

from rembuk.broker.stream_names import OWN_INBOX

GRACE_S = 5.0
"""How long a stopping follower finishes the batch in hand: what it leaves is done by the next start."""

_FOR_EVER: dict[str, Any] = {
    "max_reconnect_attempts": -1,
    "reconnect_time_wait": 0.25,
    "connect_timeout": 2,
    "ping_interval": 10,
    "max_outstanding_pings": 2,
}
"""How a connection is kept up, whoever it is for."""

_log = structlog.get_logger(__name__)


async def connect(url: str, name: str, seed: str | None = None, inbox: str = OWN_INBOX) -> Client:
    """`seed` is that of an nkey, by which the hub is known in an account of a region; `inbox` is what answers are sent
    to."""

    async def said(error: Exception) -> None:
        _log.warning("nats connection", error=repr(error))

    while True:
        try:
            return await nats.connect(
                url,
                name=name,
                error_cb=said,
                nkeys_seed_str=seed,
                inbox_prefix=inbox,
                allow_reconnect=True,
                **_FOR_EVER,
            )
        except Exception as error:
            _log.info("waiting for nats", error=repr(error))
            await asyncio.sleep(0.3)


def broker(url: str, name: str, seed: str | None = None, inbox: str = OWN_INBOX) -> NatsBroker:
    """The FastStream broker that a service's followers share; `seed` and `inbox` as for `connect`."""
    return NatsBroker(
        url, name=name, apply_types=False, logger=None, graceful_timeout=GRACE_S,
        security=NatsNKey.from_seed(seed) if seed else None, inbox_prefix=inbox, **_FOR_EVER,
    )  # fmt: skip
