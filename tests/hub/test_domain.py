"""How a stream stands: nobody is called level who is not, and nobody stalled who had no time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hub.domain import STALLED_AFTER, Look, MirrorStanding, standing
from hypothesis import given
from hypothesis import strategies as st

START = datetime(2026, 3, 2, tzinfo=UTC)
STALLED = timedelta(seconds=30)


def looks(
    *found: tuple[int, int, int, int | None], diverged_at: int | None = None, stalled_after: timedelta = STALLED
) -> list[MirrorStanding]:
    """After each look at (second, position, shown, region's position)."""
    stands: list[MirrorStanding] = []
    for second, position, shown, theirs in found:
        look = Look(START + timedelta(seconds=second), position, shown, theirs, diverged_at)
        stands.append(standing(stands[-1] if stands else None, look, stalled_after))
    return stands


def states(*found: tuple[int, int, int, int | None]) -> list[str]:
    return [one.state for one in looks(*found)]


def test_level_is_who_shows_all_that_the_region_has() -> None:
    assert states((0, 5, 5, 5), (3, 5, 4, 5), (6, 5, 5, 6), (9, 6, 6, 6)) == ["level", "behind", "behind", "level"]


def test_a_mirror_that_does_not_move_though_the_region_answers_has_stalled_after_a_while() -> None:
    assert states((0, 5, 5, 9), (29, 5, 5, 12), (30, 5, 5, 12), (33, 6, 5, 12)) == [
        "behind", "behind", "stalled", "behind",
    ]  # fmt: skip


def test_it_has_stalled_after_45_seconds_as_long_as_a_nats_server_may_take_by_itself() -> None:
    stand = looks((0, 5, 5, 9), (44, 5, 5, 9), (45, 5, 5, 9), stalled_after=STALLED_AFTER)
    assert [one.state for one in stand] == ["behind", "behind", "stalled"]


def test_no_time_counts_in_which_there_was_nothing_to_fetch_or_nobody_to_fetch_it_from() -> None:
    assert states((0, 5, 5, 5), (60, 5, 5, 6), (63, 5, 5, 6)) == ["level", "behind", "behind"]
    assert states((0, 5, 5, 6), (20, 5, 5, None), (60, 5, 5, 6), (63, 5, 5, 6)) == [
        "behind", "cut_off", "behind", "behind",
    ]  # fmt: skip


def test_what_comes_late_into_the_read_model_is_behind_and_not_stalled() -> None:
    assert states((0, 9, 5, 9), (100, 9, 5, 9)) == ["behind", "behind"]


def test_a_region_that_does_not_answer_is_cut_off_and_what_it_had_is_still_missing() -> None:
    before, after = looks((0, 5, 5, 8), (3, 5, 5, None))
    assert (after.state, after.region_position, after.answered_at) == ("cut_off", 8, before.looked_at)


def test_of_a_region_that_never_answered_nothing_is_known_to_be_there() -> None:
    [first, second] = looks((0, 0, 0, None), (3, 0, 0, None))
    assert (first.state, first.region_position, second.region_position, first.answered_at) == ("cut_off", 0, 0, None)


def test_a_region_that_has_less_than_we_have_or_something_else_has_diverged() -> None:
    assert states((0, 5, 5, 4), (3, 0, 5, 4), (6, 5, 5, 5)) == ["diverged", "diverged", "level"]
    for stands in looks((0, 5, 5, 9), (3, 5, 5, None), (6, 9, 9, 9), diverged_at=5):
        assert stands.state == "diverged"


def test_a_state_begins_with_the_first_look_that_finds_it() -> None:
    assert [one.since.second for one in looks((0, 5, 5, 5), (3, 5, 5, 5), (6, 5, 5, 6), (9, 5, 5, 6))] == [0, 0, 6, 6]


@given(
    st.lists(
        st.tuples(st.integers(1, 60), st.integers(0, 3), st.integers(0, 3), st.none() | st.integers(0, 3)), min_size=1
    )
)
def test_nobody_is_called_level_of_whom_anything_is_known_to_be_missing(
    steps: list[tuple[int, int, int, int | None]],
) -> None:
    second, stands, answered = 0, None, False
    for pause, position, shown, theirs in steps:
        second += pause
        before, stands = (
            stands,
            standing(stands, Look(START + timedelta(seconds=second), position, shown, theirs), STALLED),
        )
        level = theirs is not None and position == shown == theirs
        assert (stands.state == "level") == level
        if stands.state == "stalled":
            assert answered
            assert before is not None
            assert before.position == position
            assert stands.looked_at - stands.moved_at >= STALLED
        answered = theirs is not None
