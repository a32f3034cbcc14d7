"""Who hangs keeps nobody waiting, and nobody is flooded: lanes, places by receiver, and a pace for each contact."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from notifications.channels import Busy, Message, Undelivered
from notifications.channels.email import COME_AGAIN_S, EmailChannel
from notifications.channels.later import LONGEST_S, MARGIN_S, PROBE_S, Later, asked_for
from notifications.channels.places import LATEST_S, PER_ADDRESS, PER_DOMAIN, PER_HOST, Places, domain
from notifications.commands import Contact
from rembuk.testing.receivers import Mailbox, only
from rembuk.testing.services import eventually

if TYPE_CHECKING:
    from conftest import House

NOTICE = {"headline": {"id": "Awas banjir"}, "text": {"id": "Air naik."}}


def test_a_receiver_that_hangs_costs_others_a_second_at_most(house: House, silent: str) -> None:
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
    assert others_take("beside-the-silent", "35.24") - alone <= 1.0


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


def test_places_are_counted_by_host_domain_and_address() -> None:
    places = Places()
    for taken, count in (
        (lambda n: places.of_host("a.evil.example", 80), PER_HOST),
        (lambda n: places.of_host(f"{n}.evil.example", 80), PER_DOMAIN),
        (lambda n: places.of_address("192.0.2.1", n), PER_ADDRESS),
        (lambda n: places.of_address(f"2001:db8::{n}", n), PER_ADDRESS),
    ):
        assert _room(taken) == count  # type: ignore[arg-type]


def _room(take: Callable[[int], AbstractContextManager[None]]) -> int:
    """How many are given a place at a time."""
    with ExitStack() as held:
        given = 0
        with suppress(Busy):
            for given in range(1000):
                held.enter_context(take(given))
    return given


def test_pauses_spread_those_who_wait_and_end() -> None:
    places = Places(lambda: 0.0)
    held = [places.of_host("slow.example", 80) for _ in range(PER_HOST)]
    for one in held:
        one.__enter__()
    pauses = []
    for _ in range(20_000):
        with pytest.raises(Busy) as busy, places.of_host("slow.example", 80):
            pass
        pauses.append(busy.value.pause)
    assert pauses[:100] == sorted(pauses[:100])
    assert max(pauses) <= LATEST_S


def test_what_somebody_registered_is_one_domain() -> None:
    assert domain("a.b.evil.example") == "evil.example"
    assert domain("hooks.jatim.polri.go.id") == "polri.go.id"
    assert (domain("10.0.0.5"), domain("2001:db8::1"), domain("localhost")) == ("10.0.0.5", "2001:db8::1", "localhost")


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


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        ("4.7.1 Greylisting in action, please come back in 00:05:00", 300),
        ("4.2.0 <a@b.example>: Recipient address rejected: Greylisted for 300 seconds", 300),
        ("4.7.1 try again in 5 minutes", 300),
        ("4.7.0 Temporary rate limit, retry after 2 hours", 7200),
        ("4.7.1 wait 90s", 90),
        ("4.7.1 come back in 99999 hours", LONGEST_S - MARGIN_S),
        ("4.3.2 try again later", -MARGIN_S),
    ],
)
def test_a_server_that_says_when_to_come_again_is_understood(answer: str, seconds: float) -> None:
    assert asked_for(answer) - MARGIN_S == seconds


def test_who_asked_to_be_left_alone_is_until_one_message_finds_out_that_it_is_over() -> None:
    now = [0.0]
    later = Later(lambda: now[0])
    later.leave_alone("a", 300)
    with later.turn("b"):
        pass
    assert _waits(later, "a") == 300
    now[0] = 301
    with later.turn("a"):
        assert _waits(later, "a") == PROBE_S
        later.leave_alone("a", 60)
    assert _waits(later, "a") == 60
    now[0] = 400
    with suppress(Busy), later.turn("a"), later.turn("a"):  # who has no turn elsewhere has found out nothing
        pass
    with suppress(ValueError), later.turn("a"):
        raise ValueError
    assert _waits(later, "a") is None


def _waits(later: Later, receiver: str) -> float | None:
    try:
        with later.turn(receiver):
            return None
    except Busy as busy:
        return busy.pause


async def test_a_recipient_or_a_server_that_refuses_for_now_is_not_asked_again_before_its_time(
    smtp: tuple[str, Mailbox],
) -> None:
    url, mailbox = smtp
    channel = EmailChannel(url, "rembuk@jatim.example", "jatim")

    async def sent(to: str) -> float:
        """0 when it is, else for how long it waits."""
        message = Message(uuid4(), "alert.raised", datetime.now(UTC), "Awas", "Air naik.", "https://stop.example", {})
        try:
            await channel.send(Contact(to, ""), message)
        except Undelivered as refused:
            return 0.0 if refused.final else refused.pause
        except Busy as busy:
            return busy.pause
        return 0.0

    mailbox.refuses["grey@example.org"] = "450 4.2.0 Greylisted for 300 seconds"
    assert await sent("grey@example.org") == 300 + MARGIN_S
    asked = len(mailbox.asked)
    assert 290 < await sent("Grey@example.org") <= 300 + MARGIN_S
    assert len(mailbox.asked) == asked
    assert await sent("white@example.org") == 0
    mailbox.answers.append("421 4.3.2 closing")
    assert await sent("white@example.org") == COME_AGAIN_S
    asked = len(mailbox.asked)
    for n in range(20):
        assert COME_AGAIN_S - 20 < await sent(f"other-{n}@example.org") <= COME_AGAIN_S
    assert len(mailbox.asked) == asked
