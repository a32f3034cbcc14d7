"""What can be asked about problems: answered from the read model, with descriptions opened that are for everybody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, get_args
from uuid import UUID

import msgspec
import structlog
from rembuk.contracts.categories import CATEGORIES
from rembuk.contracts.polmas import Disclosure
from rembuk.contracts.reports import Level
from rembuk.contracts.status import Between, Status
from rembuk.reference import position_of, reference_of
from rembuk.region_key import Tampered
from rembuk.vault import Vault, is_sealed
from rembuk.web.reading import ReadModel, Timestamp, lies_in
from sqlalchemy import ColumnElement, Label, Row, and_, exists, literal_column, select

from reports.tables import elsewhere, erased, other_region, problem

_log = structlog.get_logger(__name__)


class Problem(msgspec.Struct, frozen=True):
    """A problem as it stands. `anonymous` tells whether the reporter is known, never who; `description` is null where
    it is not for everybody, for good where it was `erased`, and where somebody has tampered with it; where it happened
    is told by the area alone. `referred_from` is the region that offered it to ours, and that knows the reporter;
    `referred_to` is the one that has it, or was asked and has not answered yet."""

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
    referred_from: str | None
    referred_to: str | None
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
_HIDDEN = {
    "position", "event_id", "texts_of", "reporter_of", "reporter_erased", "description", "erased", "status", "referral",
}  # fmt: skip


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
            query = query.where(_stands(status))
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
            status=row.referral or row.status,
            anonymous=row.reporter_of is None or row.reporter_erased,
            **{name: value for name, value in row._mapping.items() if name not in _HIDDEN},
        )


class OtherRegion(msgspec.Struct, frozen=True):
    """A region that a problem can be referred to, and when the hub told of it last."""

    name: str
    heard_at: Timestamp


_IS_TOLD_OF = other_region.c.heard_at > literal_column("'-infinity'::timestamptz")


class ReferralQueries:
    """What is known of other regions: which there are, and what they did about problems of ours."""

    def __init__(self, read_model: ReadModel) -> None:
        self._read_model = read_model

    async def regions(self) -> list[OtherRegion]:
        """By name; none before the hub has told of any."""
        query = select(other_region.c.name, other_region.c.heard_at).where(_IS_TOLD_OF).order_by(other_region.c.name)
        return [OtherRegion(**row._mapping) for row in await self._read_model.all(query)]

    async def public_key(self, region: str) -> str | None:
        """By which a brief for it is sealed; None for a region that the hub does not tell of."""
        query = select(other_region.c.public_key).where(other_region.c.name == region, _IS_TOLD_OF)
        row = await self._read_model.one(query)
        return None if row is None else str(row.public_key)

    async def elsewhere(self, problem_id: UUID) -> list[tuple[str, Mapping[str, Any]]]:
        """What other regions recorded of a problem, by time: rows as of log.event, each with the region whose it is."""
        query = select(elsewhere).where(elsewhere.c.stream_id == problem_id)
        order = (elsewhere.c.recorded_at, elsewhere.c.position, elsewhere.c.heard)
        found: dict[tuple[UUID, int], tuple[str, Mapping[str, Any]]] = {}
        region = ""
        for row in await self._read_model.all(query.order_by(*order)):
            region = row.region or region
            found[row.event_id, row.position] = region, {**row._mapping, "id": row.event_id}
        return list(found.values())


def _stands(status: Status) -> ColumnElement[bool]:
    if status in get_args(Between):
        return problem.c.referral == status
    return and_(problem.c.status == status, problem.c.referral.is_(None))


def _is_for_all(row: Row[Any]) -> bool:
    """Whether everybody may read what happened."""
    category = CATEGORIES.get(row.category)
    return not row.erased and row.disclosure == "public" and category is not None and not category.sensitive


def _description(row: Row[Any], texts: Iterator[str | Tampered | None]) -> str | Tampered | None:
    if not _is_for_all(row):
        return None
    return next(texts) if is_sealed(row.description) else str(row.description)
