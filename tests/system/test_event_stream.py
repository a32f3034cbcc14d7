"""Server-Sent Events: what is past and what comes, once each, to whoever may see it, for as long as it may."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from rembuk.partners.partners import Scope
from rembuk.testing.event_source import EventSource
from rembuk.testing.services import PARTNER, RunningRegion, eventually

REPORT = {"area": "35.78.08.1004", "category": "theft", "title": "Motor hilang", "description": "Di depan rumah."}


@pytest.fixture(scope="module")
def running(start_region: Callable[..., RunningRegion]) -> RunningRegion:
    region = start_region("reports")
    for _ in range(20):
        report(region)
    return region


def report(region: RunningRegion, area: str = REPORT["area"]) -> int:
    answer = httpx.post(f"{region.url('reports')}/v1/problems", json=REPORT | {"area": area})
    position: int = answer.raise_for_status().json()["position"]
    return position


def source(region: RunningRegion, headers: dict[str, str] = PARTNER) -> EventSource:
    return EventSource(f"{region.url('reports')}/v1/events/stream", headers)


def feed(region: RunningRegion, after: int = 0) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = httpx.get(
        f"{region.url('reports')}/v1/events", headers=PARTNER, params={"after": after, "limit": 500}
    ).json()
    return events


def ended(stream: Iterator[Any]) -> float:
    """How long it takes a stream to end, seconds."""
    begun = time.monotonic()
    for _ in stream:
        pass
    return time.monotonic() - begun


def test_what_is_past_is_told_and_then_what_comes(running: RunningRegion) -> None:
    head = feed(running)[-1]["position"]
    with ThreadPoolExecutor() as pool:
        reading = pool.submit(source(running).until, head + 5)
        time.sleep(0.5)  # most of the past is told by then; whatever is not must not matter
        for _ in range(5):
            report(running)
        assert reading.result(20) == feed(running)[: head + 5]


def test_a_reader_goes_on_from_the_last_it_has(running: RunningRegion) -> None:
    reader = source(running)
    reader.until(7)
    reader.until(15, after=3)  # the header, which a browser sends by itself, comes before the query
    assert [event["position"] for event in reader.events] == list(range(1, 16))
    assert [event["position"] for event in source(running).until(12, after=9)] == [10, 11, 12]


def test_no_text_ends_a_line(running: RunningRegion) -> None:
    """httpx, whose lines end where Python's do, would cut the event in two."""
    reason = "Lampu\u2028padam\u2029dan\x85jalan\n\nevent: rusak\r"
    problems = f"{running.url('reports')}/v1/problems"
    problem = httpx.post(problems, json=REPORT).raise_for_status().json()["id"]
    rejection = {"code": "not_a_problem", "reason": reason}
    position = httpx.post(f"{problems}/{problem}/reject", json=rejection).raise_for_status().json()["position"]
    [event] = source(running).until(position, after=position - 1)
    assert event["data"]["reason"] == reason


def test_what_is_accepted_is_told_within_a_moment(running: RunningRegion) -> None:
    stream = source(running).read(after=feed(running)[-1]["position"])
    assert next(stream) is None
    took = []
    for _ in range(10):
        begun = time.monotonic()
        position = report(running)
        event = next(stream)
        took.append(time.monotonic() - begun)
        assert event is not None
        assert event["position"] == position
    assert sorted(took)[5] < 0.5


def test_a_partner_is_told_what_its_scope_has_and_how_far_it_is(running: RunningRegion) -> None:
    """Of what it may not see it hears nothing but that it passed, in a heartbeat."""
    headers = running.partner("malang", Scope(("reports",), areas=("35.73",)))
    seen = report(running, "35.73.01.1001")
    unseen = report(running)
    reader = source(running, headers)
    assert [event["position"] for event in reader.until(unseen)] == [seen]
    assert int(reader.last_id) >= unseen
    stream = source(running, headers).read(after=unseen)
    assert next(stream) is None
    report(running)
    seen = report(running, "35.73.01.1001")
    event = next(stream)
    assert event is not None
    assert event["position"] == seen


def test_the_stream_of_a_partner_who_is_revoked_ends_and_no_other(running: RunningRegion) -> None:
    stream = source(running, running.partner("leaving", Scope(("reports",)))).read()
    other = source(running).read(after=feed(running)[-1]["position"])
    assert (next(stream), next(other)) == (None, None)
    running.partners.revoke("leaving")
    assert ended(stream) < 3
    position = report(running)
    event = next(other)
    assert event is not None
    assert event["position"] == position


def test_a_partner_has_so_many_streams_and_no_more(running: RunningRegion) -> None:
    headers = running.partner("greedy", Scope(("reports",)))
    streams = [source(running, headers).read() for _ in range(50)]
    for stream in streams:
        next(stream)
    with pytest.raises(httpx.HTTPStatusError) as refused:
        next(source(running, headers).read())
    answer = refused.value.response
    assert (answer.status_code, answer.json()["type"]) == (429, "/problems/too-many-streams")
    assert int(answer.headers["retry-after"]) > 0
    for stream in streams:
        stream.close()  # type: ignore[attr-defined]

    def again() -> None:
        try:
            next(source(running, headers).read())
        except httpx.HTTPStatusError as error:
            raise AssertionError from error

    eventually(again, 5)


def test_a_partner_has_no_more_streams_when_it_asks_for_many_at_once(running: RunningRegion) -> None:
    """A place is taken as it is found free."""
    headers = running.partner("hasty", Scope(("reports",)))
    address = urlsplit(running.url("reports"))
    wires = [socket.create_connection((address.hostname, address.port), timeout=20) for _ in range(200)]
    for wire in wires:
        authorization = headers["Authorization"]
        wire.sendall(f"GET /v1/events/stream HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n\r\n".encode())
    statuses = Counter(wire.recv(100)[9:12] for wire in wires)
    assert statuses == {b"200": 50, b"429": 150}
    for wire in wires:
        wire.close()


@pytest.mark.parametrize(
    ("path", "asked"), [("/v1/events", "after"), ("/v1/events/stream", "after"), ("/v1/events/stream", "Last-Event-ID")]
)
def test_a_position_beyond_the_log_is_refused_and_its_head_named(running: RunningRegion, path: str, asked: str) -> None:
    head = int(httpx.get(running.url("reports") + "/v1/events", headers=PARTNER).headers["rembuk-position"])
    query, header = ({asked: head + 5}, {}) if asked == "after" else ({}, {asked: str(head + 5)})
    answer = httpx.get(running.url("reports") + path, headers=PARTNER | header, params=query)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/beyond-the-head")
    assert answer.json()["errors"][0]["field"] == asked
    assert f"last position is {head}," in answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "header"), [("after=-1", "1"), ("after=x", "1"), ("last_event_id=1", "1"), ("", "-1"), ("", "x")]
)
def test_a_position_is_a_number(running: RunningRegion, query: str, header: str) -> None:
    answer = httpx.get(f"{source(running).url}?{query}", headers={**PARTNER, "Last-Event-ID": header})
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/invalid-input")
    assert answer.json()["errors"][0]["field"] == ("after" if "after" in query else "Last-Event-ID")


def test_who_takes_nothing_costs_no_memory(start_region: Callable[..., RunningRegion]) -> None:
    region = start_region("reports")
    http = httpx.Client(base_url=region.url("reports"), timeout=30)
    large = REPORT | {"description": "x" * 4_000}
    for _ in range(1_000):
        http.post("/v1/problems", json=large).raise_for_status()
    process = psutil.Process(region.processes["reports", "api"].pid)
    source(region).until(1_000)
    before = process.memory_info().rss
    address = urlsplit(region.url("reports"))
    request = f"GET /v1/events/stream HTTP/1.1\r\nHost: x\r\nAuthorization: {PARTNER['Authorization']}\r\n\r\n"
    wires = [socket.create_connection((address.hostname, address.port)) for _ in range(40)]
    for wire in wires:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.sendall(request.encode())
    begun = time.monotonic()
    while time.monotonic() < begun + 5:
        http.get("/health/live").raise_for_status()
    assert process.memory_info().rss - before < 60 << 20  # what 40 readers did not take would be 240
    for wire in wires:
        wire.close()


def test_an_api_that_stops_lets_its_streams_end_at_once_and_they_go_on_from_there(
    start_region: Callable[..., RunningRegion],
) -> None:
    region = start_region("reports")
    readers = [source(region) for _ in range(3)]
    streams = [reader.read() for reader in readers]
    position = report(region)
    for stream in streams:
        while (event := next(stream)) is None or event["position"] < position:
            pass
    begun = time.monotonic()
    assert region.stop("reports", "api") == 0
    assert time.monotonic() - begun < 4
    for stream in streams:
        assert ended(stream) < 1
    region.start("reports", "api")
    region.ready("reports")
    assert readers[0].until(report(region)) == feed(region, position)
