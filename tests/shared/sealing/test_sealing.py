"""Keys recorded with their events, and the end of keys: together or not at all, and for good."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from itertools import count
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rembuk.contracts.privacy import Opened, PersonErased, SealedDataOpened
from rembuk.events.codec import Codec
from rembuk.events.event import Metadata
from rembuk.keys.region_key import RegionKey, RegionKeys, SpoiltKey, Tampered, WrappedKey
from rembuk.log.event_log import AlreadyRecorded, EventLog, VersionConflict
from rembuk.log.handling import handle
from rembuk.postgres.database import Pool, borrowed, connect
from rembuk.sealing import vault as vault_module
from rembuk.sealing.erasing import Eraser
from rembuk.sealing.persons import OPENINGS, ErasePerson, OpenSealed, erase, openings_of
from rembuk.sealing.vault import Erased, KeyMissing, Vault
from rembuk.testing.tallies import Counted, TallyOpened, TallyRegion

CODEC = Codec((TallyOpened, Counted, PersonErased, SealedDataOpened), {("PersonErased", 1): dict})
KEYS = RegionKeys([RegionKey(bytes(32))])


@pytest.fixture
async def log(region: TallyRegion) -> AsyncIterator[EventLog]:
    log = EventLog(region.url, CODEC)
    await log.start()
    yield log
    await log.stop()


@pytest.fixture
async def vault(region: TallyRegion) -> AsyncIterator[Vault]:
    vault = Vault(region.url, KEYS)
    await vault.start()
    yield vault
    await vault.stop()


@pytest.fixture
async def database(region: TallyRegion) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(region.url, "test")
    yield connection
    await connection.close()


async def kept(database: asyncpg.Connection) -> set[UUID]:
    return {row["person"] for row in await database.fetch("select person from vault_key")}


async def erased(log: EventLog, vault: Vault, person: UUID) -> None:
    await erase(log, vault, ErasePerson("35.78", person, "request"), str(uuid4()), Metadata())


async def noted(log: EventLog, note: str, key: WrappedKey, event_id: UUID, stream_id: UUID, version: int = 0) -> None:
    await log.append(stream_id, version, [event_id], [Counted(1, note)], keys=[key])


async def test_a_key_is_there_with_its_event(log: EventLog, vault: Vault) -> None:
    person, event_id = uuid4(), uuid4()
    new = vault.new_key(person)
    sealed = new.seal(event_id, "Siti Rahayu")
    with pytest.raises(KeyMissing):
        await vault.open(sealed, event_id)
    await noted(log, sealed, new.wrapped, event_id, uuid4())
    assert await vault.open(sealed, event_id) == "Siti Rahayu"


@pytest.mark.parametrize("refused", [AlreadyRecorded, VersionConflict])
async def test_without_its_event_a_key_is_not_kept(
    log: EventLog, vault: Vault, database: asyncpg.Connection, refused: type[Exception]
) -> None:
    first, second, event_id, stream = vault.new_key(uuid4()), vault.new_key(uuid4()), uuid4(), uuid4()
    await noted(log, "", first.wrapped, event_id, stream)
    again = (event_id, stream) if refused is AlreadyRecorded else (uuid4(), stream)
    neighbour = vault.new_key(uuid4())
    outcomes = await asyncio.gather(
        noted(log, "", second.wrapped, *again),
        noted(log, "", neighbour.wrapped, uuid4(), uuid4()),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [refused, type(None)]
    assert await kept(database) == {first.wrapped.person, neighbour.wrapped.person}


async def test_a_key_that_was_never_used_gives_way_to_the_one_that_is_recorded(log: EventLog, vault: Vault) -> None:
    person, event_id = uuid4(), uuid4()
    await vault.seal(person, uuid4(), "what a crash kept from the log")
    new = vault.new_key(person)
    sealed = new.seal(event_id, "Budi")
    await noted(log, sealed, new.wrapped, event_id, uuid4())
    assert await vault.open(sealed, event_id) == "Budi"


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=st.lists(st.integers(0, 3), min_size=1, max_size=20))
async def test_appends_with_many_keys_one_and_none_share_a_commit(
    log: EventLog, vault: Vault, database: asyncpg.Connection, keys: list[int]
) -> None:
    new = [[vault.new_key(uuid4()).wrapped for _ in range(count)] for count in keys]
    await asyncio.gather(*(log.append(uuid4(), 0, [uuid4()], [Counted(1)], keys=one) for one in new))
    assert {key.person for one in new for key in one} <= await kept(database)


@pytest.fixture
async def forgetful(region: TallyRegion) -> AsyncIterator[Vault]:
    """Another process's, which remembers no key yet."""
    vault = Vault(region.url, KEYS)
    await vault.start()
    yield vault
    await vault.stop()


async def test_a_page_is_opened_with_one_question_and_one_for_those_without_a_key(
    log: EventLog, vault: Vault, forgetful: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [uuid4() for _ in range(5)]
    persons = [uuid4(), *(uuid4(),) * 2, uuid4(), uuid4()]
    texts = [
        (await vault.seal(person, event, str(number)), event)
        for number, (person, event) in enumerate(zip(persons, events, strict=True))
    ]
    await erased(log, vault, persons[3])
    questions = count()

    def counted(pool: Pool) -> AbstractAsyncContextManager[asyncpg.Connection]:
        next(questions)
        return borrowed(pool)

    monkeypatch.setattr(vault_module, "borrowed", counted)
    assert await forgetful.open_many(texts) == ["0", "1", "2", None, "4"]
    assert await forgetful.open_many(texts[:3]) == ["0", "1", "2"]
    assert await forgetful.open_many([]) == []
    assert next(questions) == 2


async def test_what_somebody_tampered_with_takes_nothing_else_of_a_page_with_it(
    log: EventLog, database: asyncpg.Connection, vault: Vault, forgetful: Vault
) -> None:
    events, persons = [uuid4() for _ in range(5)], [uuid4() for _ in range(5)]
    texts = [(await vault.seal(*pair, "sound"), pair[1]) for pair in zip(persons, events, strict=True)]
    texts[1] = (texts[1][0], uuid4())
    await erased(log, vault, persons[2])
    await database.execute("update vault_key set wrapped = $1 where person = $2", bytes(60), persons[3])
    await database.execute("delete from vault_key where person = $1", persons[4])
    with pytest.raises(Tampered):
        await forgetful.open_many(texts)
    first, elsewhere, gone, *faults = await forgetful.open_each(texts)
    assert isinstance(gone, Erased)
    assert (first, gone.ground, type(elsewhere), *map(type, faults)) == (
        "sound", "request", Tampered, SpoiltKey, KeyMissing
    )  # fmt: skip


async def test_a_person_is_erased_once_and_the_log_tells(log: EventLog, vault: Vault) -> None:
    person, event_id = uuid4(), uuid4()
    sealed = await vault.seal(person, event_id, "Siti")
    command = ErasePerson("35.78", person, "request")
    first = await erase(log, vault, command, str(uuid4()), Metadata())
    again = await erase(log, vault, command, str(uuid4()), Metadata())
    with pytest.raises(Erased):
        await vault.open(sealed, event_id)
    assert (first.version, again.version, again.position) == (1, 1, first.position)
    assert [one.event for one in await log.read()] == [PersonErased("35.78", person, "request")]


async def test_a_key_that_a_backup_brought_back_is_destroyed_again(
    log: EventLog, vault: Vault, region: TallyRegion, database: asyncpg.Connection
) -> None:
    gone, stays = uuid4(), uuid4()
    for person in (gone, stays):
        await vault.seal(person, uuid4(), "x")
    backup = await database.fetch("select person, wrapped, key_id from vault_key")
    await erase(log, vault, ErasePerson("", gone, "request"), str(uuid4()), Metadata())
    restore = "insert into vault_key (person, wrapped, key_id) values ($1, $2, $3) on conflict do nothing"
    await database.executemany(restore, [tuple(row) for row in backup])
    assert await kept(database) == {gone, stays}
    eraser = Eraser(region.url)
    assert [await eraser.destroy(), await eraser.destroy()] == [1, 0]
    assert await kept(database) == {stays}


async def test_what_was_erased_since_is_destroyed_and_nothing_asked_twice(
    log: EventLog, vault: Vault, region: TallyRegion, database: asyncpg.Connection
) -> None:
    """As after a crash between recording an erasure and destroying the key."""
    eraser, persons = Eraser(region.url), [uuid4(), uuid4()]
    for person in persons:
        await vault.seal(person, uuid4(), "x")
    backup = [tuple(row) for row in await database.fetch("select person, wrapped, key_id from vault_key")]
    for person in persons:
        await log.append(uuid4(), 0, [uuid4()], [PersonErased("", person, "other")])
        assert await eraser.destroy() == 1
    assert await kept(database) == set()
    await database.executemany("insert into vault_key (person, wrapped, key_id) values ($1, $2, $3)", backup)
    assert await eraser.destroy() == 0
    assert await kept(database) == set(persons)


async def test_an_opening_is_a_fact_of_a_journal_beside_the_aggregate(log: EventLog) -> None:
    tally = uuid4()
    await log.append(tally, 0, [uuid4()], [TallyOpened()])
    command = OpenSealed("35.78", tally, (Opened(uuid4(), "note"),), "officer:4711", "Laporan hilang")
    for version in (1, 2):
        outcome = await handle(log, OPENINGS, openings_of(tally), command, str(uuid4()), Metadata())
        assert (outcome.stream_id, outcome.version) == (openings_of(tally), version)
    assert len(await log.read_stream(tally)) == 1
