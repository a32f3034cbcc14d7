"""The codec: what was recorded is read for ever, in its newest shape, or said to be unreadable."""

from datetime import UTC, date, datetime
from itertools import pairwise
from types import UnionType
from typing import Any, Union, get_args, get_origin
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rembuk.contracts import forums, notifications, reports
from rembuk.contracts.privacy import PrivacyEvent
from rembuk.events.codec import MAX_EVENT_BYTES, Codec, EventTooLarge, Undecodable
from rembuk.events.event import Event

CODECS = [reports.CODEC, forums.CODEC, notifications.CODEC]


class PlaceMoved(Event, frozen=True):
    """Version 1 had one text `to`, version 2 a list, version 3 knows when."""

    schema_version = 3
    to: tuple[str, ...]
    on: date | None = None


def listed(data: dict[str, Any]) -> dict[str, Any]:
    return {"to": [data["to"]]}


def dated(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "on": "2026-01-02"}


MOVES = Codec([PlaceMoved], {("PlaceMoved", 1): listed, ("PlaceMoved", 2): dated})


def test_an_old_event_is_lifted_step_by_step_to_the_newest_shape() -> None:
    assert MOVES.decode("PlaceMoved", 1, b'{"to":"Gubeng"}') == PlaceMoved(("Gubeng",), date(2026, 1, 2))
    assert MOVES.decode("PlaceMoved", 2, '{"to":["Gubeng"]}') == PlaceMoved(("Gubeng",), date(2026, 1, 2))
    assert MOVES.decode("PlaceMoved", 3, '{"to":["Gubeng"]}') == PlaceMoved(("Gubeng",))


@pytest.mark.parametrize("missing", [1, 2])
def test_a_missing_step_is_noticed_before_an_old_event_is_read(missing: int) -> None:
    steps = {("PlaceMoved", version): dated for version in (1, 2) if version != missing}
    with pytest.raises(ValueError, match=f"PlaceMoved version {missing}"):
        Codec([PlaceMoved], steps)


@pytest.mark.parametrize(
    ("name", "version", "data"),
    [
        ("PlaceLeft", 1, b"{}"),
        ("", 1, b"{}"),
        ("PlaceMoved", 4, b'{"to":[]}'),
        ("PlaceMoved", 0, b'{"to":[]}'),
        ("PlaceMoved", -1, b'{"to":[]}'),
        ("PlaceMoved", 3, b""),
        ("PlaceMoved", 3, b"null"),
        ("PlaceMoved", 3, b"[]"),
        ("PlaceMoved", 3, b"{}"),
        ("PlaceMoved", 3, b'{"to":"Gubeng"}'),
        ("PlaceMoved", 3, b'{"to":["\xff"]}'),
        ("PlaceMoved", 3, b'{"to":["\\ud800"]}'),
        ("PlaceMoved", 3, b'{"to":[]}{}'),
        ("PlaceMoved", 3, b'{"to":[],"more":' + b"[" * 100_000),
        ("PlaceMoved", 1, b"{}"),
        ("PlaceMoved", 1, b"[]"),
        ("PlaceMoved", 1, b"7"),
        ("PlaceMoved", 1, b"[" * 100_000),
        ("PlaceMoved", 2, b'{"to":7}'),
        ("PlaceMoved", 2, b'{"to":["\xff"]}'),
    ],
)
def test_what_cannot_be_read_is_undecodable(name: str, version: int, data: bytes) -> None:
    with pytest.raises(Undecodable):
        MOVES.decode(name, version, data)


@pytest.mark.parametrize("error", [AttributeError, IndexError, ValueError, ZeroDivisionError, RecursionError])
def test_data_that_a_step_cannot_bear_is_undecodable(error: type[Exception]) -> None:
    def fails(_: dict[str, Any]) -> dict[str, Any]:
        raise error

    codec = Codec([PlaceMoved], {("PlaceMoved", 1): fails, ("PlaceMoved", 2): dated})
    with pytest.raises(Undecodable, match="PlaceMoved version 1"):
        codec.decode("PlaceMoved", 1, b'{"to":"Gubeng"}')


def test_fields_that_a_later_release_added_do_no_harm() -> None:
    assert MOVES.decode("PlaceMoved", 3, b'{"to":["Gubeng"],"weather":"rain"}') == PlaceMoved(("Gubeng",))


def test_an_event_too_large_for_the_broker_is_not_encoded() -> None:
    with pytest.raises(EventTooLarge, match="PlaceMoved"):
        MOVES.encode(PlaceMoved(("a" * MAX_EVENT_BYTES,)))


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Whatever a field of that type may hold."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return st.builds(hint, **{field.name: values(field.type) for field in msgspec.structs.fields(hint)})
    match get_origin(hint), get_args(hint):
        case (kind, (of, _)) if kind is tuple:
            return st.lists(values(of), max_size=3).map(tuple)
        case (kind, of) if kind in (UnionType, Union):
            return st.one_of(*map(values, of))
    match hint:
        case type() if hint is datetime:
            return st.datetimes(min_value=datetime(1900, 1, 1), timezones=st.just(UTC))
        case type() if hint is int:
            return st.integers(-(2**53), 2**53)
        case type() if hint is float:
            return st.floats(allow_nan=False, allow_infinity=False)
        case _:
            return st.from_type(hint)


@pytest.mark.parametrize(
    ("codec", "event_type"),
    [pytest.param(codec, event, id=event.__name__) for codec in CODECS for event in codec.types.values()],
)
@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_event_of_the_contracts_comes_back_as_it_was(
    codec: Codec, event_type: type[Event], data: st.DataObject
) -> None:
    event = data.draw(values(event_type))
    encoded = codec.encode(event)
    assert codec.decode(event_type.__name__, event_type.schema_version, encoded) == event
    assert codec.decode(event_type.__name__, event_type.schema_version, encoded.decode()) == event


@settings(max_examples=200)
@given(data=st.binary() | st.text().map(str.encode) | st.from_regex(rb'\{"[a-z]*":.{0,20}\}'))
def test_garbage_is_undecodable_and_nothing_worse(data: bytes) -> None:
    for version in (1, 3):
        try:
            MOVES.decode("PlaceMoved", version, data)
        except Undecodable:
            continue


def test_every_contract_has_names_of_its_own_but_for_what_is_told_of_sealed_data_alike() -> None:
    alike = {event.__name__ for event in PrivacyEvent.__args__}
    names = [set(codec.types) - alike for codec in CODECS]
    assert not any(one & other for one, other in pairwise([*names, names[0]]))


def test_ids_and_times_are_json_strings() -> None:
    event = forums.MeetingScheduled(UUID(int=1), "35.78", datetime(2026, 1, 2, tzinfo=UTC), "hall", ())
    assert msgspec.json.decode(forums.CODEC.encode(event), type=dict[str, Any])["at"] == "2026-01-02T00:00:00Z"
