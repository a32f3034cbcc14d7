"""What Prometheus sees of a running region: lags that rise while a worker is dead, and a scrape that always answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import asyncpg
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from rembuk.broker.stream_names import stream_name
from rembuk.testing.receivers import Sink, only, sink
from rembuk.testing.servers import Broker, Server
from rembuk.testing.services import RunningRegion, eventually

__all__ = ["sink"]

PROBLEM = {"area": "35.78.08.1004", "category": "theft", "title": "Motor hilang", "description": "Di depan rumah."}


@pytest.fixture(scope="module")
def region(start_region: Callable[..., RunningRegion]) -> RunningRegion:
    return start_region(extra={"REMBUK_WEBHOOK_PRIVATE": "allow", "REMBUK_TREE_HEAD_SECONDS": "0.1"})


class Samples(dict[tuple[str, ...], float]):
    """What a scrape gave: values by the metric's name and the values of its labels besides `service`."""

    def __missing__(self, key: tuple[str, ...]) -> float:
        raise AssertionError(f"{key} is not exported")


def scraped(region: RunningRegion, service: str) -> Samples:
    text = httpx.get(f"{region.url(service)}/metrics", timeout=10).raise_for_status().text
    return Samples(
        ((sample.name, *(value for label, value in sample.labels.items() if label != "service")), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    )


def report(region: RunningRegion, events: int = 1) -> None:
    with httpx.Client(base_url=region.url("reports"), timeout=20) as http:
        for _ in range(events):
            http.post("/v1/problems", json=PROBLEM).raise_for_status()


def stream(region: RunningRegion, service: str) -> str:
    return stream_name(region.region.name, service)


def level(region: RunningRegion, service: str, *lag: str) -> None:
    metrics = scraped(region, service)
    assert (metrics[f"{lag[0]}_events", *lag[1:]], metrics[f"{lag[0]}_seconds", *lag[1:]]) == (0, 0)


@contextmanager
def without_worker(region: RunningRegion, service: str) -> Iterator[None]:
    """It is killed, and runs again afterwards."""
    region.kill(service, "worker")
    try:
        yield
    finally:
        region.start(service, "worker")


def test_the_lag_of_a_dead_worker_rises_and_falls_when_it_is_back(region: RunningRegion) -> None:
    reports = stream(region, "reports")
    relay, projection = ("rembuk_relay_lag", reports), ("rembuk_projection_lag", "projection", reports)
    report(region)
    eventually(lambda: [level(region, "reports", *lag) for lag in (relay, projection)])

    def risen() -> None:
        metrics = scraped(region, "reports")
        for lag, *labels in (relay, projection):
            assert metrics[f"{lag}_events", *labels] == 3
            assert metrics[f"{lag}_seconds", *labels] > 1
        assert metrics["rembuk_log_position", reports] == metrics["rembuk_stream_position", reports] + 3

    with without_worker(region, "reports"):
        report(region, 3)
        eventually(risen)
    eventually(lambda: [level(region, "reports", *lag) for lag in (relay, projection)])


def test_the_lag_behind_another_services_stream_is_seen_as_well(region: RunningRegion) -> None:
    lag = ("rembuk_projection_lag", "open_problems", stream(region, "reports"))
    eventually(lambda: level(region, "forums", *lag))

    def risen() -> None:
        metrics = scraped(region, "forums")
        assert metrics[f"{lag[0]}_events", *lag[1:]] == 2
        assert metrics[f"{lag[0]}_seconds", *lag[1:]] > 1

    with without_worker(region, "forums"):
        report(region, 2)
        eventually(risen)
    eventually(lambda: level(region, "forums", *lag))


def test_events_are_counted_by_type_and_appends_by_size(region: RunningRegion) -> None:
    before = scraped(region, "reports")
    report(region, 2)
    after = scraped(region, "reports")
    assert after["rembuk_events_total", "ProblemReported"] == before["rembuk_events_total", "ProblemReported"] + 2
    assert after["rembuk_events_total", "ProblemClosed"] == 0
    assert after["rembuk_append_items_sum",] == before["rembuk_append_items_sum",] + 2
    assert after["rembuk_append_items_bucket", "1.0"] >= 1


def test_a_delivery_that_fails_is_seen_waiting_and_its_outcome_counted(region: RunningRegion, sink: Sink) -> None:
    wish = {"area": PROBLEM["area"], "channel": "webhook", "contact": f"{sink.url}/watched"}
    scraped(region, "notifications")
    sink.status["/watched"] = 503
    httpx.post(f"{region.url('notifications')}/v1/subscriptions", json=wish, timeout=20).raise_for_status()

    def waits() -> None:
        metrics = scraped(region, "notifications")
        assert metrics["rembuk_deliveries_waiting",] == 1
        assert metrics["rembuk_events_total", "DeliveryFailed"] == metrics["rembuk_deliveries_total", "failed"] >= 1

    eventually(waits)
    sink.status["/watched"] = 200

    def sent() -> None:
        metrics = scraped(region, "notifications")
        assert (metrics["rembuk_deliveries_waiting",], metrics["rembuk_events_total", "DeliverySent"]) == (0, 1)
        assert metrics["rembuk_delivery_lag_seconds",] == 0
        assert (metrics["rembuk_deliveries_total", "sent"], metrics["rembuk_deliveries_total", "given_up"]) == (1, 0)

    eventually(sent)


def test_what_reactions_record_and_what_they_are_refused_is_counted(region: RunningRegion, sink: Sink) -> None:
    wish = {"area": PROBLEM["area"], "channel": "webhook", "contact": f"{sink.url}/reacted"}
    with httpx.Client(base_url=region.url("notifications"), timeout=20) as http:
        subscription = http.post("/v1/subscriptions", json=wish).raise_for_status().json()["id"]
        code = eventually(lambda: only(sink.at("/reacted", "subscription.confirm")).json["data"]["code"])
        path = f"/v1/subscriptions/{subscription}"
        confirmed = http.post(f"{path}/confirm", json={"code": code}).raise_for_status().json()
        http.get(path, params={"at_least": confirmed["position"]}).raise_for_status()  # is told from now on
    assert ("rembuk_reaction_events_total", "alerts") not in scraped(region, "notifications")
    report(region)

    def counted() -> None:
        metrics = scraped(region, "notifications")
        assert metrics["rembuk_reaction_events_total", "alerts"] == metrics["rembuk_events_total", "AlertRaised"] == 1

    eventually(counted)


async def test_what_a_reaction_was_refused_is_counted(region: RunningRegion) -> None:
    owner = await asyncpg.connect(region.region.database("reports").owner_url)
    await owner.execute(
        "insert into reaction (follower, event_id, command, outcome) values ('agreements', gen_random_uuid(), '', $1)",
        "refused",
    )  # fmt: skip
    assert scraped(region, "reports")["rembuk_reactions_refused", "agreements"] == 1
    await owner.close()


def test_signing_lags_while_the_worker_is_dead_and_its_head_grows_old(region: RunningRegion) -> None:
    report(region)

    def signed() -> None:
        metrics = scraped(region, "reports")
        assert metrics["rembuk_tree_head_size",] == metrics["rembuk_log_position", stream(region, "reports")]
        level(region, "reports", "rembuk_signing_lag")

    eventually(signed)

    def behind() -> None:
        metrics = scraped(region, "reports")
        assert metrics["rembuk_signing_lag_events",] == 2
        assert metrics["rembuk_signing_lag_seconds",] > 1
        assert metrics["rembuk_tree_head_age_seconds",] > metrics["rembuk_signing_lag_seconds",]

    with without_worker(region, "reports"):
        report(region, 2)
        eventually(behind)
    eventually(signed)


def test_a_witness_that_does_not_cosign_is_seen(region: RunningRegion) -> None:
    key = "polmas/jateng/witness+12345678+AAAA"
    region.ask("reports", "insert into witness (verifier_key, failing_since) values ($1, now() - interval '90 s')", key)
    silent = "rembuk_witness_failing_seconds", "polmas/jateng/witness"
    assert 90 <= scraped(region, "reports")[silent] < 120
    region.ask("reports", "update witness set failing_since = null")
    assert scraped(region, "reports")[silent] == 0
    region.ask("reports", "delete from witness")


def test_sizes_on_disk_are_told(region: RunningRegion) -> None:
    metrics = scraped(region, "reports")
    assert metrics["rembuk_database_bytes",] > 1_000_000
    assert metrics["rembuk_stream_bytes", stream(region, "reports")] > 100


def test_no_label_holds_what_grows_with_the_log(region: RunningRegion) -> None:
    few = {"service", "stream", "follower", "type", "outcome", "why", "witness", "le"}
    for service in region.services:
        text = httpx.get(f"{region.url(service)}/metrics", timeout=10).text
        for family in text_string_to_metric_families(text):
            if family.name.startswith("rembuk_"):
                labels = {label for sample in family.samples for label in sample.labels}
                assert labels <= few, family.name
                assert len(family.samples) < 50, family.name


async def test_what_is_in_quarantine_is_seen(region: RunningRegion) -> None:
    labels = ("projection", stream(region, "reports"))
    assert scraped(region, "reports")["rembuk_quarantine_size", *labels] == 0
    owner = await asyncpg.connect(region.region.database("reports").owner_url)
    await owner.execute(
        "insert into quarantine (follower, stream, position, stream_id, type, error, headers, data) "
        "values ($1, $2, 1, 'one', 'ProblemReported', 'why', '{}', '')", *labels,
    )  # fmt: skip
    assert scraped(region, "reports")["rembuk_quarantine_size", *labels] == 1
    await owner.execute("delete from quarantine")
    await owner.close()


def test_without_its_servers_a_service_still_answers_a_scrape_and_says_which_is_away(
    own_postgres: Callable[[], Server], own_nats: Callable[[], Broker]
) -> None:
    postgres, broker = own_postgres(), own_nats()
    region = RunningRegion(postgres.url, broker.url, ("reports",), {})
    region.prepare()
    region.start_all()
    try:
        report(region)
        lag = ("rembuk_relay_lag", stream(region, "reports"))
        eventually(lambda: level(region, "reports", *lag))
        broker.kill()
        report(region, 2)

        def without_broker() -> None:
            metrics = scraped(region, "reports")
            assert (metrics["rembuk_database_up",], metrics["rembuk_broker_up",]) == (1, 0)
            assert metrics[f"{lag[0]}_events", lag[1]] == 2

        eventually(without_broker)
        postgres.kill()
        without_postgres = httpx.post(f"{region.url('reports')}/v1/problems", json=PROBLEM, timeout=20)
        assert without_postgres.status_code == 503
        metrics = scraped(region, "reports")
        assert (metrics["rembuk_database_up",], metrics["rembuk_appends_failed_total", "away"]) == (0, 1)
        postgres.start()
        broker.start()
        eventually(lambda: level(region, "reports", *lag), 40)
    finally:
        region.stop_all()
