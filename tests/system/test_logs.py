"""What the processes of a region log: JSON lines that name the journey they belong to, and nobody's personal data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from rembuk.testing.receivers import only
from rembuk.testing.services import PARTNER, RunningRegion, eventually

NAME, PHONE = "Budi Rahasia", "+62 812 7777 8888"
MAIL, HOST = "rahasia@warga.example", "rahasia-hook.example"
PROBLEM = {"area": "35.78.08.1004", "category": "theft", "title": "Motor hilang", "description": "Di depan rumah."}


class Logs:
    """What a region's processes have said so far."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def text(self) -> str:
        return self.path.read_text()

    def lines(self, event: str, correlation_id: str) -> list[dict[str, Any]]:
        said = [json.loads(line) for line in self.text.splitlines()]
        return [one for one in said if one["event"] == event and one.get("correlation_id") == correlation_id]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Logs:
    return Logs(tmp_path_factory.mktemp("logs") / "all.jsonl")


@pytest.fixture(scope="module")
def region(postgres_url: str, nats_url: str, logs: Logs) -> Iterator[RunningRegion]:
    extra = {
        "REMBUK_WEBHOOK_PRIVATE": "allow", "REMBUK_DELIVERY_ATTEMPTS": "1", "REMBUK_SMTP_URL": "smtp://mail:port",
        "REMBUK_CODE_PAUSE_S": "0.05",
    }  # fmt: skip
    region = RunningRegion(postgres_url, nats_url, ("reports", "notifications"), extra)
    with logs.path.open("ab") as region.output:
        region.prepare()
        region.start_all()
        yield region
        region.stop_all()


async def altered(region: RunningRegion, service: str, how: str) -> None:
    owner = await asyncpg.connect(region.region.database(service).owner_url)
    await owner.execute(how)
    await owner.close()


def ask(region: RunningRegion, service: str, path: str, body: Any, journey: str = "") -> httpx.Response:
    headers = {"X-Correlation-Id": journey} if journey else {}
    return httpx.post(region.url(service) + path, json=body, headers=headers, timeout=20)


async def test_a_request_that_fails_is_logged_under_the_correlation_id_that_its_answer_names(
    region: RunningRegion, logs: Logs
) -> None:
    await altered(region, "reports", "alter table vault_key rename to gone")
    reporter = {"name": NAME, "phone": PHONE}
    given = ask(region, "reports", "/v1/problems", PROBLEM | {"reporter": reporter}, "journey-1")
    made = ask(region, "reports", "/v1/problems", PROBLEM | {"reporter": reporter})
    await altered(region, "reports", "alter table gone rename to vault_key")
    assert (given.status_code, given.headers["x-correlation-id"]) == (500, "journey-1")
    for journey in ("journey-1", made.headers["x-correlation-id"]):
        line = eventually(lambda journey=journey: only(logs.lines("request failed", journey)))
        assert (line["service"], line["process"], line["level"]) == ("reports", "api", "error")
        assert "vault_key" in line["exception"]


async def test_a_failing_read_is_logged_under_its_correlation_id_too(region: RunningRegion, logs: Logs) -> None:
    await altered(region, "reports", "alter table problem rename to gone")
    answer = httpx.get(
        f"{region.url('reports')}/v1/problems", params={"area": "35.78"}, headers={"X-Correlation-Id": "journey-2"}
    )
    await altered(region, "reports", "alter table gone rename to problem")
    assert answer.status_code == 500
    line = eventually(lambda: only(logs.lines("request failed", "journey-2")))
    assert "35.78" not in line["exception"]


async def test_the_handling_of_an_event_is_logged_under_the_correlation_id_of_the_request_that_led_to_it(
    region: RunningRegion, logs: Logs
) -> None:
    await altered(region, "reports", "alter table problem add constraint sound check (title <> 'Racun')")
    poison = PROBLEM | {"title": "Racun", "reporter": {"name": NAME, "phone": PHONE}}
    assert ask(region, "reports", "/v1/problems", poison, "journey-3").status_code == 201
    line = eventually(lambda: only(logs.lines("event quarantined", "journey-3")))
    assert (line["service"], line["process"]) == ("reports", "worker")


def test_a_delivery_that_fails_is_logged_under_the_correlation_id_of_what_it_delivers_and_names_no_contact(
    region: RunningRegion, logs: Logs
) -> None:
    wish = {"area": PROBLEM["area"], "channel": "email", "contact": MAIL}  # whose server has no number for a port
    assert ask(region, "notifications", "/v1/subscriptions", wish, "journey-4").status_code == 201
    line = eventually(lambda: only(logs.lines("channel fails", "journey-4")))
    assert line["error"] == "ValueError"
    assert "server.port" in line["stack"]


def test_no_line_tells_personal_data_whatever_was_wrong_with_it(region: RunningRegion, logs: Logs) -> None:
    for body in (
        PROBLEM | {"reporter": {"name": NAME, "phone": f"{PHONE} ext. {MAIL}" * 50}},
        PROBLEM | {"reporter": {"name": NAME + "\0", "phone": PHONE}},
        PROBLEM | {"reporter": NAME},
        PROBLEM | {"area": NAME},
        [NAME],
    ):
        assert ask(region, "reports", "/v1/problems", body).is_client_error
    for contact in (MAIL, f"https://{HOST}/?who={NAME}", f"ftp://{HOST}/", f"{MAIL}\r\nBcc: {MAIL}"):
        wish = {"area": PROBLEM["area"], "channel": "email", "contact": contact}
        ask(region, "notifications", "/v1/subscriptions", wish, "journey-5")
        ask(region, "notifications", "/v1/subscriptions", wish | {"channel": "webhook"}, "journey-5")

    def settled() -> None:
        """Every code that was to be sent has been tried, and given up."""
        events = httpx.get(f"{region.url('notifications')}/v1/events", headers=PARTNER, params={"limit": 500}).json()
        types = [event["type"] for event in events]
        assert types.count("SubscriptionRequested") == types.count("DeliveryGivenUp") > 1

    eventually(settled)
    for canary in (NAME, "812 7777", MAIL, HOST):
        assert canary not in logs.text


def test_every_line_is_json_that_says_where_it_is_from(region: RunningRegion, logs: Logs) -> None:
    for line in logs.text.splitlines():
        said = json.loads(line)
        assert {"service", "process", "event", "level", "timestamp"} <= said.keys()
