"""Given some events, when something is asked, then these events follow or it is refused: tests of a decider."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rembuk.events.decider import Decider, Refused
from rembuk.events.event import Event

C = TypeVar("C")
S = TypeVar("S")
E = TypeVar("E", bound=Event)


@dataclass(frozen=True)
class Decided(Generic[C, S, E]):
    """A command about to be decided."""

    state: S
    decide: Callable[[], list[E]]

    def then(self, *expected: E) -> None:
        """Exactly these events follow."""
        events = self.decide()
        assert events == list(expected), f"expected {list(expected)}, got {events}"

    def refused(self, rule: str, field: str = "") -> None:
        """It is refused by this rule (and for this field, when one is named)."""
        try:
            events = self.decide()
        except Refused as refusal:
            assert (refusal.rule, refusal.field) == (rule, field or refusal.field), f"refused by {refusal.rule}"
        else:
            raise AssertionError(f"expected a refusal by {rule}, got {events}")


@dataclass(frozen=True)
class Scenario(Generic[C, S, E]):
    """Tests of one decider: `Scenario(PROBLEM).given(...).when(...).then(...)`."""

    decider: Decider[C, S, E]
    events: tuple[E, ...] = ()

    def given(self, *events: E) -> Scenario[C, S, E]:
        return Scenario(self.decider, (*self.events, *events))

    def when(self, command: C) -> Decided[C, S, E]:
        state: Any = self.decider.fold(self.events)
        return Decided(state, lambda: self.decider.decide(command, state))
