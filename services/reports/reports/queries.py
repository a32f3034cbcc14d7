"""What can be asked about problems: answered from the read model, with descriptions opened that are for everybody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
import structlog
from rembuk.contracts.categories import CATEGORIES
from rembuk.contracts.polmas import Disclosure
from rembuk.contracts.reports import Level
from rembuk.region_key import Tampered
from rembuk.vault import Vault, is_sealed
from rembuk.web.log_proofs import position_of, reference_of
from rembuk.web.reading import ReadModel, Timestamp, lies_in
from sqlalchemy import ColumnElement, Label, Row, exists, select

from reports.tables import erased, problem

_log = structlog.get_logger(__name__)

Status = Literal["reported", "verified", "rejected", "solution_proposed", "unassessed", "solved", "closed", "reopened"]


class Problem(msgspec.Struct, frozen=True):
    """A problem as it stands. `anonymous` tells whether the reporter is known, never who; `description` is null where
    it is not for everybody, for good where it was `erased`, and where somebody has tampered with it; where it happened
    is told by the area alone."""

    id: UUID
    reference: str
    version: int
    area: str
    category: str
    title: str
    description: str | None
    erased: bool
    disclosure: Disclosure
    status: Status
    priority: Level | None
    root_cause: str | None
    proposal: str | None
    rejection: str | None
    anonymous: bool
    reported_at: Timestamp
    changed_at: Timestamp


class ProblemPage(msgspec.Struct, frozen=True):
    """Problems, newest first; `next_cursor` is null on the last page."""

    items: list[Problem]
    next_cursor: str | None = None


def _is_erased(person: ColumnElement[Any], name: str) -> Label[bool]:
    return exists().where(erased.c.id == person).label(name)


_PROBLEM = select(
    problem, _is_erased(problem.c.texts_of, "erased"), _is_erased(problem.c.reporter_of, "reporter_erased")
)
_HIDDEN = {"position", "event_id", "texts_of", "reporter_of", "reporter_erased", "description", "erased"}


class ProblemQueries:
    """Reads of the table `problem`; `vault` opens what everybody may read."""

    def __init__(self, read_model: ReadModel, region: str, vault: Vault) -> None:
        self._read_model, self._region, self._vault = read_model, region, vault

    async def one(self, problem_id: UUID, at_least: int | None = None) -> Problem | None:
        """The problem, None for an unknown one; raises Behind."""
        row = await self._read_model.one(_PROBLEM.where(problem.c.id == problem_id), at_least)
        return None if row is None else (await self._problems([row]))[0]

    async def page(
        self,
        *,
        area: str | None = None,
        category: str | None = None,
        status: Status | None = None,
        since: datetime | None = None,
        named: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
        at_least: int | None = None,
    ) -> ProblemPage:
        """Problems of an area and everything below it, newest first; `named` is the reference of one."""
        query = _PROBLEM
        if area is not None:
            query = query.where(lies_in(problem.c.area, area))
        if category is not None:
            query = query.where(problem.c.category == category)
        if status is not None:
            query = query.where(problem.c.status == status)
        if since is not None:
            query = query.where(problem.c.reported_at >= since)
        if named is not None:
            query = query.where(problem.c.position == (position_of(named, self._region) or 0))
        rows, more = await self._read_model.page(query, problem.c.position, cursor, limit, at_least)
        return ProblemPage(await self._problems(rows), more)

    async def _problems(self, rows: Sequence[Row[Any]]) -> list[Problem]:
        """Some rows as everybody may see them; all descriptions are opened with one question to the vault."""
        sealed = [(row.description, row.event_id) for row in rows if _is_for_all(row) and is_sealed(row.description)]
        texts = iter(await self._vault.open_each(sealed))
        return [self._problem(row, _description(row, texts)) for row in rows]

    def _problem(self, row: Row[Any], description: str | Tampered | None) -> Problem:
        if isinstance(description, Tampered):
            _log.error("a description does not authenticate", position=row.position, why=str(description))
        return Problem(
            reference=reference_of(self._region, row.position),
            description=None if isinstance(description, Tampered) else description,
            erased=row.erased or (description is None and _is_for_all(row)),
            anonymous=row.reporter_of is None or row.reporter_erased,
            **{name: value for name, value in row._mapping.items() if name not in _HIDDEN},
        )


def _is_for_all(row: Row[Any]) -> bool:
    """Whether everybody may read what happened."""
    category = CATEGORIES.get(row.category)
    return not row.erased and row.disclosure == "public" and category is not None and not category.sensitive


def _description(row: Row[Any], texts: Iterator[str | Tampered | None]) -> str | Tampered | None:
    if not _is_for_all(row):
        return None
    return next(texts) if is_sealed(row.description) else str(row.description)
