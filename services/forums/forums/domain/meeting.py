"""What may happen to a meeting of a forum. Pure: no clock, no database, no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never
from uuid import UUID

import msgspec
from msgspec.structs import replace
from rembuk.contracts.forums import (
    Agreement,
    Attendance,
    AttendanceRecorded,
    ForumHeld,
    MeetingEvent,
    MeetingScheduled,
    Promise,
)
from rembuk.events.decider import Decider, Refused

from forums.commands import HoldForum, MeetingCommand, RecordAttendance, ScheduleMeeting


class Unscheduled(msgspec.Struct, frozen=True):
    """Nobody was invited."""


class Scheduled(msgspec.Struct, frozen=True):
    """The forum is to meet over an agenda of problems; `attendance` is () until it is recorded."""

    forum_id: UUID
    area: str
    agenda: frozenset[UUID]
    attendance: tuple[Attendance, ...] = ()


class Held(msgspec.Struct, frozen=True):
    """The forum met and deliberated."""

    area: str


State = Unscheduled | Scheduled | Held


def decide(command: MeetingCommand, state: State) -> list[MeetingEvent]:
    """The events a wish leads to in a state; raises Refused with the rule it breaks."""
    match command:
        case ScheduleMeeting():
            return schedule(command, state)
        case RecordAttendance():
            return record_attendance(command, state)
        case HoldForum():
            return hold(command, state)
        case _:
            assert_never(command)


def schedule(command: ScheduleMeeting, state: State) -> list[MeetingEvent]:
    if not isinstance(state, Unscheduled):
        raise Refused("already-scheduled")
    _each_once(command.agenda, "agenda")
    for index, problem in enumerate(command.agenda):
        if problem not in command.candidates:
            raise Refused(
                "not-a-candidate", "an agenda is drawn from the verified, open problems of the area",
                field=f"agenda[{index}]",
            )  # fmt: skip
    return [MeetingScheduled(command.forum_id, command.area, command.at, command.place, command.agenda)]


def record_attendance(command: RecordAttendance, state: State) -> list[MeetingEvent]:
    _scheduled(state)
    kinds = [(present.pillar, present.sex) for present in command.attendance]
    if len(set(kinds)) < len(kinds):
        raise Refused("counted-twice", "each pillar and sex is counted once", field="attendance")
    if any(present.officers > present.count for present in command.attendance):
        raise Refused("more-officers-than-people", "officers are among those counted", field="attendance")
    return [
        AttendanceRecorded(
            tuple(Attendance(one.pillar, one.sex, one.count, one.officers) for one in command.attendance)
        )
    ]


def hold(command: HoldForum, state: State) -> list[MeetingEvent]:
    meeting = _scheduled(state)
    if not meeting.attendance:
        raise Refused("attendance-not-recorded")
    officers = sum(present.officers for present in meeting.attendance)
    if not officers:
        raise Refused("officer-required", "a forum is a partnership: no officer was there")
    if officers == sum(present.count for present in meeting.attendance):
        raise Refused("community-required", "a forum is a partnership: only officers were there")
    agreed = [agreement.problem_id for agreement in command.agreements]
    for problems, field in ((agreed, "agreements"), (command.deferred, "deferred")):
        _each_once(problems, field)
        if not meeting.agenda.issuperset(problems):
            raise Refused("not-on-the-agenda", "only what was on the agenda is dealt with", field=field)
    if not set(agreed).isdisjoint(command.deferred):
        raise Refused("agreed-and-deferred", "a problem is agreed on or deferred, not both", field="deferred")
    return [
        ForumHeld(
            forum_id=meeting.forum_id,
            area=meeting.area,
            attendance=meeting.attendance,
            agreements=tuple(
                Agreement(one.problem_id, one.proposal, one.strategies, one.root_cause) for one in command.agreements
            ),
            promises=tuple(Promise(one.who, one.what, one.by) for one in command.promises),
            deferred=command.deferred,
            minutes=command.minutes,
        )
    ]


def _scheduled(state: State) -> Scheduled:
    """The state as a meeting still to be held; refuses with the reason why it is none."""
    match state:
        case Scheduled():
            return state
        case Unscheduled():
            raise Refused("unknown-meeting")
        case Held():
            raise Refused("already-held")
        case _:
            assert_never(state)


def _each_once(problems: Sequence[UUID], field: str) -> None:
    if len(set(problems)) < len(problems):
        raise Refused("problem-named-twice", "each problem is named at most once", field=field)


def evolve(state: State, event: MeetingEvent) -> State:
    """The state after an event."""
    match event:
        case MeetingScheduled():
            return Scheduled(event.forum_id, event.area, frozenset(event.agenda))
        case AttendanceRecorded():
            assert isinstance(state, Scheduled), "a meeting begins by being scheduled"
            return replace(state, attendance=event.attendance)
        case ForumHeld():
            return Held(event.area)
        case _:
            assert_never(event)


def area_of(state: State) -> str:
    return "" if isinstance(state, Unscheduled) else state.area


MEETING: Decider[MeetingCommand, State, MeetingEvent] = Decider(
    Unscheduled(), decide, evolve, area_of, MeetingEvent.__args__
)
