"""Who hangs keeps nobody waiting, and nobody is flooded: lanes, places by receiver, and a pace for each contact."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from rembuk.testing.asking import asked
from rembuk.testing.receivers import only
from rembuk.testing.services import eventually

if TYPE_CHECKING:
    from conftest import House

COSTS_S = 3.0
"""A second at most on a quiet machine; before there were lanes it was forty."""
AT_ONCE_S = 10.0
"""A second or two; before, what was not sent waited for its lease of 60 s."""
NOTICE = {"headline": {"id": "Awas banjir"}, "text": {"id": "Air naik."}}


def test_a_receiver_that_hangs_costs_others_hardly_anything(house: House, silent: str) -> None:
    def others_take(name: str, area: str) -> float:
        """Seconds until a new webhook and a new mailbox have their codes, and a confirmed webhook its alert."""
        house.confirmed(f"{house.sink.url}/{name}", area=area)
        began = time.monotonic()
        house.subscribe(f"{house.sink.url}/new-{name}")
        house.subscribe(f"{name}@example.org")
        house.http.post("/v1/alerts", json=NOTICE | {"area": area}).raise_for_status()
        house.code_of(f"{house.sink.url}/new-{name}")
        house.code_of(f"{name}@example.org")
        eventually(lambda: only(house.sink.at(f"/{name}")))
        return time.monotonic() - began

    alone = others_take("by-themselves", "35.23")
    for n in range(100):
        house.subscribe(f"{silent}/{n}")
    assert others_take("beside-the-silent", "35.24") - alone <= COSTS_S


def test_a_delivery_is_ranked_by_the_severity_of_its_alert(house: House) -> None:
    house.confirmed(f"{house.sink.url}/by-severity", area="35.25")
    house.region.stop("notifications", "worker")
    for severity in ("minor", "severe", "extreme", "moderate"):
        notice = NOTICE | {"area": "35.25", "severity": severity}
        house.http.post("/v1/alerts", json=notice).raise_for_status()
    house.region.start("notifications", "worker")
    eventually(lambda: _is(len(house.sink.at("/by-severity")), 4))
    ranks = house.region.ask(
        "notifications",
        "select severity, rank from delivery join alert on alert.id = alert_id where alert.area = '35.25'",
    )
    assert {row["severity"]: row["rank"] for row in ranks} == {"minor": 0, "moderate": 1, "severe": 2, "extreme": 3}


def test_one_contact_is_sent_one_code_then_left_alone(house: House) -> None:
    for n in range(50):
        house.subscribe("Flooded@example.org" if n % 2 else "flooded@EXAMPLE.org")
    house.subscribe("after-the-flood@example.org")
    house.code_of("after-the-flood@example.org")
    assert len([mail for mail in house.mailbox.mails if "flooded@" in str(mail["To"]).lower()]) == 1


def test_who_has_confirmed_is_sent_the_next_code_at_once(house: House) -> None:
    house.confirmed("keen@example.org", area="35.26")
    house.subscribe("keen@example.org", area="35.27")
    eventually(lambda: _is(len(house.mailbox.to("keen@example.org")), 2))


def test_a_contact_is_told_once_of_an_alert_however_it_is_written_and_however_many_areas_it_wants(
    house: House,
) -> None:
    first = house.confirmed("Budi@Example.org", area="32")
    later = [_confirmed_again(house, contact, area) for contact, area in (
        ("budi@example.org", "32.73"), ("BUDI@example.org", "32.73.01"),
    )]  # fmt: skip
    alert = house.alert_about(house.report("32.73.01"))
    assert alert["recipients"] == 1
    notice = house.http.post("/v1/alerts", json=NOTICE | {"area": "32.73.01"}).raise_for_status().json()
    raised = house.http.get(f"/v1/alerts/{notice['id']}", params={"at_least": notice["position"]}).json()
    assert raised["recipients"] == 1
    # one click ends all that would tell the same
    house.http.post(f"/v1/subscriptions/{later[-1]}/stop").raise_for_status()
    for id in (first.id, *later):
        eventually(lambda id=id: _is(house.http.get(f"/v1/subscriptions/{id}").json()["status"], "stopped"))  # type: ignore[misc]


def _confirmed_again(house: House, contact: str, area: str) -> str:
    """A further subscription of a contact that has had a code before."""
    had = len(house.mailbox.mails)
    subscription = house.subscribe(contact, area)

    def code() -> str:
        texts = [mail.get_content() for mail in house.mailbox.mails[had:] if str(mail["To"]).lower() == contact.lower()]
        return str(only(texts))

    from rembuk.testing.receivers import digits

    path = f"/v1/subscriptions/{subscription['id']}"
    answer = house.http.post(f"{path}/confirm", json={"code": digits(eventually(code))}).raise_for_status()
    house.http.get(path, params={"at_least": answer.json()["position"]}).raise_for_status()
    return str(subscription["id"])


def test_a_mailbox_that_is_not_there_is_tried_once_until_something_gets_through(house: House) -> None:
    house.confirmed("moved@example.org", area="35.28")
    house.mailbox.refuses["moved@example.org"] = "550 5.1.1 no such mailbox"
    asked = house.mailbox.asked.count("moved@example.org")
    reasons = []
    for _ in range(4):
        notice = house.http.post("/v1/alerts", json=NOTICE | {"area": "35.28"}).raise_for_status().json()
        eventually(lambda id=notice["id"]: _is(_states(house, id), {"given_up": 1}))  # type: ignore[misc]
        reasons += [one["reason"] for one in house.http.get(f"/v1/alerts/{notice['id']}/deliveries").json()["items"]]
    assert house.mailbox.asked.count("moved@example.org") == asked + 1
    assert reasons == ["recipient refused: SMTP 550"] + ["suspended: an earlier message was refused for good"] * 3
    del house.mailbox.refuses["moved@example.org"]
    again = house.subscribe("moved@example.org", area="35.29")["id"]  # its code is sent all the same
    path = f"/v1/subscriptions/{again}"
    eventually(lambda: _is(house.http.get(path).json().get("code_delivery"), "sent"))
    notice = house.http.post("/v1/alerts", json=NOTICE | {"area": "35.28"}).raise_for_status().json()
    eventually(lambda: _is(_states(house, notice["id"]), {"sent": 1}))


@pytest.mark.parametrize(("answer", "tried"), [("554 5.6.0 not like this", 1), ("550 5.7.1 no", 1)])
def test_a_message_refused_for_good_is_given_up(house: House, answer: str, tried: int) -> None:
    contact = f"final-{answer[:3]}@example.org"
    house.confirmed(contact, area="35.15")
    house.mailbox.answers.append(answer)
    notice = house.http.post("/v1/alerts", json=NOTICE | {"area": "35.15"}).raise_for_status().json()

    def given_up() -> None:
        items = house.http.get(f"/v1/alerts/{notice['id']}/deliveries").json().get("items", [])
        assert (answer[:3], tried) in [(one["reason"].removeprefix("SMTP "), one["attempts"]) for one in items]

    eventually(given_up)


def test_a_receiver_that_says_when_to_come_again_is_obeyed(house: House) -> None:
    house.confirmed(f"{house.sink.url}/later", area="35.16")
    house.sink.status["/later"], house.sink.headers["/later"] = 503, {"retry-after": "2"}
    notice = house.http.post("/v1/alerts", json=NOTICE | {"area": "35.16"}).raise_for_status().json()
    eventually(lambda: _is(len(house.sink.at("/later")), 1))
    asked = time.monotonic()
    del house.sink.status["/later"]
    eventually(lambda: _is(_states(house, notice["id"]), {"sent": 1}))
    assert time.monotonic() - asked >= 1.9


def _states(house: House, alert_id: str) -> Any:
    return house.http.get(f"/v1/alerts/{alert_id}/deliveries").json().get("states")


def _is(actual: Any, expected: Any) -> None:
    assert actual == expected


def test_an_address_that_never_parsed_suspends_nobody_else(house: House) -> None:
    """Its mark is empty, as that of a subscription which nothing was sent to yet."""
    house.region.ask("notifications", "insert into contact (mark, bounced_at) values ('', now())")
    hook = f"{house.sink.url}/without-a-mark"
    house.confirmed(hook, area="35.22")
    house.region.ask("notifications", "update subscription set contact = '' where area = '35.22'")
    house.http.post("/v1/alerts", json=NOTICE | {"area": "35.22"}).raise_for_status()
    eventually(lambda: only(house.sink.at("/without-a-mark")))


def test_ten_receivers_that_hang_cost_others_hardly_anything(house: House) -> None:
    with ExitStack() as stack:
        hooks = [stack.enter_context(hanging_later(f"127.0.0.{n}")) for n in range(2, 12)]
        for hook in hooks:
            for n in range(3):
                hook.confirmed(house, f"/{n}", "35.20")
        house.confirmed(f"{house.sink.url}/quick", area="35.21")

        def quick_takes(path: str) -> float:
            """Seconds until a confirmed webhook has its alert, and a new one its code."""
            had, began = len(house.sink.at("/quick")), time.monotonic()
            house.http.post("/v1/alerts", json=NOTICE | {"area": "35.21"}).raise_for_status()
            house.subscribe(f"{house.sink.url}{path}")
            eventually(lambda: _is(len(house.sink.at("/quick")), had + 1))
            house.code_of(f"{house.sink.url}{path}")
            return time.monotonic() - began

        alone = quick_takes("/alone")
        for hook in hooks:
            hook.hangs.set()
        for _ in range(3):
            house.http.post("/v1/alerts", json=NOTICE | {"area": "35.20"}).raise_for_status()
        for hook in hooks:
            for n in range(10):
                house.subscribe(f"{hook.url}/new-{n}")
        assert quick_takes("/beside-ten") - alone <= COSTS_S


def test_a_database_that_fails_before_a_message_leaves_delays_it_by_no_more_than_it_is_away(house: House) -> None:
    house.confirmed(f"{house.sink.url}/read-anew", area="35.26")
    with _locked(house, "vault_key"):
        house.http.post("/v1/alerts", json=NOTICE | {"area": "35.26"}).raise_for_status()
        eventually(lambda: _is(_cut(house, "wait_event_type = 'Lock'"), 1))
    eventually(lambda: only(house.sink.at("/read-anew")), AT_ONCE_S)


def test_a_database_that_fails_again_and_again_neither_delays_nor_repeats_anything(house: House) -> None:
    paths = [f"/again-and-again-{n}" for n in range(10)]
    for path in paths:
        house.confirmed(f"{house.sink.url}{path}", area="35.27")
    for _ in range(5):
        house.http.post("/v1/alerts", json=NOTICE | {"area": "35.27"}).raise_for_status()
        for _ in range(5):
            _cut(house, "true")
    eventually(lambda: _is([len(house.sink.at(path)) for path in paths], [5] * 10), AT_ONCE_S)
    house.subscribe(f"{house.sink.url}/a-code", area="35.27")
    for _ in range(5):
        _cut(house, "true")
    eventually(lambda: only(house.sink.at("/a-code", "subscription.confirm")), AT_ONCE_S)
    not_recorded = """select from delivery join subscription on subscription.id = subscription_id
                      where subscription.area = '35.27' and state in ('queued', 'failed')"""
    eventually(lambda: _is(house.region.ask("notifications", not_recorded), []))
    assert [len({one.id for one in house.sink.at(path)}) for path in paths] == [5] * 10
    assert [len(house.sink.at(path)) for path in paths] == [5] * 10
    only(house.sink.at("/a-code", "subscription.confirm"))


@contextmanager
def _locked(house: House, table: str) -> Iterator[None]:
    """Within the block nobody reads a table of notifications."""
    with asyncio.Runner() as runner:
        locker = runner.run(asyncpg.connect(house.region.region.database("notifications").owner_url))
        runner.run(locker.execute(f"begin; lock table {table} in access exclusive mode"))
        try:
            yield
        finally:
            runner.run(locker.close())


def _cut(house: House, which: str) -> int:
    """End connections of the worker's sender, its ledger and its log, as a server that restarts; how many."""
    query = f"""select pg_terminate_backend(pid) from pg_stat_activity
                where datname = $1 and {which}
                and application_name ~ '(sender|ledger|sender vault|reactions log (reader|writer))$'"""
    return len(asked(house.region.region.postgres_url, query, house.region.region.database("notifications").role))


class HangingLater:
    """A webhook's receiver that answers until it is told to hang."""

    def __init__(self, url: str, posted: dict[str, str], hangs: Event) -> None:
        self.url, self.codes, self.hangs = url, posted, hangs

    def confirmed(self, house: House, path: str, area: str) -> None:
        subscription = house.subscribe(f"{self.url}{path}", area)["id"]
        code = eventually(lambda: self.codes[subscription] if subscription in self.codes else _is(subscription, "told"))
        house.http.post(f"/v1/subscriptions/{subscription}/confirm", json={"code": code}).raise_for_status()


@contextmanager
def hanging_later(address: str) -> Iterator[HangingLater]:
    codes: dict[str, str] = {}
    hangs, over = Event(), Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = json.loads(self.rfile.read(int(self.headers["content-length"])))["data"]
            if hangs.is_set():
                over.wait(60)
            if "code" in data:
                codes[data["subscription_id"]] = data["code"]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer((address, 0), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    yield HangingLater(f"http://{address}:{server.server_port}", codes, hangs)
    over.set()
    server.shutdown()
