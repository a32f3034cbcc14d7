"""Errands about the keys of persons: have a new region key take them over, and erase whoever's data are sealed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any
from uuid import UUID

from rembuk.contracts.privacy import Ground
from rembuk.contracts.reports import confided_to
from rembuk.database import Unavailable
from rembuk.event import Metadata
from rembuk.event_log import EventLog
from rembuk.persons import ErasePerson, erase
from rembuk.region_key import RegionKeys, Tampered, WrongRegionKey
from rembuk.sealing import sealed_in
from rembuk.settings import CannotRun, Settings
from rembuk.vault import Vault


def errand(settings: Settings, name: str, arguments: Sequence[str]) -> AsyncIterator[Any] | None:
    """As `rembuk.errands.errand`."""
    match name, arguments:
        case "rewrap", []:
            return _rewrap(settings)
        case "erase", [aggregate_or_person, "request" | "retention" | "other" as ground]:
            return _erase(settings, UUID(aggregate_or_person), ground)
    return None


async def _rewrap(settings: Settings) -> AsyncIterator[int]:
    """Have the region's current key wrap what older ones wrap; how many keys of persons it took over, step by step."""
    async with _vault(settings, RegionKeys.load(settings.region_key)) as vault:
        try:
            while many := await vault.rewrap():
                yield many
        except (Tampered, WrongRegionKey, Unavailable) as error:
            raise CannotRun(f"{error}; what was taken over so far stays so, and this can be run again") from error


async def _erase(settings: Settings, id: UUID, ground: Ground) -> AsyncIterator[dict[str, Any]]:
    """Erase everybody whose data are sealed in an aggregate, or one opaque person; each, where it is recorded, and
    which other regions have been told of the aggregate in confidence: what they made of that is theirs to erase."""
    log = EventLog(
        settings.database_url, import_module(f"rembuk.contracts.{settings.service}").CODEC, f"{settings.name} errand"
    )
    await log.start()
    try:
        async with _vault(settings, RegionKeys(())) as vault:
            history = await log.read_stream(id, leniently=True)
            persons = list(dict.fromkeys(field.person for field in sealed_in(history)))
            if not persons and not history and await vault.knows(id):
                persons = [id]
            if not persons:
                raise CannotRun(f"nothing of {id} is sealed: it is no aggregate with sealed fields, and no person")
            area = history[0].area if history else ""
            told = confided_to(fact.event for fact in history)
            for person in persons:
                command = ErasePerson(area, person, ground)
                outcome = await erase(log, vault, command, f"erase:{person}", Metadata(actor="operator"))
                yield {"person": person, "position": outcome.position, "repeated": outcome.repeated, "told": told}
    except Unavailable as error:
        raise CannotRun(f"{error}; run this again: who is erased already stays so") from error
    finally:
        await log.stop()


@asynccontextmanager
async def _vault(settings: Settings, keys: RegionKeys) -> AsyncIterator[Vault]:
    vault = Vault(settings.database_url, keys, f"{settings.name} errand")
    await vault.start()
    try:
        yield vault
    finally:
        await vault.stop()
