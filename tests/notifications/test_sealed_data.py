"""A contact is opened with a reason, never its code or secret; and stopping is erasing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rembuk.testing.services import eventually

if TYPE_CHECKING:
    from conftest import House

OPEN = {"fields": ["contact"], "reason": "Keluhan pelanggan", "by": "operator:7"}
NOTICE = {"headline": {"id": "Awas banjir"}, "text": {"id": "Air naik."}}


def events_of(house: House, stream: str) -> list[dict[str, Any]]:
    feed = house.http.get("/v1/events", params={"limit": 500}).raise_for_status().json()
    return [event for event in feed if event["subject"] == stream]


def test_a_contact_is_opened_without_its_code_and_secret(house: House) -> None:
    contact = f"{house.sink.url}/opened"
    subscriber = house.confirmed(contact, area="35.20")
    answer = house.http.post(f"/v1/subscriptions/{subscriber.id}/open", json=OPEN).raise_for_status()
    [item] = answer.json()["items"]
    assert (item["field"], item["value"], item["erased"]) == ("contact", contact, False)
    assert subscriber.secret not in answer.text
    assert house.http.post(f"/v1/subscriptions/{subscriber.id}/open", json=OPEN | {"reason": ""}).status_code == 400


def test_stopping_erases_the_contact_and_the_log_says_so(house: House) -> None:
    subscriber = house.confirmed("stopped-and-gone@example.org", area="35.21")
    path = f"/v1/subscriptions/{subscriber.id}"
    assert house.http.delete(path).status_code == 204
    erased, stopped = events_of(house, subscriber.id)[-2:]
    assert (erased["type"], stopped["type"]) == ("PersonErased", "SubscriptionStopped")
    assert erased["data"] == {"area": "35.21", "person": subscriber.id, "ground": "request"}
    assert house.region.ask("notifications", "select 1 from vault_key where person = $1", subscriber.id) == []
    shown = house.http.get(path, params={"at_least": stopped["position"]})
    assert (shown.json()["status"], shown.headers["etag"]) == ("stopped", f'"{stopped["version"]}"')
    [item] = house.http.post(f"{path}/open", json=OPEN).raise_for_status().json()["items"]
    assert (item["value"], item["erased"]) == (None, True)


def test_a_contact_whose_key_is_gone_is_told_nothing_and_stopped(house: House) -> None:
    """As an operator's erasure leaves it, made beside the sender, which has just used the key."""
    subscriber = house.confirmed("erased-by-operator@example.org", area="35.22")
    assert house.region.run("notifications", "erase", subscriber.id, "other").returncode == 0
    raised = house.http.post("/v1/alerts", json=NOTICE | {"area": "35.22"}).raise_for_status().json()

    def stopped() -> None:
        deliveries = house.http.get(f"/v1/alerts/{raised['id']}/deliveries").json().get("items", [])
        assert [(one["state"], one["reason"]) for one in deliveries] == [("called_off", "stopped")]
        assert house.http.get(f"/v1/subscriptions/{subscriber.id}").json()["status"] == "stopped"

    eventually(stopped)
    assert len(house.mailbox.to("erased-by-operator@example.org")) == 1  # the code
