"""What is sealed of a problem: read by whom, opened only with a reason, and gone for good when it is erased."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from rembuk.testing.services import PARTNER, RunningRegion, eventually

REPORT = {
    "area": "35.78.08.1004",
    "category": "theft",
    "title": "Motor hilang",
    "description": "Motor Pak Kasuari hilang.",
    "location": {"lat": -7.271828, "lon": 112.718281},
    "reporter": {"name": "Siti Kenari", "phone": "+62 811 2222 3333"},
}
OPEN = {"fields": ["description"], "reason": "Laporan dipelajari", "by": "officer:4711"}


@pytest.fixture(scope="module")
def region(start_region: Callable[..., RunningRegion]) -> RunningRegion:
    return start_region("reports")


@pytest.fixture(scope="module")
def reports(region: RunningRegion) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=region.url("reports"), headers=PARTNER, timeout=10) as client:
        yield client


@pytest.fixture(scope="module")
def anybody(region: RunningRegion) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=region.url("reports"), timeout=10) as client:
        yield client


def reported(reports: httpx.Client, **more: Any) -> str:
    answer = reports.post("/v1/problems", json=REPORT | more).raise_for_status()
    reports.get(answer.headers["location"], params={"at_least": answer.json()["position"]}).raise_for_status()
    return str(answer.headers["location"])


def opened(reports: httpx.Client, path: str, *fields: str) -> dict[str, Any]:
    answer = reports.post(f"{path}/open", json=OPEN | {"fields": fields}).raise_for_status()
    return {item["field"]: item["value"] for item in answer.json()["items"]}


def erased(reports: httpx.Client, path: str, **what: Any) -> Any:
    """Erase, and wait until the rows have heard of it."""
    gone = reports.post(f"{path}/erase", json=what).raise_for_status().json()
    return reports.get(path, params={"at_least": gone["position"]}).raise_for_status().json()


def last_events(reports: httpx.Client, problem: str, kind: str) -> list[dict[str, Any]]:
    feed = reports.get("/v1/events", params={"limit": 500}).json()
    return [event["data"] for event in feed if event["type"] == kind]


def test_everybody_reads_what_is_public_but_for_the_place(reports: httpx.Client, anybody: httpx.Client) -> None:
    path = reported(reports)
    answer, page = anybody.get(path), anybody.get("/v1/problems", params={"limit": 1})
    assert answer.json() | {key: REPORT[key] for key in ("title", "description", "category", "area")} == answer.json()
    assert (answer.json()["withheld"], answer.json()["disclosure"]) == (False, "public")
    assert not {"lat", "lon", "location"} & answer.json().keys()
    assert page.json()["items"] == [answer.json()]
    history = anybody.get(f"{path}/history").text
    assert "Kasuari" not in history
    assert "271828" not in history + answer.text


WITHHELD = [
    {"disclosure": "forum", "category": "noise"},
    {"disclosure": "commander", "category": "noise"},
    {"category": "domestic_violence"},
    {"category": "domestic_violence", "disclosure": "commander"},
]


@pytest.mark.parametrize("more", WITHHELD)
def test_of_what_is_not_public_everybody_reads_how_it_stands_and_in_which_regency(
    reports: httpx.Client, anybody: httpx.Client, more: dict[str, str]
) -> None:
    path = reported(reports, **more, area="35.78.31.1003", title="Tetangga Pak Jalak")
    for action, body in (
        ("verify", {"note": "Kata Bu Merpati"}),
        ("analyse", {"root_cause": "Kata Pak Elang"}),
        ("prioritise", {"impact": 5, "urgency": 5, "reach": 5}),
        ("propose-solution", {"proposal": "Kata Pak Nuri", "strategies": ["partnership"]}),
    ):
        made = reports.post(f"{path}/{action}", json=body).raise_for_status().json()
    answer = anybody.get(path, params={"at_least": made["position"]})
    shown = answer.json()
    told = {key: value for key, value in shown.items() if value not in (None, False)}
    assert told.keys() == {"id", "reference", "version", "withheld", "area", "status", "reported_at", "changed_at"}
    assert (shown["id"], shown["area"], shown["status"]) == (path[-36:], "35.78", "solution_proposed")
    history = anybody.get(f"{path}/history")
    assert [(one["type"], one["area"], one["data"]) for one in history.json()] == [
        (name, "35.78", None)
        for name in ("ProblemReported", "ProblemVerified", "ProblemAnalysed", "ProblemPrioritised", "SolutionProposed")
    ]
    listed = anybody.get("/v1/problems", params={"limit": 1, "area": "35.78", "status": "solution_proposed"})
    named = anybody.get("/v1/problems", params={"reference": shown["reference"]})
    assert listed.json()["items"] == named.json()["items"] == [shown | {"id": None}]
    for text in (answer.text, history.text, listed.text, named.text):
        for secret in ("35.78.31", "Jalak", "Merpati", "Elang", "Nuri", *more.values()):
            assert secret not in text
    assert path[-36:] not in listed.text + named.text
    [whole] = reports.get("/v1/problems", params={"reference": shown["reference"]}).json()["items"]
    assert (whole["id"], whole["title"], whole["area"]) == (path[-36:], "Tetangga Pak Jalak", "35.78.31.1003")
    assert whole == reports.get(path).json()
    assert reports.get(f"{path}/history").json()[2]["data"]["root_cause"] == "Kata Pak Elang"


@pytest.mark.parametrize("more", WITHHELD)
def test_nothing_is_found_by_what_is_not_shown_of_it(
    reports: httpx.Client, anybody: httpx.Client, more: dict[str, str]
) -> None:
    body = reports.get(reported(reports, **more, area="35.78.30.1001")).json()
    places, kinds = (
        ({}, {"area": "35.78"}, {"area": "35.78.30"}, {"area": "35.78.30.1001"}),
        ("noise", more["category"]),
    )
    asked = [place | {"category": kind} for place in places for kind in kinds] + [*places[2:]]
    for filters in asked:
        for named in ({}, {"reference": body["reference"]}):
            items = anybody.get("/v1/problems", params=filters | named).raise_for_status().json()["items"]
            assert body["reference"] not in [item["reference"] for item in items], (filters, named)


def test_a_category_and_a_disclosure_of_a_newer_release_are_shown_to_nobody_and_hold_nothing_up(
    region: RunningRegion, anybody: httpx.Client
) -> None:
    for more in ({"category": "perundungan"}, {"disclosure": "neighbours"}):
        problem = uuid4()
        said = {"area": "35.78.08.1004", "category": "theft", "title": "Motor hilang", "description": "",
                "disclosure": "public"} | more  # fmt: skip
        region.ask(
            "reports",
            """select log.append(array[$1]::uuid[], array[0], array[$2]::uuid[], array[1], array[$2]::uuid[],
                                 array['ProblemReported'], array[2]::smallint[], array['35.78.08.1004'],
                                 array[$3]::json[], array['{}']::json[])""",
            str(problem), str(uuid4()), json.dumps(said),
        )  # fmt: skip

        def shown(path: str = f"/v1/problems/{problem}") -> dict[str, Any]:
            answer = anybody.get(path)
            assert answer.status_code == 200
            return dict(answer.json())

        assert eventually(shown)["withheld"]
        assert anybody.get(f"/v1/problems/{problem}/history").json()[0]["data"] is None
    assert region.ask("reports", "select * from quarantine") == []


def test_what_is_sealed_is_opened_for_who_says_why_and_that_is_in_the_log_before(reports: httpx.Client) -> None:
    path = reported(reports, disclosure="commander")
    before = reports.get(path)
    answer = reports.post(f"{path}/open", json=OPEN | {"fields": ["description", "location", "reporter"]})
    items = {item["field"]: item for item in answer.raise_for_status().json()["items"]}
    assert {name: item["value"] for name, item in items.items()} == {
        name: REPORT[name] for name in ("description", "location", "reporter")
    }
    assert answer.headers["cache-control"] == "no-store"
    [event] = reports.get("/v1/events", params={"after": answer.json()["position"] - 1, "limit": 1}).json()
    assert event["type"] == "SealedDataOpened"
    said = event["data"]
    assert (said["aggregate"], said["by"], said["reason"]) == (before.json()["id"], OPEN["by"], OPEN["reason"])
    assert said["opened"] == [{"event_id": item["event_id"], "field": name} for name, item in items.items()]
    assert reports.get(path).headers["etag"] == before.headers["etag"]


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"reason": ""}, "reason"),
        ({"reason": "  \n "}, "reason"),
        ({"fields": []}, "fields"),
        ({"fields": ["title"]}, "fields"),
        ({"by": "Pak Budi"}, "by"),
        ({"by": ""}, "by"),
    ],
)
def test_nothing_is_opened_without_a_reason_a_role_and_a_sealed_field(
    reports: httpx.Client, wish: dict[str, Any], field: str
) -> None:
    path = reported(reports)
    before = len(last_events(reports, path, "SealedDataOpened"))
    refused = reports.post(f"{path}/open", json=OPEN | wish)
    assert refused.status_code in (400, 422)
    assert refused.json()["errors"][0]["field"] == field
    assert "Kasuari" not in refused.text
    for name in OPEN:
        incomplete = {key: value for key, value in OPEN.items() if key != name}
        assert reports.post(f"{path}/open", json=incomplete).status_code == 400
    assert len(last_events(reports, path, "SealedDataOpened")) == before


def test_what_cannot_be_recorded_is_not_shown(reports: httpx.Client) -> None:
    path, key = reported(reports), {"Idempotency-Key": "open-1"}
    first, again = (reports.post(f"{path}/open", json=OPEN, headers=key) for _ in range(2))
    assert first.json() == again.json()
    other = reports.post(f"{path}/open", json=OPEN | {"reason": "Lain lagi"}, headers=key)
    assert (other.status_code, "Kasuari" in other.text) == (422, False)


def test_a_repeated_request_is_shown_what_was_recorded_at_first_and_nothing_since(reports: httpx.Client) -> None:
    path, key = reported(reports), {"Idempotency-Key": "open-2"}
    ask = OPEN | {"fields": ["note"]}
    reports.post(f"{path}/verify", json={"note": "Kata Bu Merpati"}).raise_for_status()
    first = reports.post(f"{path}/open", json=ask, headers=key).raise_for_status()
    done = {"strategies": ["partnership"], "partners": ["officer"], "since": "2026-11-01", "until": "2026-11-07"}
    assessed = {"as_planned": True, "effective": True, "before": 3, "after": 1, "note": "Kata Pak Elang"}
    for action, body in (
        ("propose-solution", {"proposal": "Ronda", "strategies": ["partnership"]}),
        ("apply-solution", {"done": "Ronda malam"} | done),
        ("assess", assessed),
    ):
        reports.post(f"{path}/{action}", json=body).raise_for_status()
    again = reports.post(f"{path}/open", json=ask, headers=key)
    assert again.json() == first.json()
    assert [item["value"] for item in first.json()["items"]] == ["Kata Bu Merpati"]


def test_a_log_without_fingerprints_shows_nothing_under_anothers_record(
    region: RunningRegion, reports: httpx.Client
) -> None:
    """As after a restore from what was published."""
    path, key = reported(reports), {"Idempotency-Key": "open-3"}
    reports.post(f"{path}/open", json=OPEN, headers=key).raise_for_status()
    region.ask(
        "reports",
        """alter table log.event disable trigger all;
           update log.event set metadata = (metadata::jsonb - 'fingerprint')::json;
           alter table log.event enable trigger all""",
    )
    for other in ({"by": "officer:1"}, {"reason": "Lain lagi"}):
        answer = reports.post(f"{path}/open", json=OPEN | other, headers=key)
        assert (answer.status_code, "Kasuari" in answer.text) == (422, False)
    more = reports.post(f"{path}/open", json=OPEN | {"fields": ["description", "reporter"]}, headers=key)
    assert "Kenari" not in more.text


def test_notes_and_reasons_are_sealed_as_descriptions_are(reports: httpx.Client) -> None:
    path = reported(reports)
    sides = {"victims": "Ibu Kutilang", "offenders": "Sdr. Elang", "place": "Rumah Pak Nuri"}
    reports.post(f"{path}/verify", json={"note": "Kata Bu Merpati"}).raise_for_status()
    reports.post(f"{path}/analyse", json={"root_cause": "Gang gelap"} | sides).raise_for_status()
    history = reports.get(f"{path}/history")
    assert [event["data"].get("root_cause") for event in history.json()] == [None, None, "Gang gelap"]
    for secret in (*sides.values(), "Merpati"):
        assert secret not in history.text
    assert opened(reports, path, *sides, "note") == sides | {"note": "Kata Bu Merpati"}


def test_an_erased_problem_shows_that_it_is_and_its_log_stays(reports: httpx.Client) -> None:
    path = reported(reports)
    reports.post(f"{path}/verify", json={"note": "Kata Bu Merpati"}).raise_for_status()
    history = reports.get(f"{path}/history").json()
    shown = erased(reports, path)
    assert (shown["description"], shown["erased"], shown["anonymous"]) == (None, True, True)
    assert shown["title"] == REPORT["title"]
    assert reports.get(f"{path}/history").json() == history
    assert opened(reports, path, "description", "location", "reporter", "note") == dict.fromkeys(
        ("description", "location", "reporter", "note")
    )


def test_a_reporter_is_forgotten_and_the_report_stays(reports: httpx.Client) -> None:
    path = reported(reports)
    assert reports.get(path).json()["anonymous"] is False
    shown = erased(reports, path, fields=["reporter"], ground="other")
    assert (shown["description"], shown["erased"], shown["anonymous"]) == (REPORT["description"], False, True)
    assert last_events(reports, path, "PersonErased")[-1]["ground"] == "other"
    assert opened(reports, path, "reporter", "description") == {
        "reporter": None,
        "description": REPORT["description"],
    }


def test_what_is_erased_twice_is_erased_once(reports: httpx.Client) -> None:
    path = reported(reports)
    first, again = (reports.post(f"{path}/erase", json={}).raise_for_status().json() for _ in range(2))
    assert first == again
    assert first["persons"] == 2


def test_what_is_written_after_an_erasure_can_be_opened(reports: httpx.Client) -> None:
    path = reported(reports)
    erased(reports, path)
    reports.post(f"{path}/verify", json={"note": "Sudah dicek"}).raise_for_status()
    assert opened(reports, path, "note") == {"note": "Sudah dicek"}


def test_a_retried_report_is_opened_by_the_key_of_the_first(reports: httpx.Client) -> None:
    key = {"Idempotency-Key": "sealed-1"}
    first, again = (reports.post("/v1/problems", json=REPORT, headers=key) for _ in range(2))
    assert first.content == again.content
    assert opened(reports, first.headers["location"], "description") == {"description": REPORT["description"]}


@pytest.mark.parametrize("ask", ["open", "erase"])
def test_nothing_is_opened_or_erased_of_what_there_is_not(reports: httpx.Client, ask: str) -> None:
    body: dict[str, Any] = OPEN if ask == "open" else {}
    answer = reports.post(f"/v1/problems/00000000-0000-4000-8000-000000000000/{ask}", json=body)
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/unknown-problem")


def test_a_journal_is_no_problem(reports: httpx.Client) -> None:
    """The streams of openings and erasures are not taken for problems by whoever knows their ids."""
    path = reported(reports)
    position = reports.post(f"{path}/open", json=OPEN).raise_for_status().json()["position"]
    [event] = reports.get("/v1/events", params={"after": position - 1, "limit": 1}).json()
    for action, body in (("verify", {}), ("open", OPEN), ("erase", {})):
        answer = reports.post(f"/v1/problems/{event['subject']}/{action}", json=body)
        assert answer.json()["type"] == "/problems/unknown-problem"


def test_an_event_that_cannot_be_read_keeps_nobody_from_being_forgotten_and_no_other_from_being_read(
    region: RunningRegion, reports: httpx.Client
) -> None:
    """As where a release was rolled back."""
    path = reported(reports)
    sealed = reports.get(f"{path}/history").json()[0]["data"]["description"]
    said = f'{{"code": "Kata Bu Merpati", "reason": "{sealed}"}}'
    region.ask(
        "reports",
        """select log.append(array[$1]::uuid[], array[1], array[$2]::uuid[], array[1], array[$2]::uuid[],
                             array['ProblemRejected'], array[1]::smallint[], array['35.78.08.1004'],
                             array[$3]::json[], array['{}']::json[])""",
        path[-36:], str(uuid4()), said,
    )  # fmt: skip
    feed = reports.get("/v1/events", params={"limit": 500}).raise_for_status().json()
    [event] = [one for one in feed if one["data"].get("code") == "Kata Bu Merpati"]
    assert (event["type"], reports.get(f"{path}/history").json()[-1]) == ("ProblemRejected", event)
    assert opened(reports, path, "description") == {"description": REPORT["description"]}

    def set_aside() -> str:
        [quarantined] = region.ask("reports", "select error from quarantine where stream_id = $1", path[-36:])
        return str(quarantined["error"])

    why = eventually(set_aside)
    assert "ProblemRejected version 1" in why
    assert "Merpati" not in why
    assert erased(reports, path)["erased"]
    [gone] = reports.post(f"{path}/open", json=OPEN | {"fields": ["reason"]}).json()["items"]
    assert (gone["type"], gone["field"], gone["erased"]) == ("ProblemRejected", "reason", True)
    region.ask("reports", "delete from quarantine")


def test_a_row_that_somebody_tampered_with_hides_no_other(region: RunningRegion, reports: httpx.Client) -> None:
    sound, spoilt = reported(reports), reported(reports)
    region.ask(
        "reports",
        "update problem set description = overlay(description placing 'AAAA' from 60) where id = $1",
        spoilt[-36:],
    )
    assert reports.get(spoilt).json() | {"description": None, "erased": False} == reports.get(spoilt).json()
    page = reports.get("/v1/problems", params={"limit": 2}).json()["items"]
    assert [one["description"] for one in page] == [None, REPORT["description"]]
    assert page[1] == reports.get(sound).json()


def test_a_page_with_erased_and_others_shows_each_as_it_is(reports: httpx.Client) -> None:
    area = {"area": "35.78.02.1001"}
    paths = [reported(reports, **area, description=f"Nomor {number}") for number in range(4)]
    erased(reports, paths[1])

    def shown() -> None:
        items = reports.get("/v1/problems", params=area).json()["items"]
        assert [item["description"] for item in items] == ["Nomor 3", "Nomor 2", None, "Nomor 0"]

    eventually(shown)
