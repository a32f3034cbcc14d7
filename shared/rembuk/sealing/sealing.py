"""Texts of a command sealed before it is recorded, and what is sealed in what was recorded.

The texts of an event share a key of their own, and with it an opaque person: so those of an anonymous report can be
erased, and nothing has to be asked before sealing. The key is made for the event and recorded with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from rembuk.events.codec import Unreadable
from rembuk.events.event import RecordedEvent
from rembuk.events.ids import derive_id
from rembuk.events.texts import sealed_fields
from rembuk.keys.region_key import Unopened, WrappedKey
from rembuk.sealing.vault import Erased, NotSealed, Vault, is_sealed, person_of

C = TypeVar("C", bound=msgspec.Struct)


def texts_of(event_id: UUID) -> UUID:
    """Under whose key the texts of an event are sealed."""
    return derive_id("texts", event_id)


def seal_texts(vault: Vault, command: C, event_id: UUID) -> tuple[C, Sequence[WrappedKey]]:
    """The command with its sealed fields as ciphertext, and the key to be recorded with the event it leads to."""
    texts = {name: text for name in sealed_fields(type(command)) if (text := getattr(command, name))}
    if not texts:
        return command, ()
    key = vault.new_key(texts_of(event_id))
    sealed = {name: key.seal(event_id, text) for name, text in texts.items()}
    return msgspec.structs.replace(command, **sealed), (key.wrapped,)


class SealedField(NamedTuple):
    """One field that is not empty. It is in `clear` where it was recorded before that field came to be sealed."""

    fact: RecordedEvent[Any]
    name: str
    text: str
    person: UUID
    clear: bool


def sealable(event: msgspec.Struct) -> tuple[str, ...]:
    """The fields of an event that are sealed where they are not empty; of one that cannot be read, those that are."""
    if isinstance(event, Unreadable):
        return tuple([name for name, text in event.data.items() if isinstance(text, str) and is_sealed(text)])
    return sealed_fields(type(event))


def sealed_in(history: Iterable[RecordedEvent[Any]]) -> list[SealedField]:
    """What is sealed in some events, in their order."""
    return [
        _field(fact, name, text)
        for fact in history
        for name in sealable(fact.event)
        if (text := _said(fact.event, name))
    ]


def _said(event: msgspec.Struct, name: str) -> str:
    text: str = event.data[name] if isinstance(event, Unreadable) else getattr(event, name)
    return text


def _field(fact: RecordedEvent[Any], name: str, text: str) -> SealedField:
    try:
        return SealedField(fact, name, text, person_of(text), clear=False)
    except NotSealed:
        return SealedField(fact, name, text, texts_of(fact.id), clear=True)


async def opened(vault: Vault, fields: Sequence[SealedField]) -> list[str | None]:
    """The text of each; None for what was erased. Raises Tampered, WrongRegionKey, Unavailable."""
    closed = iter(await vault.open_many((one.text, one.fact.id) for one in fields if not one.clear))
    return [one.text if one.clear else next(closed) for one in fields]


async def opened_each(vault: Vault, fields: Sequence[SealedField]) -> list[str | Erased | Unopened]:
    """As `opened`, but what cannot be opened hides nothing else: its error stands in its place."""
    closed = iter(await vault.open_each((one.text, one.fact.id) for one in fields if not one.clear))
    return [one.text if one.clear else next(closed) for one in fields]
