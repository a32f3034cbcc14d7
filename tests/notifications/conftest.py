"""A region with its receivers: what tests of subscriptions and deliveries are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from notifications.contacts import deliverable
from rembuk.testing.receivers import Mailbox, Posted, Sink, only, silent, sink, smtp
from rembuk.testing.services import PARTNER, RunningRegion, eventually
from standardwebhooks import Webhook

__all__ = ["silent", "sink", "smtp"]

AREA = "35.78.08.1004"


@dataclass
class Subscriber:
    """A confirmed subscription, and the secret of its webhook."""

    id: str
    secret: str = ""

    def verified(self, posted: Posted) -> Any:
        """The message, its signature checked as a receiver does."""
        return Webhook(self.secret).verify(posted.body, posted.headers)


class House:
    """A running region with its receivers: what a test of deliveries is made of."""

    def __init__(self, region: RunningRegion, mailbox: Mailbox, sink: Sink) -> None:
        self.region, self.mailbox, self.sink = region, mailbox, sink
        self.http = httpx.Client(base_url=region.url("notifications"), headers=PARTNER, timeout=10)

    def subscribe(self, contact: str, area: str = AREA, **more: Any) -> dict[str, Any]:
        channel = "email" if "@" in contact else "webhook"
        wish = {"area": area, "channel": channel, "contact": contact, **more}
        answer: dict[str, Any] = self.http.post("/v1/subscriptions", json=wish).raise_for_status().json()
        return answer

    def confirmed(self, contact: str, area: str = AREA, **more: Any) -> Subscriber:
        """Subscribe and confirm by the code that comes; waits until alerts would go there."""
        subscription = self.subscribe(contact, area, **more)
        path = f"/v1/subscriptions/{subscription['id']}"
        confirmed = self.http.post(f"{path}/confirm", json={"code": self.code_of(contact)}).raise_for_status()
        self.http.get(path, params={"at_least": confirmed.json()["position"]}).raise_for_status()
        return Subscriber(subscription["id"], subscription.get("secret", ""))

    def code_of(self, contact: str) -> str:
        if "@" in contact:
            return self.mailbox.code_for(deliverable("email", contact))

        def came() -> str:
            posted = only(self.sink.at(httpx.URL(contact).path, "subscription.confirm"))
            code: str = posted.json["data"]["code"]
            return code

        return eventually(came)

    def report(self, area: str = AREA, category: str = "theft", **more: Any) -> str:
        problem = {
            "area": area,
            "category": category,
            "title": "Motor hilang",
            "description": "Di depan rumah.",
            **more,
        }
        accepted = httpx.post(f"{self.region.url('reports')}/v1/problems", json=problem).raise_for_status()
        reported: str = accepted.json()["id"]
        return reported

    def alert_about(self, problem: str) -> dict[str, Any]:
        """The alert that a problem gave rise to, once it is raised."""

        def raised() -> dict[str, Any]:
            alerts: list[dict[str, Any]] = self.http.get("/v1/alerts").json()["items"]
            return only([one for one in alerts if one["about"] == problem])

        return eventually(raised)

    def deliveries(self, alert: dict[str, Any]) -> dict[str, Any]:
        answer = self.http.get(f"/v1/alerts/{alert['id']}/deliveries")
        assert answer.status_code == 200, answer.text
        page: dict[str, Any] = answer.json()
        return page


@pytest.fixture(scope="module")
def new_house(
    start_region: Callable[..., RunningRegion], smtp: tuple[str, Mailbox], sink: Sink
) -> Callable[..., House]:
    """A function that starts a region of reports and notifications with patience for tests."""
    url, mailbox = smtp

    def start(*services: str, **extra: str) -> House:
        told = {
            "REMBUK_SMTP_URL": url,
            "REMBUK_WEBHOOK_PRIVATE": "allow",
            "REMBUK_DELIVERY_ATTEMPTS": "4",
            "REMBUK_DELIVERY_BACKOFF_S": "0.05",
            "REMBUK_CODE_PAUSE_S": "3600",
            "REMBUK_DELIVERY_COME_AGAIN_S": "0.05",
            **extra,
        }
        return House(start_region(*(services or ("reports", "notifications")), extra=told), mailbox, sink)

    return start


@pytest.fixture
def start_house(new_house: Callable[..., House]) -> Iterator[Callable[..., House]]:
    """The same for one test, after which the region ends: the connections of PostgreSQL are few."""
    started: list[House] = []

    def start(*services: str, **extra: str) -> House:
        started.append(house := new_house(*services, **extra))
        return house

    yield start
    for house in started:
        house.region.stop_all()


@pytest.fixture(scope="module")
def house(new_house: Callable[..., House]) -> House:
    """One such region, shared by the tests that leave it as it is."""
    return new_house()
