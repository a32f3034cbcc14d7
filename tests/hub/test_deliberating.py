"""How many meetings there are, as rows keep it: what counting the meetings comes to, whatever happened to them."""

from __future__ import annotations

import importlib
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, get_args
from uuid import UUID, uuid4

import asyncpg
from hub import deliberating, keeping
from hub.deliberating import MeetingsBy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rembuk.contracts.forums import Agreement, ForumHeld, MeetingScheduled
from rembuk.events.event import Event

from tests.hub.conftest import project

REGIONS = ("jatim", "jabar")
AREAS = ("35", "35.78", "35.78.08", "35.78.08.1004", "35.78.08.1005", "35.73.01.1001", "32.73.01.1001")
MEETINGS = [uuid4() for _ in range(4)]
BEGIN, HOURS = datetime(2026, 1, 30, 22, tzinfo=UTC), (0, 2, 13, 20, 26, 240, 480, 493, 700, 1500)
MOMENTS = [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
MOMENTS += [BEGIN + timedelta(hours=hours, minutes=minutes) for hours in HOURS for minutes in (0, 1)]
FILL = importlib.import_module("hub.migrations.versions.0009_meetings_counted").FILL
KEPT = "select * from meeting_count order by level, month, area, region"


def held(agreements: int) -> ForumHeld:
    agreed = tuple(Agreement(uuid4(), "Pasang lampu", ("partnership",)) for _ in range(agreements))
    return ForumHeld(uuid4(), AREAS[3], (), agreed, minutes="sealed:v1:x")


EVENTS = st.sampled_from(AREAS).map(lambda area: MeetingScheduled(uuid4(), area, BEGIN, "Balai", ()))
HAPPENED = st.tuples(st.sampled_from(MEETINGS), st.sampled_from(HOURS), EVENTS | st.integers(0, 3).map(held))
BATCHES = st.lists(st.tuples(st.sampled_from(REGIONS), st.lists(HAPPENED, min_size=1, max_size=6)), max_size=5)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    batches=BATCHES,
    area=st.sampled_from([None, "35", "35.78", "35.78.08", "35.78.08.1004", "11"]),
    since=st.sampled_from([None, *MOMENTS]),
    region=st.sampled_from([None, *REGIONS]),
)
async def test_kept_counts_of_meetings_equal_counting_them(
    database: asyncpg.Connection[Any],
    batches: list[tuple[str, list[tuple[UUID, int, Event]]]],
    area: str | None, since: datetime | None, region: str | None,
) -> None:  # fmt: skip
    """A meeting that is scheduled or held again, held in another region or never scheduled among them."""
    transaction = database.transaction()
    await transaction.start()
    try:
        for of, events in batches:
            happened = [(id, BEGIN + timedelta(hours=hours), event) for id, hours, event in events]
            await project(database, of, "forums", happened)
        meetings = await database.fetch("select * from meeting")
        for by, (of_area, of_region) in product(get_args(MeetingsBy), ((area, region), (None, None))):
            sql = deliberating.counts(by, len(of_area or ""), of_region is not None, since is not None)
            asked = [one for one in (of_area, of_region) if one is not None]
            found = await database.fetch(sql, *asked, *(keeping.since(since) if since else ()))
            assert {row[0]: tuple(row)[1:] for row in found} == counted(meetings, by, of_area, since, of_region)
            assert [row[0] for row in found] == sorted({row[0] for row in found})
        rows = await database.fetch(KEPT)
        await database.execute("delete from meeting_count")
        await database.execute(";".join(FILL))
        assert rows == await database.fetch(KEPT)
    finally:
        await transaction.rollback()


def counted(
    meetings: list[asyncpg.Record], by: str, area: str | None, since: datetime | None, region: str | None
) -> dict[str, tuple[int, int, int]]:
    """Meetings, one by one."""
    found: dict[str, tuple[int, int, int]] = {}
    for meeting in meetings:
        at, code = meeting["scheduled_at"], meeting["area"]
        if (since and at < since) or region not in (None, meeting["region"]) or not code.startswith(area or ""):
            continue
        below = {0: 2, 2: 5, 5: 8, 8: 13, 13: 13}[len(area or "")]
        key = {"region": meeting["region"], "area": code[:below], "month": f"{at:%Y-%m}"}[by]
        number, were_held, agreed = found.get(key, (0, 0, 0))
        found[key] = number + 1, were_held + (meeting["held_at"] is not None), agreed + (meeting["agreements"] or 0)
    return found
