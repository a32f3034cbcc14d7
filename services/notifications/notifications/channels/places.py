"""How much may be on its way to one receiver at a time, so that a receiver that hangs keeps nobody else waiting.

A host that answers has more places than one that is new or slow, and all slow ones share a few. A stranger chooses the
URL, and may own many: so the places are counted by host and port, by the domain that the host lies in, and by the
address that it turned out to have.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network, ip_address

from notifications.channels import Busy

PER_HOST = 4
PER_DOMAIN = 8
PER_ADDRESS = 8
SLOW_S = 1.0
"""A host that takes longer, or that nothing has been sent to yet, has one place."""
SLOW = 10
"""Places for all hosts that are known to take longer: however many there are, they take no others."""
QUICK_S = 0.05
"""How long a request takes where none has been made yet."""
REMEMBERED = 1_000
"""Receivers that are known by how long they took, also while nothing is on its way to them."""
SOONEST_S, LATEST_S = 0.02, 60.0
"""The bounds of the pause before who found no place comes again."""


@dataclass(slots=True)
class _Receiver:
    since: dict[object, float] = field(default_factory=dict)
    takes_s: float = QUICK_S
    next_at: float = 0.0
    known: bool = False

    def is_slow(self, now: float) -> bool:
        """As its last requests were, or one is that is still on its way."""
        return self.takes_s > SLOW_S or any(now - since > SLOW_S for since in self.since.values())


class Places:
    """Counts what is on its way, by receiver."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._receivers: dict[str, _Receiver] = {}

    @contextmanager
    def of_host(self, host: str, port: int | str) -> Iterator[None]:
        """A place for a request to a host. Raises Busy."""
        name = f"{host}:{port}"
        receiver = self._receivers.setdefault(name, _Receiver())
        is_slow = receiver.is_slow(self._clock())
        with ExitStack() as places:
            places.enter_context(self._take(name, PER_HOST if receiver.known and not is_slow else 1))
            places.enter_context(self._take(f"*.{domain(host)}", PER_DOMAIN))
            if is_slow:
                places.enter_context(self._take("slow", SLOW))
            yield

    @contextmanager
    def of_address(self, address: str, port: int) -> Iterator[None]:
        """A place for a request to an address and a port of it, whatever its names. Raises Busy."""
        ip = ip_address(address.partition("%")[0])
        network = str(IPv6Network((ip, 64), strict=False)) if isinstance(ip, IPv6Address) else str(ip)
        with ExitStack() as places:
            places.enter_context(self._take(f"{network} {port}", PER_HOST))
            places.enter_context(self._take(network, PER_ADDRESS))
            yield

    @contextmanager
    def _take(self, name: str, limit: int) -> Iterator[None]:
        receiver = self._receivers.setdefault(name, _Receiver())
        now = self._clock()
        if len(receiver.since) >= limit:
            raise Busy(_pause(receiver, limit, now))
        me = object()
        receiver.since[me] = now
        try:
            yield
        except Busy:  # elsewhere: nothing was sent
            del receiver.since[me]
            raise
        except BaseException:
            self._learn(receiver, me)
            raise
        self._learn(receiver, me)

    def _learn(self, receiver: _Receiver, me: object) -> None:
        """How long a request took that has come to its end."""
        took = self._clock() - receiver.since.pop(me)
        receiver.takes_s, receiver.known = (3 * receiver.takes_s + took) / 4, True
        self._forget_idle()

    def _forget_idle(self) -> None:
        now = self._clock()
        if len(self._receivers) > REMEMBERED:
            idle = [name for name, one in self._receivers.items() if not one.since and one.next_at < now]
            for name in idle:
                del self._receivers[name]


def _pause(receiver: _Receiver, limit: int, now: float) -> float:
    """Until it is the turn of who waits last: a place becomes free each so many seconds, longer where they hang."""
    takes = max(receiver.takes_s, now - min(receiver.since.values()))
    receiver.next_at = max(receiver.next_at, now) + takes / limit
    receiver.next_at = min(receiver.next_at, now + LATEST_S)
    return max(receiver.next_at - now, SOONEST_S)


def domain(host: str) -> str:
    """What somebody may have registered, so that all below it is his: `evil.example`, `polri.go.id`; or an address."""
    labels = host.split(".")
    if labels[-1].isdecimal() or ":" in host:
        return host
    short = len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3
    return ".".join(labels[-3:] if short else labels[-2:])
