"""The HTTP face of notifications, asked as a client would, with the real service behind it."""

from __future__ import annotations

from email import message_from_bytes
from email.header import decode_header, make_header
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from notifications.queries import ALERTS, DELIVERIES, Alert, Delivery
from rembuk.testing.receivers import only
from rembuk.testing.services import eventually

if TYPE_CHECKING:
    from conftest import House

AREA = "35.78.08.1004"
WISH = {"area": AREA, "channel": "email", "contact": "warga@example.org"}
NOTICE = {"area": AREA, "headline": {"id": "Awas banjir", "en": "Flood"}, "text": {"id": "Air naik.", "en": "Rising."}}


def test_the_columns_of_a_list_are_the_fields_in_their_order() -> None:
    for shown, kind in ((ALERTS, Alert), (DELIVERIES, Delivery)):
        columns = [column.strip().rpartition(".")[2] for column in shown.columns.split(",")]
        assert columns == [*kind.__struct_fields__, shown.order]


def test_a_subscription_is_confirmed_by_the_code_that_was_sent_and_never_shows_its_contact(house: House) -> None:
    subscription = house.subscribe("api-1@example.org", area="35.14", language="en", categories=["theft"])
    path = f"/v1/subscriptions/{subscription['id']}"
    seen = house.http.get(path, params={"at_least": subscription["position"]})
    assert (seen.json()["status"], seen.headers["etag"]) == ("requested", '"1"')
    code = house.mailbox.code_for("api-1@example.org")
    confirmed = house.http.post(f"{path}/confirm", json={"code": code})
    assert (confirmed.status_code, confirmed.headers["etag"]) == (200, '"2"')
    seen = house.http.get(path, params={"at_least": confirmed.json()["position"]})
    assert seen.json()["status"] == "confirmed"
    assert "api-1" not in seen.text
    assert "api-1" not in house.http.get("/v1/events", params={"limit": 500}).text


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"area": "99.99"}, "area"),
        ({"contact": "https://example.org/"}, "contact"),
        ({"channel": "webhook"}, "contact"),
        ({"categories": ["sorcery"]}, "categories"),
        ({"contact": "a..b@example.org"}, "contact"),
        ({"contact": "=?utf-8?q?victim=40polri.go.id=2c?=@example.org"}, "contact"),
    ],
)
def test_a_subscription_that_cannot_be_is_refused_by_field(house: House, wrong: dict[str, Any], field: str) -> None:
    answer = house.http.post("/v1/subscriptions", json=WISH | wrong)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


def test_wrong_codes_are_refused_and_after_five_of_them_the_right_one_too(house: House) -> None:
    path = f"/v1/subscriptions/{house.subscribe('guessed@example.org')['id']}/confirm"
    right = house.mailbox.code_for("guessed@example.org")
    wrong = f"{(int(right) + 1) % 10**8:08d}"
    for _ in range(5):
        refused = house.http.post(path, json={"code": wrong})
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "code")
    assert house.http.post(path, json={"code": right}).status_code == 409


def test_a_repeated_request_is_one_subscription_with_one_secret_and_one_code(house: House) -> None:
    wish = WISH | {"channel": "webhook", "contact": f"{house.sink.url}/repeated"}
    key = {"Idempotency-Key": str(uuid4())}
    first, second = (house.http.post("/v1/subscriptions", json=wish, headers=key) for _ in range(2))
    assert first.status_code == second.status_code == 201
    assert first.json() == second.json()
    assert first.json()["secret"].startswith("whsec_")
    house.code_of(f"{house.sink.url}/repeated")
    other = house.http.post("/v1/subscriptions", json=wish | {"area": "35"}, headers=key)
    assert other.status_code == 422


def test_who_stops_is_forgotten_and_may_say_so_twice(house: House) -> None:
    subscriber = house.confirmed("stopping@example.org", area="35.01")
    path = f"/v1/subscriptions/{subscriber.id}"
    assert [house.http.delete(path).status_code for _ in range(2)] == [204, 204]
    eventually(lambda: _is(house.http.get(path).json()["status"], "stopped"))
    assert house.http.post(f"{path}/confirm", json={"code": "12345678"}).status_code == 409
    assert house.http.delete(f"/v1/subscriptions/{uuid4()}").status_code == 404


def test_one_click_in_a_mail_program_stops(house: House) -> None:
    house.confirmed("one-click@example.org", area="35.02")
    house.http.post("/v1/alerts", json=NOTICE | {"area": "35.02"}).raise_for_status()

    def alerted() -> str:
        mail = only(house.mailbox.to("one-click@example.org")[1:])
        assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        return str(mail["List-Unsubscribe"]).strip("<>")

    url = eventually(alerted)
    assert "<form" in house.http.get(url).text
    pressed = {"List-Unsubscribe": (None, "One-Click")}  # as a form of either kind, RFC 8058
    assert house.http.post(url, files=pressed).status_code == 200
    assert house.http.post(url, data={"List-Unsubscribe": "One-Click"}).status_code == 200
    eventually(lambda: _is(house.http.get(url.removesuffix("/stop")).json()["status"], "stopped"))


def test_a_headline_stays_a_headline_and_a_domain_in_any_script_gets_its_mail(house: House) -> None:
    house.confirmed("warga@bücher.example", area="35.23")
    before = len(house.mailbox.asked)
    smuggling = "=?utf-8?q?Uji=0D=0ABcc:_korban@example.org?="
    house.http.post("/v1/alerts", json=NOTICE | {"area": "35.23", "headline": {"id": smuggling}}).raise_for_status()

    def alerted() -> None:
        written = only([mail for mail in house.mailbox.written if _subject(mail) == smuggling])
        assert b"\r\nTo: warga@xn--bcher-kva.example\r\n" in written
        assert b"Bcc" not in written

    eventually(alerted)
    assert house.mailbox.asked[before:] == ["warga@xn--bcher-kva.example"]


def test_an_officer_raises_an_alert_and_sees_what_became_of_it(house: House) -> None:
    house.confirmed("officers-1@example.org", area="35.03.01")
    house.confirmed("officers-2@example.org", area="35.03", language="en", categories=["theft"])
    house.confirmed("elsewhere@example.org", area="35.03.02")
    raised = house.http.post("/v1/alerts", json=NOTICE | {"area": "35.03.01", "severity": "severe"})
    assert raised.status_code == 201
    path = f"/v1/alerts/{raised.json()['id']}"
    alert = house.http.get(path, params={"at_least": raised.json()["position"]}).json()
    assert (alert["recipients"], alert["severity"], alert["headline"]["id"]) == (2, "severe", "Awas banjir")
    eventually(lambda: _is(house.http.get(f"{path}/deliveries").json()["states"], {"sent": 2}))
    said = [house.mailbox.to(f"officers-{n}@example.org")[1]["Subject"] for n in (1, 2)]
    assert said == ["Awas banjir", "Flood"]
    page = house.http.get(f"{path}/deliveries", params={"limit": 1})
    rest = house.http.get(f"{path}/deliveries", params={"limit": 1, "cursor": page.json()["next_cursor"]})
    assert len({one["id"] for one in page.json()["items"] + rest.json()["items"]}) == 2
    assert rest.json()["next_cursor"] is None
    assert "example.org" not in page.text + rest.text
    assert [one["id"] for one in house.http.get("/v1/alerts", params={"area": "35.03"}).json()["items"]] == [
        alert["id"]
    ]
    assert house.http.get(f"/v1/alerts/{uuid4()}/deliveries").status_code == 404


def test_an_alert_of_a_category_goes_to_whom_it_concerns(house: House) -> None:
    house.confirmed("thefts@example.org", area="35.04", categories=["theft"])
    house.confirmed("noises@example.org", area="35.04", categories=["noise", "vandalism"])
    raised = house.http.post("/v1/alerts", json=NOTICE | {"area": "35.04", "category": "noise"}).json()
    alert = house.http.get(f"/v1/alerts/{raised['id']}", params={"at_least": raised["position"]}).json()
    assert alert["recipients"] == 1


def _is(actual: Any, expected: Any) -> None:
    assert actual == expected


def _subject(written: bytes) -> str:
    """As a mail program shows it: decoded, once."""
    return str(make_header(decode_header(message_from_bytes(written)["Subject"])))
