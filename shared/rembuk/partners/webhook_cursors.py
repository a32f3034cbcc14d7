"""How far each partner's webhook has come in a service's log, and setting it back.

It imports little, for commands start with it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import asyncpg

_CURSORS = "select partner, position, attempts, failing_since, failure, stopped from webhook"
_SET_BACK = """insert into webhook (partner, position) values ($1, $2)
               on conflict (partner) do update
                   set position = $2, due_at = now(), attempts = 0, failing_since = null, failure = '', stopped = false
               returning (select position from log.head) as head"""


class WebhookCursor(msgspec.Struct, frozen=True):
    """Up to which position of a service's log a partner's webhook took its events, and why it takes no more since
    when."""

    position: int
    attempts: int = 0
    failing_since: datetime | None = None
    failure: str = ""
    stopped: bool = False


async def webhook_cursors(connection: asyncpg.Connection[Any]) -> dict[str, WebhookCursor]:
    """Of each partner that was ever sent anything, by its name."""
    return {row["partner"]: WebhookCursor(*list(row)[1:]) for row in await connection.fetch(_CURSORS)}


async def set_back(connection: asyncpg.Connection[Any], partner: str, position: int) -> int:
    """Have a partner sent what follows a position, at once, even after failures; the last position of the log."""
    return int(await connection.fetchval(_SET_BACK, partner, position))
