"""What a region knows of its hub: it asks through its own nats-server how far the hub has come, and reads in that one's
log why the hub lets it in no more."""

from __future__ import annotations

from pathlib import Path

import msgspec
from rembuk.broker.nats_asking import Unanswered
from rembuk.federation.hub_regions import INBOX, STANDING, Known

from rembuk_cli.region.servers import questions

ANSWER_S = 3.0
REASONS = {
    "maximum account active connections exceeded": (
        "refuses this region, for another one is connected by the same invitation: stop that one, or have the hub turn "
        "the region away and admit it anew"
    ),
    "Authorization Violation": "refuses this region: it was turned away there, or its invitation is a former one",
}
"""What the hub's nats-server says to whom it does not let in, and what that means."""
UNTRUSTED = {
    "signed by unknown authority": (
        "is not the one of this region's invitation: its certificate is another authority's. Either the address leads "
        "elsewhere, or the hub was set up anew, and has to admit the region anew"
    ),
    "has expired or is not yet valid": (
        "shows a certificate that is not valid now: set the clock that is wrong, there or here, or have it signed anew "
        "there by `rembuk hub down` and `rembuk hub up`"
    ),
    "x509": (
        "shows a certificate that does not name the address of this region's invitation: name it there by `rembuk hub "
        "up --host`, or another one here by `rembuk up --hub nats-leaf://...`"
    ),
}
"""What our nats-server says of a certificate that it does not take, and what that means."""
_LOG_BYTES = 64 * 1024
_ERROR, _AWAY = "Leafnode Error '", "Error trying to connect as leafnode"
_TLS, _LINKED = "TLS leafnode handshake error: ", "JetStream using domains"


async def ask_hub(nats_url: str) -> list[Known] | None:
    """How far the hub knows each stream; None where it does not answer, or not so that it can be read. Raises Unable
    without our own nats-server."""
    async with questions(nats_url, "rembuk status", inbox=INBOX) as asked:
        try:
            return msgspec.json.decode(await asked.ask(STANDING, timeout_s=ANSWER_S), type=list[Known])
        except (Unanswered, msgspec.MsgspecError):
            return None


def refusal(log: Path) -> str:
    """Why the hub and the region do not come together, by the last words about it in the region's nats-server's log;
    empty where the hub is away, or for a server that is not embedded."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LOG_BYTES))
        last = file.read(_LOG_BYTES)
    for line in reversed(last.decode(errors="replace").splitlines()):
        if _AWAY in line or _LINKED in line:
            return ""
        if _TLS in line:
            return next((meant for said, meant in UNTRUSTED.items() if said in line), "")
        if _ERROR in line:
            return REASONS.get(line.partition(_ERROR)[2].rstrip("'"), "")
    return ""
