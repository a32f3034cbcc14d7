"""The rules of the vault: what is sealed opens for its event alone and ends with its person's key."""

import asyncio
import base64
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rembuk.keys.key_setting import BadKey
from rembuk.keys.region_key import RegionKey, RegionKeys, Tampered, WrongRegionKey
from rembuk.postgres.database import Pool, Unavailable, borrowed
from rembuk.sealing import vault as vault_module
from rembuk.sealing.vault import KEPT_KEYS, TRUSTED_SECONDS, Erased, NotSealed, Vault, person_of, stream_of

KEY = secrets.token_bytes(32)
REGION = RegionKey(KEY)
CANARY = "Siti Rahayu 0812-3456-7890"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def database(postgres_url: str) -> AsyncIterator[str]:
    """A vault's own, gone afterwards."""
    name = f"vault_{uuid4().hex}"
    server = await asyncpg.connect(postgres_url)
    await server.execute(f"create database {name}")
    url = urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
    connection = await asyncpg.connect(url)
    await connection.execute(files("rembuk.postgres.kernel").joinpath("0003_vault.sql").read_text())
    event = "stream_id uuid, type text, data json, position serial"
    await connection.execute(f"create schema log; create table log.event ({event})")
    await connection.close()
    yield url
    await server.execute(f"drop database if exists {name} with (force)")
    await server.close()


@pytest.fixture(scope="module")
async def url(postgres_url: str) -> AsyncIterator[str]:
    async with database(postgres_url) as url:
        yield url


@pytest.fixture
async def new_url(postgres_url: str) -> AsyncIterator[str]:
    """A vault that nobody has used yet."""
    async with database(postgres_url) as url:
        yield url


class Region(Vault):
    """A vault beside a log, which tells of each erasure before the key is destroyed."""

    async def erase(self, person: UUID) -> bool:
        await self._ask(
            "insert into log.event values ($1, 'PersonErased', $2)", stream_of(person), f'{{"person": "{person}"}}'
        )
        return await super().erase(person)


@asynccontextmanager
async def opened(url: str, *region_keys: RegionKey, **options: Any) -> AsyncIterator[Vault]:
    vault = Region(url, RegionKeys(region_keys or (REGION,)), "test", **options)
    await vault.start()
    try:
        yield vault
    finally:
        await vault.stop()


@pytest.fixture(scope="module")
async def vault(url: str) -> AsyncIterator[Vault]:
    async with opened(url) as vault:
        yield vault


@pytest.fixture(scope="module")
async def elsewhere(url: str) -> AsyncIterator[Vault]:
    """Another process, as far as the vault can tell."""
    async with opened(url) as vault:
        yield vault


async def sql(url: str, query: str, *arguments: object) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query, *arguments)
    finally:
        await connection.close()


def split(sealed: str) -> tuple[str, bytes]:
    head, _, body = sealed.rpartition(":")
    return head, base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))


def joined(head: str, data: bytes) -> str:
    return f"{head}:{base64.urlsafe_b64encode(data).decode().rstrip('=')}"


@given(clear=st.text(st.characters(codec="utf-8")), person=st.uuids(), event_id=st.uuids())
async def test_what_was_sealed_opens_again_in_every_process(
    vault: Vault, elsewhere: Vault, clear: str, person: UUID, event_id: UUID
) -> None:
    sealed = await vault.seal(person, event_id, clear)
    assert await vault.open(sealed, event_id) == clear
    assert await elsewhere.open(sealed, event_id) == clear
    assert person_of(sealed) == person


async def test_bytes_of_utf_8_are_sealed_as_their_text(vault: Vault) -> None:
    person, event_id = uuid4(), uuid4()
    assert await vault.open(await vault.seal(person, event_id, "Ñusa".encode()), event_id) == "Ñusa"


@pytest.mark.parametrize("clear", [b"\xff", b"\xed\xa0\x80", "\ud800"])
async def test_what_could_not_be_opened_as_text_is_not_sealed(vault: Vault, clear: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"^only UTF-8 text can be sealed$"):
        await vault.seal(uuid4(), uuid4(), clear)


async def test_the_same_text_is_never_sealed_to_the_same_string(vault: Vault) -> None:
    person, event_id = uuid4(), uuid4()
    assert len({await vault.seal(person, event_id, "x") for _ in range(100)}) == 100


async def test_first_seals_at_once_in_two_processes_end_with_one_key(url: str) -> None:
    persons, event_id = [uuid4() for _ in range(30)], uuid4()
    async with opened(url) as one, opened(url) as other:
        sealed = await asyncio.gather(
            *(vault.seal(person, event_id, CANARY) for person in persons for vault in (one, other, one, other))
        )
        for vault in (one, other):
            assert {await vault.open(each, event_id) for each in sealed} == {CANARY}
    async with opened(url) as afterwards:
        assert {await afterwards.open(each, event_id) for each in sealed} == {CANARY}
    assert await sql(url, "select count(*) from vault_key where person = any($1)", persons) == len(persons)


async def test_a_key_is_stored_before_anything_sealed_with_it_is_handed_out(vault: Vault, url: str) -> None:
    person = uuid4()
    await vault.seal(person, uuid4(), "x")
    assert await sql(url, "select key_id from vault_key where person = $1", person) == REGION.key_id


async def test_neither_a_person_s_key_nor_the_text_stands_in_the_table(vault: Vault, url: str) -> None:
    person, event_id = uuid4(), uuid4()
    await vault.seal(person, event_id, CANARY)
    wrapped = await sql(url, "select wrapped from vault_key where person = $1", person)
    assert REGION.unwrap(person, wrapped) not in wrapped
    assert CANARY.encode() not in wrapped


@pytest.mark.parametrize("region", ["nonce", "ciphertext", "tag"])
async def test_no_byte_can_be_changed(vault: Vault, region: str) -> None:
    event_id = uuid4()
    head, data = split(await vault.seal(uuid4(), event_id, CANARY))
    places = {
        "nonce": range(12),
        "ciphertext": range(12, len(data) - 16),
        "tag": range(len(data) - 16, len(data)),
    }
    for place in places[region]:
        changed = bytearray(data)
        changed[place] ^= 1 << (place % 8)
        with pytest.raises(Tampered):
            await vault.open(joined(head, bytes(changed)), event_id)


@pytest.mark.parametrize("cut", [slice(1, None), slice(0, -1)])
async def test_no_byte_can_be_cut_off(vault: Vault, cut: slice) -> None:
    event_id = uuid4()
    head, data = split(await vault.seal(uuid4(), event_id, CANARY))
    with pytest.raises(Tampered):
        await vault.open(joined(head, data[cut]), event_id)


@given(data=st.data())
async def test_no_character_can_be_changed(vault: Vault, data: st.DataObject) -> None:
    event_id = uuid4()
    sealed = await vault.seal(UUID(int=7), event_id, CANARY)
    place = data.draw(st.integers(0, len(sealed) - 1))
    character = data.draw(st.characters().filter(lambda c: c != sealed[place]))
    with pytest.raises((Tampered, NotSealed, Erased)):
        await vault.open(sealed[:place] + character + sealed[place + 1 :], event_id)


async def test_a_sealing_opens_for_its_own_event_only(vault: Vault) -> None:
    sealed = await vault.seal(uuid4(), uuid4(), CANARY)
    with pytest.raises(Tampered):
        await vault.open(sealed, uuid4())


async def test_a_sealing_cannot_be_given_to_another_person(vault: Vault) -> None:
    person, other, event_id = uuid4(), uuid4(), uuid4()
    sealed = await vault.seal(person, event_id, CANARY)
    await vault.seal(other, event_id, "x")
    with pytest.raises(Tampered):
        await vault.open(sealed.replace(str(person), str(other)), event_id)


async def test_a_stored_key_cannot_be_given_to_another_person(vault: Vault, url: str) -> None:
    person, other, event_id = uuid4(), uuid4(), uuid4()
    sealed = await vault.seal(person, event_id, CANARY)
    await sql(
        url,
        "insert into vault_key select $2, wrapped, key_id from vault_key where person = $1",
        person,
        other,
    )
    for attempt in (
        vault.open(sealed.replace(str(person), str(other)), event_id),
        vault.seal(other, event_id, CANARY),
    ):
        with pytest.raises(Tampered):
            await attempt


@pytest.mark.parametrize(
    "text",
    [
        "",
        CANARY,
        "sealed:v1:",
        "sealed:v1:{person}",
        "sealed:v1:{person}:",
        "sealed:v2:{person}:{body}",
        "sealed:v1:{person}:{body}=",
        "sealed:v1:{person}:{body}\n",
        " sealed:v1:{person}:{body}",
        "sealed:v1:{{{person}}}:{body}",
        "sealed:v1:{upper}:{body}",
        "sealed:v1:{person}:{body}A",  # 41 characters: no bytes have that length
        "sealed:v1:{person}:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB",  # bits beyond the last byte
        "sealed:v1:{person}:+{body}",
    ],
)
async def test_what_seal_did_not_write_is_not_sealed(vault: Vault, text: str) -> None:
    person = uuid4()
    body = "A" * 40
    malformed = text.format(person=person, upper=f"A{str(person)[1:]}", body=body)
    with pytest.raises(NotSealed):
        await vault.open(malformed, uuid4())
    with pytest.raises(NotSealed):
        person_of(malformed)


async def test_who_is_erased_here_cannot_be_opened_here_any_more(vault: Vault) -> None:
    person, event_id = uuid4(), uuid4()
    sealed = await vault.seal(person, event_id, CANARY)
    assert await vault.open(sealed, event_id) == CANARY
    assert await vault.erase(person) is True
    with pytest.raises(Erased):
        await vault.open(sealed, event_id)
    assert person_of(sealed) == person


async def test_erasing_again_or_a_stranger_changes_nothing(vault: Vault) -> None:
    person = uuid4()
    assert await vault.erase(person) is False
    await vault.seal(person, uuid4(), "x")
    assert [await vault.erase(person), await vault.erase(person)] == [True, False]


async def test_an_erasure_leaves_others_alone(vault: Vault) -> None:
    event_id = uuid4()
    sealed = await vault.seal(uuid4(), event_id, CANARY)
    gone = uuid4()
    await vault.seal(gone, event_id, "x")
    await vault.erase(gone)
    assert await vault.open(sealed, event_id) == CANARY


async def test_an_erasure_elsewhere_is_noticed_within_five_seconds(url: str, elsewhere: Vault) -> None:
    person, event_id, clock = uuid4(), uuid4(), Clock()
    async with opened(url, clock=clock) as vault:
        sealed = await vault.seal(person, event_id, CANARY)
        assert await elsewhere.erase(person)
        clock.now = TRUSTED_SECONDS
        with pytest.raises(Erased):
            await vault.open(sealed, event_id)
    assert TRUSTED_SECONDS <= 5


async def test_using_a_key_does_not_put_off_asking_for_it_again(url: str, elsewhere: Vault) -> None:
    person, event_id, clock = uuid4(), uuid4(), Clock()
    async with opened(url, clock=clock) as vault:
        sealed = await vault.seal(person, event_id, CANARY)
        assert await elsewhere.erase(person)
        clock.now = TRUSTED_SECONDS - 0.1
        assert await vault.open(sealed, event_id) == CANARY
        clock.now = TRUSTED_SECONDS
        with pytest.raises(Erased):
            await vault.open(sealed, event_id)


async def test_a_key_read_while_its_person_is_erased_is_not_remembered(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, event_id = uuid4(), uuid4()
    async with opened(url, clock=Clock()) as vault, opened(url) as sealer:
        sealed = await sealer.seal(person, event_id, CANARY)
        read, erased = asyncio.Event(), asyncio.Event()

        @asynccontextmanager
        async def the_first_returns_late(pool: Pool) -> AsyncIterator[asyncpg.Connection]:
            async with borrowed(pool) as connection:
                yield connection
            if not read.is_set():
                read.set()
                await erased.wait()

        monkeypatch.setattr(vault_module, "borrowed", the_first_returns_late)
        opening = asyncio.create_task(vault.open(sealed, event_id))
        await read.wait()
        assert await vault.erase(person)
        erased.set()
        assert await opening == CANARY  # it was read before the erasure was done
        with pytest.raises(Erased):
            await vault.open(sealed, event_id)


async def test_a_key_remade_elsewhere_is_asked_for_before_anything_is_called_tampered(
    url: str, elsewhere: Vault
) -> None:
    person, event_id = uuid4(), uuid4()
    async with opened(url, clock=Clock()) as vault:
        before = await vault.seal(person, event_id, "before")
        await elsewhere.erase(person)
        after = await elsewhere.seal(person, event_id, "after")
        assert await vault.open(after, event_id) == "after"
        with pytest.raises(Tampered):
            await vault.open(before, event_id)


async def test_keys_are_remembered_for_a_bounded_number_of_persons(
    new_url: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert KEPT_KEYS == 1_000
    monkeypatch.setattr(vault_module, "KEPT_KEYS", 3)
    event_id, often = uuid4(), uuid4()
    others = [uuid4() for _ in range(5)]
    async with opened(new_url, clock=Clock()) as vault:
        sealed = {often: await vault.seal(often, event_id, "x")}
        for other in others:
            sealed[other] = await vault.seal(other, event_id, "x")
            await vault.seal(often, event_id, "x")
        await sql(postgres_url, f"drop database {new_url.rpartition('/')[2]} with (force)")
        remembered = set()
        for person, text in sealed.items():
            with suppress(Unavailable):
                assert await vault.open(text, event_id) == "x"
                remembered.add(person)
    assert remembered == {others[3], others[4], often}


async def test_a_remembered_key_serves_while_the_database_is_away(new_url: str, postgres_url: str) -> None:
    person, event_id = uuid4(), uuid4()
    async with opened(new_url, clock=Clock()) as vault:
        sealed = await vault.seal(person, event_id, CANARY)
        await sql(postgres_url, f"drop database {new_url.rpartition('/')[2]} with (force)")
        assert await vault.open(sealed, event_id) == CANARY
        with pytest.raises(Unavailable):
            await vault.open(sealed.replace(str(person), str(uuid4())), event_id)


async def test_a_database_that_cannot_be_reached_is_unavailable(url: str) -> None:
    sealed = f"sealed:v1:{uuid4()}:{'A' * 40}"
    async with opened(urlsplit(url)._replace(path="/nowhere").geturl()) as vault:
        for attempt in (vault.seal(uuid4(), uuid4(), "x"), vault.open(sealed, uuid4()), vault.erase(uuid4())):
            with pytest.raises(Unavailable):
                await attempt


async def test_another_region_key_is_told_from_tampering(vault: Vault, url: str) -> None:
    person, event_id = uuid4(), uuid4()
    sealed = await vault.seal(person, event_id, CANARY)
    other = RegionKey(secrets.token_bytes(32))
    async with opened(url, other) as wrong:
        for attempt in (wrong.open(sealed, event_id), wrong.seal(person, event_id, CANARY)):
            with pytest.raises(WrongRegionKey, match=f"{REGION.key_id}.*{other.key_id}"):
                await attempt
        assert await wrong.erase(person)  # who cannot read may still erase


async def test_a_new_region_key_takes_over_from_the_old_one_in_steps(new_url: str) -> None:
    people = {uuid4(): uuid4() for _ in range(7)}
    new = RegionKey(secrets.token_bytes(32))
    async with opened(new_url) as before:
        sealed = {person: await before.seal(person, event_id, CANARY) for person, event_id in people.items()}
    async with opened(new_url, new, REGION) as both:
        for person, event_id in people.items():
            assert await both.open(sealed[person], event_id) == CANARY
        assert [await both.rewrap(limit=3) for _ in range(4)] == [3, 3, 1, 0]
    async with opened(new_url, new) as after, opened(new_url) as before:
        for person, event_id in people.items():
            assert await after.open(sealed[person], event_id) == CANARY
            with pytest.raises(WrongRegionKey):
                await before.open(sealed[person], event_id)


async def test_a_key_whose_wrapping_key_is_not_at_hand_stops_the_taking_over(new_url: str) -> None:
    async with opened(new_url) as before:
        await before.seal(uuid4(), uuid4(), CANARY)
    async with opened(new_url, RegionKey(secrets.token_bytes(32))) as stranger:
        with pytest.raises(WrongRegionKey, match=REGION.key_id):
            await stranger.rewrap()
    assert await sql(new_url, "select key_id from vault_key") == REGION.key_id


async def test_no_error_and_no_log_line_carries_the_text_or_a_key(
    url: str, vault: Vault, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    event_id, gone, person = uuid4(), uuid4(), uuid4()
    sealed, of_gone = await vault.seal(person, event_id, CANARY), await vault.seal(gone, event_id, CANARY)
    await vault.erase(gone)
    away = urlsplit(url)._replace(path="/nowhere").geturl()
    async with opened(url, RegionKey(secrets.token_bytes(32))) as wrong, opened(away) as unreachable:
        attempts = {
            Erased: vault.open(of_gone, event_id),
            Tampered: vault.open(sealed, uuid4()),
            WrongRegionKey: wrong.seal(person, event_id, CANARY),
            NotSealed: vault.open(CANARY, event_id),
            ValueError: vault.seal(person, event_id, CANARY.encode() + b"\xff"),
            Unavailable: unreachable.seal(person, event_id, CANARY),
        }
        errors: list[BaseException] = []
        for kind, attempt in attempts.items():
            with pytest.raises(kind) as raised:
                await attempt
            errors.append(raised.value)
        with pytest.raises(ValueError) as surrogate:
            await vault.seal(person, event_id, f"{CANARY}\ud800")
        errors.append(surrogate.value)
    with pytest.raises(BadKey) as mistyped:
        RegionKeys.load(base64.b64encode(KEY).decode()[1:])
    errors.append(mistyped.value)

    own = REGION.unwrap(person, await sql(url, "select wrapped from vault_key where person = $1", person))
    secret = [CANARY, *(spelling for key in (KEY, own) for spelling in spellings(key))]
    while errors:
        error = errors.pop()
        for shown in (str(error), repr(error), repr(error.args), repr(vars(error))):
            assert not [each for each in secret if each in shown]
        errors += [other for other in (error.__cause__, error.__context__) if other is not None]
    assert not [each for each in secret if each in caplog.text]


def spellings(key: bytes) -> list[str]:
    return [
        key.hex(),
        repr(key)[2:-1],
        base64.b64encode(key).decode()[2:40],
        base64.urlsafe_b64encode(key).decode()[2:40],
    ]
