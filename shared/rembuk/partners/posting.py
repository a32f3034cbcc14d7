"""Signed requests to other people's URLs, as the Standard Webhooks specification has them.

The URL was given by a stranger, so it must not lead into our own network: every address its name resolves to has to
be public, and it is that address, not the name, that is connected to. Whether a name leads there or nowhere is said
in the same words, for the stranger may read them; operators are told the difference.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime

import httpx
import msgspec
from standardwebhooks import Webhook

from rembuk.partners.public_addresses import is_public
from rembuk.partners.retry_after import retry_after

TIMEOUT_S = 10
RESOLVING = 64
"""Names looked up at a time: in threads of our own, for a name whose server never answers keeps one for long."""
UNREACHABLE, NO_URL = "HTTP: the host cannot be reached", "HTTP: not the URL of a host"


class NotPosted(Exception):
    """Nobody answered. `reason` never tells the URL, and may be shown to strangers; `detail` is for operators; `final`:
    nobody would answer another time."""

    def __init__(self, reason: str, *, final: bool = False, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.final, self.detail = reason, final, detail or reason


class WebhookResponse(msgspec.Struct, frozen=True):
    """What a receiver answered; `retry_after` are the seconds it asks to be left alone for, 0 where it says nothing."""

    status: int
    retry_after: float = 0.0


Admission = Callable[[str, int], AbstractContextManager[object]]
"""Who allows a request to an address and port, for as long as the context lasts."""


class Poster:
    """Posts to http and https URLs; `private` lets them lead to addresses of our own network (tests, demo)."""

    def __init__(self, *, private: bool = False) -> None:
        self._private = private
        # A kept connection would be found again by its address, and was verified for another name at that address.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False, limits=limits)
        self._resolving = ThreadPoolExecutor(RESOLVING, thread_name_prefix="webhook-name")

    async def stop(self) -> None:
        self._resolving.shutdown(wait=False, cancel_futures=True)
        await self._client.aclose()

    async def post(
        self,
        to: str,
        secret: str,
        message_id: str,
        content_type: str,
        body: bytes,
        admit: Admission = lambda *_: nullcontext(),
    ) -> WebhookResponse:
        """The answer, whose body is nothing to us. Raises NotPosted, and what `admit` raises."""
        try:
            url = httpx.URL(to)
        except httpx.InvalidURL:
            raise NotPosted(NO_URL, final=True) from None
        if url.scheme not in ("http", "https") or not (url.port is None or 0 < url.port < 1 << 16):
            raise NotPosted(NO_URL, final=True)
        address = await self._address(url)
        with admit(address, url.port or (443 if url.scheme == "https" else 80)):
            now = datetime.now(UTC)
            headers = {
                "content-type": content_type,
                "host": url.netloc.decode(),
                "webhook-id": message_id,
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": Webhook(secret).sign(message_id, now, body.decode()),
            }
            at, sni = url.copy_with(host=address), {"sni_hostname": _name(url)}
            request = self._client.build_request("POST", at, content=body, headers=headers, extensions=sni)
            try:
                response = await self._client.send(request, stream=True)
                await response.aclose()
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                raise NotPosted(UNREACHABLE, detail=f"HTTP: {type(error).__name__}") from error
            except (httpx.HTTPError, OSError) as error:
                raise NotPosted(f"HTTP: {type(error).__name__}") from error
            return WebhookResponse(response.status_code, retry_after(response.headers.get("retry-after", ""), now))

    async def _address(self, url: httpx.URL) -> str:
        """Where the URL's host is. Raises NotPosted."""
        lookup = asyncio.get_running_loop().run_in_executor
        try:
            found = await lookup(self._resolving, _resolved, _name(url), url.port or 0)
        except UnicodeError:
            raise NotPosted("HTTP: no name can be like this", final=True) from None
        except OSError as error:
            raise NotPosted(UNREACHABLE, detail="HTTP: the name does not resolve") from error
        if not self._private and not all(map(is_public, found)):
            raise NotPosted(UNREACHABLE, detail="HTTP: the address is not public")
        return found[0]


def _resolved(host: str, port: int) -> list[str]:
    return [str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _name(url: httpx.URL) -> str:
    """The host as it is asked for: `url.host` would decode it, and raises where it begins with xn-- in vain."""
    return url.raw_host.decode("ascii")
