"""What the hub's own nats-server tells its operators: which region it refuses because another one is connected by the
same invitation."""

from __future__ import annotations

import time

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from rembuk.hub_regions import account

REFUSED = "Maximum Account Connections Exceeded"
"""What nats-server (2.15.1) calls it."""
LATELY_S = 10.0
"""Who is refused comes again each second."""


class _Left(msgspec.Struct, frozen=True):
    host: str = ""
    kind: str = ""


class _Disconnect(msgspec.Struct, frozen=True):
    client: _Left
    reason: str = ""


_decode = msgspec.json.Decoder(_Disconnect).decode


class Refused:
    """Whom the server has refused lately."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, str]] = {}  # by account: when, and from where

    async def listen(self, client: Client) -> None:
        """As long as the connection lasts, which is to the server's system account."""
        await client.subscribe("$SYS.ACCOUNT.*.DISCONNECT", cb=self._heed)

    def why(self, region: str) -> str:
        """What is to be said of a region; empty where nothing is."""
        at, host = self._seen.get(account(region), (0.0, ""))
        if time.monotonic() - at > LATELY_S:
            return ""
        return (
            f"another server tries to join as {region} by the same invitation, from {host}, and is refused: one is "
            f"connected already"
        )

    async def _heed(self, message: Msg) -> None:
        left = _decode(message.data)
        if left.reason == REFUSED and left.client.kind == "Leafnode":
            self._seen[message.subject.split(".")[2]] = time.monotonic(), left.client.host
