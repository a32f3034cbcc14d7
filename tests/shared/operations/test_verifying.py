"""Verify: whatever somebody altered in a log, in what was signed of it, or in its stream is told with its position."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nats.aio.client import Client
from rembuk.broker import nats_wire, streams
from rembuk.broker.connecting import connect
from rembuk.broker.raw_stream import RawStream
from rembuk.broker.stream_names import stream_name
from rembuk.flow import quarantine
from rembuk.flow.checkpoints import Checkpoint
from rembuk.log.event_log import EventLog
from rembuk.log.relay import Relay
from rembuk.operations import against_heads, against_stream, verifying
from rembuk.operations.steps import Skipped, Verified, Verifying, Wrong
from rembuk.operations.verifying import verify
from rembuk.proof.cosignature import Cosigner
from rembuk.proof.signed_note import Signer, parts
from rembuk.testing.servers import Broker, Server, in_containers
from rembuk.testing.tallies import (
    CODEC,
    FOLLOWER,
    SERVICE,
    TallyRegion,
    background,
    count_up,
    eventually,
    forged,
    messages,
    tally_region,
)
from rembuk.transparency.signing import Signing
from rembuk.transparency.tree import origin

AT = datetime(2026, 11, 26, tzinfo=UTC)
in_a_file = pytest.mark.skipif(in_containers(), reason="the servers' files are in their containers")

Found = list[tuple[str, int, str]]
"""What is wrong, at which position, in words."""


@pytest.fixture
def signer(region: TallyRegion) -> Signer:
    return Signer(origin(region.name, SERVICE), secrets.token_bytes(32))


@pytest.fixture
def signs(region: TallyRegion, signer: Signer) -> Any:
    signs = Signing(region.url, region.name, SERVICE, signer, 0.01)
    yield signs
    signs.close()


@pytest.fixture
async def sound(log: EventLog, broker: Client, region: TallyRegion, signs: Signing) -> TallyRegion:
    """A log of 600 events under the heads of 100, 300 and 600, all of it in its stream."""
    for events in (100, 200, 300):
        await count_up(log, events)
        assert await signs.sign() is not None
    await published(region, broker, 600)
    return region


async def published(region: TallyRegion, broker: Client, events: int) -> None:
    async def level() -> None:
        assert (await broker.jetstream().stream_info(region.stream)).state.last_seq == events

    async with background(Relay(region.url, broker, region.name, SERVICE).run()):
        await eventually(level, retry=Exception)


async def verified(region: TallyRegion, broker: Client, signer: Signer) -> tuple[Found, Verified]:
    assert broker.connected_url is not None
    url = broker.connected_url.geturl()
    steps = [step async for step in verify(region.url, url, region.name, SERVICE, [signer.verifier])]
    *others, told = steps
    assert isinstance(told, Verified)
    return [(one.what, one.position, one.said) for one in others if isinstance(one, Wrong)], told


async def skipped(region: TallyRegion, broker: Client, signer: Signer) -> list[tuple[str, str, int, str, str]]:
    """What followers pass over: which, where, why and by whose decision."""
    url = broker.connected_url.geturl()  # type: ignore[union-attr]
    steps = [step async for step in verify(region.url, url, region.name, SERVICE, [signer.verifier])]
    found = [step for step in steps if isinstance(step, Skipped)]
    return [(one.follower, one.stream, one.position, one.why, one.by_whom) for one in found]


async def by_the_owner(region: TallyRegion, *how: str) -> None:
    """Whoever owns the database can alter what the service's role cannot."""
    owner = await asyncpg.connect(region.owner_url)
    for table in ("event", "tree_head", "tree_node"):
        await owner.execute(f"alter table log.{table} disable trigger append_only")
    for statement in how:
        await owner.execute(statement)
    await owner.close()


async def test_what_nobody_altered_is_found_so(
    sound: TallyRegion, log: EventLog, broker: Client, signer: Signer
) -> None:
    assert await verified(sound, broker, signer) == ([], Verified(600, 600, 3, 600, 0))
    await count_up(log, 7)  # not signed and not published yet, and no longer than that is usual
    assert await verified(sound, broker, signer) == ([], Verified(607, 600, 3, 600, 0))


async def test_an_empty_log_is_sound(region: TallyRegion, log: EventLog, broker: Client, signer: Signer) -> None:
    assert await verified(region, broker, signer) == ([], Verified(0, 0, 0, 0, 0))


@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(1, 300), min_size=1, max_size=5))
async def test_wherever_heads_and_pages_end_a_sound_log_is_found_so(
    log: EventLog, broker: Client, region: TallyRegion, signs: Signing, signer: Signer, steps: list[int]
) -> None:
    before = await log.head()
    for events in steps:
        await count_up(log, events)
        await signs.sign()
    await published(region, broker, before + sum(steps))
    found, told = await verified(region, broker, signer)
    assert (found, told.signed, told.events) == ([], before + sum(steps), before + sum(steps))


@pytest.mark.parametrize(
    "change",
    [
        "data = '{\"by\":12345}'",
        "data = (data::text || ' ')::json",
        "id = gen_random_uuid()",
        "stream_id = gen_random_uuid()",
        "version = version + 10000",
        "type = type || 's'",
        "schema_version = schema_version + 1",
        "area = '35.79'",
        """metadata = '{"actor":"somebody"}'""",
        "recorded_at = recorded_at + interval '1 microsecond'",
    ],
)
@pytest.mark.parametrize("position", [99, 300, 457])
async def test_an_altered_event_is_told_by_its_position(
    sound: TallyRegion, broker: Client, signer: Signer, change: str, position: int
) -> None:
    """By the heads, and by the stream, which would say the same if the heads had gone."""
    await by_the_owner(sound, f"update log.event set {change} where position = {position}")
    found, told = await verified(sound, broker, signer)
    assert {(what, at) for what, at, said in found if "before the one" not in said} == {
        ("log", position),
        ("stream", position),
    }
    assert ("log", position, "is not what was signed") in found
    assert told.wrong == len(found)


async def test_an_event_that_could_never_be_published_is_told(
    sound: TallyRegion, broker: Client, signer: Signer
) -> None:
    await by_the_owner(sound, "update log.event set area = E'a\\r\\nb' where position = 5")
    await by_the_owner(sound, "update log.event set metadata = '[]' where position = 6")
    found, _ = await verified(sound, broker, signer)
    assert {(what, at) for what, at, _ in found} >= {("log", 5), ("log", 6), ("stream", 5), ("stream", 6)}


async def test_removed_events_are_told_and_spoil_no_others_verdict(
    sound: TallyRegion, broker: Client, signer: Signer
) -> None:
    await by_the_owner(sound, "delete from log.event where position in (1, 300, 301, 302)")
    found, told = await verified(sound, broker, signer)
    assert found == [("log", position, "is missing in the log") for position in (1, 300, 301, 302)]
    assert told.signed == 600


async def test_what_is_recorded_and_signed_while_somebody_verifies_is_no_loss(
    sound: TallyRegion, log: EventLog, broker: Client, signer: Signer, signs: Signing
) -> None:
    url = broker.connected_url.geturl()  # type: ignore[union-attr]
    steps = verify(sound.url, url, sound.name, SERVICE, [signer.verifier])
    assert isinstance(await anext(steps), Verifying)
    await count_up(log, 7)
    assert await signs.sign() is not None
    rest = [step async for step in steps]
    assert [step for step in rest if isinstance(step, Wrong)] == []
    assert isinstance(rest[-1], Verified)


async def test_a_log_that_was_cut_short_is_told_by_heads_and_stream(
    sound: TallyRegion, broker: Client, signer: Signer
) -> None:
    await by_the_owner(sound, "delete from log.event where position > 590", "update log.head set position = 590")
    found, _ = await verified(sound, broker, signer)
    assert found == [
        ("log", 591, "the log ends at 590, but a head of 600 events was signed: the rest is gone"),
        ("stream", 591, "goes on to 600, and the log ends before that"),
    ]
    await by_the_owner(sound, "delete from log.tree_head where size = 600")
    assert (await verified(sound, broker, signer))[0] == [
        ("stream", 591, "goes on to 600, and the log ends before that"),
        ("heads", 0, "a hash is kept of subtree 1 at level 8, beyond the tree: signing will fail"),
    ]


async def test_more_than_twenty_of_a_kind_are_counted(sound: TallyRegion, broker: Client, signer: Signer) -> None:
    await by_the_owner(sound, "update log.event set data = '{\"by\":7}' where position between 201 and 250")
    found, told = await verified(sound, broker, signer)
    assert [at for what, at, _ in found if what == "log"] == list(range(201, 221))
    assert told.wrong == 100


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            "update log.tree_head set leaves = set_byte(leaves, 40, get_byte(leaves, 40) # 1) where size = 300",
            ("heads", 300, "the hashes kept of positions 101 to 300 were altered; the events are as signed"),
        ),
        (
            "update log.tree_head set leaves = substr(leaves, 33) where size = 300",
            ("heads", 300, "the hashes kept of positions 101 to 300 were altered; the events are as signed"),
        ),
        (
            "update log.tree_head set unpublished = set_byte(unpublished, 0, get_byte(unpublished, 0) # 1)"
            " where size = 100",
            ("log", 100, "the fingerprints of commands in positions 1 to 100 were altered"),
        ),
        (
            "update log.tree_node set hash = set_byte(hash, 0, get_byte(hash, 0) # 1) where index = 1",
            ("heads", 512, "the hash stored of subtree 1 at level 8 is not its leaves'"),
        ),
        (
            "delete from log.tree_node where index = 0",
            ("heads", 256, "the hash stored of subtree 0 at level 8 is not its leaves'"),
        ),
    ],
    ids=["leaves", "fewer leaves", "fingerprints", "node", "no node"],
)
async def test_what_is_kept_of_the_tree_is_verified_too(
    sound: TallyRegion, broker: Client, signer: Signer, change: str, expected: tuple[str, int, str]
) -> None:
    await by_the_owner(sound, change)
    assert (await verified(sound, broker, signer))[0] == [expected]


async def test_whoever_alters_an_event_and_its_hash_does_not_reach_the_signed_root(
    sound: TallyRegion, broker: Client, signer: Signer, log: EventLog, signs: Signing
) -> None:
    """The root is what the key has signed; from there on no root can be followed, but events go on being compared."""
    await by_the_owner(
        sound,
        "update log.event set data = '{\"by\":7}' where position = 150",
        "update log.tree_head set leaves = set_byte(leaves, 32 * 49, get_byte(leaves, 32 * 49) # 1) where size = 300",
        "update log.event set data = '{\"by\":7}' where position = 420",
    )
    found, told = await verified(sound, broker, signer)
    said = "positions 101 to 300 do not lead to the signed root: events and their hashes were altered"
    assert ("heads", 300, said) in found
    assert ("log", 420, "is not what was signed") in found
    assert told.signed == 100


@pytest.mark.parametrize("size", [100, 600])
async def test_a_head_that_another_key_signed_is_told(
    sound: TallyRegion, broker: Client, signer: Signer, size: int
) -> None:
    """As everybody who owns a database could sign it."""
    stranger = Signer(origin(sound.name, SERVICE), secrets.token_bytes(32))
    connection = await asyncpg.connect(sound.url)
    note = await connection.fetchval("select note from log.tree_head where size = $1", size)
    await connection.close()
    forged_note = stranger.sign(note.partition("\n\n")[0] + "\n")
    await by_the_owner(sound, f"update log.tree_head set note = '{forged_note}' where size = {size}")
    found, _ = await verified(sound, broker, signer)
    assert [(what, at) for what, at, _ in found] == [("heads", size)]
    assert "no key that is trusted here has signed it" in found[0][2]


async def test_a_head_of_another_log_in_the_place_of_ours_is_told(
    sound: TallyRegion, broker: Client, signer: Signer
) -> None:
    """It is signed by our key all right."""
    connection = await asyncpg.connect(sound.url)
    note = await connection.fetchval("select note from log.tree_head where size = 100")
    await connection.close()
    await by_the_owner(sound, f"update log.tree_head set note = '{note}' where size = 300")
    found, _ = await verified(sound, broker, signer)
    assert found == [
        ("heads", 300, f"the head of 300 events is not as it was signed: it is of 100 events of {signer.verifier.name}")
    ]


async def by_the_service(region: TallyRegion, statement: str, *arguments: Any) -> None:
    """As whoever has got hold of a service's password can."""
    connection = await asyncpg.connect(region.url)
    await connection.execute(statement, *arguments)
    await connection.close()


async def test_a_key_that_is_none_of_this_logs_is_told(sound: TallyRegion, broker: Client, signer: Signer) -> None:
    name = signer.verifier.name
    strangers = ["no key", str(Signer("polmas/evil/x", bytes(32)).verifier), str(Signer(name, bytes(32)).verifier)]
    for key in strangers:
        await by_the_service(sound, "select log.add_tree_key($1)", key)
    found, _ = await verified(sound, broker, signer)
    assert sorted(found) == sorted(
        ("heads", 0, f"{key!r} is kept among the keys of this log, and is none that is trusted here")
        for key in strangers
    )


async def test_what_is_kept_as_a_cosignature_and_is_none_is_told(
    sound: TallyRegion, broker: Client, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(against_heads, "COSIGNATURES", 2)
    cosigner, other = Cosigner("polmas/x/w", b"w" * 32), Cosigner("polmas/x/w", b"o" * 32)
    connection = await asyncpg.connect(sound.url)
    notes = dict(await connection.fetch("select size, note from log.tree_head"))
    await connection.close()
    own = {size: str(cosigner.cosign(parts(note)[0], AT)) for size, note in notes.items()}
    kept = [
        (100, str(cosigner.verifier), own[100], None),
        (300, str(cosigner.verifier), own[100], "the signature of polmas/x/w is not of this text"),
        (300, str(other.verifier), own[300], "it is not by the witness that it is kept of"),
        (600, str(cosigner.verifier), own[600].rstrip(), "it is not by the witness that it is kept of"),
        (600, str(other.verifier), "\u2014 x AAAA\n", "a line under it is no signature"),
        (600, "x", own[600], "'x' is no verifier key: name+12345678+<base64>"),
    ]
    for size, witness, line, _ in kept:
        await by_the_service(sound, "select log.add_tree_cosignature($1, $2, $3, now())", size, witness, line)
    found, _ = await verified(sound, broker, signer)
    assert sorted(found) == sorted(
        ("heads", size, f"what is kept as the cosignature of {witness!r} is none: {said}")
        for size, witness, _, said in kept
        if said
    )


async def test_a_hash_beyond_the_tree_is_told_before_it_stops_the_signing(
    sound: TallyRegion, broker: Client, signer: Signer
) -> None:
    for level, index in ((8, 2), (16, 0), (64, 0)):
        await by_the_owner(sound, f"insert into log.tree_node values ({level}, {index}, sha256('')::bytea)")
    assert (await verified(sound, broker, signer))[0] == [
        ("heads", 0, f"a hash is kept of subtree {index} at level {level}, beyond the tree: signing will fail")
        for level, index in ((8, 2), (16, 0), (64, 0))
    ]


async def test_a_clock_that_was_set_ahead_is_told(sound: TallyRegion, broker: Client, signer: Signer) -> None:
    await by_the_owner(sound, "update log.head set recorded_at = recorded_at + interval '9 years'")
    said = "log.head tells another time: no event would be recorded before that"
    assert (await verified(sound, broker, signer))[0] == [("log", 600, said)]


async def test_a_follower_that_stands_beyond_the_end_is_told(
    sound: TallyRegion, broker: Client, signer: Signer
) -> None:
    """Of its own log, another service's stream that is not there, and one that nobody has."""
    theirs = stream_name(sound.name, "reports")
    for follower, stream, position in (
        ("level", sound.stream, 600),
        ("new", theirs, 0),
        ("ahead", sound.stream, 601),
        ("alerts", theirs, 100_000),
        ("lost", "no stream\r\n", 1),
    ):
        put = "insert into checkpoint (follower, stream, position) values ($1, $2, $3)"
        await by_the_service(sound, put, follower, stream, position)
    said = "the checkpoint of {} is beyond the end of {}, {}"
    assert (await verified(sound, broker, signer))[0] == [
        ("followers", 601, said.format("ahead", sound.stream, 600)),
        ("followers", 100_000, said.format("alerts", theirs, 0)),
        ("followers", 1, said.format("lost", "no stream\r\n", 0)),
    ]


async def test_what_an_operator_had_skipped_is_listed_with_his_reason_and_is_not_wrong(
    sound: TallyRegion, broker: Client, signer: Signer
) -> None:
    connection = await asyncpg.connect(sound.url)
    checkpoint, message = Checkpoint(sound.url, FOLLOWER, sound.stream), (await messages(broker, sound.stream))[16]
    await quarantine.set_aside(connection, checkpoint, message, ValueError("it cannot be taken"))
    assert await quarantine.skip(connection, checkpoint, 17, "a test", "Siti")
    as_before = "replace(headers::text, 'rembuk:/', '/')::jsonb - 'ce-datacontenttype'"
    published_anew = f"""headers = ({as_before} || '{{"Nats-Batch-Sequence": "9"}}')::json"""
    await connection.execute(f"update skipped set {published_anew}")
    await connection.close()
    assert await skipped(sound, broker, signer) == [(FOLLOWER, sound.stream, 17, "a test", "Siti")]
    assert (await verified(sound, broker, signer))[0] == []


@pytest.mark.parametrize("change", ["data = '{}'", "headers = '{}'", "headers = '[]'", "position = 18", "stream = 'x'"])
async def test_a_skip_of_what_never_came_to_quarantine_is_told(
    sound: TallyRegion, broker: Client, signer: Signer, change: str
) -> None:
    connection = await asyncpg.connect(sound.url)
    checkpoint, message = Checkpoint(sound.url, FOLLOWER, sound.stream), (await messages(broker, sound.stream))[16]
    await quarantine.set_aside(connection, checkpoint, message, None)
    await quarantine.skip(connection, checkpoint, 17, "a test", "Siti")
    await connection.execute(f"update skipped set {change}")
    await connection.close()
    [(_, stream, position, _, _)] = await skipped(sound, broker, signer)
    said = f"{FOLLOWER} skips it, and what is kept of that is not the event there in {stream!r}"
    assert (await verified(sound, broker, signer))[0] == [("followers", position, said)]


async def test_signing_and_publishing_that_stand_still_are_told(
    sound: TallyRegion, log: EventLog, broker: Client, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await count_up(log, 3)
    monkeypatch.setattr(against_heads, "UNSIGNED_S", 0.0)
    monkeypatch.setattr(against_stream, "STANDS_STILL_S", 0.0)
    assert (await verified(sound, broker, signer))[0] == [
        ("heads", 601, "nothing was signed from here on: see the log of the worker"),
        ("stream", 601, "nothing was published from here on: see the log of the worker"),
    ]


async def test_an_altered_stream_is_told_by_position(sound: TallyRegion, broker: Client, signer: Signer) -> None:
    def alter(position: int, headers: dict[str, str], data: bytes) -> bytes:
        if position == 42:
            headers["ce-time"] = "2001-01-01T00:00:00+00:00"
        if position == 43:
            headers["ce-actor"] = "somebody"
        return data.replace(b"{", b"[", 1) if position == 17 else data

    time = (await messages(broker, sound.stream))[41].headers["ce-time"]  # type: ignore[index]
    await forged(sound, broker, alter)
    assert (await verified(sound, broker, signer))[0] == [
        ("stream", 17, "has other data in the stream"),
        ("stream", 42, f"has another ce-time in the stream: '2001-01-01T00:00:00+00:00', not '{time}'"),
        ("stream", 43, "has headers in the stream that no relay writes"),
    ]


async def test_what_a_release_before_published_is_as_sound(sound: TallyRegion, broker: Client, signer: Signer) -> None:
    def as_before(position: int, headers: dict[str, str], data: bytes) -> bytes:
        if position < 300:
            headers["ce-dataschema"] = headers["ce-dataschema"].removeprefix("rembuk:")
        if position < 300 or position == 444:
            del headers["ce-datacontenttype"]
        return data

    await forged(sound, broker, as_before)
    half = "has headers in the stream that no relay writes"
    assert (await verified(sound, broker, signer))[0] == [("stream", 444, half)]


async def test_messages_that_are_gone_are_told(sound: TallyRegion, broker: Client, signer: Signer) -> None:
    jetstream = broker.jetstream()
    await jetstream.delete_stream(sound.stream)
    config = streams.stream_config(sound.name, SERVICE)
    config.deny_delete = config.deny_purge = False
    await jetstream.add_stream(config)
    await published(sound, broker, 600)
    for position in (1, 299, 300):
        await jetstream.delete_msg(sound.stream, position)
    found, _ = await verified(sound, broker, signer)
    assert found == [("stream", position, "is missing in the stream") for position in (1, 299, 300)]


@in_a_file
async def test_a_byte_that_changed_in_the_streams_file_is_told(
    log: EventLog, region: TallyRegion, signs: Signing, signer: Signer, own_nats: Callable[[], Broker]
) -> None:
    server = own_nats()
    broker = await connect(server.url, "test")
    await count_up(log, 300)
    await signs.sign()
    await published(region, broker, 300)
    at_100 = (await messages(broker, region.stream))[99].headers["ce-id"].encode()  # type: ignore[index]
    await broker.close()
    server.stop()
    changed = [flipped(path, at_100) for path in Path(server.data).rglob("*.blk")]  # type: ignore[attr-defined]
    assert any(changed)
    server.start()
    broker = await connect(server.url, "test")
    found, told = await verified(region, broker, signer)
    assert ("stream", 100) in [(what, at) for what, at, _ in found]
    assert told.wrong
    await broker.close()


@in_a_file
async def test_a_byte_that_changed_in_postgres_file_is_told(broker: Client, own_postgres: Callable[[], Server]) -> None:
    """PostgreSQL's checksum tells, and refuses the page: all events on it cannot be read, the others are as signed."""
    server = own_postgres()
    region = await tally_region(server.url)
    log = EventLog(region.url, CODEC)
    await log.start()
    await count_up(log, 300)
    signer = Signer(origin(region.name, SERVICE), secrets.token_bytes(32))
    signs = Signing(region.url, region.name, SERVICE, signer, 0.01)
    await signs.sign()
    signs.close()
    await published(region, broker, 300)
    at_100 = (await log.read(99, 1))[0].id
    await log.stop()
    server.stop()
    changed = [flipped(path, at_100.bytes) for path in Path(server.data).rglob("base/*/*")]  # type: ignore[attr-defined]
    assert any(changed)
    server.start()
    found, told = await verified(region, broker, signer)
    unreadable = [at for what, at, said in found if what == "log" and "cannot be read: invalid page" in said]
    assert 100 in unreadable or len(unreadable) == verifying.TOLD
    assert {what for what, _, _ in found} == {"log"}
    assert (told.signed, told.wrong < 200) == (300, True)


def flipped(path: Path, after: bytes) -> bool:
    """One bit behind the first place where `after` stands in a file; whether it stands there."""
    content = bytearray(path.read_bytes())
    at = content.find(after)
    if at >= 0:
        content[at + len(after) + 30] ^= 1
        path.write_bytes(content)
    return at >= 0


async def test_it_says_how_far_it_is_and_changes_nothing(
    sound: TallyRegion, broker: Client, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "PAGE_EVENTS", 250)
    url = broker.connected_url.geturl()  # type: ignore[union-attr]
    steps = [step async for step in verify(sound.url, url, sound.name, SERVICE, [signer.verifier])]
    told = [(step.position, step.target) for step in steps if isinstance(step, Verifying)]
    assert told == [(250, 600), (500, 600), (600, 600)]
    assert (await verified(sound, broker, signer))[0] == []


async def test_a_stream_is_read_raw_as_nats_py_reads_it(sound: TallyRegion, broker: Client, nats_url: str) -> None:
    raw = RawStream()
    await raw.connect(nats_url)
    await raw.begin(sound.stream)
    read = []
    while len(read) < 600:
        read += await raw.more()
    held = await messages(broker, sound.stream)
    assert [(one.sequence, one.subject.decode(), one.data) for one in read] == [
        (streams.sequence(message), message.subject, message.data) for message in held
    ]
    assert [nats_wire.parse_header_lines(one.header) for one in read] == [message.headers for message in held]
    assert await raw.one(sound.stream, 601) is None
    await raw.close()
