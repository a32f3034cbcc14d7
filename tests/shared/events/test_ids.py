"""Ids that are derived: UUIDv5, whoever computes them."""

from __future__ import annotations

from uuid import UUID, uuid5

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from rembuk.events.ids import NAMESPACE, derive_id, event_id

PART = st.text(st.characters(exclude_categories=["Cs"])) | st.integers() | st.uuids()


@given(st.lists(PART, min_size=1))
def test_a_derived_id_is_the_uuid5_of_its_parts(parts: list[object]) -> None:
    derived = derive_id(*parts)
    expected = uuid5(NAMESPACE, "\x1f".join(str(part) for part in parts))
    assert (derived, expected) == (expected, derived)
    assert (hash(derived), str(derived), derived.version) == (hash(expected), str(expected), 5)


@given(PART)
def test_a_derived_id_is_written_and_read_like_any_other(part: object) -> None:
    derived = derive_id(part)
    assert isinstance(derived, UUID)
    assert msgspec.json.decode(msgspec.json.encode(derived), type=UUID) == derived


def test_each_event_of_a_command_has_an_id_of_its_own_that_its_key_leads_to() -> None:
    key = "0193f0f0-0000-7000-8000-000000000000"
    assert [event_id(key), event_id(key, 1)] == [derive_id(key, 0), derive_id(key, 1)]
    assert event_id(key) != event_id("another")
