"""Signed requests to other people's URLs, as the Standard Webhooks specification has them.

The URL was given by a stranger, so it must not lead into our own network: every address its name resolves to has to
be public, and it is that address, not the name, that is connected to.
"""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address

import httpx
from standardwebhooks import Webhook

TIMEOUT_S = 10


class NotPosted(Exception):
    """Nobody answered. `reason` never tells the URL; `final`: nobody would another time."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.final = reason, final


class Poster:
    """Posts to http and https URLs; `private` lets them lead to addresses of our own network (tests, demo)."""

    def __init__(self, *, private: bool = False) -> None:
        self._private = private
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False)

    async def stop(self) -> None:
        await self._client.aclose()

    async def post(self, to: str, secret: str, message_id: str, content_type: str, body: bytes) -> int:
        """The status of the answer, whose body is nothing to us. Raises NotPosted."""
        try:
            url = httpx.URL(to)
        except httpx.InvalidURL:
            raise NotPosted("HTTP: not the URL of a host", final=True) from None
        now = datetime.now(UTC)
        headers = {
            "content-type": content_type,
            "host": url.netloc.decode(),
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign(message_id, now, body.decode()),
        }
        address = await self._address(url)
        request = self._client.build_request(
            "POST", url.copy_with(host=address), content=body, headers=headers, extensions={"sni_hostname": _name(url)}
        )
        try:
            response = await self._client.send(request, stream=True)
            await response.aclose()
        except (httpx.HTTPError, OSError) as error:
            raise NotPosted(f"HTTP: {type(error).__name__}") from error
        return response.status_code

    async def _address(self, url: httpx.URL) -> str:
        """Where the URL's host is. Raises NotPosted."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(_name(url), url.port or 0, type=socket.SOCK_STREAM)
        except UnicodeError:
            raise NotPosted("HTTP: no name can be like this", final=True) from None
        except OSError as error:
            raise NotPosted("HTTP: the name does not resolve") from error
        addresses = [str(one[4][0]) for one in found]
        if not self._private and not all(map(is_public, addresses)):
            raise NotPosted("HTTP: the address is not public", final=True)
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
