"""What may happen to a commitment. Pure: no clock, no database, no network."""

from __future__ import annotations

from typing import assert_never

import msgspec
from rembuk.contracts.forums import CommitmentEvent, CommitmentKept, CommitmentMade, CommitmentMissed
from rembuk.events.decider import Decider, Refused

from forums.commands import CommitmentCommand, KeepCommitment, MakeCommitment, MissCommitment


class Unmade(msgspec.Struct, frozen=True):
    """Nobody promised it."""


class Due(msgspec.Struct, frozen=True):
    """Promised, neither kept nor missed yet."""

    area: str


class Kept(msgspec.Struct, frozen=True):
    """Done as promised."""

    area: str


class Missed(msgspec.Struct, frozen=True):
    """Not done by its day."""

    area: str


State = Unmade | Due | Kept | Missed


def decide(command: CommitmentCommand, state: State) -> list[CommitmentEvent]:
    """The events a wish leads to in a state; raises Refused with the rule it breaks."""
    match command:
        case MakeCommitment():
            return make(command, state)
        case KeepCommitment():
            _due(state)
            return [CommitmentKept(command.note)]
        case MissCommitment():
            _due(state)
            return [CommitmentMissed(command.reason, command.note)]
        case _:
            assert_never(command)


def make(command: MakeCommitment, state: State) -> list[CommitmentEvent]:
    if not isinstance(state, Unmade):
        raise Refused("already-made")
    return [CommitmentMade(command.forum_id, command.meeting_id, command.area, command.who, command.what, command.by)]


def _due(state: State) -> Due:
    """The state as a promise still open; refuses with the reason why it is none."""
    match state:
        case Due():
            return state
        case Unmade():
            raise Refused("unknown-commitment")
        case Kept():
            raise Refused("already-kept")
        case Missed():
            raise Refused("already-missed")
        case _:
            assert_never(state)


def evolve(state: State, event: CommitmentEvent) -> State:
    """The state after an event."""
    match event:
        case CommitmentMade():
            return Due(event.area)
        case _:
            assert not isinstance(state, Unmade), "a commitment begins by being made"
    match event:
        case CommitmentKept():
            return Kept(state.area)
        case CommitmentMissed():
            return Missed(state.area)
        case _:
            assert_never(event)


def area_of(state: State) -> str:
    return "" if isinstance(state, Unmade) else state.area


COMMITMENT: Decider[CommitmentCommand, State, CommitmentEvent] = Decider(
    Unmade(), decide, evolve, area_of, CommitmentEvent.__args__
)
