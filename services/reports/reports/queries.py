"""What can be asked about problems: answered from the read model alone."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from rembuk.contracts.polmas import Disclosure
from rembuk.contracts.reports import Level
from rembuk.web.reading import ReadModel, decode_cursor, encode_cursor
from sqlalchemy import Row, select

from reports.tables import problem


class Problem(msgspec.Struct, frozen=True):
    """A problem as it stands; `reported_by` tells whether the reporter is known, never who."""

    id: UUID
    reference: str
    version: int
    area: str
    category: str
    title: str
    description: str
    disclosure: Disclosure
    status: str
    priority: Level | None
    root_cause: str | None
    proposal: str | None
    rejection: str | None
    lat: float | None
    lon: float | None
    anonymous: bool
    reported_at: datetime
    changed_at: datetime


class ProblemPage(msgspec.Struct, frozen=True):
    """Problems, newest first; `next_cursor` is null on the last page."""

    items: list[Problem]
    next_cursor: str | None = None


def reference(region: str, position: int) -> str:
    """What a reporter writes down: the region and the problem's place in its log, unique by construction."""
    return f"{region.upper()}-{position:06d}"


class ProblemQueries:
    """Reads of the table `problem`."""

    def __init__(self, read_model: ReadModel, region: str) -> None:
        self._read_model, self._region = read_model, region

    async def one(self, problem_id: UUID, at_least: int | None = None) -> Problem | None:
        """The problem, None for an unknown one; raises Behind."""
        await self._read_model.reached(at_least)
        async with self._read_model.engine.connect() as connection:
            row = (await connection.execute(select(problem).where(problem.c.id == problem_id))).one_or_none()
        return None if row is None else self._problem(row)

    async def page(
        self,
        *,
        area: str | None = None,
        category: str | None = None,
        status: str | None = None,
        since: datetime | None = None,
        cursor: str | None = None,
        limit: int = 50,
        at_least: int | None = None,
    ) -> ProblemPage:
        """Problems of an area and everything below it, newest first."""
        await self._read_model.reached(at_least)
        query = select(problem).order_by(problem.c.position.desc()).limit(limit + 1)
        if area is not None:
            query = query.where(problem.c.area.like(f"{area}.%") | (problem.c.area == area))
        if category is not None:
            query = query.where(problem.c.category == category)
        if status is not None:
            query = query.where(problem.c.status == status)
        if since is not None:
            query = query.where(problem.c.reported_at >= since)
        if cursor is not None:
            query = query.where(problem.c.position < decode_cursor(cursor, int)[0])
        async with self._read_model.engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        more = encode_cursor(rows[limit - 1].position) if len(rows) > limit else None
        return ProblemPage([self._problem(row) for row in rows[:limit]], more)

    def _problem(self, row: Row[Any]) -> Problem:
        fields = {name: value for name, value in row._mapping.items() if name not in ("position", "reporter")}
        return Problem(reference=reference(self._region, row.position), anonymous=row.reporter == "", **fields)
