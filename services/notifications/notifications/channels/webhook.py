"""Messages by webhook, as the Standard Webhooks specification has them: signed JSON, the delivery's id as theirs.

The URL was given by a stranger, so it must not lead into our own network: every address its name resolves to has to
be public, and it is that address, not the name, that is connected to.
"""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address

import httpx
import msgspec
from standardwebhooks import Webhook

from notifications.channels import Message, Undelivered
from notifications.commands import Contact

TIMEOUT_S = 10
TRY_AGAIN = (408, 425, 429)
"""What a 4xx may be that another attempt can heal."""
GONE = 410
"""The receiver wants no more of any kind."""


class WebhookChannel:
    """Posts to http and https URLs; `private` lets them lead to addresses of our own network (tests, demo)."""

    def __init__(self, *, private: bool = False) -> None:
        self._private = private
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False)

    async def stop(self) -> None:
        await self._client.aclose()

    async def send(self, contact: Contact, message: Message) -> None:
        """Raises Undelivered; finally so for a refusal by the receiver and for an address that is not public."""
        try:
            url = httpx.URL(contact.to)
        except httpx.InvalidURL:
            raise Undelivered("HTTP: not the URL of a host", final=True) from None
        body = msgspec.json.encode({"type": message.type, "timestamp": message.at, "data": message.data})
        now = datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "host": url.netloc.decode(),
            "webhook-id": str(message.id),
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(contact.secret).sign(str(message.id), now, body.decode()),
        }
        address = await self._address(url)
        request = self._client.build_request(
            "POST", url.copy_with(host=address), content=body, headers=headers, extensions={"sni_hostname": _name(url)}
        )
        try:
            response = await self._client.send(request, stream=True)  # its body is nothing to us
            await response.aclose()
        except (httpx.HTTPError, OSError) as error:
            raise Undelivered(f"HTTP: {type(error).__name__}") from error
        status = response.status_code
        if status == GONE:
            raise Undelivered("HTTP 410: gone", gone=True)
        if not response.is_success:
            raise Undelivered(f"HTTP {status}", final=400 <= status < 500 and status not in TRY_AGAIN)

    async def _address(self, url: httpx.URL) -> str:
        """Where the URL's host is. Raises Undelivered."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(_name(url), url.port or 0, type=socket.SOCK_STREAM)
        except UnicodeError:
            raise Undelivered("HTTP: no name can be like this", final=True) from None
        except OSError as error:
            raise Undelivered("HTTP: the name does not resolve") from error
        addresses = [str(one[4][0]) for one in found]
        if not self._private and not all(map(is_public, addresses)):
            raise Undelivered("HTTP: the address is not public", final=True)
        return addresses[0]


def _name(url: httpx.URL) -> str:
    """The host as it is asked for: `url.host` would decode it, and raises where it begins with xn-- in vain."""
    return url.raw_host.decode("ascii")


def is_public(address: str) -> bool:
    """Whether an address belongs to the world rather than to somebody's own network."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address) and (inner := ip.ipv4_mapped or ip.sixtofour):
        ip = inner
    return ip.is_global and not ip.is_multicast
