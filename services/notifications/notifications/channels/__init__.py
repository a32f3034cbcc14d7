"""How a message leaves: what it says, where it goes, and what a channel answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Protocol
from uuid import UUID

import msgspec

from notifications.commands import Contact


class Message(msgspec.Struct, frozen=True):
    """One message to one subscriber. `id` is that of its delivery, the same however often it has to be sent; `data`
    is what a program wants to know of it."""

    id: UUID
    type: Literal["alert.raised", "subscription.confirm"]
    at: datetime
    headline: str
    text: str
    stop_url: str
    data: dict[str, Any]


class Undelivered(Exception):
    """The channel did not take it. `reason` never tells the contact, because it is recorded for ever.

    `final`: another attempt would be refused as well; `gone`: so would be every other message; `bounced`: so may be
    every other message, for the receiver knows no such contact. `pause`: the seconds that it asks to be left alone for.
    """

    def __init__(
        self, reason: str, *, final: bool = False, gone: bool = False, bounced: bool = False, pause: float = 0.0
    ) -> None:
        super().__init__(reason)
        self.reason, self.final = reason, final or gone or bounced
        self.gone, self.bounced, self.pause = gone, bounced, pause


class Busy(Exception):
    """There is no place for it now: to be sent `pause` seconds later, and no attempt was made."""

    def __init__(self, pause: float) -> None:
        super().__init__(f"no place for {pause:.1f} s")
        self.pause = pause


class Channel(Protocol):
    """One way to reach subscribers."""

    async def send(self, contact: Contact, message: Message) -> None:
        """Hand the message over; raises Undelivered, Busy."""
        ...
