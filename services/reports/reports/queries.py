"""What can be asked about problems: answered from the read model, with descriptions opened that are for everybody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import msgspec
import structlog
from asyncpg import Record
from rembuk.contracts.disclosure import shown_area
from rembuk.contracts.polmas import Disclosure
from rembuk.contracts.reports import Level
from rembuk.contracts.status import Status
from rembuk.events.reference import position_of, reference_of
from rembuk.keys.region_key import Unopened
from rembuk.log.standing import HISTORY
from rembuk.sealing.opened_texts import OpenedTexts
from rembuk.sealing.vault import Erased, Vault
from rembuk.web.partner_access import Within
from rembuk.web.reading import ReadModel, Timestamp, encode_cursor, position_before

from reports import listing

_log = structlog.get_logger(__name__)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


_AsText = Annotated[str, msgspec.Meta(extra_json_schema={"format": "uuid"})]
"""A UUID as PostgreSQL writes it: a page has a hundred of them, and each costs a quarter of what one of Python does."""


class Problem(msgspec.Struct, frozen=True):
    """A problem as whoever asks may see it. Of one that is `withheld` from him that is how it stands, since when, in
    which regency and in which regions: the rest is null, and a list does not tell its `id`, which is for its reporter.
    `anonymous` tells whether the reporter is known, never who; `description` is null for good where it was `erased`,
    and where its key is missing or spoilt; where it happened is told by the area alone. `referred_from` is the region
    that offered it to ours, and that knows the reporter; `referred_to` is the one that has it, or was asked and has not
    answered yet."""

    id: _AsText | None
    reference: str
    version: int
    withheld: bool
    area: str
    category: str | None
    title: str | None
    description: str | None
    erased: bool
    disclosure: Disclosure | None
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


class ProblemQueries:
    """Reads of the table `problem`; `vault` opens what everybody may read."""

    def __init__(self, read_model: ReadModel, region: str, vault: Vault) -> None:
        self._read_model, self._region = read_model, region
        self._texts = OpenedTexts(vault)

    async def one(self, problem_id: UUID, within: Within, at_least: int | None = None) -> Problem | None:
        """The problem, None for an unknown one; raises Behind."""
        await self._read_model.reached(at_least)
        rows = await self._read_model.rows(listing.one, problem_id)
        return msgspec.structs.replace((await self._problems(rows, within))[0], id=str(problem_id)) if rows else None

    async def page(
        self,
        within: Within,
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
        start = (_LAST, 2**62) if cursor is None else await self._start(position_before(cursor))
        await self._read_model.reached(at_least)
        query = partial(
            listing.page, area=len(area or ""), category=category is not None, status=status is not None,
            named=named is not None,
        )  # fmt: skip
        filters: list[object] = [asked for asked in (area, category, status) if asked is not None]
        if named is not None:
            filters.append(position_of(named, self._region) or 0)
        rows = await self._read_model.rows(query, limit + 1, since or _FIRST, *start, *filters)
        more = encode_cursor(rows[limit - 1]["position"]) if len(rows) > limit else None
        return ProblemPage(await self._problems(rows[:limit], within), more)

    async def _start(self, position: int) -> tuple[datetime, int]:
        """Behind what a page goes on, of which the cursor names the position."""
        rows = await self._read_model.rows(listing.reported_at, position)
        return (rows[0]["reported_at"] if rows else _FIRST), position

    async def _problems(self, rows: Sequence[Record], within: Within) -> list[Problem]:
        """Rows of `listing` as whoever asks may see them."""
        sealed = [(row["description"], row["event_id"]) for row in rows if row["public"] and not row["erased"]]
        texts = await self._texts.opened(sealed, rows[0]["epoch"]) if sealed else {}
        return [self._problem(row, within, texts) for row in rows]

    def _problem(self, row: Record, within: Within, texts: Mapping[str, str | Erased | Unopened]) -> Problem:
        """Taken apart and put together by place and not by name, which takes five times as long."""
        (
            id, position, version, public, area, category, title, _, erased, disclosure, status, priority, root_cause,
            proposal, rejection, referred_from, referred_to, anonymous, reported_at, changed_at, event_id, _,
        ) = row  # fmt: skip
        reference = reference_of(self._region, position)
        if not public and not within(area):
            return Problem(
                None, reference, version, True, shown_area(area), None, None, None, erased, None, status, None, None,
                None, None, referred_from, referred_to, anonymous, reported_at, changed_at,
            )  # fmt: skip
        text = texts.get(event_id)
        if text is not None and not isinstance(text, str):
            if isinstance(text, Unopened):
                _log.error("a description cannot be opened", position=position, why=str(text))
            text, erased = None, isinstance(text, Erased)
        return Problem(
            id, reference, version, False, area, category, title, text, erased, disclosure, status, priority,
            root_cause, proposal, rejection, referred_from, referred_to, anonymous, reported_at, changed_at,
        )  # fmt: skip


class OtherRegion(msgspec.Struct, frozen=True):
    """A region that a problem can be referred to, and when the hub told of it last."""

    name: str
    heard_at: Timestamp


_REGIONS = "select name, heard_at from {}other_region where heard_at > '-infinity' order by name"
_KEY = "select public_key from {}other_region where name = $1 and heard_at > '-infinity'"


_HISTORY = f"""
    select true as ours, null as region, false as heard, position, id, stream_id, version, type, schema_version, area,
           data::text, metadata::text, recorded_at
    from ({HISTORY}) as recorded
    union all
    select false, region, heard, position, event_id, stream_id, version, type, schema_version, area,
           data, metadata, recorded_at
    from elsewhere where stream_id = $1
    order by recorded_at, ours desc, position, heard"""  # noqa: S608 - the kernel's words


class ReferralQueries:
    """What is known of other regions: which there are, and what they did about problems of ours."""

    def __init__(self, read_model: ReadModel) -> None:
        self._read_model = read_model

    async def regions(self) -> list[OtherRegion]:
        """By name; none before the hub has told of any."""
        return [OtherRegion(*row) for row in await self._read_model.rows(_REGIONS.format)]

    async def public_key(self, region: str) -> str | None:
        """By which a brief for it is sealed; None for a region that the hub does not tell of."""
        rows = await self._read_model.rows(_KEY.format, region)
        return str(rows[0]["public_key"]) if rows else None

    async def history(self, problem_id: UUID, region: str) -> list[tuple[str, Any]]:
        """What our region and others recorded of a problem, by time: rows as of log.event, each with the region whose
        it is; [] for one of which ours recorded nothing."""
        rows = await self._read_model.rows(lambda _: _HISTORY, problem_id)
        ours = [(region, row) for row in rows if row["ours"]]
        if len(ours) in (0, len(rows)):
            return ours
        theirs: dict[tuple[UUID, int], tuple[str, Record]] = {}
        where = ""
        for row in rows:
            if not row["ours"]:
                where = row["region"] or where
                theirs[row["id"], row["position"]] = where, row
        told = [one for one in theirs.values() if one[0] != region]
        return sorted([*ours, *told], key=lambda one: one[1]["recorded_at"])
