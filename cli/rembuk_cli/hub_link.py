"""What a region knows of its hub: it asks through its own nats-server how far the hub has come, and reads in that one's
log why the hub lets it in no more."""

from __future__ import annotations

from pathlib import Path

import msgspec
import nats.errors
from rembuk.hub_regions import INBOX, STANDING, Known

from rembuk_cli.servers import broker

ANSWER_S = 3.0
REASONS = {
    "maximum account active connections exceeded": (
        "refuses this region, for another one is connected by the same invitation: stop that one, or have the hub turn "
        "the region away and admit it anew"
    ),
    "Authorization Violation": "refuses this region: it was turned away there, or its invitation is a former one",
}
"""What the hub's nats-server says to whom it does not let in, and what that means."""
_LOG_BYTES = 64 * 1024
_ERROR, _AWAY = "Leafnode Error '", "Error trying to connect as leafnode"


async def ask_hub(nats_url: str) -> list[Known] | None:
    """How far the hub knows each stream; None where it does not answer. Raises Unable without our own nats-server."""
    async with broker(nats_url, "rembuk status", inbox=INBOX) as client:
        try:
            answer = await client.request(STANDING, timeout=ANSWER_S)
        except (nats.errors.Error, TimeoutError):
            return None
        return msgspec.json.decode(answer.data, type=list[Known])


def refusal(log: Path) -> str:
    """Why the hub does not let the region in, by the last words about it in its nats-server's log; empty where it is
    away, or for a server that is not embedded."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LOG_BYTES))
        last = file.read(_LOG_BYTES)
    for line in reversed(last.decode(errors="replace").splitlines()):
        if _AWAY in line:
            return ""
        if _ERROR in line:
            return REASONS.get(line.partition(_ERROR)[2].rstrip("'"), "")
    return ""
