"""Reads: waiting for a read model to catch up, and paging through it by cursor."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol, TypeVar
from uuid import UUID

import asyncpg
import msgspec
from asyncpg import Record
from litestar.di import Provide
from litestar.params import QueryParameter

from rembuk.events.decider import Refused
from rembuk.events.wording import AREA_CODE, CATEGORY_CODE
from rembuk.postgres.database import PlainSql
from rembuk.web import lists
from rembuk.web.answers import Answer
from rembuk.web.lists import ListedRows
from rembuk.web.problem_details import Behind

AtLeast = Annotated[
    int | None,
    QueryParameter(
        name="at_least",
        ge=0,
        le=2**62,
        description="Wait until the read model has reached this log position",
        schema_extra={"minimum": 0},
    ),
]
_AsOf = Annotated[
    int | None,
    QueryParameter(
        name="as_of",
        ge=1,
        le=2**62,
        description="Answer as of this log position; an operator has to have built that model: rembuk rebuild --as-of",
        schema_extra={"minimum": 1},
    ),
]
Limit = Annotated[int, QueryParameter(name="limit", ge=1, le=200, description="Items of a page")]
AreaFilter = Annotated[
    str | None, QueryParameter(name="area", pattern=AREA_CODE, description="The code of an area: it and all below it")
]
CategoryFilter = Annotated[str | None, QueryParameter(name="category", pattern=CATEGORY_CODE)]
Since = Annotated[
    str | None,
    QueryParameter(
        name="since", max_length=40, description="A moment with its offset", schema_extra={"format": "date-time"}
    ),
]
Timestamp = Annotated[datetime, msgspec.Meta(tz=True)]
"""When something happened, as it is shown."""
Cursor = Annotated[
    str | None, QueryParameter(name="cursor", max_length=500, description="`next_cursor` of the page before")
]

_Position = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
_LAST = 2**63 - 1
_PATIENCE_S = 5.0
_MOMENT = "2026-03-02T19:00:00%2B07:00"  # as it stands in a URL
_NOT_BUILT = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)  # none, or one of another release
_REACHED = "select position from {}checkpoint where follower = $1 and stream = $2"


class ReadModel:
    """What one projection of a stream shows: the live rows, or those that `rembuk.operations.rebuilding` left beside
    them as of a position of the service's own log. Every question raises Refused where there is no such model."""

    def __init__(self, sql: PlainSql, follower: str, stream: str, as_of: int | None = None) -> None:
        self._sql, self._as_of = sql, as_of
        self._schema = "" if as_of is None else f"as_of_{as_of}."
        self._checkpoint = (follower, stream)

    async def position(self) -> int:
        """The last position of the stream that the rows show; 0 before the first."""
        rows = await self.rows(_REACHED.format, *self._checkpoint)
        return int(rows[0]["position"]) if rows else 0

    async def reached(self, position: int | None) -> None:
        """Return when the rows show `position` (None: at once); raises Behind after 5 s."""
        if not position:
            return
        deadline = time.monotonic() + _PATIENCE_S
        while await self.position() < position:
            if time.monotonic() > deadline:
                raise Behind(f"the read model has not reached position {position}")
            await asyncio.sleep(0.01)

    async def rows(self, query: Callable[[str], str], *arguments: Any) -> list[Record]:
        """Every row of plain SQL. `query` makes it for the schema that the tables are in: "", or with a dot behind
        it."""
        try:
            return await self._sql.rows(query(self._schema), *arguments)
        except _NOT_BUILT as error:
            if self._as_of is None:
                raise
            why = f"no model as of {self._as_of} stands here; it is built by: rembuk rebuild --as-of {self._as_of}"
            raise Refused("not-built", why, field="as_of") from error

    async def one(self, shown: ListedRows, id: UUID, at_least: int | None = None) -> Record | None:
        """The row with that id, None where there is none; raises Behind."""
        await self.reached(at_least)
        rows = await self.rows(lists.one(shown).format, id)
        return rows[0] if rows else None

    async def page(
        self,
        shown: ListedRows,
        equal: Mapping[str, object],
        cursor: str | None,
        limit: int,
        at_least: int | None = None,
        walks: Sequence[str] = lists.ALL,
    ) -> tuple[list[Record], str | None]:
        """Up to `limit` rows, the last first, and the cursor of the next page, None behind the last: those in which
        what is named equals what is asked for, None asking for nothing. Raises Behind, and Refused for a cursor that is
        none. For `walks` see `rembuk.web.lists`."""
        before = _LAST if cursor is None else position_before(cursor)
        await self.reached(at_least)
        asked = {key: value for key, value in equal.items() if value is not None}
        query = lists.page(shown, tuple(asked), tuple(walks))
        rows = await self.rows(query.format, limit + 1, before, *asked.values())
        more = encode_cursor(rows[limit - 1][shown.order]) if len(rows) > limit else None
        return rows[:limit], more


def position_before(cursor: str) -> int:
    """The position that a cursor of a list by position was made of; raises Refused for one that is none."""
    position: int = decode_cursor(cursor, _Position)[0]
    return position


Q = TypeVar("Q")


def queried(queries: Callable[[int | None], Q]) -> Provide:
    """The dependency `queries` of a read: its questions to the live model, or to the one as of the `as_of` that the
    request names."""
    live = queries(None)

    def chosen(as_of: _AsOf = None) -> Q:
        return live if as_of is None else queries(as_of)

    return Provide(chosen, sync_to_thread=False)


class Versioned(Protocol):
    """What has its aggregate's version."""

    @property
    def version(self) -> int: ...


V = TypeVar("V", bound=Versioned)


def found(thing: V | None, rule: str) -> Answer[V]:
    """The answer with one thing, its version as ETag; refused under `rule` where there is none."""
    if thing is None:
        raise Refused(rule)
    return Answer(thing, thing.version)


def moment(text: str | None, field: str) -> datetime | None:
    """The moment that a parameter names; raises Refused, for `field`, where it names none."""
    if text is None:
        return None
    try:
        return in_utc(msgspec.convert(text, Timestamp), field)
    except msgspec.ValidationError as error:
        plus = "a + in a URL means a space, write %2B: " if " " in text else ""
        raise Refused("invalid-moment", f"{plus}not a moment such as {_MOMENT}", field=field) from error


def in_utc(at: datetime, field: str) -> datetime:
    """The moment in UTC; raises Refused, for `field`, where that is before the year 1 or after 9999."""
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise Refused("invalid-moment", "beyond the years 1 to 9999 in UTC", field=field) from error


def encode_cursor(*key: Any) -> str:
    """An opaque, URL-safe cursor of the last row's sort key."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def decode_cursor(cursor: str, *types: Any) -> tuple[Any, ...]:
    """The sort key a cursor was made of; raises Refused for anything else."""
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(data, type=tuple[types])  # type: ignore[valid-type]
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise Refused("invalid-cursor", "not a cursor that this service gave", field="cursor") from error
