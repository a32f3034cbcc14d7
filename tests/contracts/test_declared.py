"""Every text of an event is declared sealed, enclosed, public or a code: nobody adds one unawares."""

from collections.abc import Iterator
from datetime import date, datetime
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec
import pytest
from rembuk.contracts.document import SERVICES
from rembuk.events.event import Event
from rembuk.events.texts import CODE, ENCLOSED, PUBLIC, SEALED, Public, Sealed

HARMLESS: set[Any] = {int, bool, UUID, date, datetime, type(None), Ellipsis}
"""What can say nothing of a person by itself. A float can: where somebody lives."""
EVENTS = {event for module in SERVICES.values() for event in module.CODEC.types.values()}


def undeclared(kind: Any, path: str, nested: bool = False) -> Iterator[str]:
    """The paths to what in a type is not declared, or is declared sealed where nothing seals it: below the event."""
    origin = get_origin(kind)
    if origin is Annotated:
        marks = set(kind.__metadata__) & {SEALED, ENCLOSED, PUBLIC, CODE}
        if kind.__origin__ is not str or len(marks) != 1 or (nested and marks & {SEALED, ENCLOSED}):
            yield path
    elif origin in (tuple, list, Union, UnionType):
        for each in get_args(kind):
            yield from undeclared(each, path, nested=True)
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for name, field in get_type_hints(kind, include_extras=True).items():
            if name in kind.__struct_fields__:
                yield from undeclared(field, f"{path}.{name}", nested or not issubclass(kind, Event))
    elif origin is not Literal and kind not in HARMLESS:
        yield path


@pytest.mark.parametrize("event", sorted(EVENTS, key=lambda event: event.__name__))
def test_every_text_of_an_event_is_declared(event: type[Event]) -> None:
    assert not list(undeclared(event, event.__name__))


class Inner(msgspec.Struct):
    """What an event holds."""

    hidden: Sealed
    shown: Public


class Unaware(Event, frozen=True):
    """Breaks every rule."""

    note: str
    lat: float
    said: dict[str, str]
    many: tuple[str, ...]
    maybe: str | None
    inner: tuple[Inner, ...]
    fine: Sealed


def test_what_is_not_declared_is_found() -> None:
    found = {"note", "lat", "said", "many", "maybe", "inner.hidden"}
    assert set(undeclared(Unaware, "")) == {f".{name}" for name in found}
