"""The rules of forums, meetings and commitments, each as a test that names it."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from forums.commands import (
    Agreed,
    FoundForum,
    HoldForum,
    JoinForum,
    KeepCommitment,
    MakeCommitment,
    MeetingPlan,
    MissCommitment,
    NewMember,
    Present,
    Promised,
    RecordAttendance,
    ScheduleMeeting,
)
from forums.domain import COMMITMENT, FORUM, MEETING
from forums.reactions import commitments
from hypothesis import given as examples
from hypothesis import strategies as st
from rembuk.contracts.forums import (
    Agreement,
    Attendance,
    AttendanceRecorded,
    CommitmentKept,
    CommitmentMade,
    CommitmentMissed,
    ForumFounded,
    ForumHeld,
    MeetingScheduled,
    MemberJoined,
    Promise,
)
from rembuk.events.decider import Refused
from rembuk.events.event import Metadata, RecordedEvent
from rembuk.testing.scenario import Scenario

AREA = "35.78.08.1004"
AT = datetime(2026, 3, 2, 19, tzinfo=UTC)
DAY = date(2026, 4, 1)


def number(n: int) -> UUID:
    return UUID(int=n)


FORUM_ID, MEETING_ID = number(100), number(101)
LIGHTS, NOISE, THEFT = number(1), number(2), number(3)

FOUNDED = ForumFounded(AREA, "wilayah", "FKPM Airlangga")
SCHEDULED = MeetingScheduled(FORUM_ID, AREA, AT, "Balai RW", (LIGHTS, NOISE))
TOGETHER = (Attendance("police", "male", 1, 1), Attendance("women", "female", 9))
ATTENDED = AttendanceRecorded(TOGETHER)
HELD = ForumHeld(FORUM_ID, AREA, TOGETHER, ())
MADE = CommitmentMade(FORUM_ID, MEETING_ID, AREA, "residents", "Ronda setiap malam", DAY)

forum = Scenario(FORUM)
meeting = Scenario(MEETING)
commitment = Scenario(COMMITMENT)


def joining(member: int, role: Any = "member") -> JoinForum:
    return JoinForum(number(member), "youth", role, "female", "sealed")


def joined(member: int, role: Any = "member") -> MemberJoined:
    return MemberJoined(number(member), "youth", role, "female", "sealed")


def scheduling(*agenda: UUID) -> ScheduleMeeting:
    return ScheduleMeeting(FORUM_ID, AREA, AT, "Balai RW", agenda, frozenset({LIGHTS, NOISE}))


def agreed(problem: UUID) -> Agreed:
    return Agreed(problem, "Pasang lampu bersama", ("partnership",), "Gang gelap")


# A forum


def test_a_forum_is_founded_for_an_area() -> None:
    forum.when(FoundForum(AREA, "wilayah", "FKPM Airlangga")).then(FOUNDED)


def test_a_forum_is_founded_once() -> None:
    forum.given(FOUNDED).when(FoundForum(AREA, "adat", "Lain")).refused("already-founded")


def test_nobody_joins_a_forum_that_was_never_founded() -> None:
    forum.when(joining(1)).refused("unknown-forum")


def test_a_member_joins_with_pillar_role_and_sex_and_a_sealed_name() -> None:
    forum.given(FOUNDED).when(joining(1)).then(joined(1))


def test_a_forum_has_one_chair() -> None:
    forum.given(FOUNDED, joined(1)).when(joining(2, "chair")).then(joined(2, "chair"))
    forum.given(FOUNDED, joined(1, "chair")).when(joining(2, "chair")).refused("chair-taken")
    forum.given(FOUNDED, joined(1, "chair")).when(joining(2)).then(joined(2))


def test_a_member_joins_once() -> None:
    forum.given(FOUNDED, joined(1)).when(joining(1)).refused("already-a-member")


@examples(st.lists(st.tuples(st.integers(1, 5), st.sampled_from(["chair", "secretary", "officer", "member"]))))
def test_however_people_join_there_is_one_chair_at_most_and_nobody_twice(joins: list[tuple[int, Any]]) -> None:
    history: list[Any] = [FOUNDED]
    for member, role in joins:
        try:
            history += FORUM.decide(joining(member, role), FORUM.fold(history))
        except Refused:
            continue
    members = history[1:]
    assert sum(member.role == "chair" for member in members) <= 1
    assert len({member.member_id for member in members}) == len(members)


@pytest.mark.parametrize("asked", ["religion", "ethnicity"])
def test_religion_and_ethnicity_are_never_taken(asked: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"pillar": "youth", "role": "member", "sex": "male", "name": "A", asked: "x"}, NewMember)


# A meeting


def test_a_meeting_is_scheduled_with_an_agenda_of_problems() -> None:
    meeting.when(scheduling(LIGHTS, NOISE)).then(SCHEDULED)


def test_a_meeting_is_scheduled_once() -> None:
    meeting.given(SCHEDULED).when(scheduling(LIGHTS)).refused("already-scheduled")


def test_each_problem_is_on_the_agenda_once() -> None:
    meeting.when(scheduling(LIGHTS, LIGHTS)).refused("problem-named-twice", field="agenda")


def test_an_agenda_is_drawn_from_the_verified_open_problems_of_the_area() -> None:
    meeting.when(scheduling(LIGHTS, number(9))).refused("not-a-candidate", field="agenda[1]")


def test_an_agenda_has_fifty_problems_at_most() -> None:
    plan = {"forum_id": FORUM_ID, "at": AT, "place": "Balai", "agenda": [number(n) for n in range(51)]}
    with pytest.raises(msgspec.ValidationError, match="<= 50"):
        msgspec.convert(plan, MeetingPlan)


def test_the_time_of_a_meeting_names_its_time_zone() -> None:
    with pytest.raises(msgspec.ValidationError, match="timezone"):
        msgspec.convert({"forum_id": FORUM_ID, "at": "2026-03-02T19:00:00", "place": "Balai"}, MeetingPlan)


def test_attendance_is_recorded_by_pillar_and_sex() -> None:
    command = RecordAttendance((Present("police", "male", 1, 1), Present("women", "female", 9)))
    meeting.given(SCHEDULED).when(command).then(ATTENDED)


def test_attendance_may_be_corrected_until_the_forum_is_held() -> None:
    command = RecordAttendance((Present("youth", "male", 3),))
    corrected = AttendanceRecorded((Attendance("youth", "male", 3),))
    meeting.given(SCHEDULED, ATTENDED).when(command).then(corrected)
    meeting.given(SCHEDULED, ATTENDED, HELD).when(command).refused("already-held")


def test_no_pillar_and_sex_is_counted_twice() -> None:
    command = RecordAttendance((Present("youth", "male", 3), Present("youth", "male", 1)))
    meeting.given(SCHEDULED).when(command).refused("counted-twice", field="attendance")


def test_officers_are_among_those_counted() -> None:
    command = RecordAttendance((Present("police", "male", 1, 2),))
    meeting.given(SCHEDULED).when(command).refused("more-officers-than-people", field="attendance")


def test_attendance_needs_a_meeting() -> None:
    meeting.when(RecordAttendance((Present("youth", "male", 3),))).refused("unknown-meeting")


def test_a_held_forum_tells_who_was_there_what_was_agreed_and_promised() -> None:
    command = HoldForum((agreed(LIGHTS),), (Promised("residents", "Ronda malam", DAY),), (NOISE,), "Notulen")
    meeting.given(SCHEDULED, ATTENDED).when(command).then(
        ForumHeld(
            FORUM_ID,
            AREA,
            TOGETHER,
            (Agreement(LIGHTS, "Pasang lampu bersama", ("partnership",), "Gang gelap"),),
            (Promise("residents", "Ronda malam", DAY),),
            (NOISE,),
            "Notulen",
        )
    )


def test_a_forum_is_held_only_when_scheduled() -> None:
    meeting.when(HoldForum()).refused("unknown-meeting")


def test_a_forum_is_held_once() -> None:
    meeting.given(SCHEDULED, ATTENDED, HELD).when(HoldForum()).refused("already-held")


def test_a_forum_is_not_held_without_recorded_attendance() -> None:
    meeting.given(SCHEDULED).when(HoldForum()).refused("attendance-not-recorded")


def test_a_forum_is_not_held_without_an_officer() -> None:
    only_residents = AttendanceRecorded((Attendance("residents", "male", 12),))
    meeting.given(SCHEDULED, only_residents).when(HoldForum()).refused("officer-required")


def test_a_forum_is_not_held_by_officers_alone() -> None:
    only_officers = AttendanceRecorded((Attendance("police", "male", 2, 2),))
    meeting.given(SCHEDULED, only_officers).when(HoldForum()).refused("community-required")


def test_agreements_are_about_the_agenda() -> None:
    command = HoldForum((agreed(THEFT),))
    meeting.given(SCHEDULED, ATTENDED).when(command).refused("not-on-the-agenda", field="agreements")


def test_what_is_deferred_was_on_the_agenda() -> None:
    command = HoldForum(deferred=(THEFT,))
    meeting.given(SCHEDULED, ATTENDED).when(command).refused("not-on-the-agenda", field="deferred")


def test_a_problem_is_agreed_on_once() -> None:
    command = HoldForum((agreed(LIGHTS), agreed(LIGHTS)))
    meeting.given(SCHEDULED, ATTENDED).when(command).refused("problem-named-twice", field="agreements")


def test_a_problem_is_deferred_once() -> None:
    command = HoldForum(deferred=(LIGHTS, LIGHTS))
    meeting.given(SCHEDULED, ATTENDED).when(command).refused("problem-named-twice", field="deferred")


def test_a_problem_is_not_both_agreed_on_and_deferred() -> None:
    command = HoldForum((agreed(LIGHTS),), deferred=(LIGHTS,))
    meeting.given(SCHEDULED, ATTENDED).when(command).refused("agreed-and-deferred", field="deferred")


problems = st.lists(st.integers(1, 4).map(number), max_size=4)


@examples(agenda=st.sets(st.integers(1, 4).map(number)), agreements=problems, deferred=problems)
def test_a_forum_is_held_exactly_when_each_problem_of_the_agenda_is_dealt_with_at_most_once(
    agenda: set[UUID], agreements: Sequence[UUID], deferred: Sequence[UUID]
) -> None:
    state = MEETING.fold([MeetingScheduled(FORUM_ID, AREA, AT, "Balai RW", tuple(agenda)), ATTENDED])
    command = HoldForum(tuple(map(agreed, agreements)), deferred=tuple(deferred))
    dealt_with = [*agreements, *deferred]
    try:
        MEETING.decide(command, state)
    except Refused:
        assert len(set(dealt_with)) < len(dealt_with) or not agenda.issuperset(dealt_with)
    else:
        assert len(set(dealt_with)) == len(dealt_with)
        assert agenda.issuperset(dealt_with)


@examples(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), min_size=1, max_size=3))
def test_a_held_forum_is_always_a_partnership(counted: list[tuple[int, int]]) -> None:
    kinds: tuple[Any, ...] = ("police", "youth", "women")
    attendance = tuple(
        Attendance(pillar, "female", people, min(people, officers))
        for pillar, (people, officers) in zip(kinds, counted, strict=False)
    )
    people, officers = sum(one.count for one in attendance), sum(one.officers for one in attendance)
    held = meeting.given(SCHEDULED, AttendanceRecorded(attendance)).when(HoldForum())
    if 0 < officers < people:
        held.then(ForumHeld(FORUM_ID, AREA, attendance, ()))
    else:
        held.refused("community-required" if officers else "officer-required")


# A commitment


def test_a_promise_becomes_a_commitment() -> None:
    command = MakeCommitment(FORUM_ID, MEETING_ID, AREA, "residents", "Ronda setiap malam", DAY)
    commitment.when(command).then(MADE)
    commitment.given(MADE).when(command).refused("already-made")


def test_a_commitment_is_kept() -> None:
    commitment.given(MADE).when(KeepCommitment("Selesai")).then(CommitmentKept("Selesai"))


def test_a_commitment_is_missed_for_a_reason() -> None:
    commitment.given(MADE).when(MissCommitment("no_means")).then(CommitmentMissed("no_means"))
    with pytest.raises(msgspec.ValidationError, match="reason"):
        msgspec.convert({"note": "lupa"}, MissCommitment)


@pytest.mark.parametrize("again", [KeepCommitment(), MissCommitment("other")])
def test_a_commitment_is_kept_or_missed_once(again: Any) -> None:
    commitment.given(MADE, CommitmentKept()).when(again).refused("already-kept")
    commitment.given(MADE, CommitmentMissed("other")).when(again).refused("already-missed")
    commitment.when(again).refused("unknown-commitment")


def test_each_promise_of_a_held_forum_is_wished_for_once_and_always_under_the_same_id() -> None:
    promises = (Promise("residents", "Ronda", DAY), Promise("residents", "Ronda", DAY))
    held = ForumHeld(FORUM_ID, AREA, TOGETHER, (), promises)
    fact = RecordedEvent(7, number(7), MEETING_ID, 3, AREA, AT, held, Metadata())
    first, again = commitments(fact), commitments(fact)
    assert first == again
    assert len({wish.stream_id for wish in first}) == len({wish.name for wish in first}) == 2
