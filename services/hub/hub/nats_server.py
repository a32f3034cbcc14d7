"""The hub's own nats-server as its operators see it: which region it refuses because another one is connected by the
same invitation, and which questions of its mirrors nobody has answered, so that they are asked again."""

from __future__ import annotations

import asyncio
import time

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from rembuk.federation.hub_regions import account

REFUSED = "Maximum Account Connections Exceeded"
"""What nats-server (2.15.1) calls it."""
LATELY_S = 10.0
"""Who is refused comes again each second."""
ANSWER_S = 2.0
OVERTAKEN_S = 0.5
"""A question that awaits its answer so long after a later one was answered is lost."""
_AWAITED = "$JSC.R."
"""What the subject begins with on which a mirror awaits the answer to its question for a consumer (2.15.1)."""

_AGAIN = msgspec.json.encode({"error": {"code": 400, "err_code": 10025, "description": "ask again"}})
"""The answer upon which a mirror asks once more at once, for a consumer of another name (2.15.1)."""

_log = structlog.get_logger(__name__)


class _Left(msgspec.Struct, frozen=True):
    host: str = ""
    kind: str = ""


class _Disconnect(msgspec.Struct, frozen=True):
    client: _Left
    reason: str = ""


class _Subscribed(msgspec.Struct, frozen=True):
    subject: str


class _Subscriptions(msgspec.Struct, frozen=True):
    subscriptions_list: tuple[_Subscribed, ...] = ()


class _Told(msgspec.Struct, frozen=True):
    data: _Subscriptions


_decode = msgspec.json.Decoder(_Disconnect).decode


class OwnServer:
    """Asked, and heard, by a connection to its system account; knows nothing until `listen`."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, str]] = {}  # whom it refused, by account: when, and from where
        self._client: Client | None = None
        self._asking: set[str] = set()  # regions for whose mirrors questions are being asked again

    async def listen(self, client: Client) -> None:
        """As long as the connection lasts."""
        await client.subscribe("$SYS.ACCOUNT.*.DISCONNECT", cb=self._heed)
        self._client = client

    def refused(self, region: str) -> str:
        """What is to be said of a region whose place another one takes; empty where nothing is."""
        at, host = self._seen.get(account(region), (0.0, ""))
        if time.monotonic() - at > LATELY_S:
            return ""
        return (
            f"another server tries to join as {region} by the same invitation, from {host}, and is refused: one is "
            f"connected already"
        )

    async def unanswered(self, region: str) -> frozenset[str]:
        """On which subjects the region's mirrors await answers at this moment; none where the server does not say."""
        if self._client is None:
            return frozenset()
        subscriptions = f"$SYS.REQ.ACCOUNT.{account(region)}.SUBSZ"
        try:
            answer = await self._client.request(subscriptions, b'{"limit": 10000}', timeout=ANSWER_S)
        except nats.errors.Error as error:
            _log.warning("the hub's nats-server does not say what is unanswered", region=region, error=repr(error))
            return frozenset()
        told = msgspec.json.decode(answer.data, type=_Told).data
        return frozenset(one.subject for one in told.subscriptions_list if one.subject.startswith(_AWAITED))

    async def ask_again(self, client: Client, region: str, before: frozenset[str]) -> None:
        """Have those questions asked again that awaited an answer `before` the region answered another one, and still
        do: they have not reached it. `client` is a connection to its account; who watches one of its mirrors does it
        for all. Raises nats.errors.Error."""
        if not before or region in self._asking:
            return
        self._asking.add(region)
        try:
            await asyncio.sleep(OVERTAKEN_S)
            lost = before & await self.unanswered(region)
            for awaited in lost:
                await client.publish(awaited, _AGAIN)
        finally:
            self._asking.remove(region)
        if lost:
            _log.info("questions of mirrors' were lost and are asked again", region=region, questions=len(lost))

    async def _heed(self, message: Msg) -> None:
        left = _decode(message.data)
        if left.reason == REFUSED and left.client.kind == "Leafnode":
            self._seen[message.subject.split(".")[2]] = time.monotonic(), left.client.host
