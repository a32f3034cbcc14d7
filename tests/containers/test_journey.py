"""From a resident's report to the alert that it was solved, across all three services, on servers in containers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import asyncpg
import httpx
import nats
import pytest
from rembuk.testing.receivers import Mailbox, Sink, only
from rembuk.testing.services import RunningRegion, eventually
from standardwebhooks import Webhook

pytestmark = pytest.mark.containers

VILLAGE, DISTRICT = "35.78.08.1004", "35.78.08"
REPORT = {
    "area": VILLAGE,
    "category": "street_lighting",
    "title": "Lampu jalan mati",
    "description": "Gang gelap sejak sebulan.",
    "reporter": {"name": "Budi Santoso", "phone": "+62 812 3456 789"},
}
MEETING = {"at": "2026-03-02T19:00:00+07:00", "place": "Balai RW"}
TOGETHER = [
    {"pillar": "police", "sex": "male", "count": 1, "officers": 1},
    {"pillar": "residents", "sex": "female", "count": 7},
]
AGREED = {"proposal": "Pasang lampu bersama", "strategies": ["partnership"], "root_cause": "Gang gelap"}
APPLIED = {
    "done": "Enam lampu dipasang warga dan petugas",
    "strategies": ["partnership"],
    "partners": ["officer", "residents"],
    "since": "2026-03-03",
    "until": "2026-03-10",
}
ASSESSED = {"as_planned": True, "effective": True, "before": 6, "after": 0}


async def test_the_servers_are_those_of_the_images(postgres_url: str, nats_url: str) -> None:
    postgres = await asyncpg.connect(postgres_url)
    try:
        address, version, durable = await postgres.fetchrow(
            "select host(inet_server_addr()), current_setting('server_version_num')::int, current_setting('fsync')"
        )
    finally:
        await postgres.close()
    assert address != "127.0.0.1", "it is asked at this host's port and answers at the container's address"
    assert version >= 180_000
    assert durable == "on"
    broker = await nats.connect(nats_url)
    assert (broker.connected_server_version.major, broker.connected_server_version.minor) >= (2, 12)
    await broker.close()


@pytest.fixture(scope="module")
def region(start_region: Callable[..., RunningRegion], smtp: tuple[str, Mailbox]) -> RunningRegion:
    return start_region(
        extra={
            "REMBUK_SMTP_URL": smtp[0],
            "REMBUK_WEBHOOK_PRIVATE": "allow",
            "REMBUK_DELIVERY_ATTEMPTS": "8",
            "REMBUK_DELIVERY_BACKOFF_S": "1",
        }
    )


def test_from_a_report_over_a_forum_to_a_solution_of_which_subscribers_hear(
    region: RunningRegion, smtp: tuple[str, Mailbox], sink: Sink
) -> None:
    mailbox = smtp[1]
    reports, forums, notifications = (_client(region, name) for name in region.services)

    by_mail = _subscribed(notifications, channel="email", contact="warga@example.org")
    _confirmed(notifications, by_mail, mailbox.code_for("warga@example.org"))
    by_webhook = _subscribed(notifications, channel="webhook", contact=f"{sink.url}/journey")
    _confirmed(notifications, by_webhook, eventually(lambda: _code(sink)))

    problem = _post(reports, "/v1/problems", REPORT)["id"]
    first = eventually(lambda: only(sink.at("/journey")))
    assert first.json["data"]["area"] == VILLAGE

    verified = _post(reports, f"/v1/problems/{problem}/verify", {})
    forum = _post(forums, "/v1/forums", {"area": DISTRICT, "model": "wilayah", "name": "FKPM Gubeng"})["id"]
    candidates = forums.get(f"/v1/forums/{forum}/agenda-candidates", params={"at_least": verified["position"]})
    assert problem in [candidate["id"] for candidate in candidates.raise_for_status().json()["items"]]

    meeting = _post(forums, "/v1/meetings", MEETING | {"forum_id": forum, "agenda": [problem]})["id"]
    _post(forums, f"/v1/meetings/{meeting}/attendance", {"attendance": TOGETHER})
    _post(forums, f"/v1/meetings/{meeting}/hold", {"agreements": [{"problem_id": problem, **AGREED}]})
    eventually(lambda: _is(_status(reports, problem), "solution_proposed"))

    _post(reports, f"/v1/problems/{problem}/apply-solution", APPLIED)
    eventually(lambda: _is(len(sink.at("/journey")), 2))
    for posted in sink.at("/journey"):
        Webhook(by_webhook["secret"]).verify(posted.body, posted.headers)
    confirmation, *alerts = eventually(lambda: _mails(mailbox, 3))
    assert confirmation["To"] == "warga@example.org"
    assert len({mail["Subject"] for mail in alerts}) == 2
    for said in (*map(str, alerts), *(posted.body.decode() for posted in sink.posted)):
        assert "Budi" not in said

    _post(reports, f"/v1/problems/{problem}/assess", ASSESSED)
    closed = _post(reports, f"/v1/problems/{problem}/close", {})
    seen = reports.get(f"/v1/problems/{problem}", params={"at_least": closed["position"]}).json()
    assert seen["status"] == "closed"
    about = [alert for alert in notifications.get("/v1/alerts").json()["items"] if alert["about"] == problem]
    assert len(about) == 2
    for alert in about:
        path = f"/v1/alerts/{alert['id']}/deliveries"
        eventually(lambda path=path: _is(notifications.get(path).json()["states"], {"sent": 2}))


def _client(region: RunningRegion, service: str) -> httpx.Client:
    return httpx.Client(base_url=region.url(service), timeout=10)


def _post(client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.is_success, f"{path}: {answer.text}"
    return dict(answer.json())


def _subscribed(notifications: httpx.Client, **how: str) -> dict[str, Any]:
    return _post(notifications, "/v1/subscriptions", {"area": VILLAGE, **how})


def _confirmed(notifications: httpx.Client, subscription: dict[str, Any], code: str) -> None:
    _post(notifications, f"/v1/subscriptions/{subscription['id']}/confirm", {"code": code})


def _code(sink: Sink) -> str:
    return str(only(sink.at("/journey", "subscription.confirm")).json["data"]["code"])


def _mails(mailbox: Mailbox, count: int) -> list[Any]:
    mails = mailbox.to("warga@example.org")
    assert len(mails) == count
    return mails


def _status(reports: httpx.Client, problem: str) -> str:
    return str(reports.get(f"/v1/problems/{problem}").json()["status"])


def _is(actual: Any, expected: Any) -> None:
    assert actual == expected
