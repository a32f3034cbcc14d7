"""What a region seals for another one: that one alone opens it, and its key outlives the region key that wraps it."""

from __future__ import annotations

import secrets

import asyncpg
import pytest
from rembuk.keys.referral_key import BadPublicKey, KeyPair, NotForUs, load_pair, seal_for
from rembuk.keys.region_key import RegionKey, RegionKeys, WrongRegionKey
from rembuk.sealing.vault import Vault
from rembuk.testing.tallies import TallyRegion

BRIEF = b"Tiga lampu padam di gang belakang pasar"


def pair() -> KeyPair:
    return KeyPair.of(secrets.token_bytes(32))


def test_the_region_that_it_is_sealed_for_opens_it() -> None:
    theirs = pair()
    sealed = seal_for(theirs.public_key, BRIEF, b"problem event")
    assert theirs.open(sealed, b"problem event") == BRIEF
    assert seal_for(theirs.public_key, BRIEF, b"problem event") != sealed


def test_nobody_else_opens_it_nor_as_something_else() -> None:
    theirs = pair()
    sealed = seal_for(theirs.public_key, BRIEF, b"problem event")
    flipped = sealed[:-1] + ("A" if sealed[-1] != "A" else "B")
    for who, what, associated in (
        (pair(), sealed, b"problem event"),
        (theirs, sealed, b"another problem"),
        (theirs, flipped, b"problem event"),
        (theirs, sealed.removeprefix("hpke:v1:"), b"problem event"),
        (theirs, "hpke:v1:*", b"problem event"),
        (theirs, "hpke:v1:", b"problem event"),
    ):
        with pytest.raises(NotForUs):
            who.open(what, associated)


def test_the_private_half_is_not_shown() -> None:
    private = secrets.token_bytes(32)
    assert private.hex() not in repr(KeyPair.of(private))
    assert repr(KeyPair.of(private)) == f"KeyPair({KeyPair.of(private).public_key!r})"


@pytest.mark.parametrize("text", ["", "x", "*", "A" * 42, "A" * 45, "A" * 43, "AQ" + "A" * 41])
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(BadPublicKey):
        seal_for(text, BRIEF, b"")


async def test_a_region_has_one_pair_that_survives_a_rotation_of_its_key(region: TallyRegion) -> None:
    old, new = RegionKey(secrets.token_bytes(32)), RegionKey(secrets.token_bytes(32))
    connection = await asyncpg.connect(region.url)
    first = await load_pair(connection, RegionKeys([old]), "jatim")
    vault = Vault(region.url, RegionKeys([new, old]))
    await vault.start()
    await vault.rewrap()
    await vault.stop()
    assert (await load_pair(connection, RegionKeys([new]), "jatim")).public_key == first.public_key
    with pytest.raises(WrongRegionKey):
        await load_pair(connection, RegionKeys([old]), "jatim")
    assert (await load_pair(connection, RegionKeys([new]), "jabar")).public_key != first.public_key
    await connection.close()
