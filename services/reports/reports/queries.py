"""What can be asked about problems: answered from the read model alone."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from rembuk.contracts.polmas import Disclosure
from rembuk.contracts.reports import Level
from rembuk.web.log_proofs import reference
from rembuk.web.reading import ReadModel, Timestamp, lies_in
from sqlalchemy import Row, select

from reports.tables import problem

Status = Literal["reported", "verified", "rejected", "solution_proposed", "unassessed", "solved", "closed", "reopened"]


class Problem(msgspec.Struct, frozen=True):
    """A problem as it stands; `anonymous` tells whether the reporter is known, never who."""

    id: UUID
    reference: str
    version: int
    area: str
    category: str
    title: str
    description: str
    disclosure: Disclosure
    status: Status
    priority: Level | None
    root_cause: str | None
    proposal: str | None
    rejection: str | None
    lat: float | None
    lon: float | None
    anonymous: bool
    reported_at: Timestamp
    changed_at: Timestamp


class ProblemPage(msgspec.Struct, frozen=True):
    """Problems, newest first; `next_cursor` is null on the last page."""

    items: list[Problem]
    next_cursor: str | None = None


class ProblemQueries:
    """Reads of the table `problem`."""

    def __init__(self, read_model: ReadModel, region: str) -> None:
        self._read_model, self._region = read_model, region

    async def one(self, problem_id: UUID, at_least: int | None = None) -> Problem | None:
        """The problem, None for an unknown one; raises Behind."""
        row = await self._read_model.one(select(problem).where(problem.c.id == problem_id), at_least)
        return None if row is None else self._problem(row)

    async def page(
        self,
        *,
        area: str | None = None,
        category: str | None = None,
        status: Status | None = None,
        since: datetime | None = None,
        cursor: str | None = None,
        limit: int = 50,
        at_least: int | None = None,
    ) -> ProblemPage:
        """Problems of an area and everything below it, newest first."""
        query = select(problem)
        if area is not None:
            query = query.where(lies_in(problem.c.area, area))
        if category is not None:
            query = query.where(problem.c.category == category)
        if status is not None:
            query = query.where(problem.c.status == status)
        if since is not None:
            query = query.where(problem.c.reported_at >= since)
        rows, more = await self._read_model.page(query, problem.c.position, cursor, limit, at_least)
        return ProblemPage([self._problem(row) for row in rows], more)

    def _problem(self, row: Row[Any]) -> Problem:
        fields = {name: value for name, value in row._mapping.items() if name not in ("position", "reporter")}
        return Problem(reference=reference(self._region, row.position), anonymous=row.reporter == "", **fields)
