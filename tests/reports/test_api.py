"""The HTTP face of reports, asked as a client would, with the real service behind it."""

import json
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import jsonschema_rs
import pytest
from cloudevents.core.formats.json import JSONFormat
from rembuk.testing.services import PARTNER, RunningRegion

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
REPORT = {
    "area": "35.78.08.1004",
    "category": "theft",
    "title": "Motor hilang",
    "description": "Motor hilang di depan rumah, malam hari.",
}
LIFE: list[tuple[str, dict[str, object]]] = [
    ("verify", {}),
    ("analyse", {"root_cause": "Gang gelap"}),
    ("prioritise", {"impact": 4, "urgency": 4, "reach": 3}),
    ("propose-solution", {"proposal": "Memasang lampu", "strategies": ["problem_solving"]}),
    (
        "apply-solution",
        {
            "done": "Lampu dipasang",
            "strategies": ["problem_solving", "dialogic_patrol"],
            "partners": ["officer", "residents"],
            "pillars": ["government"],
            "since": "2026-11-01",
            "until": "2026-11-07",
        },
    ),
    ("assess", {"as_planned": True, "effective": True, "before": 5, "after": 0}),
    ("close", {}),
]


@pytest.fixture(scope="module")
def reports(start_region: Callable[..., RunningRegion]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=start_region("reports").url("reports"), headers=PARTNER, timeout=10) as client:
        yield client


def accepted(answer: httpx.Response) -> dict[str, object]:
    assert answer.is_success, answer.text
    body: dict[str, object] = answer.json()
    return body


def test_a_report_is_accepted_and_can_be_read_at_its_position(reports: httpx.Client) -> None:
    answer = reports.post("/v1/problems", json=REPORT)
    body = accepted(answer)
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/problems/{body['id']}"
    problem = reports.get(answer.headers["location"], params={"at_least": body["position"]})
    assert problem.json()["title"] == "Motor hilang"
    assert problem.json()["reference"] == body["reference"]
    assert problem.headers["etag"] == '"1"'


def test_a_problem_lives_from_report_to_closing(reports: httpx.Client) -> None:
    problem = accepted(reports.post("/v1/problems", json=REPORT))["id"]
    for version, (action, body) in enumerate(LIFE, 2):
        answer = reports.post(f"/v1/problems/{problem}/{action}", json=body)
        last = accepted(answer)
        assert last["version"] == version
        assert answer.headers["etag"] == f'"{version}"'
    row = reports.get(f"/v1/problems/{problem}", params={"at_least": last["position"]}).json()
    assert (row["status"], row["priority"], row["root_cause"]) == ("closed", "high", "Gang gelap")
    history = reports.get(f"/v1/problems/{problem}/history").json()
    assert [event["version"] for event in history] == list(range(1, 9))
    assert history[0]["type"] == "ProblemReported"
    assert history[-1]["type"] == "ProblemClosed"


def test_a_retry_with_its_key_returns_the_first_outcome(reports: httpx.Client) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    first = reports.post("/v1/problems", json=REPORT, headers=key)
    again = reports.post("/v1/problems", json=REPORT, headers=key)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["etag"] == first.headers["etag"]
    path = f"{first.headers['location']}/verify"
    verified = accepted(reports.post(path, json={}, headers=key))
    assert accepted(reports.post(path, json={}, headers=key)) == verified
    assert accepted(reports.post("/v1/problems", json=REPORT, headers=key)) == first.json()


def test_a_key_used_for_something_else_is_refused(reports: httpx.Client) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    accepted(reports.post("/v1/problems", json=REPORT, headers=key))
    other = reports.post("/v1/problems", json={**REPORT, "title": "Mobil hilang"}, headers=key)
    assert other.status_code == 422
    assert other.json()["errors"] == [{"field": "Idempotency-Key", "rule": "reused"}]


def test_whoever_acts_on_an_old_version_is_told(reports: httpx.Client) -> None:
    location = reports.post("/v1/problems", json=REPORT).headers["location"]
    assert reports.post(f"{location}/verify", json={}, headers={"If-Match": '"1"'}).status_code == 200
    late = reports.post(f"{location}/analyse", json={"root_cause": "Gelap"}, headers={"If-Match": '"1"'})
    assert late.status_code == 412
    assert late.json()["errors"][0]["field"] == "If-Match"


def test_a_reporter_is_sealed_and_never_shown(reports: httpx.Client) -> None:
    reporter = {"name": "Siti Kenari", "phone": "+62 811 2222 3333"}
    body = accepted(reports.post("/v1/problems", json={**REPORT, "reporter": reporter}))
    shown = reports.get(f"/v1/problems/{body['id']}", params={"at_least": body["position"]})
    assert shown.json()["anonymous"] is False
    history = reports.get(f"/v1/problems/{body['id']}/history")
    assert history.json()[0]["data"]["reporter"].startswith("sealed:v1:")
    for answer in (shown, history):
        assert "Kenari" not in answer.text
        assert "2222 3333" not in answer.text  # four digits alone stand in one of 300 answers' ids


def test_who_names_a_value_that_there_is_not_is_told_which_there_are(reports: httpx.Client) -> None:
    path = f"/v1/problems/{accepted(reports.post('/v1/problems', json=REPORT))['id']}"
    codes = "emergency, handled_elsewhere, not_a_problem, not_enough_information, outside_area"
    nonsense = {"proposal": "Memasang lampu", "strategies": ["problem_solving", "nonsense"]}
    for answer, field, rule in (
        (reports.post(f"{path}/reject", json={"code": "nonsense", "reason": "Salah"}), "code", f"not one of {codes}"),
        (reports.post(f"{path}/propose-solution", json=nonsense), "strategies[1]", "not one of closer_relations, "),
        (reports.get("/v1/problems", params={"status": "nonsense"}), "status", "not one of closed, "),
    ):
        [error] = answer.json()["errors"]
        assert (answer.status_code, error["field"]) == (400, field)
        assert error["rule"].startswith(rule)


def test_problems_are_found_by_area_and_paged_without_loss(reports: httpx.Client) -> None:
    village = {**REPORT, "area": "35.78.01.1001"}
    made = [accepted(reports.post("/v1/problems", json=village)) for _ in range(5)]
    seen: list[object] = []
    query: dict[str, object] = {"area": "35.78.01", "limit": 2, "at_least": made[-1]["position"]}
    while True:
        page = reports.get("/v1/problems", params=query).raise_for_status().json()  # type: ignore[arg-type]
        seen += [problem["id"] for problem in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == [problem["id"] for problem in reversed(made)]
    for area, status in (("35.7", 400), ("35.99", 422), ("%", 400)):
        assert reports.get("/v1/problems", params={"area": area}).status_code == status


def test_a_problem_is_found_by_what_its_reporter_wrote_down(reports: httpx.Client) -> None:
    made = accepted(reports.post("/v1/problems", json=REPORT))
    name, _, number = str(made["reference"]).rpartition("-")
    for spelt in (made["reference"], made["reference"].lower(), f"{name}-{int(number)}", f" {name}-0{number}\t"):
        asked = {"reference": spelt, "at_least": made["position"]}
        [found] = reports.get("/v1/problems", params=asked).json()["items"]
        assert (found["id"], found["reference"]) == (made["id"], made["reference"])
    for other in (f"{name}-999999", f"{name}-0", f"{name}-{'9' * 40}", f"JATENG-{number}", number, f"{name}-١", ""):
        assert reports.get("/v1/problems", params={"reference": other}).json()["items"] == []


def test_areas_and_categories_are_looked_up(reports: httpx.Client) -> None:
    assert reports.get("/v1/areas", params={"q": "gubeng"}).json()[0]["code"] == "35.78.08"
    for q in ("91.01", "9101", " 91.01.01.1001 "):  # a former code, and that of what lay in it
        assert [one["code"] for one in reports.get("/v1/areas", params={"q": q}).json()] == ["93.01"]
    assert reports.get("/v1/areas", params={"q": "91.01", "within": "93"}).json()[0]["name"] == "Kabupaten Merauke"
    assert reports.get("/v1/areas", params={"q": "91.01", "within": "35"}).json() == []
    assert len(reports.get("/v1/categories").json()) == 35


def test_the_log_is_read_from_any_position(reports: httpx.Client) -> None:
    position = accepted(reports.post("/v1/problems", json=REPORT))["position"]
    assert isinstance(position, int)
    feed = reports.get("/v1/events", params={"after": position - 1, "limit": 1})
    assert feed.headers["content-type"] == "application/cloudevents-batch+json"
    (event,) = feed.json()
    assert (event["specversion"], event["type"], event["position"]) == ("1.0", "ProblemReported", position)
    assert event["data"]["title"] == "Motor hilang"


def test_the_package_of_cloudevents_reads_each_event_of_the_feed(reports: httpx.Client) -> None:
    accepted(reports.post("/v1/problems", json=REPORT, headers={"traceparent": TRACE}))
    events = reports.get("/v1/events", params={"limit": 500}).json()
    for event in events:
        read = JSONFormat().read(None, json.dumps(event))
        assert (read.get_id(), read.get_type(), read.get_data()) == (event["id"], event["type"], event["data"])
        assert read.get_time().isoformat() == event["time"]
        assert urlsplit(read.get_dataschema()).scheme == "rembuk"
    assert TRACE in [event.get("traceparent") for event in events]


def test_the_asyncapi_document_tells_of_the_subject_of_each_event(reports: httpx.Client) -> None:
    answer = reports.get("/asyncapi.json")
    assert answer.headers["content-type"] == "application/vnd.aai.asyncapi+json"
    channels = answer.json()["channels"]
    accepted(reports.post("/v1/problems", json=REPORT))
    for event in reports.get("/v1/events", params={"limit": 500}).json():
        assert channels[f"reports.{event['type']}"]["address"].startswith(f"polmas.{{region}}.reports.{event['type']}.")


def test_each_event_says_where_its_schema_is_and_is_valid_by_it(reports: httpx.Client) -> None:
    test_a_problem_lives_from_report_to_closing(reports)
    events = reports.get("/v1/events", params={"limit": 500}).json()
    assert {"ProblemReported", "SolutionApplied", "SolutionAssessed"} <= {event["type"] for event in events}
    for event in events:
        schema = reports.get(urlsplit(event["dataschema"]).path)
        assert (schema.status_code, schema.headers["content-type"]) == (200, "application/schema+json")
        jsonschema_rs.Draft202012Validator(schema.json(), validate_formats=True).validate(event["data"])


def test_the_index_of_schemas_leads_to_each_and_to_the_one_of_all_which_every_event_fits(reports: httpx.Client) -> None:
    accepted(reports.post("/v1/problems", json=REPORT))
    index = reports.get("/schemas").json()
    assert {"ProblemReported", "ForumHeld", "AlertRaised"} <= {link["type"] for link in index["schemas"]}
    for link in index["schemas"]:
        assert reports.get(link["href"]).json()["$id"] == link["dataschema"]
    every = jsonschema_rs.Draft202012Validator(reports.get(index["bundle"]).json(), validate_formats=True)
    for event in reports.get("/v1/events", params={"limit": 500}).json():
        every.validate(event)


@pytest.mark.parametrize(
    "of", ["reports/ProblemReported/3.json", "reports/ProblemReported/2", "a/b/c", "reports/X/1.json"]
)
def test_of_what_there_is_not_no_schema_is_shown(reports: httpx.Client, of: str) -> None:
    answer = reports.get(f"/schemas/{of}")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/unknown-schema")
