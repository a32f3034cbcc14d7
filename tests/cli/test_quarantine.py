"""What did not get through is shown and tried again: by `rembuk quarantine` what a follower could not take, which may
be skipped with a reason that is kept, by `rembuk deliveries` what was sent to subscribers."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from rembuk.broker import nats_wire, streams
from rembuk.testing.receivers import only
from rembuk.testing.services import eventually

if TYPE_CHECKING:
    from conftest import Command

pytestmark = pytest.mark.timeout(300)
REPORT = {"area": "35.78.08.1004", "category": "theft", "title": "Motor hilang", "description": "Di depan rumah."}
SET_ASIDE = """insert into quarantine (follower, stream, position, stream_id, type, error, headers, data)
               values ('projection', 'JATIM_REPORTS', $1, $2, $3, 'Traceback\nKeyError: it was too new', $4, $5)"""


@pytest.fixture
def problem(running: Command) -> Iterator[str]:
    """A problem reported and verified, as the read model shows it."""
    with httpx.Client(base_url=running.note()["urls"]["reports"]) as reports:
        problem = str(reports.post("/v1/problems", json=REPORT).raise_for_status().json()["id"])
        verified = reports.post(f"/v1/problems/{problem}/verify", json={}).raise_for_status().json()
        reports.get(f"/v1/problems/{problem}", params={"at_least": verified["position"]}).raise_for_status()
    yield problem
    running.ask_owner("reports", f"delete from quarantine where stream_id = '{problem}'")  # of a test that failed


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


def test_deliveries_that_were_given_up_are_listed_with_the_reason_and_tried_again(running: Command) -> None:
    nowhere = {"area": "35", "channel": "webhook", "contact": "http://999.1.1.1/"}
    url = running.note()["urls"]["notifications"]
    subscription = httpx.post(f"{url}/v1/subscriptions", json=nowhere).raise_for_status().json()["id"]
    path = f"{url}/v1/subscriptions/{subscription}"

    def given_up() -> Any:
        listed = json.loads(running("deliveries", "list", "--state", "given_up", "--json").stdout)
        assert listed["in_all"] == 1
        return listed["deliveries"][0]

    delivery = eventually(given_up)
    assert (delivery["headline"], delivery["attempts"], delivery["wanted"]) == ("confirmation code", 1, True)
    assert f"given up after 1 attempts at {datetime.now():%Y-}" in (said := running("deliveries", "list").stdout)
    assert subscription not in said
    again = running("deliveries", "retry", delivery["id"])
    assert (again.returncode, again.stdout) == (0, "1 deliveries are tried again\n"), again.stderr
    eventually(lambda: only([one for one in [given_up()] if one["attempts"] == 2]))
    compared = running("rebuild", "notifications", "--compare")
    assert compared.returncode == 0, compared.stdout
    httpx.delete(path).raise_for_status()
    eventually(lambda: only([one for one in [given_up()] if not one["wanted"]]))
    assert "999.1.1.1" not in running("deliveries", "list").stdout
    assert "not wanted any more" in running("deliveries", "list").stdout
    assert "not wanted any more" in _refused(running("deliveries", "retry", delivery["id"]))
    assert "nothing was given up" in running("deliveries", "retry", "--all-given-up").stdout
    assert "is not the id of a delivery" in _refused(running("deliveries", "retry", "x"))
    assert "there is no delivery" in _refused(running("deliveries", "retry", str(UUID(int=1))))
    for wrong in ((), (delivery["id"], "--all-given-up")):
        assert "name one delivery, or say --all-given-up" in _refused(running("deliveries", "retry", *wrong))


def _refused(said: subprocess.CompletedProcess[str]) -> str:
    """What could not be done."""
    assert said.returncode == 2, said
    return said.stderr
