"""How a decision is made: state folded from events, a wish weighed against it, new events or a refusal.

After Jérémie Chassaing's "Functional Event Sourcing Decider". Deciders are pure: clock, ids and I/O arrive in
the command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Generic, TypeVar

from rembuk.events.event import Event

C = TypeVar("C")
S = TypeVar("S")
E = TypeVar("E", bound=Event)


class Refused(Exception):
    """The domain says no. `rule` is the kebab-case name of the broken rule, `field` the input at fault, if one is."""

    def __init__(self, rule: str, message: str = "", field: str = "") -> None:
        super().__init__(message or rule.replace("-", " "))
        self.rule = rule
        self.field = field


@dataclass(frozen=True)
class Decider(Generic[C, S, E]):
    """One kind of aggregate's behaviour. `area_of` gives the Kemendagri code under which its events are published;
    `events` are the types it consists of, needed where a log holds aggregates of several kinds."""

    initial: S
    decide: Callable[[C, S], list[E]]
    evolve: Callable[[S, E], S]
    area_of: Callable[[S], str]
    events: tuple[type[Event], ...] = (Event,)

    def fold(self, events: Iterable[E], state: S | None = None) -> S:
        """The state after `events`, from `state` or the beginning."""
        return reduce(self.evolve, events, self.initial if state is None else state)
