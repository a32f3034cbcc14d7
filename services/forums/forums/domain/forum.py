"""What may happen to a forum. Pure: no clock, no database, no network."""

from __future__ import annotations

from typing import assert_never
from uuid import UUID

import msgspec
from msgspec.structs import replace
from rembuk.contracts.forums import ForumEvent, ForumFounded, MemberJoined
from rembuk.events.decider import Decider, Refused

from forums.commands import ForumCommand, FoundForum, JoinForum


class Unfounded(msgspec.Struct, frozen=True):
    """Police and community have not agreed on it."""


class Founded(msgspec.Struct, frozen=True):
    """There is a forum for an area; `chaired` once it has its chair."""

    area: str
    chaired: bool = False
    members: frozenset[UUID] = frozenset()


State = Unfounded | Founded


def decide(command: ForumCommand, state: State) -> list[ForumEvent]:
    """The events a wish leads to in a state; raises Refused with the rule it breaks."""
    match command:
        case FoundForum():
            return found(command, state)
        case JoinForum():
            return join(command, state)
        case _:
            assert_never(command)


def found(command: FoundForum, state: State) -> list[ForumEvent]:
    if not isinstance(state, Unfounded):
        raise Refused("already-founded")
    return [ForumFounded(command.area, command.model, command.name, command.hall)]


def join(command: JoinForum, state: State) -> list[ForumEvent]:
    match state:
        case Unfounded():
            raise Refused("unknown-forum")
        case Founded(chaired=True) if command.role == "chair":
            raise Refused("chair-taken", "a forum has one chair")
        case Founded(members=members) if command.member_id in members:
            raise Refused("already-a-member")
        case Founded():
            return [MemberJoined(command.member_id, command.pillar, command.role, command.sex, command.name)]
        case _:
            assert_never(state)


def evolve(state: State, event: ForumEvent) -> State:
    """The state after an event."""
    match event:
        case ForumFounded():
            return Founded(event.area)
        case MemberJoined():
            assert isinstance(state, Founded), "a forum begins by being founded"
            return replace(
                state,
                chaired=state.chaired or event.role == "chair",
                members=state.members | {event.member_id},
            )
        case _:
            assert_never(event)


def area_of(state: State) -> str:
    return "" if isinstance(state, Unfounded) else state.area


FORUM: Decider[ForumCommand, State, ForumEvent] = Decider(Unfounded(), decide, evolve, area_of, ForumEvent.__args__)
