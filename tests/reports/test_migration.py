"""A database from before sealing: what was recorded in clear stays readable, and the reporter leaves the rows."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg
import pytest
from rembuk.contracts.reports import CODEC
from rembuk.events.ids import derive_id
from rembuk.keys.region_key import RegionKeys
from rembuk.log.event_log import EventLog
from rembuk.postgres.database import PlainSql
from rembuk.postgres.migrations import upgrade
from rembuk.postgres.provisioning import provision
from rembuk.sealing.vault import Vault
from rembuk.web.reading import ReadModel
from reports.queries import ProblemQueries

OLD = """{"area": "35.78.08.1004", "category": "theft", "title": "Motor hilang", "description": "Di depan rumah.",
          "disclosure": "public", "location": {"lat": -7.27, "lon": 112.75},
          "reporter": "sealed:v1:0192f0c4-7a3e-7c11-9d55-3c1f0a9b7e21:AAAA"}"""
EVENT, PROBLEM = uuid4(), uuid4()
REPORTER = UUID("0192f0c4-7a3e-7c11-9d55-3c1f0a9b7e21")


async def _plant(owner_url: str) -> None:
    owner = await asyncpg.connect(owner_url)
    at = datetime(2026, 1, 2, tzinfo=UTC)
    await owner.execute(
        "insert into log.event values (1, $1, $2, 1, 'ProblemReported', 1, '35.78.08.1004', $3, '{}', $4)",
        EVENT, PROBLEM, OLD, at,
    )  # fmt: skip
    await owner.execute("update log.head set position = 1, recorded_at = $1", at)
    await owner.execute(
        """insert into problem (id, position, version, area, category, title, description, disclosure, lat, lon,
                                reporter, status, reported_at, changed_at)
           select $1, 1, 1, '35.78.08.1004', 'theft', 'Motor hilang', 'Di depan rumah.', 'public', -7.27, 112.75,
                  $2::json->>'reporter', 'reported', $3, $3""",
        PROBLEM, OLD, at,
    )  # fmt: skip
    await owner.close()


async def _seen(url: str) -> None:
    log, vault = EventLog(url, CODEC), Vault(url, RegionKeys(()))
    sql = PlainSql(url, "test")
    await log.start()
    await vault.start()
    await sql.start()
    try:
        queries = ProblemQueries(ReadModel(sql, "projection", "X_REPORTS"), "x", vault)
        problem = await queries.one(PROBLEM, lambda _: False)
        assert problem is not None
        assert (problem.description, problem.erased, problem.anonymous) == ("Di depan rumah.", False, False)
        [fact] = await log.read()
        assert (fact.event.description, fact.event.location) == ("Di depan rumah.", '{"lat":-7.27,"lon":112.75}')
        connection = await asyncpg.connect(url)
        row = await connection.fetchrow("select * from problem")
        assert row is not None
        assert not {"lat", "lon", "reporter"} & set(row.keys())
        assert (row["event_id"], row["texts_of"], row["reporter_of"]) == (EVENT, derive_id("texts", EVENT), REPORTER)
        await connection.execute("insert into erased values ($1, 'request', now())", row["texts_of"])
        await connection.close()
        gone = await queries.one(PROBLEM, lambda _: False)
        assert gone is not None
        assert (gone.description, gone.erased) == (None, True)
    finally:
        await sql.stop()
        await vault.stop()
        await log.stop()


@pytest.mark.timeout(60)
def test_a_region_from_before_sealing_keeps_its_problems(postgres_url: str) -> None:
    made = asyncio.run(provision(postgres_url, f"m{uuid4().hex[:8]}", "reports", "test"))
    upgrade("reports", made.owner_url, made.role, "0003")
    asyncio.run(_plant(made.owner_url))
    upgrade("reports", made.owner_url, made.role)
    asyncio.run(_seen(made.service_url))
