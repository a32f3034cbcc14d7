"""A region's problems by the hundred thousand, loaded by COPY: rows as the projection makes them, half of them sealed
under keys that the vault has, a tenth of all in one village; the events behind them; the same in clear for the peer."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from rembuk.areas.lookup import areas
from rembuk.contracts.categories import CATEGORIES
from rembuk.contracts.reports import (
    CODEC,
    ProblemAnalysed,
    ProblemClosed,
    ProblemPrioritised,
    ProblemReported,
    ProblemVerified,
    SolutionApplied,
    SolutionAssessed,
    SolutionProposed,
)
from rembuk.events.event import Event, Metadata, RecordedEvent
from rembuk.events.ids import derive_id
from rembuk.keys.region_key import RegionKeys
from rembuk.sealing.sealing import texts_of
from rembuk.sealing.vault import Vault
from reports.projection import ADD, project

from bench.work import DESCRIPTION

VILLAGES = 500
WITH_HISTORY = 1_000
"""Problems of which the log has all that happened until they were closed; of the others, that they were reported."""
PROVINCES = {"35": 480, "33": 20}
STATUSES = {"closed": 60, "solved": 8, "rejected": 10, "verified": 7, "reported": 6, "solution_proposed": 4,
            "unassessed": 3, "reopened": 1}  # fmt: skip
REFERRALS = {None: 970, "handed_over": 20, "referred": 4, "declined": 3, "withdrawn": 2, "offered": 1}
PUBLIC = [name for name, category in CATEGORIES.items() if not category.sensitive]
"""The categories whose problems everybody may read, texts and all: of the others less is told, and faster."""
BEGAN = datetime(2024, 1, 1, tzinfo=UTC)
KEPT_FOR = timedelta(days=1000)


@dataclass(frozen=True)
class Loaded:
    """What can be asked about: villages (the busy one first), ids of problems, and of those with a history."""

    villages: Sequence[str]
    ids: Sequence[UUID]
    with_history: Sequence[UUID]


def villages() -> list[str]:
    """500 of two provinces, evenly; the first has a tenth of all problems."""
    chosen = []
    for province, many in PROVINCES.items():
        codes = [area.code for area in areas().villages(province)]
        chosen += codes[:: len(codes) // many][:many]
    return chosen


async def load(owner_url: str, peer_url: str, region_key: str, many: int) -> Loaded:
    """Put so many problems into a database of reports and into the peer's table `problem`."""
    places = villages()
    chance = random.Random(7)
    vault = Vault(owner_url, RegionKeys.load(region_key))
    ids: list[UUID] = []
    owner, peer = await asyncpg.connect(owner_url), await asyncpg.connect(peer_url)
    await peer.execute(_PEER)
    reported = _reported(vault, places, chance, many, ids)
    async with owner.transaction():
        await owner.execute(
            "set local maintenance_work_mem = '256MB'; alter table log.event disable trigger append_only"
        )
        later = await _without_indexes(owner)
        while batch := _next(reported, 20_000):
            await _copy(owner, "problem", ADD.parameters, [row for row, *_ in batch])
            await _copy(owner, "vault_key", ("person", "wrapped", "key_id"), [key for *_, key, _ in batch if key])
            await _copy(owner, "event", _EVENT, [event for _, event, *_ in batch], schema="log")
            await _copy(peer, "problem", _PEER_COLUMNS, [clear for *_, clear in batch])
        position = len(ids)
        histories = []
        step = max(many // WITH_HISTORY, 1)
        for number in range(0, many, step):
            for version, event in enumerate(_LATER, 2):
                position += 1
                at = BEGAN + KEPT_FOR + timedelta(seconds=position / many)
                told = derive_id("bench", position)
                histories.append(
                    _event(RecordedEvent(position, told, ids[number], version, places[0], at, event, _WHY))
                )
        await _copy(owner, "event", _EVENT, histories, schema="log")
        await owner.execute("update log.head set position = $1, recorded_at = $2", position, histories[-1][-1])
        for statement in later:
            await owner.execute(statement)
        await owner.execute("alter table log.event enable trigger append_only")
    for statement in _PEER_INDEXES:
        await peer.execute(statement)
    for connection, tables in ((owner, "problem, vault_key, log.event"), (peer, "problem")):
        await connection.execute(f"vacuum analyze {tables}")
        await connection.execute("checkpoint")
        await connection.close()
    return Loaded(places, ids, ids[::step])


def _reported(
    vault: Vault, places: Sequence[str], chance: random.Random, many: int, ids: list[UUID]
) -> Iterator[tuple[Any, ...]]:
    """Of each problem its row, its event, its key (None: recorded in clear, as before texts were sealed), and the
    peer's row."""
    statuses = chance.choices(list(STATUSES), list(STATUSES.values()), k=many)
    referrals = chance.choices(list(REFERRALS), list(REFERRALS.values()), k=many)
    categories = chance.choices(PUBLIC, k=many)
    where = [places[0] if chance.random() < 0.1 else chance.choice(places) for _ in range(many)]
    for number in range(many):
        position, event_id, stream = number + 1, derive_id("bench", number + 1), derive_id("problem", number)
        at = BEGAN + KEPT_FOR * (number / many)
        text, wrapped = f"{DESCRIPTION} No. {number}", None
        if number % 2:
            key = vault.new_key(texts_of(event_id))
            text, wrapped = key.seal(event_id, text), key.wrapped
        title = f"Motor hilang di gang belakang pasar {number}"
        event = ProblemReported(where[number], categories[number], title, text, "public")
        fact = RecordedEvent(position, event_id, stream, 1, where[number], at, event, _WHY)
        row = dict(zip(ADD.parameters, project(fact)[0].values, strict=True))
        row["status"], row["referral"] = statuses[number], referrals[number]
        ids.append(stream)
        yield (
            tuple(row.values()),
            _event(fact),
            wrapped,
            (
                stream, position, 1, where[number], where[number][:2], where[number][:5], where[number][:8],
                categories[number], title, f"{DESCRIPTION} No. {number}", "public",
                referrals[number] or statuses[number], at, at,
            ),
        )  # fmt: skip


def _next(rows: Iterator[tuple[Any, ...]], many: int) -> list[tuple[Any, ...]]:
    return [row for row, _ in zip(rows, range(many), strict=False)] if many else []


def _event(fact: RecordedEvent[Any]) -> tuple[Any, ...]:
    return (
        fact.position, fact.id, fact.stream_id, fact.version, type(fact.event).__name__, fact.event.schema_version,
        fact.area, CODEC.encode(fact.event).decode(), "{}", fact.recorded_at,
    )  # fmt: skip


async def _copy(
    connection: asyncpg.Connection[Any], table: str, columns: Sequence[str], rows: Iterable[Any], schema: str = "public"
) -> None:
    await connection.copy_records_to_table(table, schema_name=schema, columns=list(columns), records=rows)


async def _without_indexes(owner: asyncpg.Connection[Any]) -> list[str]:
    """Drop the indexes of the table `problem` that no constraint needs; what makes them again."""
    found = await owner.fetch("""
        select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as definition from pg_index
        where indrelid = 'problem'::regclass and not indisunique""")
    for index in found:
        await owner.execute(f"drop index {index['name']}")
    return [index["definition"] for index in found]


_WHY = Metadata()
_LATER: tuple[Event, ...] = (
    ProblemVerified(),
    ProblemAnalysed("Gang gelap, portal tidak dijaga"),
    ProblemPrioritised(3, 3, 3, "medium"),
    SolutionProposed("Lampu dan ronda", ("partnership",)),
    SolutionApplied("theft", "public", "Lampu dipasang", ("partnership",), ("officer",), ("residents",),
                    BEGAN.date(), BEGAN.date()),
    SolutionAssessed(True, True, 5, 1),
    ProblemClosed(),
)  # fmt: skip
_EVENT = ("position", "id", "stream_id", "version", "type", "schema_version", "area", "data", "metadata", "recorded_at")
_PEER_COLUMNS = (
    "id", "position", "version", "area", "province", "regency", "district", "category", "title", "description",
    "disclosure", "status", "reported_at", "changed_at",
)  # fmt: skip
_PEER = """
    create table problem (
        id uuid primary key, position bigint not null unique, version integer not null, area text not null,
        province text not null, regency text not null, district text not null, category text not null,
        title text not null, description text not null, disclosure text not null, status text not null,
        priority text, root_cause text, proposal text, rejection text, referred_from text, referred_to text,
        reported_at timestamptz not null, changed_at timestamptz not null)"""
_PEER_INDEXES = ["set maintenance_work_mem = '256MB'", "create index on problem (reported_at, position)"] + [
    f"create index on problem ({columns}, reported_at, position)"
    for area in ("province", "regency", "district", "area")
    for columns in (f"{area}, status", f"{area}, category, status")
]
