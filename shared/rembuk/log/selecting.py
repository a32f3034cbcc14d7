"""Events of a log chosen by what is said of them: area, type, time, actor and correlation."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from rembuk.events.rows import COLUMNS

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.cursor import CursorFactory

_SELECT = f"""select {COLUMNS} from log.event
              where ($1 = '' or area = $1 or starts_with(area, $1 || '.')) and ($2 = '' or type = $2)
                and ($3::timestamptz is null or recorded_at >= $3) and ($4::timestamptz is null or recorded_at < $4)
                and ($5 = '' or metadata::json ->> 'actor' = $5)
                and ($6 = '' or metadata::json ->> 'correlation_id' = $6)
              order by position"""  # noqa: S608 - our own names


def select(
    connection: asyncpg.Connection[Any],
    *,
    area: str = "",
    event_type: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
    actor: str = "",
    correlation: str = "",
    prefetch: int = 500,
) -> CursorFactory[asyncpg.Record]:
    """Rows of log.event by position, of an area and below; "" and None choose all. It needs a transaction."""
    return connection.cursor(_SELECT, area, event_type, since, until, actor, correlation, prefetch=prefetch)
