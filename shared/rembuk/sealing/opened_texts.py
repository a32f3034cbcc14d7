"""Texts that were opened lately, so that a list opens each but once. Nothing is shown from memory alone: whoever asks
has just read the ciphertext as it stands in the database, and that no key was destroyed or altered since."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from rembuk.keys.region_key import Unopened
from rembuk.sealing.vault import Erased, Vault, is_sealed, person_of

KEPT = 5_000
"""Texts of a generation; there are two."""
KEPT_S = 60.0
"""How long a generation lasts: of what nobody has a key for any more nothing is in memory after twice as long."""
EPOCH = "(select epoch::text from public.vault_epoch)"
"""SQL for the statement that reads the ciphertexts: the epoch that the vault is in."""


class _Kept(NamedTuple):
    epoch: str
    sealed: str
    text: str


class OpenedTexts:
    """By the id of the event in which a text is sealed: what it was opened from, when, and the text."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._young: dict[str, _Kept] = {}
        self._old: dict[str, _Kept] = {}
        self._turning: asyncio.TimerHandle | None = None

    async def opened(self, sealed: Iterable[tuple[str, str]], epoch: str) -> dict[str, str | Erased | Unopened]:
        """By the event's id, the text of each (sealed, event id), which is itself where it was recorded in clear; or
        why there is none. `epoch` is the one that the vault was in when they were read. Raises Unavailable."""
        texts: dict[str, str | Erased | Unopened] = {}
        closed: dict[str, tuple[UUID, str]] = {}
        young, old = self._young, self._old
        for text, event_id in sealed:
            kept = young.get(event_id)
            if kept is None and (kept := old.get(event_id)) is not None:
                self._keep(event_id, kept)
            if kept is not None and kept.epoch == epoch and kept.sealed == text:
                texts[event_id] = kept.text
            elif is_sealed(text):
                closed[event_id] = person_of(text), text
            else:
                texts[event_id] = text
        if closed:
            texts |= await self._newly_opened(closed)
        return texts

    async def _newly_opened(self, closed: dict[str, tuple[UUID, str]]) -> dict[str, str | Erased | Unopened]:
        """By the keys as they stand now; where there is none, the log is asked whether somebody erased it."""
        epoch, keys = await self._vault.wrapped_keys([person for person, _ in closed.values()])
        gone = await self._vault.why_gone([person for person, _ in closed.values() if person not in keys])
        texts: dict[str, str | Erased | Unopened] = {}
        for event_id, (person, sealed) in closed.items():
            key = keys.get(person)
            text = gone[person] if key is None else self._vault.open_by(key, sealed, UUID(event_id))
            texts[event_id] = text
            if isinstance(text, str):
                self._keep(event_id, _Kept(epoch, sealed, text))
            else:
                self._young.pop(event_id, None)
                self._old.pop(event_id, None)
        return texts

    def _keep(self, event_id: str, kept: _Kept) -> None:
        self._young[event_id] = kept
        if len(self._young) >= KEPT:
            self._turn()
        elif self._turning is None:
            self._turning = asyncio.get_running_loop().call_later(KEPT_S, self._turn)

    def _turn(self) -> None:
        """The young are the old from now on, and the old are forgotten."""
        if self._turning is not None:
            self._turning.cancel()
        self._old, self._young = self._young, {}
        self._turning = asyncio.get_running_loop().call_later(KEPT_S, self._turn) if self._old else None
