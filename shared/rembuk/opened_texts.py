"""Texts that were opened lately, so that a list opens each but once. Nothing is shown from memory alone: whoever asks
has just read the ciphertext and the key, as they stand in the database, and where there is no key there is no text."""

from __future__ import annotations

import asyncio
from uuid import UUID

from rembuk.region_key import Unopened, WrappedKey
from rembuk.vault import Vault, is_sealed

KEPT = 5_000
"""Texts of a generation; there are two."""
KEPT_S = 60.0
"""How long a generation lasts: of what nobody has a key for any more nothing is in memory after twice as long."""

_Sealed = tuple[str, UUID | None, bytes | None, str | None]
"""A ciphertext, and the key as the table has it: whose, wrapped, and by which region key."""


class OpenedTexts:
    """By the id of the event in which a text is sealed: what it was opened from, and the text."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._young: dict[UUID, tuple[_Sealed, str]] = {}
        self._old: dict[UUID, tuple[_Sealed, str]] = {}
        self._turning: asyncio.TimerHandle | None = None

    def text(
        self, sealed: str, event_id: UUID, person: UUID | None, wrapped: bytes | None, key_id: str | None
    ) -> str | Unopened | None:
        """The text of `sealed`, which is itself where it was recorded in clear; None without a key."""
        opened_from = sealed, person, wrapped, key_id
        kept = self._young.get(event_id)
        if kept is not None and kept[0] == opened_from:
            return kept[1]
        if not is_sealed(sealed):
            return sealed
        if person is None or wrapped is None or key_id is None:
            self._young.pop(event_id, None)
            self._old.pop(event_id, None)
            return None
        kept = self._old.get(event_id)
        if kept is not None and kept[0] == opened_from:
            text: str | Unopened = kept[1]
        else:
            text = self._vault.open_by(WrappedKey(person, wrapped, key_id), sealed, event_id)
        if isinstance(text, str):
            self._keep(event_id, (opened_from, text))
        return text

    def _keep(self, event_id: UUID, opened: tuple[_Sealed, str]) -> None:
        self._young[event_id] = opened
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
