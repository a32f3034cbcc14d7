"""A log against the vault: each sealed field opens by its person's key, or the log says that the person is erased."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
import msgspec

from rembuk.contracts.privacy import PersonErased
from rembuk.events.codec import Codec
from rembuk.events.texts import sealed_fields
from rembuk.keys.region_key import Unopened, WrongRegionKey
from rembuk.sealing.vault import Vault, is_sealed

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_text = msgspec.json.Decoder(str).decode


class AgainstVault:
    """What cannot be opened is told; with no region key at hand (`opens` is false), only whose key is not there."""

    def __init__(self, vault: Vault, codec: Codec, opens: bool) -> None:
        self._vault, self._opens = vault, opens
        self.lost: set[str] = set()
        """Whose keys the events that were looked at say to be lost."""
        self._sealed = {name: sealed_fields(event) for name, event in codec.types.items()}

    async def take(self, rows: Sequence[asyncpg.Record]) -> list[tuple[int, str]]:
        """What is wrong with some events: the position of each, and why. Raises Unavailable."""
        found = [
            (row["position"], name, text, row["id"])
            for row in rows
            if (names := self._sealed.get(row["type"]))
            for name, text in _texts(row["data"], names)
        ]
        self.lost |= {person for row in rows if row["type"] == "PersonErased" for person in _lost(row["data"])}
        opened = await self._vault.open_each((text, event_id) for _, _, text, event_id in found)
        return [
            (position, f"{name} cannot be opened: {one}")
            for (position, name, _, _), one in zip(found, opened, strict=True)
            if isinstance(one, Unopened) and (self._opens or not isinstance(one, WrongRegionKey))
        ]


def _lost(data: str) -> list[str]:
    try:
        erased = msgspec.json.decode(data, type=PersonErased)
    except msgspec.MsgspecError:
        return []
    return [str(erased.person)] if erased.ground == "lost" else []


def _texts(data: str, names: Sequence[str]) -> list[tuple[str, str]]:
    """The fields of an event that are sealed; one that is no event is told elsewhere."""
    try:
        fields = _fields(data)
        texts = [(name, _text(fields[name])) for name in names if name in fields]
    except msgspec.MsgspecError:
        return []
    return [(name, text) for name, text in texts if is_sealed(text)]
