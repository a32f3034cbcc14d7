"""`rembuk quarantine`: what a follower could not take is shown, tried again, or skipped with a reason that is kept."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import asyncpg
import httpx
import pytest
from rembuk import nats_wire, streams
from rembuk.testing.services import eventually

if TYPE_CHECKING:
    from conftest import Command

pytestmark = pytest.mark.timeout(300)
REPORT = {"area": "35.78.08.1004", "category": "theft", "title": "Motor hilang", "description": "Di depan rumah."}
SET_ASIDE = """insert into quarantine (follower, stream, position, stream_id, type, error, headers, data)
               values ('projection', 'JATIM_REPORTS', $1, $2, $3, 'Traceback\nKeyError: it was too new', $4, $5)"""


@pytest.fixture
def problem(running: Command) -> str:
    """A problem reported and verified, as the read model shows it."""
    with httpx.Client(base_url=running.note()["urls"]["reports"]) as reports:
        problem = str(reports.post("/v1/problems", json=REPORT).raise_for_status().json()["id"])
        verified = reports.post(f"/v1/problems/{problem}/verify", json={}).raise_for_status().json()
        reports.get(f"/v1/problems/{problem}", params={"at_least": verified["position"]}).raise_for_status()
    return problem


async def _set_aside(running: Command, problem: str, *, garbled: bool, most: int = 2) -> None:
    """The first of its events, as if its projection had failed there; ungarbled, its row is not there yet either."""
    owner = await asyncpg.connect(running.owner_url("reports"))
    events = await owner.fetch("select * from log.event where stream_id = $1 order by version", problem)
    for event in events[:most]:
        headers = nats_wire.parse_header_lines(streams.header_lines("jatim", "reports", event).encode())
        data = b"{" if garbled and event["version"] == 1 else event["data"].encode()
        await owner.execute(SET_ASIDE, event["position"], problem, event["type"], json.dumps(headers), data)
    if not garbled:
        await owner.execute("delete from problem where id = $1", problem)
    await owner.close()


def status_of(running: Command, problem: str) -> str:
    answer = httpx.get(f"{running.note()['urls']['reports']}/v1/problems/{problem}")
    return str(answer.json()["status"])


def test_after_the_fault_is_mended_a_retry_takes_all_that_waited_in_order(running: Command, problem: str) -> None:
    asyncio.run(_set_aside(running, problem, garbled=False))
    assert status_of(running, problem) == "404"
    listed = running("quarantine", "list", "--json")
    assert listed.returncode == 1
    [held] = json.loads(listed.stdout)
    told = [held[name] for name in ("service", "follower", "aggregate", "events")]
    assert told == ["reports", "projection", problem, 2]
    assert "KeyError: it was too new" in running("quarantine", "list").stdout
    shown = running("quarantine", "show", problem)
    assert "Traceback" in shown.stdout
    assert "Motor hilang" in shown.stdout
    again = running("quarantine", "retry", problem)
    assert (again.returncode, "level again" in again.stdout) == (0, True), again.stderr
    assert status_of(running, problem) == "verified"
    empty = running("quarantine", "list")
    assert (empty.returncode, "nothing is in quarantine" in empty.stdout) == (0, True)
    assert running("quarantine", "retry").returncode == 0
    assert running("quarantine", "show", problem).returncode == 2
    eventually(running.well, 30)


def test_what_cannot_be_taken_even_now_stays_until_it_is_skipped_with_a_reason(running: Command, problem: str) -> None:
    asyncio.run(_set_aside(running, problem, garbled=True))
    again = running("quarantine", "retry", problem)
    assert (again.returncode, "2 events" in again.stdout) == (1, True)
    assert "Undecodable" in running("quarantine", "show", problem).stdout
    assert running("quarantine", "skip", problem, "--why", " ").returncode == 2
    skipped = running("quarantine", "skip", problem, "--why", "half written on 31 January")
    assert (skipped.returncode, "level again" in skipped.stdout) == (0, True), skipped.stderr
    assert status_of(running, problem) == "verified"
    kept = asyncio.run(_skipped(running, problem))
    assert (kept["stream_id"], kept["why"]) == (problem, "half written on 31 January")
    assert kept["by_whom"]
    assert running("quarantine", "skip", problem, "--why", "again").returncode == 2
    eventually(running.well, 30)


def test_a_program_hears_that_nothing_is_left_where_nothing_waited_behind_what_was_skipped(
    running: Command, problem: str
) -> None:
    asyncio.run(_set_aside(running, problem, garbled=True, most=1))
    skipped = running("quarantine", "skip", problem, "--why", "half written on 31 January", "--json")
    told = {"aggregate": problem, "follower": "reports projection of JATIM_REPORTS", "left": 0}
    assert (skipped.returncode, json.loads(skipped.stdout)) == (0, told), skipped.stderr


async def _skipped(running: Command, problem: str) -> asyncpg.Record:
    owner = await asyncpg.connect(running.owner_url("reports"))
    [row] = await owner.fetch("select * from skipped where stream_id = $1", problem)
    await owner.close()
    return row
