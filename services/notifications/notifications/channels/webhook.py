"""Messages by webhook: signed JSON, the delivery's id as theirs; where they must not go `rembuk.partners.posting`
knows."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec
import structlog
from rembuk.partners.posting import NotPosted, Poster

from notifications.channels import Message, Undelivered
from notifications.channels.places import Places
from notifications.commands import Contact

TRY_AGAIN = (408, 425, 429)
"""What a 4xx may be that another attempt can heal."""
GONE = 410
"""The receiver wants no more of any kind."""

_log = structlog.get_logger(__name__)


class WebhookChannel:
    """Posts to http and https URLs; `private` lets them lead to addresses of our own network (tests, demo)."""

    def __init__(self, *, private: bool = False) -> None:
        self._poster = Poster(private=private)
        self._places = Places()

    async def stop(self) -> None:
        await self._poster.stop()

    async def send(self, contact: Contact, message: Message) -> None:
        """Raises Undelivered, finally so for a refusal by the receiver; Busy while too much is on its way there."""
        body = msgspec.json.encode({"type": message.type, "timestamp": message.at, "data": message.data})
        url = urlsplit(contact.to)
        try:
            with self._places.of_host(url.hostname or "", url.port or url.scheme):
                answer = await self._poster.post(
                    contact.to, contact.secret, str(message.id), "application/json", body, self._places.of_address
                )
        except NotPosted as error:
            _log.info("webhook is not reached", delivery=str(message.id), why=error.detail)
            raise Undelivered(error.reason, final=error.final) from error
        status = answer.status
        if status == GONE:
            raise Undelivered("HTTP 410: gone", gone=True)
        if not 200 <= status < 300:
            final = 400 <= status < 500 and status not in TRY_AGAIN
            raise Undelivered(f"HTTP {status}", final=final, pause=answer.retry_after)
