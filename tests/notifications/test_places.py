"""How much goes to one receiver at a time, and who is left alone for how long."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from notifications.channels import Busy, Message, Undelivered
from notifications.channels.email import COME_AGAIN_S, EmailChannel
from notifications.channels.later import MARGIN_S, PROBE_S, Later, asked_for
from notifications.channels.places import LATEST_S, PER_ADDRESS, PER_DOMAIN, PER_HOST, SLOW, Places, domain
from notifications.commands import Contact
from rembuk.partners.retry_after import LONGEST_RETRY_AFTER_S
from rembuk.testing.receivers import Mailbox


def test_places_are_counted_by_host_domain_and_address() -> None:
    places = Places()
    with places.of_host("a.evil.example", 80):
        pass
    for taken, count in (
        (lambda n: places.of_host("a.evil.example", 80), PER_HOST),
        (lambda n: places.of_host(f"{n}.evil.example", 80), PER_DOMAIN),
        (lambda n: places.of_address("192.0.2.1", n), PER_ADDRESS),
        (lambda n: places.of_address(f"2001:db8::{n}", n), PER_ADDRESS),
    ):
        assert _room(taken) == count  # type: ignore[arg-type]


def test_a_host_that_is_new_or_slow_has_one_place_and_all_slow_ones_share_a_few() -> None:
    now = [0.0]
    places = Places(lambda: now[0])
    assert _room(lambda _: places.of_host("new.example", 80)) == 1
    assert _room(lambda _: places.of_host("new.example", 80)) == PER_HOST
    hosts = [f"host.slow-{n}.example" for n in range(3 * SLOW)]
    with ExitStack() as held:
        for host in hosts:
            held.enter_context(places.of_host(host, 80))
        now[0] += 15
    assert _room(lambda n: places.of_host(hosts[n], 80)) == SLOW
    assert _room(lambda _: places.of_host(hosts[0], 80)) == 1
    with places.of_host("new.example", 80):
        now[0] += 2
        assert _room(lambda _: places.of_host("new.example", 80)) == 0  # it is slow just now
    for _ in range(3):
        with places.of_host("new.example", 80):
            pass
    assert _room(lambda _: places.of_host("new.example", 80)) == PER_HOST


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
    pauses = []
    with places.of_host("slow.example", 80):
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


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        ("4.7.1 Greylisting in action, please come back in 00:05:00", 300),
        ("4.2.0 <a@b.example>: Recipient address rejected: Greylisted for 300 seconds", 300),
        ("4.7.1 try again in 5 minutes", 300),
        ("4.7.0 Temporary rate limit, retry after 2 hours", 7200),
        ("4.7.1 wait 90s", 90),
        ("4.7.1 come back in 99999 hours", LONGEST_RETRY_AFTER_S - MARGIN_S),
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
