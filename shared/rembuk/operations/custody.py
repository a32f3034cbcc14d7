"""Errands about the keys of persons: have a new region key take them over, erase whoever's data are sealed, find whose
keys are missing, bring back those that a backup has, and write off the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from rembuk.contracts.privacy import Ground
from rembuk.contracts.reports import confided_to
from rembuk.events.event import Metadata
from rembuk.keys.region_key import RegionKeys, Tampered, WrongRegionKey
from rembuk.log.event_log import EventLog
from rembuk.log.handling import handle
from rembuk.operations.errand_log import errand_log, started
from rembuk.operations.steps import ErasureRecorded
from rembuk.postgres.database import AWAY, UNREACHABLE, Unavailable, connect
from rembuk.sealing.missing_keys import Missing, find, still
from rembuk.sealing.persons import PERSON, ErasePerson, erase
from rembuk.sealing.sealing import sealed_in
from rembuk.sealing.vault import Vault, stream_of
from rembuk.service import Service
from rembuk.settings import CannotRun, Settings

AT_ONCE = 256
"""So many erasures are recorded together."""


def errand(service: Service, settings: Settings, name: str, arguments: Sequence[str]) -> AsyncIterator[Any] | None:
    """As `rembuk.operations.errands.errand`."""
    match name, arguments:
        case "rewrap", []:
            return _rewrap(settings)
        case "erase", [aggregate_or_person, "request" | "retention" | "other" as ground]:
            return _erase(service, settings, UUID(aggregate_or_person), ground)
        case "missing-keys", []:
            return _missing(service, settings)
        case "write-off", [persons]:
            return _write_off(service, settings, int(persons))
    return None


async def _rewrap(settings: Settings) -> AsyncIterator[int]:
    """Have the region's current key wrap what older ones wrap; how many keys of persons it took over, step by step."""
    async with _vault(settings, RegionKeys.load(settings.region_key)) as vault:
        try:
            while many := await vault.rewrap():
                yield many
        except (Tampered, WrongRegionKey, Unavailable) as error:
            raise CannotRun(f"{error}; what was taken over so far stays so, and this can be run again") from error


async def _erase(service: Service, settings: Settings, id: UUID, ground: Ground) -> AsyncIterator[ErasureRecorded]:
    """Erase everybody whose data are sealed in an aggregate, or one opaque person; each, where it is recorded, and
    which other regions have been told of the aggregate in confidence: what they made of that is theirs to erase."""
    try:
        async with started(errand_log(settings, service.codec())) as log, _vault(settings, RegionKeys(())) as vault:
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
                yield ErasureRecorded(person, outcome.position, outcome.repeated, told)
    except Unavailable as error:
        raise CannotRun(f"{error}; run this again: who is erased already stays so") from error


async def _missing(service: Service, settings: Settings) -> AsyncIterator[Missing]:
    """Everybody whose key is missing, by the first event that is sealed under it."""
    try:
        for one in await _found(service, settings):
            yield one
    except UNREACHABLE as error:
        raise CannotRun(f"the vault cannot be reached: {error}") from error


async def _found(service: Service, settings: Settings) -> list[Missing]:
    connection = await connect(settings.database_url, "missing keys")
    try:
        return await find(connection, service.codec())
    finally:
        connection.terminate()


async def _write_off(service: Service, settings: Settings, persons: int) -> AsyncIterator[int]:
    """Record that the keys of so many persons are lost; how many of them, step by step. Refused where other than so
    many are missing by now. Whose key comes back meanwhile is left out; one that comes back later is destroyed by the
    eraser, as that of anybody who is erased. Killed half way, it goes on with the rest when it is run again."""
    try:
        found = await _found(service, settings)
        if len(found) != persons:
            raise CannotRun(f"the keys of {len(found):,} persons are missing, not of {persons:,}; nothing was recorded")
        async with started(errand_log(settings, service.codec())) as log:
            for first in range(0, len(found), AT_ONCE):
                some = found[first : first + AT_ONCE]
                async with log.reader() as connection:
                    gone = await still(connection, [one.person for one in some])
                lost = [one for one in some if one.person in gone]
                await asyncio.gather(*(_is_lost(log, one) for one in lost))
                yield len(lost)
    except AWAY as error:
        raise CannotRun(f"{error}; run this again: who is written off already stays so") from error


async def _is_lost(log: EventLog, one: Missing) -> None:
    command = ErasePerson(one.area, one.person, "lost")
    metadata = Metadata(actor="operator")
    await handle(log, PERSON, stream_of(one.person), command, f"erase:{one.person}", metadata, new=True)


@asynccontextmanager
async def _vault(settings: Settings, keys: RegionKeys) -> AsyncIterator[Vault]:
    vault = Vault(settings.database_url, keys, f"{settings.name} errand")
    await vault.start()
    try:
        yield vault
    finally:
        await vault.stop()
