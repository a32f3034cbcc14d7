"""What a region knows of its hub: it asks through its own nats-server how far the hub has come."""

from __future__ import annotations

import msgspec
import nats.errors
from rembuk.hub_regions import INBOX, STANDING, Known

from rembuk_cli.servers import broker

ANSWER_S = 3.0


async def ask_hub(nats_url: str) -> list[Known] | None:
    """How far the hub knows each stream; None where it does not answer. Raises Unable without our own nats-server."""
    async with broker(nats_url, "rembuk status", inbox=INBOX) as client:
        try:
            answer = await client.request(STANDING, timeout=ANSWER_S)
        except (nats.errors.Error, TimeoutError):
            return None
        return msgspec.json.decode(answer.data, type=list[Known])
