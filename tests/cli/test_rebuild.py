"""`rembuk rebuild`: a read model is made anew beside the live one; nothing is told to anybody twice."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from rembuk.postgres.provisioning import SERVICES
from rembuk.testing.receivers import Sink, only, sink
from rembuk.testing.services import eventually

if TYPE_CHECKING:
    from conftest import Command

__all__ = ["sink"]

pytestmark = pytest.mark.timeout(300)
ENVIRONMENT = {"REMBUK_WEBHOOK_PRIVATE": "allow"}
VILLAGE = "35.78.08.1004"
REPORT = {"area": VILLAGE, "category": "theft", "title": "Motor hilang", "description": "Di depan rumah."}
FORUM = {"area": VILLAGE, "model": "wilayah", "name": "FKPM Airlangga"}


@pytest.fixture(scope="module")
def region(running: Command, sink: Sink) -> Command:
    """A region with something in each read model, whose messages may reach the sink."""
    contact = f"{sink.url}/told"
    wish = {"area": VILLAGE, "channel": "webhook", "contact": contact}
    subscription = _post(running, "notifications", "/v1/subscriptions", wish)["id"]
    code = eventually(lambda: only(sink.at("/told", "subscription.confirm"))).json["data"]["code"]
    _post(running, "notifications", f"/v1/subscriptions/{subscription}/confirm", {"code": code})
    assert running("simulate", "--problems", "30", "--seed", "5").returncode == 0
    eventually(running.level, 60)
    return running


def _post(region: Command, service: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.post(region.note()["urls"][service] + path, json=body).raise_for_status().json()
    return answer


def _get(region: Command, service: str, path: str, **asked: Any) -> httpx.Response:
    return httpx.get(region.note()["urls"][service] + path, params=asked)


def _delivered(region: Command) -> None:
    assert region.ask_owner("notifications", "select count(*) from delivery where state in ('queued', 'failed')") == 0


def rebuilt(region: Command, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    said = region("rebuild", *arguments, "--json")
    assert said.returncode == code, said.stderr
    return [json.loads(line) for line in said.stdout.splitlines()]


@pytest.mark.parametrize("service", SERVICES)
def test_a_model_kept_by_its_projection_is_what_the_log_comes_to(region: Command, service: str) -> None:
    relations = "select count(*) from pg_class where relnamespace = 'public'::regnamespace"
    before = region.ask_owner(service, relations)
    tables = [step for step in rebuilt(region, service, "--compare") if step["kind"] == "compared"]
    assert sum(table["rows"] for table in tables) > 0
    assert all(table["only_live"] + table["only_new"] + table["changed"] == 0 for table in tables)
    assert rebuilt(region, service)[-1] == {"kind": "swapped", "quarantined": 0}
    assert (
        region.ask_owner(service, "select count(*) from pg_class where relnamespace = 'public'::regnamespace") == before
    )
    eventually(region.level, 30)


def test_a_row_that_was_altered_is_named_and_put_right(region: Command) -> None:
    problem = next(filter(None, (one["id"] for one in _get(region, "reports", "/v1/problems").json()["items"])))
    region.ask_owner("reports", f"update problem set title = 'Tidak ada apa-apa' where id = '{problem}'")
    said = region("rebuild", "reports", "--compare")
    assert said.returncode == 1
    assert f"{problem} problem: title Tidak ada apa-apa → " in said.stdout
    [difference] = [one for one in rebuilt(region, "reports") if one["kind"] == "difference"]
    assert (difference["live"]["title"], difference["live"]["id"]) == ("Tidak ada apa-apa", problem)
    assert _get(region, "reports", f"/v1/problems/{problem}").json()["title"] == difference["new"]["title"]
    assert "no difference" in region("rebuild", "reports", "--compare").stdout


def test_however_much_it_cannot_take_it_ends(region: Command) -> None:
    assert region("simulate", "--problems", "200", "--seed", "6").returncode == 0
    eventually(region.level, 60)
    region.ask_owner("reports", "alter table problem add constraint none check (title is null) not valid")
    try:
        compared = rebuilt(region, "reports", "--compare", code=1)
    finally:
        region.ask_owner("reports", "alter table problem drop constraint none")
    assert any(one["kind"] == "compared" and one["only_live"] >= 200 for one in compared)


def test_reads_can_be_asked_as_of_a_moment_that_is_past(region: Command) -> None:
    reported = _post(region, "reports", "/v1/problems", REPORT)
    path = f"/v1/problems/{reported['id']}"
    verified = _post(region, "reports", f"{path}/verify", {})
    assert _get(region, "reports", path, at_least=verified["position"]).json()["status"] == "verified"
    then = reported["position"]
    refused = _get(region, "reports", path, as_of=then)
    assert refused.status_code == 422
    assert refused.json()["errors"] == [{"field": "as_of", "rule": "not-built"}]
    assert f"rembuk rebuild --as-of {then}" in refused.json()["detail"]
    assert rebuilt(region, "reports", "--as-of", str(then))[-1]["position"] == then
    assert _get(region, "reports", path, as_of=then).json()["status"] == "reported"
    listed = _get(region, "reports", "/v1/problems", as_of=then, at_least=then, limit=1).json()["items"]
    assert [(one["id"], one["status"]) for one in listed] == [(reported["id"], "reported")]
    assert _get(region, "reports", path).json()["status"] == "verified"
    given_up = rebuilt(region, "reports", "--discard")
    assert given_up == [[f"as_of_{then}"]]
    assert _get(region, "reports", path, as_of=then).status_code == 422


def test_while_it_is_swapped_no_request_fails(region: Command) -> None:
    report = REPORT | {"area": "35.05.01"}  # where nobody has subscribed
    statuses: Counter[int] = Counter()
    ended = Event()

    def ask() -> None:
        with httpx.Client(base_url=region.note()["urls"]["reports"]) as client:
            while not ended.is_set():
                reported = client.post("/v1/problems", json=report)
                path = f"/v1/problems/{reported.json()['id']}"
                shown = client.get(path, params={"at_least": reported.json()["position"]})
                listed = client.get("/v1/problems", params={"limit": 10})
                statuses.update(answer.status_code for answer in (reported, shown, listed))
                ended.wait(0.02)  # the rebuild wants a processor, too

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        try:
            for _ in range(3):
                before = statuses.total()
                assert rebuilt(region, "reports")[-1]["kind"] == "swapped"
                assert statuses.total() > before
        finally:
            ended.set()
    assert [one.exception() for one in asking] == [None] * 4
    assert set(statuses) == {200, 201}


def test_as_of_a_time_a_forum_sees_the_problems_that_were_open_then(region: Command) -> None:
    eventually(region.level, 60)
    forum = _post(region, "forums", "/v1/forums", FORUM)
    candidates = f"/v1/forums/{forum['id']}/agenda-candidates"

    def put_up(title: str) -> tuple[str, str]:
        reported = _post(region, "reports", "/v1/problems", {**REPORT, "title": title})
        verified = _post(region, "reports", f"/v1/problems/{reported['id']}/verify", {})
        assert _get(region, "forums", candidates, at_least=verified["position"]).status_code == 200
        history = _get(region, "reports", f"/v1/problems/{reported['id']}/history").json()
        return reported["id"], history[-1]["time"]

    early, moment = put_up("Sebelum")
    late, _ = put_up("Sesudah")
    left = rebuilt(region, "forums", "--as-of", moment)[-1]
    assert left["position"] >= forum["position"]
    now = {one["id"] for one in _get(region, "forums", candidates, limit=200).json()["items"]}
    then = {one["id"] for one in _get(region, "forums", candidates, limit=200, as_of=left["position"]).json()["items"]}
    assert {early, late} <= now
    assert early in then
    assert late not in then
    assert now - then == {late}


def test_no_replay_or_rebuild_tells_or_does_anything_again(region: Command, sink: Sink) -> None:
    def alerts() -> list[str]:
        return [posted.headers["webhook-id"] for posted in sink.at("/told")]

    reported = _post(region, "reports", "/v1/problems", REPORT)["id"]
    eventually(lambda: only([one for one in sink.at("/told") if reported in one.body.decode()]), 30)
    eventually(region.level, 60)
    eventually(lambda: _delivered(region), 60)
    told = alerts()
    heads = [region.ask_owner(service, "select position from log.head") for service in SERVICES]
    for service in SERVICES:
        for how in (["--compare"], ["--as-of", "1"], [], ["--discard"]):
            assert region("rebuild", service, *how).returncode == 0
    assert region("replay", reported).returncode == 0
    assert region("quarantine", "retry").returncode == 0
    assert [region.ask_owner(service, "select position from log.head") for service in SERVICES] == heads
    again = _post(region, "reports", "/v1/problems", REPORT)["id"]
    eventually(lambda: only([one for one in sink.at("/told") if again in one.body.decode()]), 30)
    assert len(alerts()) == len(told) + 1
    assert len(set(alerts())) == len(alerts())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("reports", "--compare", "--discard"), "one of them at most"),
        (("reports", "--as-of", "999999"), "there is no position 999999: the log ends at"),
        (("reports", "--as-of", str(2**63)), f"there is no position {2**63}"),
        (("reports", "--as-of", "0"), "there is no position 0"),
        (("reports", "--as-of", "2020-01-01T00:00"), "nothing had been recorded by 2020-01-01T00:00"),
        (("reports", "--as-of", "yesterday"), "--as-of"),
        (("letters",), "there is no service letters"),
    ],
)
def test_what_cannot_be_built_is_named(region: Command, arguments: tuple[str, ...], named: str) -> None:
    said = region("rebuild", *arguments)
    assert said.returncode == 2
    assert named in said.stderr
