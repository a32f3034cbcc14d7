"""Reads: waiting for a read model to catch up, and paging through it by cursor."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol, TypeVar

import msgspec
from litestar import Response
from litestar.params import Parameter
from sqlalchemy import Column, ColumnElement, Row, Select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from rembuk.database import connected
from rembuk.decider import Refused
from rembuk.web.problem_details import Behind
from rembuk.wording import AREA_CODE, CATEGORY_CODE

AtLeast = Annotated[
    int | None,
    Parameter(
        query="at_least",
        ge=0,
        le=2**62,
        description="Wait until the read model has reached this log position",
        schema_extra={"minimum": 0},
    ),
]
Limit = Annotated[int, Parameter(query="limit", ge=1, le=200, description="Items of a page")]
AreaFilter = Annotated[
    str | None, Parameter(query="area", pattern=AREA_CODE, description="The code of an area: it and all below it")
]
CategoryFilter = Annotated[str | None, Parameter(query="category", pattern=CATEGORY_CODE)]
Since = Annotated[
    str | None,
    Parameter(
        query="since", max_length=40, description="A moment with its offset", schema_extra={"format": "date-time"}
    ),
]
Timestamp = Annotated[datetime, msgspec.Meta(tz=True)]
"""When something happened, as it is shown."""
Cursor = Annotated[
    str | None, Parameter(query="cursor", max_length=500, description="`next_cursor` of the page before")
]

_Position = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
_PATIENCE_S = 5.0
_POSITION = text("select position from checkpoint where follower = :follower and stream = :stream")


class ReadModel:
    """A service's own read model: its database, and how far the projection of its own stream has come."""

    def __init__(self, engine: AsyncEngine, follower: str, stream: str) -> None:
        self.engine = engine
        self._source = {"follower": follower, "stream": stream}

    async def position(self) -> int:
        """The last position of our own log that the rows show; 0 before the first."""
        async with connected(self.engine) as connection:
            return int(await connection.scalar(_POSITION, self._source) or 0)

    async def reached(self, position: int | None) -> None:
        """Return when the rows show `position` (None: at once); raises Behind after 5 s."""
        if not position:
            return
        deadline = time.monotonic() + _PATIENCE_S
        while await self.position() < position:
            if time.monotonic() > deadline:
                raise Behind(f"the read model has not reached position {position}")
            await asyncio.sleep(0.01)

    async def one(self, query: Select[Any], at_least: int | None = None) -> Row[Any] | None:
        """The only row of `query`, None where there is none; raises Behind."""
        await self.reached(at_least)
        async with connected(self.engine) as connection:
            row: Row[Any] | None = (await connection.execute(query)).one_or_none()
            return row

    async def all(self, query: Select[Any]) -> Sequence[Row[Any]]:
        """Every row of `query`."""
        async with connected(self.engine) as connection:
            rows: Sequence[Row[Any]] = (await connection.execute(query)).all()
            return rows

    async def page(
        self,
        query: Select[Any],
        position: Column[int],
        cursor: str | None,
        limit: int,
        at_least: int | None = None,
    ) -> tuple[Sequence[Row[Any]], str | None]:
        """Up to `limit` rows of `query` by falling `position`, and the cursor of the next page,
        None behind the last; raises Behind, and Refused for a cursor that is none."""
        if cursor is not None:
            query = query.where(position < decode_cursor(cursor, _Position)[0])
        await self.reached(at_least)
        rows = await self.all(query.order_by(position.desc()).limit(limit + 1))
        more = encode_cursor(rows[limit - 1]._mapping[position]) if len(rows) > limit else None
        return rows[:limit], more


def lies_in(column: Column[str], area: str) -> ColumnElement[bool]:
    """Whether a row's area is `area` or lies below it."""
    return column.like(f"{area}.%") | (column == area)


class Versioned(Protocol):
    """What has its aggregate's version."""

    @property
    def version(self) -> int: ...


V = TypeVar("V", bound=Versioned)


def found(thing: V | None, rule: str) -> Response[V]:
    """The answer with one thing, its version as ETag; refused under `rule` where there is none."""
    if thing is None:
        raise Refused(rule)
    return Response(thing, headers={"ETag": f'"{thing.version}"'})


def moment(text: str | None, field: str) -> datetime | None:
    """The moment that a parameter names; raises Refused, for `field`, where it names none."""
    if text is None:
        return None
    try:
        return in_utc(msgspec.convert(text, Timestamp), field)
    except msgspec.ValidationError as error:
        raise Refused("invalid-moment", "not a moment such as 2026-03-02T19:00:00+07:00", field=field) from error


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
