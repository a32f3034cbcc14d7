"""`rembuk replay`: an operator sees what happened to a thing, and what was known of it at any time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest
from rembuk.testing.services import eventually

if TYPE_CHECKING:
    from conftest import Command

pytestmark = pytest.mark.timeout(300)
FORUM = {"area": "35.78.08.1004", "model": "wilayah", "name": "FKPM Airlangga"}
MEMBER = {"pillar": "youth", "role": "member", "sex": "female", "name": "Sri Wahyuni"}


@pytest.fixture(scope="module")
def problems(running: Command) -> list[dict[str, Any]]:
    """Simulated ones that are public, as the read model shows them once it is level."""
    assert running("simulate", "--problems", "40", "--seed", "3").returncode == 0
    eventually(running.level, 60)
    answer = httpx.get(running.note()["urls"]["reports"] + "/v1/problems", params={"limit": 200})
    return [one for one in answer.raise_for_status().json()["items"] if not one["withheld"]]


def replayed(running: Command, aggregate: str, *more: str) -> list[dict[str, Any]]:
    said = running("replay", aggregate, "--json", *more)
    assert said.returncode == 0, said.stderr
    return [json.loads(line) for line in said.stdout.splitlines()]


def test_after_the_last_event_it_stands_as_the_read_model_shows_it(
    running: Command, problems: list[dict[str, Any]]
) -> None:
    for problem in {problem["status"]: problem for problem in problems}.values():
        steps = replayed(running, problem["id"])
        [row] = steps[-1]["state"]["problem"]
        shown = {name: row[name] for name in ("id", "version", "area", "category", "title", "status", "priority")}
        assert shown.items() <= problem.items()
        assert [step["event"]["version"] for step in steps] == list(range(1, problem["version"] + 1))


def test_as_of_a_position_or_a_time_it_stands_as_it_stood_then(
    running: Command, problems: list[dict[str, Any]]
) -> None:
    problem = max(problems, key=lambda one: int(one["version"]))
    steps = replayed(running, problem["id"])
    first, second = steps[0]["event"], steps[1]
    for as_of in (str(second["event"]["position"]), second["event"]["time"]):
        assert replayed(running, problem["id"], "--as-of", as_of) == steps[:2]
    before = running("replay", problem["id"], "--as-of", str(first["position"] - 1))
    assert (before.returncode, before.stdout) == (0, "")
    assert "nothing had happened" in before.stderr
    assert replayed(running, problem["id"], "--as-of", str(2**63)) == steps
    assert replayed(running, problem["reference"].lower()) == steps


def test_people_read_what_each_event_changed_and_never_a_name(running: Command) -> None:
    with httpx.Client(base_url=running.note()["urls"]["forums"]) as forums:
        forum = forums.post("/v1/forums", json=FORUM).raise_for_status().json()["id"]
        forums.post(f"/v1/forums/{forum}/members", json=MEMBER).raise_for_status()
    said = running("replay", forum)
    assert said.returncode == 0, said.stderr
    founded, first, joined, *second = said.stdout.splitlines()
    assert "ForumFounded" in founded
    assert "name FKPM Airlangga" in first
    assert "MemberJoined" in joined
    assert "pillar youth" in " ".join(second)
    assert "Sri" not in said.stdout
    report = {"area": "35.78.08.1004", "category": "theft", "title": "Motor hilang", "description": "Rumah Pak Budi"}
    url = running.note()["urls"]["reports"] + "/v1/problems"
    told = running("replay", httpx.post(url, json=report).raise_for_status().json()["id"]).stdout
    assert "description (sealed)" in told
    assert "Budi" not in told


def test_what_was_written_in_several_lines_is_one_and_moves_no_cursor(running: Command) -> None:
    problem = running.note()["urls"]["reports"] + "/v1/problems"
    report = {"area": "35.78.08.1004", "category": "theft", "title": "Motor hilang", "description": "Di depan rumah."}
    one = f"{problem}/{httpx.post(problem, json=report).raise_for_status().json()['id']}"
    httpx.post(f"{one}/verify", json={}).raise_for_status()
    cause = {"root_cause": "gelap\n07:00:00 reports ProblemRejected\x1b[2J\u009b1m\u202e"}
    httpx.post(f"{one}/analyse", json=cause).raise_for_status()
    seen = r"gelap\n07:00:00 reports ProblemRejected\x1b[2J\x9b1m\u202e"
    for asked in (("replay", one[-36:]), ("events", "reports", "--type", "ProblemAnalysed")):
        said = running(*asked).stdout
        assert [line for line in said.splitlines() if seen in line], said
        assert said.replace("\n", "").isprintable()


def test_what_nobody_knows_and_what_is_no_time_is_told(running: Command) -> None:
    unknown = running("replay", str(uuid4()))
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "no service of jatim knows" in unknown.stderr
    assert running("replay", "x").returncode == 2
    for no_time in ("yesterday", "9999999d", "0001-01-01T00:00+14:00"):
        refused = running("replay", str(uuid4()), "--as-of", no_time)
        assert (refused.returncode, f"--as-of {no_time}: neither a time" in refused.stderr) == (2, True)


def test_events_are_narrowed_by_actor_correlation_and_time(running: Command, problems: list[dict[str, Any]]) -> None:
    report = {"area": "35.78.08.1004", "category": "theft", "title": "Motor hilang", "description": "Di depan rumah."}
    url = running.note()["urls"]["reports"] + "/v1/problems"
    asked = httpx.post(url, json=report, headers={"X-Correlation-ID": "journey-7"}).raise_for_status().json()
    told = [json.loads(line) for line in running("events", "--correlation", "journey-7", "--json").stdout.splitlines()]
    assert [event["subject"] for event in told] == [asked["id"]]
    assert running("events", "--correlation", "journey-7", "--actor", "somebody").stdout == ""
    everything = [json.loads(line) for line in running("events", "reports", "--json").stdout.splitlines()]
    middle = everything[len(everything) // 2]["time"]
    parts = [running("events", "reports", "--json", option, middle).stdout for option in ("--until", "--since")]
    assert [json.loads(line) for line in "".join(parts).splitlines()] == everything
    assert running("events", "--until", "1h", "--follow").returncode == 2
    for wrong in (("--type", "Nope"), ("--area", "99.99"), ("--since", "yesterday")):
        refused = running("events", *wrong)
        assert refused.returncode == 2
        assert wrong[1] in refused.stderr
