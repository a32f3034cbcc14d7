"""Traces of a running region, as a real collector gets them: one from a request into every service that it concerns,
and another, linked, for whatever reads its events again."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest
from rembuk.broker import streams
from rembuk.broker.stream_names import stream_name
from rembuk.testing.collector import CollectedSpan, Collector, collector
from rembuk.testing.receivers import Sink, only, sink
from rembuk.testing.services import RunningRegion, eventually

__all__ = ["collector", "sink"]

NAME, PHONE, TITLE = "Budi Rahasia", "+62 812 7777 8888", "Motor hilang di rumah"
VILLAGE = "35.78.08.1004"
PROBLEM = {
    "area": VILLAGE, "category": "theft", "title": TITLE, "description": "Di depan rumah.",
    "reporter": {"name": NAME, "phone": PHONE},
}  # fmt: skip
SAID = {
    "http.request.method", "http.route", "http.response.status_code", "url.scheme", "error.type",
    "messaging.system", "messaging.operation.name", "messaging.operation.type", "messaging.destination.name",
    "messaging.batch.message_count", "messaging.consumer.group.name", "rembuk.type", "rembuk.position", "rembuk.area",
    "rembuk.first_position", "rembuk.last_position", "rembuk.channel", "rembuk.outcome",
}  # fmt: skip
"""All that a span may say."""


class Traced:
    """A region whose processes export to a collector, and somebody who asks it for things."""

    def __init__(self, region: RunningRegion, collector: Collector) -> None:
        self.region, self.collector = region, collector

    def stream(self, service: str) -> str:
        return stream_name(self.region.region.name, service)

    def report(self, sampled: bool = True) -> tuple[str, dict[str, Any]]:
        """A problem reported by a client that traces; its trace, and the answer."""
        trace = secrets.token_hex(16)
        client = f"00-{trace}-{'c' * 16}-0{int(sampled)}"
        answer = httpx.post(
            f"{self.region.url('reports')}/v1/problems", json=PROBLEM, headers={"traceparent": client}, timeout=20
        )
        return trace, answer.raise_for_status().json()

    def of(self, trace: str, name: str, group: str = "") -> list[CollectedSpan]:
        """The spans of a trace that have this name, of the followers whose name ends so."""
        spans = [span for span in self.collector.spans(name) if span.trace == trace]
        return [span for span in spans if span.attributes.get("messaging.consumer.group.name", "").endswith(group)]

    def whole(self, trace: str) -> None:
        """The request is done, and every follower of reports has handled what the trace is about, as it came.

        Each process exports its spans when it likes: one's may be there a second before those they follow.
        """
        only(self.of(trace, "POST /v1/problems"))
        process = f"process {self.stream('reports')}"
        for group in ("reports_projection", "forums_open_problems_reports", "notifications_alerts_reports"):
            only(self.of(trace, process, group))

    def run(self, service: str, *errand: str) -> None:
        """An errand of a service, in a process of its own."""
        done = self.region.run(service, *errand)
        assert done.returncode == 0, (done.stdout, done.stderr)

    def linked(self, name: str, *traces: str) -> list[CollectedSpan]:
        """The spans of a name that link to these traces' requests, each to its own, and are part of none of them: one,
        or more where what was read again came in more than one batch."""
        origins = {only(self.of(trace, "POST /v1/problems")).place for trace in traces}
        spans = [span for span in self.collector.spans(name) if origins & set(span.links)]
        links = [link for span in spans for link in span.links if link in origins]
        assert sorted(links) == sorted(origins)
        assert not {span.trace for span in spans} & set(traces)
        return spans


@pytest.fixture(scope="module")
def traced(start_region: Callable[..., RunningRegion], collector: Collector, sink: Sink) -> Traced:
    """One in which every follower has taken its stand, and somebody is told of the village."""
    region = start_region(extra={"REMBUK_WEBHOOK_PRIVATE": "allow", **collector.environment})
    traced = Traced(region, collector)
    wish = {"area": VILLAGE, "channel": "webhook", "contact": f"{sink.url}/traced"}
    with httpx.Client(base_url=region.url("notifications"), timeout=20) as http:
        subscription = http.post("/v1/subscriptions", json=wish).raise_for_status().json()["id"]
        code = eventually(lambda: only(sink.at("/traced", "subscription.confirm")).json["data"]["code"])
        http.post(f"/v1/subscriptions/{subscription}/confirm", json={"code": code}).raise_for_status()

    def stands() -> None:
        trace, _ = traced.report()
        eventually(lambda: traced.whole(trace), 2)
        eventually(lambda: only(traced.of(trace, "deliver")), 2)

    eventually(stands, 40)
    return traced


def test_one_trace_leads_from_a_request_into_another_services_projection_reaction_and_delivery(traced: Traced) -> None:
    trace, answer = traced.report()
    reports, notifications = traced.stream("reports"), traced.stream("notifications")
    eventually(lambda: traced.whole(trace))

    def delivered() -> None:
        """And the projection of notifications knows."""
        types = [span.attributes["rembuk.type"] for span in traced.of(trace, f"process {notifications}")]
        assert "DeliverySent" in types

    eventually(delivered)

    def one(name: str, parent: CollectedSpan | None, by: tuple[str, str], kind: str, group: str = "") -> CollectedSpan:
        span = eventually(
            lambda: only([span for span in traced.of(trace, name, group) if parent is None or span.parent == parent.id])
        )
        assert (span.by["rembuk.service"], span.by["rembuk.process"]) == by
        assert (span.by["service.name"], span.kind, span.links, span.failed) == (by[0], kind, [], False)
        return span

    request = one("POST /v1/problems", None, ("reports", "api"), "SERVER")
    assert request.parent == "c" * 16
    assert request.attributes["http.response.status_code"] == 201
    append = one("append ProblemReported", request, ("reports", "api"), "PRODUCER")
    about = {"rembuk.type": "ProblemReported", "rembuk.position": answer["position"], "rembuk.area": VILLAGE}
    assert append.attributes == about
    publish = one(f"publish {reports}", request, ("reports", "worker"), "PRODUCER")
    assert about.items() <= publish.attributes.items()
    for service, group in (("reports", "reports_projection"), ("forums", "forums_open_problems_reports")):
        projected = one(f"process {reports}", request, (service, "worker"), "CONSUMER", group)
        assert about.items() <= projected.attributes.items()

    alerts = ("notifications", "worker")
    reaction = one(f"process {reports}", request, alerts, "CONSUMER", "notifications_alerts_reports")
    one("append AlertRaised", reaction, alerts, "PRODUCER")
    deliver = one("deliver", reaction, alerts, "CONSUMER")
    assert deliver.attributes == {"rembuk.area": VILLAGE, "rembuk.channel": "webhook", "rembuk.outcome": "MarkSent"}
    one("append DeliverySent", deliver, alerts, "PRODUCER")
    one(f"publish {notifications}", deliver, alerts, "PRODUCER")
    one(f"process {notifications}", deliver, alerts, "CONSUMER", "projection")


def test_an_event_carries_the_request_that_led_to_it_and_not_the_clients_own_span(traced: Traced) -> None:
    trace, answer = traced.report()
    request = eventually(lambda: only(traced.of(trace, "POST /v1/problems")))
    [event] = httpx.get(f"{traced.region.url('reports')}/v1/problems/{answer['id']}/history").json()
    assert event["traceparent"] == f"00-{trace}-{request.id}-01"


def test_of_what_the_client_does_not_sample_nothing_is_exported_and_its_trace_goes_on(traced: Traced) -> None:
    trace, answer = traced.report(sampled=False)
    [event] = httpx.get(f"{traced.region.url('reports')}/v1/problems/{answer['id']}/history").json()
    assert event["traceparent"][:36] == f"00-{trace}-"
    assert event["traceparent"].endswith("-00")
    later, _ = traced.report()
    eventually(lambda: traced.whole(later))
    assert [span for span in traced.collector.spans() if span.trace == trace] == []


def test_a_batch_that_a_follower_reads_from_its_checkpoint_is_linked_and_not_reparented(traced: Traced) -> None:
    traced.region.stop("forums", "worker")
    traces = [traced.report()[0] for _ in range(3)]
    process = f"process {traced.stream('reports')}"
    for trace in traces:
        eventually(lambda trace=trace: only(traced.of(trace, process, "reports_projection")))
    traced.region.start("forums", "worker")
    spans = eventually(lambda: traced.linked(process, *traces))
    assert {(span.parent, span.by["rembuk.service"]) for span in spans} == {("", "forums")}
    for span in spans:
        first, last = span.attributes["rembuk.first_position"], span.attributes["rembuk.last_position"]
        assert last - first == len(span.links) - 1
    trace, _ = traced.report()
    eventually(lambda: traced.whole(trace))
    assert [traced.of(trace, process, "open_problems_reports") for trace in traces] == [[], [], []]


def test_what_a_late_reaction_leads_to_goes_on_in_the_trace_that_is_linked(traced: Traced) -> None:
    traced.region.stop("notifications", "worker")
    trace, _ = traced.report()
    traced.region.start("notifications", "worker")
    [late] = eventually(lambda: traced.linked(f"process {traced.stream('reports')}", trace))
    alert = eventually(lambda: only(traced.of(late.trace, "append AlertRaised")))
    assert alert.parent == late.id
    eventually(lambda: only(traced.of(late.trace, "append DeliverySent")))
    assert traced.of(trace, "append AlertRaised") == []


def test_an_attempt_that_fails_is_a_failed_span_and_the_next_one_is_another(traced: Traced, sink: Sink) -> None:
    sink.status["/traced"] = 503
    try:
        trace, _ = traced.report()
        first = eventually(lambda: only(traced.of(trace, "deliver")))
    finally:
        del sink.status["/traced"]
    assert (first.failed, first.attributes["rembuk.outcome"]) == (True, "MarkFailed")
    eventually(lambda: only([span for span in traced.of(trace, "deliver") if not span.failed]))
    eventually(lambda: only(traced.of(trace, "append DeliverySent")))


def test_what_a_relay_finds_waiting_is_linked_and_not_reparented(traced: Traced) -> None:
    traced.region.stop("reports", "worker")
    traces = [traced.report()[0] for _ in range(2)]
    traced.region.start("reports", "worker")
    publish = f"publish {traced.stream('reports')}"
    assert {span.kind for span in eventually(lambda: traced.linked(publish, *traces))} == {"PRODUCER"}
    assert [traced.of(trace, publish) for trace in traces] == [[], []]


@pytest.mark.parametrize("how", ["rebuild", "replay"])
def test_an_operators_replay_is_a_trace_of_its_own_linked_to_the_originals(traced: Traced, how: str) -> None:
    trace, answer = traced.report()
    eventually(lambda: traced.whole(trace))
    traced.run("reports", how, *(["as-of", str(answer["position"])] if how == "rebuild" else [answer["id"]]))
    errand = only(traced.collector.spans(f"{how} reports"))
    [span] = traced.linked(f"{how} {traced.stream('reports')}", trace)
    assert (errand.parent, span.parent, span.trace) == ("", errand.id, errand.trace)
    assert len(traced.of(trace, f"process {traced.stream('reports')}", "reports_projection")) == 1


def test_what_is_retried_from_quarantine_is_linked_to_the_original(traced: Traced) -> None:
    trace, answer = traced.report()
    eventually(lambda: traced.whole(trace))
    region, stream = traced.region.region.name, traced.stream("reports")
    [event] = traced.region.ask("reports", "select * from log.event where position = $1", answer["position"])
    headers = msgspec.json.encode(streams.LoggedMessage(region, "reports", event).headers).decode()
    traced.region.ask(
        "reports",
        """insert into quarantine (follower, stream, position, stream_id, type, error, headers, data)
           values ('projection', $1, $2, $3, 'ProblemReported', '', $4, $5)""",
        stream, event["position"], answer["id"], headers, event["data"].encode(),
    )  # fmt: skip
    traced.region.ask("reports", "delete from problem where id = $1", event["stream_id"])
    traced.run("reports", "retry", "projection", stream, answer["id"])
    [span] = traced.linked(f"retry {stream}", trace)
    assert span.parent == only(traced.collector.spans("retry reports")).id


def test_a_restored_log_is_linked_to_the_originals(
    start_region: Callable[..., RunningRegion], collector: Collector
) -> None:
    traced = Traced(start_region("reports", extra=collector.environment), collector)
    trace, _ = traced.report()
    stream = traced.stream("reports")
    eventually(lambda: only([span for span in collector.spans(f"process {stream}") if span.parent or span.links]))
    traced.region.stop_all()
    for loss in (
        "alter table log.event disable trigger all", "alter table log.head disable trigger all",
        "delete from log.event", "update log.head set position = 0, recorded_at = '-infinity'",
    ):  # fmt: skip
        traced.region.ask("reports", loss)
    traced.run("reports", "restore", "stream", "0")
    [span] = traced.linked(f"restore {stream}", trace)
    assert span.parent == only(collector.spans("restore reports")).id


def test_a_trace_shows_where_an_event_was_set_aside_and_not_what_it_said(traced: Traced) -> None:
    traced.region.ask(
        "reports", "alter table problem add constraint sound check (title <> 'Motor hilang di rumah') not valid"
    )
    try:
        trace, _ = traced.report()
        process = f"process {traced.stream('reports')}"
        span = eventually(lambda: only(traced.of(trace, process, "reports_projection")))
    finally:
        traced.region.ask("reports", "alter table problem drop constraint sound")
    assert (span.failed, span.attributes["error.type"]) == (True, "CheckViolationError")
    eventually(lambda: traced.whole(trace))
    assert not any(span.failed for span in traced.of(trace, process, "reports"))


def test_a_failed_request_is_a_failed_span_and_a_refused_one_is_not(traced: Traced) -> None:
    unknown = f"{traced.region.url('reports')}/v1/problems/{'0' * 8}-0000-0000-0000-{'0' * 12}/verify"
    assert httpx.post(unknown, json={}).status_code == 404
    span = eventually(lambda: only(traced.collector.spans("POST /v1/problems/{id}/verify")))
    assert (span.attributes["http.response.status_code"], span.failed) == (404, False)


def test_no_span_says_what_a_person_an_event_or_a_query_said(traced: Traced) -> None:
    trace, answer = traced.report()
    httpx.get(f"{traced.region.url('reports')}/v1/areas", params={"q": "gubengkertajaya"}).raise_for_status()
    httpx.get(
        f"{traced.region.url('reports')}/v1/problems/{answer['id']}?at_least=1", headers={"tracestate": "a=kunci"}
    )
    eventually(lambda: traced.whole(trace))
    eventually(lambda: only(traced.collector.spans("GET /v1/areas")))
    exported = traced.collector.exported()
    for said in (NAME, PHONE, TITLE, answer["id"], "gubengkertajaya", "kunci", "127.0.0.1", "/traced"):
        assert said.encode() not in exported, said
    assert {name for span in traced.collector.spans() for name in span.attributes} <= SAID


def test_probes_and_scrapes_are_not_traced(traced: Traced) -> None:
    for path in ("/metrics", "/health/live", "/health/ready"):
        httpx.get(traced.region.url("reports") + path, timeout=10).raise_for_status()
    trace, _ = traced.report()
    eventually(lambda: traced.whole(trace))
    assert not [span for span in traced.collector.spans() if "metrics" in span.name or "health" in span.name]
