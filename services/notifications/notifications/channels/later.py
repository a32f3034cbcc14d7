"""Who asked to be left alone for a while is: one message finds out whether that is over, and all others wait for it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rembuk.partners.retry_after import LONGEST_RETRY_AFTER_S

from notifications.channels import Busy

PROBE_S = 2.0
"""How long others wait each time for the one that finds out."""
REMEMBERED = 10_000
MARGIN_S = 5.0
"""Beyond what was asked for: a greylist counts from the moment that it wrote down."""

_CLOCK = re.compile(r"\b(\d{1,2}):(\d{2}):(\d{2})\b")
_WORDS = re.compile(
    r"\b(?:in|for|after|wait) (?:about |another )?(\d{1,5}) ?(s|m|h)(?:ec|in|our|r)?\w*\b", re.IGNORECASE
)
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def asked_for(answer: str) -> float:
    """The seconds after which a server's words invite us again, a day at most; 0 where they say nothing of it."""
    if clock := _CLOCK.search(answer):
        hours, minutes, seconds = map(int, clock.groups())
        asked = hours * 3600 + minutes * 60 + seconds
    elif words := _WORDS.search(answer):
        asked = int(words[1]) * _SECONDS[words[2].lower()]
    else:
        return 0.0
    return min(asked + MARGIN_S, LONGEST_RETRY_AFTER_S)


@dataclass(slots=True)
class _Pause:
    until: float
    probed: bool = False


class Later:
    """Until when whom: remembered by this process alone, as long as it lasts."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pauses: dict[str, _Pause] = {}

    def leave_alone(self, receiver: str, seconds: float) -> None:
        """Somebody was told to come again after so many seconds."""
        if len(self._pauses) >= REMEMBERED:
            now = self._clock()
            self._pauses = {name: pause for name, pause in self._pauses.items() if pause.until > now}
        self._pauses[receiver] = _Pause(self._clock() + seconds)

    @contextmanager
    def turn(self, receiver: str) -> Iterator[None]:
        """A message to a receiver. Raises Busy while it is to be left alone, or another one finds out about that."""
        pause = self._pauses.get(receiver)
        if pause is None:
            yield
            return
        left = pause.until - self._clock()
        if left > 0 or pause.probed:
            raise Busy(max(left, PROBE_S if pause.probed else 0.0))
        pause.probed = True
        try:
            yield
        except Busy:  # nothing was found out
            pause.probed = False
            raise
        finally:
            if pause.probed and self._pauses.get(receiver) is pause:
                del self._pauses[receiver]
