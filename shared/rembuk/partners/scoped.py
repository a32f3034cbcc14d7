"""What a scope sees of a log: pages of it, which also say how far they reach where nothing is seen."""

from __future__ import annotations

from typing import Any

import asyncpg
import msgspec

from rembuk.events.rows import COLUMNS
from rembuk.log.event_log import PAGE_BYTES
from rembuk.partners.partners import Scope

SCANNED = 10_000
"""Positions that one page looks at: however little of a log is seen, a page costs no more than that."""

_PAGE = f"""
    select reached, page.*
    from (select least(position, $1::bigint + {SCANNED}) as reached from log.head) as head
         left join (select *
                    from (select {COLUMNS}, count(*) over () as found, row_number() over (order by position) as number,
                                 sum(octet_length(data::text)) over (order by position) as bytes
                          from (select * from log.event
                                where position > $1 and position <= $1 + {SCANNED}
                                  and (cardinality($3::text[]) = 0 or type = any($3))
                                  and (cardinality($4::text[]) = 0 or area = any($4) or area like any($5::text[]))
                                order by position limit $2) as seen) as sized
                    where number = 1 or bytes <= $6) as page on true
    order by page.position"""


class ScopedPage(msgspec.Struct, frozen=True):
    """Rows of log.event that are seen, in order; nothing else is seen up to `position`, from where the next page goes
    on."""

    rows: list[asyncpg.Record]
    position: int


class BeyondTheHead(Exception):
    """Somebody has more than the log: it was restored as it was before, or the position is of another log. What comes
    next would be passed over in silence."""

    def __init__(self, position: int, head: int) -> None:
        super().__init__(f"the log's last position is {head}, which {position} is beyond")
        self.head = head


async def page(
    connection: asyncpg.Connection[Any], scope: Scope, after: int, limit: int, most_bytes: int = PAGE_BYTES
) -> ScopedPage:
    """What `scope` sees after a position: `limit` events at most, and as many as `most_bytes` of event data hold, one
    at least. The end of the log is reached where the page's position is `after`. Which service's log it is the scope
    is not asked. Raises BeyondTheHead, and what asyncpg raises."""
    below = [f"{area}.%" for area in scope.areas]
    answer = await connection.fetch(_PAGE, after, limit, list(scope.types), list(scope.areas), below, most_bytes)
    if (reached := answer[0]["reached"]) < after:
        raise BeyondTheHead(after, reached)
    rows = [row for row in answer if row["position"] is not None]
    is_cut = bool(rows) and (rows[0]["found"] == limit or rows[0]["found"] > len(rows))
    return ScopedPage(rows, rows[-1]["position"] if is_cut else reached)
