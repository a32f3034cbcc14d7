"""What reaches subscribers, by real channels and through real crashes: everything once, and nothing that is secret."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from threading import Event
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx
import pytest
from notifications.delivery.ledger import LEASE
from rembuk.testing.forking import Forked
from rembuk.testing.receivers import only
from rembuk.testing.services import eventually

if TYPE_CHECKING:
    from conftest import House

AREA = "35.78.08.1004"


def test_a_report_is_told_once_by_each_channel_in_the_subscribers_language(house: House) -> None:
    house.confirmed("once@example.org", area="35.78", language="en")
    hook = house.confirmed(f"{house.sink.url}/once", area=AREA)
    problem = house.report()
    alert = house.alert_about(problem)
    eventually(lambda: _is(house.deliveries(alert)["states"], {"sent": 2}))

    mail = only(house.mailbox.to("once@example.org")[1:])
    assert mail["Subject"] == "New report: Theft, Kertajaya, Gubeng, Kota Surabaya, Jawa Timur"
    assert f"@{house.region.region.name}.rembuk>" in mail["Message-ID"]
    posted = only(house.sink.at("/once"))
    told = hook.verified(posted)
    assert told["type"] == "alert.raised"
    assert (told["data"]["about"], told["data"]["category"]) == (problem, "theft")
    assert told["data"]["headline"].startswith("Laporan baru: Pencurian")
    assert {one["id"] for one in house.deliveries(alert)["items"]} == {
        posted.id,
        str(mail["Message-ID"]).strip("<>").partition("@")[0],
    }
    _stop_both(house, hook.id)


def test_what_is_sensitive_confidential_or_elsewhere_alerts_nobody(house: House) -> None:
    hook = house.confirmed(f"{house.sink.url}/discreet", area="35.05")
    house.report("35.05.01", "narcotics")
    house.report("35.05.01", disclosure="officer")
    house.report("35.06.01")
    house.report("35.05.01", title="Pak Budi maling", reporter={"name": "Siti", "phone": "08123456789"})
    eventually(lambda: _is(len(house.sink.at("/discreet")), 1))
    last = house.report("35.05.01", "noise")
    house.alert_about(last)
    eventually(lambda: _is(len(house.sink.at("/discreet")), 2))
    said = [hook.verified(one)["data"] for one in house.sink.at("/discreet")]
    assert [one["category"] for one in said] == ["theft", "noise"]
    assert "Budi" not in str(said)
    assert "Siti" not in str(said)


def test_an_applied_solution_is_told_by_the_category_of_its_problem(house: House) -> None:
    thefts = house.confirmed(f"{house.sink.url}/thefts", area="35.07", categories=["theft"])
    house.confirmed(f"{house.sink.url}/noises", area="35.07", categories=["noise"])
    problem, secret = house.report("35.07.01"), house.report("35.07.01", disclosure="commander")
    for one in (secret, problem):
        _solve(house, one)
    eventually(lambda: _is(len(house.sink.at("/thefts")), 2))
    kinds = [thefts.verified(one)["data"]["source_type"] for one in house.sink.at("/thefts")]
    assert kinds == ["ProblemReported", "SolutionApplied"]
    assert house.sink.at("/noises") == []


def test_a_failing_sink_is_tried_again_then_parked_and_visible(house: House) -> None:
    url = f"{house.sink.url}/failing"
    house.confirmed(url, area="35.09")
    house.sink.status["/failing"] = 503
    alert = house.alert_about(house.report("35.09.01"))

    def parked() -> dict[str, Any]:
        delivery: dict[str, Any] = only(house.deliveries(alert)["items"])
        assert (delivery["state"], delivery["attempts"], delivery["reason"]) == ("given_up", 4, "HTTP 503")
        return delivery

    delivery = eventually(parked)
    attempts = house.sink.at("/failing")
    assert [one.id for one in attempts] == [delivery["id"]] * 4
    assert len({one.body for one in attempts}) == 1


def test_a_mail_server_that_is_busy_is_asked_again(house: House) -> None:
    house.confirmed("patient@example.org", area="35.10")
    house.mailbox.answers += ["451 busy", "451 busy"]
    alert = house.alert_about(house.report("35.10.01"))
    eventually(lambda: _is(only(house.deliveries(alert)["items"])["attempts"], 3))
    eventually(lambda: _is(house.deliveries(alert)["states"], {"sent": 1}))
    assert len(house.mailbox.to("patient@example.org")) == 2


def test_a_refusal_is_not_argued_with_and_who_is_gone_is_left_alone(house: House) -> None:
    house.confirmed(f"{house.sink.url}/refusing", area="35.11")
    gone = house.confirmed(f"{house.sink.url}/gone", area="35.11")
    house.sink.status |= {"/refusing": 403, "/gone": 410}
    alert = house.alert_about(house.report("35.11.01"))
    eventually(lambda: _is(house.deliveries(alert)["states"], {"given_up": 2}))
    assert {one["attempts"] for one in house.deliveries(alert)["items"]} == {1}
    eventually(lambda: _is(house.http.get(f"/v1/subscriptions/{gone.id}").json()["status"], "stopped"))


def test_a_stop_counts_for_what_is_still_being_tried(house: House) -> None:
    subscriber = house.confirmed(f"{house.sink.url}/stopping", area="35.12")
    house.sink.status["/stopping"] = 503
    house.sink.hold = Event()
    alert = house.alert_about(house.report("35.12.01"))
    eventually(lambda: _is(len(house.sink.at("/stopping")), 1))
    house.http.delete(f"/v1/subscriptions/{subscriber.id}").raise_for_status()
    house.sink.hold.set()
    house.sink.hold = None
    eventually(lambda: _is(only(house.deliveries(alert)["items"])["state"], "called_off"))
    assert len(house.sink.at("/stopping")) == 1


def test_what_is_not_so_any_more_is_not_sent_and_corrected_once_where_it_was(house: House) -> None:
    told = house.confirmed(f"{house.sink.url}/told", area="35.17")
    house.confirmed(f"{house.sink.url}/waits", area="35.17")
    house.sink.status["/waits"], house.sink.headers["/waits"] = 503, {"retry-after": "3600"}
    alert = house.alert_about(problem := house.report("35.17.01"))
    eventually(lambda: _is(house.deliveries(alert)["states"], {"sent": 1, "failed": 1}))
    _reject(house, problem)
    del house.sink.status["/waits"]
    eventually(lambda: _is(house.deliveries(alert)["states"], {"sent": 1, "called_off": 1}))
    correction = eventually(lambda: only([one for one in _alerts(house) if one["corrects"] == alert["id"]]))
    eventually(lambda: _is(house.deliveries(correction)["states"], {"sent": 1, "called_off": 1}))
    first, second = (told.verified(one)["data"] for one in house.sink.at("/told"))
    assert (first["corrects"], second["corrects"]) == (None, alert["id"])
    assert second["headline"].startswith("Ralat: laporan Pencurian")
    assert len(house.sink.at("/waits")) == 1
    assert house.http.get(f"/v1/alerts/{alert['id']}").json()["withdrawn_at"]


def test_who_is_being_told_as_it_is_withdrawn_is_sent_the_correction_after_it(house: House) -> None:
    house.confirmed(f"{house.sink.url}/being-told", area="35.18")
    house.sink.hold = Event()
    try:
        alert = house.alert_about(problem := house.report("35.18.01"))
        eventually(lambda: _is(len(house.sink.at("/being-told")), 1))
        _reject(house, problem)
        eventually(lambda: only([one for one in _alerts(house) if one["corrects"] == alert["id"]]))
    finally:
        house.sink.hold.set()
        house.sink.hold = None
    posted = eventually(lambda: _so_many(house.sink.at("/being-told"), 2))
    assert [one.json["data"]["corrects"] for one in posted] == [None, alert["id"]]


def test_what_was_overtaken_meanwhile_is_told_to_nobody_or_corrected_and_a_replay_makes_the_same_rows(
    house: House,
) -> None:
    house.confirmed(f"{house.sink.url}/overtaken", area="35.19")
    house.region.stop("notifications", "worker")
    rejected, solved = house.report("35.19.01"), house.report("35.19.01")
    _reject(house, rejected)
    _solve(house, solved)
    house.region.start("notifications", "worker")

    def told(problem: str) -> list[str]:
        data = [one.json["data"] for one in house.sink.at("/overtaken")]
        return [one["source_type"] for one in data if one["about"] == problem]

    eventually(lambda: _is(told(solved)[-1:], ["SolutionApplied"]))
    # what came in one batch is not told; where the first event came alone, it is as if told before
    eventually(lambda: _in(told(rejected), ([], ["ProblemReported", "ProblemRejected"])))
    compared = house.region.run("notifications", "rebuild", "compare")
    assert compared.returncode == 0, compared.stderr
    rows = [json.loads(line) for line in compared.stdout.splitlines()]
    assert [one for one in rows if one["kind"] == "difference"] == []


def test_a_webhook_into_our_own_network_is_refused_as_one_that_leads_nowhere(
    start_house: Callable[..., House],
) -> None:
    """So that nobody learns from the answer what there is in our network."""
    house = start_house("notifications", REMBUK_WEBHOOK_PRIVATE="")
    urls = (f"{house.sink.url}/inside", "http://[64:ff9b::10.0.0.5]/", "http://nowhere.invalid/")
    for subscription in [house.subscribe(url) for url in urls]:
        seen = eventually(lambda subscription=subscription: _given_up(house, subscription["id"]))  # type: ignore[misc]
        assert seen["code_failure"] == "HTTP: the host cannot be reached"
    assert [one for one in house.sink.posted if one.path == "/inside"] == []


def test_without_a_mail_server_a_mail_is_parked_with_the_reason(start_house: Callable[..., House]) -> None:
    house = start_house("notifications", REMBUK_SMTP_URL="")
    subscription = house.subscribe("nobody@example.org")
    seen = eventually(lambda: _given_up(house, subscription["id"]))
    assert seen["code_failure"] == "no SMTP server is configured"


def test_a_worker_killed_while_it_sends_loses_nothing_and_repeats_only_under_the_same_id(
    start_house: Callable[..., House],
) -> None:
    house = start_house()
    paths = [f"/killed-{n}" for n in range(30)]
    for path in paths:
        house.confirmed(f"{house.sink.url}{path}")
    house.sink.hold = Event()
    alert = house.alert_about(house.report())
    eventually(lambda: _is(sum(len(house.sink.at(path)) for path in paths), 4))  # all it may send to one host at a time
    house.region.kill("notifications", "worker")
    house.sink.hold.set()
    house.sink.hold = None
    _lapse_leases(house)
    house.region.start("notifications", "worker")
    eventually(lambda: _is(house.deliveries(alert)["states"], {"sent": 30}), 40)
    for path in paths:
        assert len({one.id for one in house.sink.at(path)}) == 1
    assert len({house.sink.at(path)[0].id for path in paths}) == 30
    assert max(Counter(path for path in paths for _ in house.sink.at(path)).values()) == 2


def test_what_is_still_on_its_way_is_not_taken_again_when_its_lease_ends(start_house: Callable[..., House]) -> None:
    house = start_house()
    for path, area in (("/slow", "35.78"), ("/next", "35.13")):
        house.confirmed(f"{house.sink.url}{path}", area=area)
    house.sink.hold = Event()
    try:
        alert = house.alert_about(house.report())
        eventually(lambda: _is(len(house.sink.at("/slow")), 1))
        _lapse_leases(house)
        house.http.post("/v1/alerts", json={"area": "35.13", "headline": {"id": "Awas"}, "text": {"id": "Hati-hati."}})
        eventually(lambda: _is(len(house.sink.at("/next")), 1))  # whoever took this would have taken both
    finally:
        house.sink.hold.set()
        house.sink.hold = None
    eventually(lambda: _is(house.deliveries(alert)["states"], {"sent": 1}))
    assert len(house.sink.at("/slow")) == 1


def test_a_clock_that_ran_ahead_and_was_set_right_delays_nothing(start_house: Callable[..., House]) -> None:
    house = start_house()
    house.confirmed(f"{house.sink.url}/ahead", area="35.78")
    house.confirmed("ahead@example.org", area="35.13")
    house.subscribe("ahead@example.org")  # is sent its code, and no other for an hour
    eventually(lambda: _is(len(house.mailbox.to("ahead@example.org")), 2))
    notice = {"area": AREA, "headline": {"id": "Awas"}, "text": {"id": "Hati-hati."}}
    house.region.stop("notifications", "worker")
    before = house.http.post("/v1/alerts", json=notice).raise_for_status().json()
    house.region.start("notifications", "worker")
    eventually(lambda: _is(house.deliveries(before)["states"], {"sent": 1}))
    house.region.stop("notifications", "worker")
    _sql(
        house,
        "update log.head set recorded_at = now() + interval '2 days'",
        "update contact set code_at = now() + interval '2 days'",
        "update delivery set state = 'queued', due_at = now() + interval '2 days' where state = 'sent'",
    )
    house.region.start("notifications", "worker")
    eventually(lambda: _is(_overdue(house), 0))
    for n in (2, 3):
        house.http.post("/v1/alerts", json=notice).raise_for_status()
        eventually(lambda n=n: _is(len(house.sink.at("/ahead")), n))  # type: ignore[misc]
    late = house.subscribe("ahead@example.org")
    eventually(lambda: _is(len(house.mailbox.to("ahead@example.org")), 3))
    assert house.http.post(f"/v1/subscriptions/{late['id']}/code").status_code == 202
    house.confirmed(f"{house.sink.url}/after", area="35.14")
    house.alert_about(house.report("35.14.01"))
    eventually(lambda: _is(len(house.sink.at("/after")), 1))


def _overdue(house: House) -> int:
    """How many deliveries wait for a time that is far away."""
    query = "select from delivery where state = 'queued' and due_at > now() + interval '1 day'"
    return len(house.region.ask("notifications", query))


def test_streams_read_again_and_a_ledger_built_anew_send_nothing(start_house: Callable[..., House]) -> None:
    house = start_house()
    house.confirmed("again@example.org")
    alert = house.alert_about(house.report())
    eventually(lambda: _is(house.deliveries(alert)["states"], {"sent": 1}))
    head = len(house.http.get("/v1/events").json())
    house.confirmed("later@example.org")  # was not yet a subscriber then

    house.region.stop("notifications", "worker")
    _sql(house, "delete from checkpoint", "truncate reaction, delivery, alert, subscription")
    house.region.start("notifications", "worker")
    eventually(lambda: _is(house.deliveries(alert)["states"], {"sent": 1}), 30)
    second = house.report(category="noise")
    house.alert_about(second)
    eventually(lambda: _is(len(house.mailbox.to("later@example.org")), 2))
    eventually(lambda: _is(len(house.mailbox.to("again@example.org")), 3))
    assert ["Pencurian" in str(mail["Subject"]) for mail in house.mailbox.to("later@example.org")] == [False, False]
    eventually(lambda: _is(_recorded_after(house, head), {
        "SubscriptionRequested": 1, "SubscriptionConfirmed": 1, "AlertRaised": 1, "DeliverySent": 3,
    }))  # fmt: skip


def _recorded_after(house: House, position: int) -> Counter[str]:
    events = house.http.get("/v1/events", params={"after": position, "limit": 500}).json()
    return Counter(one["type"] for one in events)


@pytest.mark.timeout(300)
def test_two_workers_share_the_work_and_send_nothing_twice(start_house: Callable[..., House]) -> None:
    house = start_house("notifications")
    paths = [f"/shared-{n}" for n in range(40)]
    for path in paths:
        house.confirmed(f"{house.sink.url}{path}", area="35.13")
    second = Forked("notifications", ["worker"], house.region.region.environment("notifications"))
    try:
        for n in range(5):
            notice = {"area": "35.13", "headline": {"id": f"Awas {n}"}, "text": {"id": "Hati-hati."}}
            house.http.post("/v1/alerts", json=notice).raise_for_status()
        within = LEASE.total_seconds() + 60  # on a busy machine a worker may not get to the log, and a lease runs out
        eventually(lambda: _is({len(house.sink.at(path)) for path in paths}, {5}), within)
        alerts = house.http.get("/v1/alerts").json()["items"]
        for alert in alerts:
            eventually(lambda alert=alert: _is(house.deliveries(alert)["states"], {"sent": 40}))  # type: ignore[misc]
        assert len({one.id for path in paths for one in house.sink.at(path)}) == 200
        assert sum(len(house.sink.at(path)) for path in paths) == 200
    finally:
        second.terminate()
        second.wait(20)


def _is(actual: Any, expected: Any) -> None:
    assert actual == expected


def _given_up(house: House, subscription_id: str) -> dict[str, Any]:
    seen: dict[str, Any] = house.http.get(f"/v1/subscriptions/{subscription_id}").json()
    assert seen.get("code_delivery") == "given_up"
    return seen


def _alerts(house: House) -> list[dict[str, Any]]:
    alerts: list[dict[str, Any]] = house.http.get("/v1/alerts").json()["items"]
    return alerts


def _in(actual: Any, expected: tuple[Any, ...]) -> None:
    assert actual in expected


def _so_many(things: list[Any], many: int) -> list[Any]:
    assert len(things) == many
    return things


def _reject(house: House, problem: str) -> None:
    why = {"code": "not_a_problem", "reason": "Bukan pencurian"}
    httpx.post(f"{house.region.url('reports')}/v1/problems/{problem}/reject", json=why).raise_for_status()


def _stop_both(house: House, hook: str) -> None:
    """So that what later tests report in this area goes to nobody."""
    house.http.delete(f"/v1/subscriptions/{hook}").raise_for_status()


def _solve(house: House, problem: str) -> None:
    path = f"{house.region.url('reports')}/v1/problems/{problem}"
    strategies = ["partnership"]
    done = {
        "verify": {},
        "propose-solution": {"proposal": "Ronda malam", "strategies": strategies},
        "apply-solution": {
            "done": "Ronda setiap malam",
            "strategies": strategies,
            "partners": ["officer", "residents"],
            "since": "2026-03-01",
            "until": "2026-03-31",
        },
    }
    for action, wish in done.items():
        httpx.post(f"{path}/{action}", json=wish).raise_for_status()


def _sql(house: House, *statements: str) -> None:
    """Run statements on the service's own database, as its owner."""

    async def run() -> None:
        connection = await asyncpg.connect(house.region.region.database("notifications").owner_url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def _lapse_leases(house: House) -> None:
    """Have a minute pass for the ledger."""
    _sql(house, "update delivery set due_at = now() where state = 'queued'")
