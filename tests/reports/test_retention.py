"""Retention: who reported is erased so many days after the problem's end, by a clock that is given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from rembuk.contracts.reports import CODEC, ProblemHandedOver
from rembuk.events.event import Metadata
from rembuk.keys.region_key import RegionKeys
from rembuk.log.event_log import EventLog
from rembuk.sealing.vault import Vault
from rembuk.settings import BadSetting, RetentionSettings, read_settings
from rembuk.testing.services import PARTNER, RunningRegion, eventually
from reports import retention
from reports.retention import Retention

REPORT = {
    "area": "35.78.08.1004",
    "category": "theft",
    "title": "Motor hilang",
    "description": "Di depan rumah.",
    "reporter": {"name": "Siti Kenari"},
}
REJECT = {"code": "outside_area", "reason": "Di luar wilayah"}


@pytest.fixture(scope="module")
def running(start_region: Callable[..., RunningRegion]) -> RunningRegion:
    return start_region("reports")


def asked(running: RunningRegion, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.post(running.url("reports") + path, json=body).raise_for_status().json()
    return answer


def read(running: RunningRegion, problem: str, at_least: int = 0) -> dict[str, Any]:
    url = f"{running.url('reports')}/v1/problems/{problem}"
    shown: dict[str, Any] = httpx.get(url, params={"at_least": at_least}).raise_for_status().json()
    return shown


def ended(running: RunningRegion) -> str:
    problem: str = asked(running, "/v1/problems", REPORT)["id"]
    position = asked(running, f"/v1/problems/{problem}/reject", REJECT)["position"]
    assert read(running, problem, position)["status"] == "rejected"
    return problem


async def swept(running: RunningRegion, days: int, later: timedelta) -> int:
    """One sweep, as if so much time had passed."""
    url = running.region.database("reports").service_url
    log, vault = EventLog(url, CODEC), Vault(url, RegionKeys(()))
    await log.start()
    await vault.start()
    try:
        return await Retention(url, log, vault, days, lambda: datetime.now(UTC) + later).sweep()
    finally:
        await vault.stop()
        await log.stop()


def sweep(running: RunningRegion, days: int, later: timedelta) -> int:
    return asyncio.run(swept(running, days, later))


def test_a_reporter_is_erased_so_many_days_after_the_end_and_not_before(running: RunningRegion) -> None:
    over, again = ended(running), ended(running)
    still_open = asked(running, "/v1/problems", REPORT)["id"]
    reopened = asked(running, f"/v1/problems/{again}/reopen", {"reason": "Terjadi lagi"})["position"]
    assert read(running, again, reopened)["status"] == "reopened"
    assert sweep(running, 30, timedelta(days=29)) == 0
    assert sweep(running, 30, timedelta(days=31)) == 1

    def shown() -> None:
        assert read(running, over)["anonymous"]

    eventually(shown)
    assert read(running, over)["description"] == REPORT["description"]
    assert not read(running, still_open)["anonymous"]
    assert not read(running, again)["anonymous"]
    events = httpx.get(f"{running.url('reports')}/v1/events", headers=PARTNER, params={"limit": 500}).json()
    [gone] = [event for event in events if event["type"] == "PersonErased"]
    assert (gone["data"]["ground"], gone["actor"], gone["area"]) == ("retention", "retention", REPORT["area"])
    assert sweep(running, 30, timedelta(days=31)) == 0


def test_whose_problem_went_to_another_region_is_known_for_as_long(running: RunningRegion) -> None:
    problem = asked(running, "/v1/problems", REPORT)["id"]
    position = asyncio.run(handed_over(running, UUID(problem)))
    assert read(running, problem, position)["status"] == "handed_over"
    assert sweep(running, 30, timedelta(days=29)) == 0
    assert sweep(running, 30, timedelta(days=31)) == 1
    eventually(lambda: _is(read(running, problem)["anonymous"], True))


async def handed_over(running: RunningRegion, problem: UUID) -> int:
    log = EventLog(running.region.database("reports").service_url, CODEC)
    await log.start()
    try:
        return (await log.append(problem, 1, [uuid4()], [ProblemHandedOver("jateng")], "", Metadata())).position
    finally:
        await log.stop()


def test_it_goes_in_small_batches_the_first_ended_first(
    running: RunningRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    problems = [ended(running) for _ in range(3)]

    def anonymous() -> list[bool]:
        return [read(running, problem)["anonymous"] for problem in problems]

    for left in ([True, True, False], [True, True, True]):
        assert sweep(running, 1, timedelta(days=2)) > 0
        eventually(lambda expected=left: _is(anonymous(), expected))  # type: ignore[misc]


def test_without_the_setting_nobody_is_erased_and_nonsense_is_refused_by_name() -> None:
    assert (
        read_settings(RetentionSettings, {}).reports_days
        is read_settings(RetentionSettings, {"REMBUK_REPORTS_RETENTION_DAYS": ""}).reports_days
        is None
    )
    assert read_settings(RetentionSettings, {"REMBUK_REPORTS_RETENTION_DAYS": "365"}).reports_days == 365
    for nonsense in ("0", "-1", "soon", "1.5", "999999"):
        with pytest.raises(BadSetting, match="REMBUK_REPORTS_RETENTION_DAYS"):
            read_settings(RetentionSettings, {"REMBUK_REPORTS_RETENTION_DAYS": nonsense})


def _is(actual: Any, expected: Any) -> None:
    assert actual == expected
