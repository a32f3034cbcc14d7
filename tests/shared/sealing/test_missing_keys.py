"""How many keys are missing is told at once, and is what a look through the whole log finds, whatever befell them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rembuk.contracts.privacy import PersonErased
from rembuk.events.codec import Codec
from rembuk.events.event import Event, Metadata
from rembuk.events.texts import Public, Sealed
from rembuk.keys.region_key import RegionKey, RegionKeys
from rembuk.log.event_log import EventLog
from rembuk.postgres.database import connect
from rembuk.sealing import missing_keys
from rembuk.sealing.erasing import Eraser
from rembuk.sealing.missing_keys import Missing
from rembuk.sealing.persons import ErasePerson, erase
from rembuk.sealing.vault import Vault, stream_of
from rembuk.testing.tallies import TallyRegion

AREA = "35.78"
DEEDS = ("say", "say again", "delete", "delete all", "truncate", "bring back", "erase", "write off", "clean up", "look")


class Said(Event, frozen=True):
    """Something was said by somebody, under a title for everybody."""

    words: Sealed
    title: Public = ""


CODEC = Codec((Said, PersonErased), {("PersonErased", 1): dict})


@pytest.fixture
async def log(region: TallyRegion) -> AsyncIterator[EventLog]:
    log = EventLog(region.url, CODEC)
    await log.start()
    yield log
    await log.stop()


@pytest.fixture
async def vault(region: TallyRegion) -> AsyncIterator[Vault]:
    vault = Vault(region.url, RegionKeys([RegionKey(bytes(32))]))
    await vault.start()
    yield vault
    await vault.stop()


@pytest.fixture
async def database(region: TallyRegion) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(region.owner_url, "test")
    yield connection
    await connection.close()


async def say(log: EventLog, vault: Vault, person: UUID, title: str = "") -> None:
    event_id = uuid4()
    words = await vault.seal(person, event_id, "Di depan rumah.")
    await log.append(uuid4(), 0, [event_id], [Said(words, title)], AREA)


async def missing(database: asyncpg.Connection) -> set[UUID]:
    """Whose keys are missing, by what was noted; the log says the same."""
    noted = await database.fetch(missing_keys.COUNT.replace("count(*)", "person"))
    counted = await database.fetchval(missing_keys.COUNT)
    found = await missing_keys.find(database, CODEC)
    assert {row["person"] for row in noted} == {one.person for one in found}
    assert counted == len(found)
    return {one.person for one in found}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deeds=st.lists(st.tuples(st.sampled_from(DEEDS), st.integers(0, 99)), max_size=14))
async def test_what_is_noted_is_what_the_log_finds_whatever_is_done_to_the_keys(
    region: TallyRegion, log: EventLog, vault: Vault, database: asyncpg.Connection, deeds: list[tuple[str, int]]
) -> None:
    eraser, persons, erased = Eraser(region.url), [uuid4()], set[UUID]()
    await say(log, vault, persons[0])
    backup = [tuple(row) for row in await database.fetch("select person, wrapped, key_id from vault_key")]
    for deed, which in deeds:
        one = persons[which % len(persons)]
        match deed:
            case "say":
                persons.append(uuid4())
                await say(log, vault, persons[-1])
                backup = [tuple(row) for row in await database.fetch("select person, wrapped, key_id from vault_key")]
            case "say again" if one not in await missing(database) | erased:
                await say(log, vault, one)
            case "delete":
                await database.execute("delete from vault_key where person = $1", one)
            case "delete all":
                await database.execute("delete from vault_key")
            case "truncate":
                await database.execute("truncate vault_key")
            case "bring back":
                add = "insert into vault_key (person, wrapped, key_id) values ($1, $2, $3) on conflict do nothing"
                await database.executemany(add, backup)  # as the database's owner
            case "erase" | "write off":
                ground = "lost" if deed == "write off" else "request"
                await erase(log, vault, ErasePerson(AREA, one, ground), f"erase:{one}", Metadata())
                erased.add(one)
            case "clean up":
                await eraser.destroy()
            case "look":
                await missing(database)
    there = {row["person"] for row in await database.fetch("select person from vault_key")}
    assert not there & erased
    assert await missing(database) == set(persons) - there - erased
    await eraser.destroy()
    assert await database.fetchval("select count(*) from key_missing") == len(await missing(database))
    await vault.stop()
    await vault.start()  # so that nothing is remembered of this example
    await database.execute("delete from vault_key")
    await database.execute("delete from key_missing")
    for person in await missing_keys.find(database, CODEC):
        await erase(log, vault, ErasePerson(AREA, person.person, "other"), str(uuid4()), Metadata())


async def test_a_missing_key_is_found_by_its_first_event_and_by_no_words_that_only_look_sealed(
    log: EventLog, vault: Vault, database: asyncpg.Connection
) -> None:
    """Anybody may write in clear what looks like something sealed, and so accuse the vault of a loss."""
    person, stranger = uuid4(), uuid4()
    forged = f"sealed:v1:{stranger}:{'A' * 60}"
    await say(log, vault, uuid4(), title=forged)
    for _ in range(2):
        await say(log, vault, person)
    for words in ("sealed:v1:", f"sealed:v1:{stranger}:AAAA", f"sealed:v1:{stranger}:{'é' * 60}", f" {forged}"):
        await log.append(uuid4(), 0, [uuid4()], [Said(words)])
    assert await missing(database) == set()
    await database.execute("delete from vault_key where person = $1", person)
    assert await missing_keys.find(database, CODEC) == [Missing(person, AREA, 2)]


async def test_who_is_sealed_in_what_a_restore_adds_is_noted_where_the_key_is_not_there(
    log: EventLog, vault: Vault, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missing_keys, "PAGE", 2)
    persons = [uuid4() for _ in range(5)]
    for person in persons:
        await say(log, vault, person)
    await database.execute("alter table vault_key disable trigger all")  # as if the events had come without the keys
    await database.execute("delete from vault_key where person = any($1)", persons[1:4])
    assert await database.fetchval(missing_keys.COUNT) == 0
    await missing_keys.note(database, CODEC, 2)
    noted = await database.fetch("select person from key_missing")
    assert {row["person"] for row in noted} == set(persons[2:4])
    await database.execute("alter table vault_key enable trigger all")
    assert await missing_keys.still(database, persons) == set(persons[1:4])
    await database.execute("drop table key_missing cascade")
    await missing_keys.note(database, CODEC, 0)  # an older release's database has none yet


async def test_the_stream_of_a_person_tells_of_the_loss_once(
    log: EventLog, vault: Vault, database: asyncpg.Connection
) -> None:
    person = uuid4()
    await say(log, vault, person)
    for ground in ("lost", "request"):
        await erase(log, vault, ErasePerson(AREA, person, ground), f"erase:{person}", Metadata())
    [told] = await log.read_stream(stream_of(person))
    assert told.event == PersonErased(AREA, person, "lost")
