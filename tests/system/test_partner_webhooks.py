"""Partners' webhooks: every event in scope arrives signed and in order, whatever the receiver answers, and again when
somebody sets the cursor back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import groupby
from threading import Event
from typing import Any

import httpx
import pytest
from rembuk.partners.partners import Scope, Webhook, new_secret
from rembuk.testing.forking import Forked
from rembuk.testing.receivers import Posted, Sink, sink
from rembuk.testing.services import RunningRegion, eventually
from standardwebhooks import Webhook as Verifier

__all__ = ["sink"]

pytestmark = pytest.mark.timeout(180)
REPORT = {"category": "theft", "title": "Motor hilang", "description": "Di depan rumah."}
GUBENG, MALANG = "35.78.08.1004", "35.73.01.1001"
CURSOR = "select position, attempts, failure, stopped from webhook where partner = $1"
WAITING = """select 1 from pg_locks where locktype = 'advisory' and not granted
             and objid = (hashtext('rembuk webhooks')::bigint & 4294967295)::oid"""
BACK = """update webhook set position = {position}, due_at = now(), attempts = 0, failing_since = null, failure = '',
          stopped = false where partner = '{name}';"""


@pytest.fixture(scope="module")
def running(start_region: Callable[..., RunningRegion]) -> RunningRegion:
    return start_region("reports", extra={"REMBUK_WEBHOOK_PRIVATE": "allow"})


@pytest.fixture(autouse=True)
def open_sink(sink: Sink) -> Iterator[None]:
    """Whatever a test had the sink hold back is let go."""
    yield
    if sink.hold is not None:
        sink.hold.set()
    sink.hold = None
    sink.status.clear()


class Receiver:
    """A partner's end of a webhook."""

    def __init__(self, running: RunningRegion, sink: Sink, name: str, scope: Scope, at: str = "") -> None:
        self.running, self.sink, self.name, self.path = running, sink, name, f"/{name}"
        self.hook = Webhook((at or sink.url) + self.path, new_secret())
        running.partner(name, scope, webhook=self.hook)

    @property
    def requests(self) -> list[Posted]:
        return [one for one in list(self.sink.posted) if one.path == self.path]

    @property
    def events(self) -> list[dict[str, Any]]:
        """All that came, in the order in which it did, each request verified as a receiver does."""
        for one in self.requests:
            assert one.headers["content-type"] == "application/cloudevents-batch+json"
            Verifier(self.hook.secret).verify(one.body, one.headers)
        return [event for one in self.requests for event in one.json]

    def has(self, *positions: int) -> None:
        """Exactly these came, in this order."""

        def came() -> None:
            assert [event["position"] for event in self.events] == list(positions)

        eventually(came, 20)

    def has_noted(self, position: int) -> None:
        """The sender has written down that it sent this one."""
        assert self.cursor["position"] >= position

    @property
    def cursor(self) -> dict[str, Any]:
        rows = self.running.ask("reports", CURSOR, self.name)
        assert len(rows) == 1
        return dict(rows[0])


def report(region: RunningRegion, area: str = GUBENG) -> int:
    answer = httpx.post(f"{region.url('reports')}/v1/problems", json=REPORT | {"area": area})
    position: int = answer.raise_for_status().json()["position"]
    return position


def only_there(name: str) -> Scope:
    """Of an area in which no other test reports: the log is theirs all."""
    return Scope(("reports",), areas=(name,))


def test_what_is_in_scope_arrives_signed_and_in_order(running: RunningRegion, sink: Sink) -> None:
    report(running)
    seen = [report(running, MALANG) for _ in range(5)]
    receiver = Receiver(running, sink, "malang", only_there("35.73"))
    receiver.has(*seen)
    assert receiver.events[0]["data"]["title"] == REPORT["title"]
    report(running)
    seen.append(report(running, MALANG))
    receiver.has(*seen)


def test_until_it_is_taken_a_batch_is_sent_again_and_nothing_overtakes_it(running: RunningRegion, sink: Sink) -> None:
    sink.status["/blitar"] = 500
    receiver = Receiver(running, sink, "blitar", only_there("35.05"))
    first = report(running, "35.05.01")

    def failing() -> None:
        assert receiver.cursor["attempts"] >= 2
        assert receiver.cursor["failure"] == "HTTP 500"

    eventually(failing)
    assert receiver.cursor["position"] < first
    second = report(running, "35.05.01")
    failed = len(receiver.requests)
    del sink.status["/blitar"]

    def taken() -> None:
        assert receiver.cursor["position"] >= second
        assert (receiver.cursor["attempts"], receiver.cursor["failure"]) == (0, "")

    eventually(taken)
    came = [event["position"] for one in receiver.requests[failed:] for event in one.json]
    assert [position for position, _ in groupby(came)] == [first, second]  # the first alone where it was on its way
    assert {event["position"] for event in receiver.events} == {first, second}


@pytest.mark.parametrize("due", ["now()", "now() + interval '2 days'"], ids=["", "after a clock ran ahead"])
def test_set_back_it_is_sent_again_what_follows(running: RunningRegion, sink: Sink, due: str) -> None:
    name = "kediri" + str(len(due))
    receiver = Receiver(running, sink, name, only_there("35.06"))
    first, second = (report(running, "35.06.01") for _ in range(2))
    eventually(lambda: _at_least(receiver, second))
    before = len(receiver.events)
    running.ask("reports", BACK.format(position=first, name=name).replace("now()", due))

    def again() -> None:
        assert [event["position"] for event in receiver.events[before:]] == [second]

    eventually(again, 10)


def _at_least(receiver: Receiver, position: int) -> None:
    assert receiver.cursor["position"] >= position


def test_a_cursor_beyond_the_log_stops_and_says_so(running: RunningRegion, sink: Sink) -> None:
    """As after a restore from an older backup: what comes next would be passed over in silence."""
    receiver = Receiver(running, sink, "ngawi", only_there("35.21"))
    position = report(running, "35.21.01")
    eventually(lambda: _at_least(receiver, position))
    running.ask("reports", BACK.format(position=100_000, name="ngawi"))
    eventually(lambda: _stopped(receiver))
    assert "which 100000 is beyond" in receiver.cursor["failure"]
    running.ask("reports", BACK.format(position=position - 1, name="ngawi"))
    receiver.has(position, position)


def test_who_answers_410_is_sent_nothing_until_somebody_sets_it_back(running: RunningRegion, sink: Sink) -> None:
    sink.status["/malang-gone"] = 410
    receiver = Receiver(running, sink, "malang-gone", only_there("35.07"))
    position = report(running, "35.07.01")
    eventually(lambda: _stopped(receiver))
    missed = report(running, "35.07.01")
    Receiver(running, sink, "malang-beside", only_there("35.07")).has(position, missed)  # cursors were looked at since
    assert len(receiver.requests) == 1
    del sink.status["/malang-gone"]
    running.ask("reports", BACK.format(position=position - 1, name="malang-gone"))
    receiver.has(position, position, missed)


def _stopped(receiver: Receiver) -> None:
    assert receiver.cursor["stopped"]


def test_who_hangs_hinders_neither_the_others_nor_the_service(running: RunningRegion, sink: Sink) -> None:
    sink.hold = Event()
    hanging = Receiver(running, sink, "hanging", only_there("35.08"))
    report(running, "35.08.01")
    eventually(lambda: _asked(hanging))
    sink_of_others, sink.hold = sink.hold, None
    other = Receiver(running, sink, "other", only_there("35.09"))
    begun = time.monotonic()
    position = report(running, "35.09.01")
    other.has(position)
    assert time.monotonic() - begun < 8
    assert hanging.cursor["position"] == 0
    sink_of_others.set()
    eventually(lambda: _at_least(hanging, position - 1))


def _asked(receiver: Receiver) -> None:
    assert receiver.requests


def test_a_killed_worker_loses_nothing_and_two_workers_send_once(running: RunningRegion, sink: Sink) -> None:
    receiver = Receiver(running, sink, "jember", only_there("35.10"))
    expected = [report(running, "35.10.01")]
    receiver.has(*expected)
    eventually(lambda: receiver.has_noted(expected[-1]))  # whoever is killed before it sends again: at least once
    running.kill("reports", "worker")
    expected += [report(running, "35.10.01") for _ in range(3)]
    running.start("reports", "worker")
    receiver.has(*expected)
    second = Forked("reports", ["worker"], running.region.environment("reports"))
    try:
        eventually(lambda: _waits(running))
        expected += [report(running, "35.10.01") for _ in range(20)]
        receiver.has(*expected)
    finally:
        second.terminate()
        second.wait(20)


def _waits(running: RunningRegion) -> None:
    assert running.ask("reports", WAITING)


def test_who_is_revoked_is_sent_nothing_more(running: RunningRegion, sink: Sink) -> None:
    receiver = Receiver(running, sink, "revoked", only_there("35.11"))
    first = report(running, "35.11.01")
    receiver.has(first)
    running.partners.revoke("revoked")
    later = report(running, "35.11.01")
    Receiver(running, sink, "not-revoked", only_there("35.11")).has(first, later)
    receiver.has(first)


def test_our_own_network_is_not_asked(start_region: Callable[..., RunningRegion], sink: Sink) -> None:
    guarded = start_region("reports")
    receiver = Receiver(guarded, sink, "inside", Scope(("reports",)))
    report(guarded)

    def refused() -> None:
        assert receiver.cursor["failure"] == "HTTP: the address is not public"

    eventually(refused)
    assert receiver.requests == []
