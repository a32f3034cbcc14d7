"""The relay: the stream is the log, event for event, sequence for position, whatever fails in between."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import nats.errors
import nats.js.errors
import pytest
from nats.aio.client import Client
from rembuk.broker.connecting import connect
from rembuk.broker.streams import stream_config
from rembuk.log import relay as relay_module
from rembuk.log.event_log import EventLog
from rembuk.log.relay import Relay, StreamAhead, StreamDiverged
from rembuk.testing.servers import Broker
from rembuk.testing.tallies import SERVICE, TallyRegion, background, count_up, eventually, level, messages

AWAY = (AssertionError, nats.errors.Error, nats.js.errors.Error)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that waits for the broker's word for one second instead of ten."""
    monkeypatch.setattr(relay_module, "ACK_TIMEOUT_S", 1.0)


def relay_of(region: TallyRegion, broker: Client) -> Relay:
    return Relay(region.url, broker, region.name, SERVICE)


async def relayed_once(relay: Relay) -> None:
    """What `run` would try again and again, once."""
    try:
        await asyncio.wait_for(relay.relay(), 10)
    finally:
        relay.connection.drop()


async def becomes_level(log: EventLog, broker: Client, region: TallyRegion) -> None:
    head = await log.head()

    async def at_head() -> None:
        assert (await broker.jetstream().stream_info(region.stream)).state.last_seq == head

    await eventually(at_head, 40, AWAY)
    await level(log, broker, region.stream)


class Lossy:
    """A TCP proxy to a broker that can swallow the broker's answers from a certain message on, and be cut."""

    def __init__(self, url: str) -> None:
        self._port = int(url.rpartition(":")[2])
        self._open: set[asyncio.StreamWriter] = set()
        self.deaf_after = b""
        self.deaf = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        async with server:
            yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            self.cut()

    def cut(self) -> None:
        """End every connection; those that come later are heard again."""
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()
        self.deaf_after = b""
        self.deaf.clear()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._open |= {writer, back}
        await asyncio.gather(self._ask(reader, back), self._answer(there, writer))

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = b""
        while data := await self._read(reader):
            seen = (seen + data)[-len(data) - 100 :]
            if self.deaf_after and self.deaf_after in seen:
                self.deaf.set()
            writer.write(data)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await self._read(reader):
            if not self.deaf.is_set():
                writer.write(data)

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.read(65536)
        except ConnectionError:
            return b""


@pytest.mark.parametrize("count", [1, 2, 3, 499, 500, 501, 1_001])
async def test_every_event_is_published_at_its_position(
    log: EventLog, broker: Client, region: TallyRegion, count: int
) -> None:
    await count_up(log, count)
    async with background(relay_of(region, broker).run()):
        await becomes_level(log, broker, region)


async def test_events_are_published_as_they_are_recorded(log: EventLog, broker: Client, region: TallyRegion) -> None:
    async with background(relay_of(region, broker).run()):
        for count in (1, 1, 7, 800, 2):
            await count_up(log, count, tallies=5)
            await becomes_level(log, broker, region)


async def test_a_relay_started_again_goes_on_where_the_stream_ends(
    log: EventLog, broker: Client, region: TallyRegion
) -> None:
    for _ in range(3):
        await count_up(log, 30)
        async with background(relay_of(region, broker).run()):
            await becomes_level(log, broker, region)


async def test_a_full_page_of_large_events_is_published(log: EventLog, broker: Client, region: TallyRegion) -> None:
    await count_up(log, 500, note="x" * 100_000)
    async with background(relay_of(region, broker).run()):
        await becomes_level(log, broker, region)


async def test_events_of_the_largest_size_are_published(log: EventLog, broker: Client, region: TallyRegion) -> None:
    await count_up(log, 60, note="x" * (512 * 1024 - 100))
    async with background(relay_of(region, broker).run()):
        await becomes_level(log, broker, region)


@pytest.mark.parametrize(
    "lost", [b"Nats-Batch-Commit: 1", b"Nats-Batch-Sequence: 1\r\n", b"Nats-Batch-Sequence: 60\r\n"]
)
async def test_a_lost_answer_publishes_nothing_twice_and_leaves_nothing_out(
    log: EventLog,
    broker: Client,
    region: TallyRegion,
    nats_url: str,
    impatient: None,
    lost: bytes,
) -> None:
    proxy = Lossy(nats_url)
    await count_up(log, 100)
    async with proxy.running() as url, AsyncExitStack() as stack:
        client = await connect(url, "relay through the proxy")
        stack.push_async_callback(client.close)
        proxy.deaf_after = lost
        await stack.enter_async_context(background(relay_of(region, client).run()))
        await asyncio.wait_for(proxy.deaf.wait(), 10)
        if b"Commit" in lost:

            async def stored() -> None:
                assert (await broker.jetstream().stream_info(region.stream)).state.last_seq == 100

            await eventually(stored, retry=AWAY)
        proxy.cut()
        await count_up(log, 100)
        await becomes_level(log, broker, region)


async def test_a_lost_answer_to_a_single_event_is_no_second_event(
    log: EventLog, broker: Client, region: TallyRegion, nats_url: str, impatient: None
) -> None:
    proxy = Lossy(nats_url)
    await count_up(log, 1)
    async with proxy.running() as url, AsyncExitStack() as stack:
        client = await connect(url, "relay through the proxy")
        stack.push_async_callback(client.close)
        proxy.deaf_after = b"Nats-Expected-Last-Sequence: 0"
        await stack.enter_async_context(background(relay_of(region, client).run()))
        await asyncio.wait_for(proxy.deaf.wait(), 10)
        proxy.cut()
        await becomes_level(log, broker, region)


async def test_of_two_relays_one_publishes_and_the_other_takes_over(
    log: EventLog, broker: Client, region: TallyRegion
) -> None:
    async with background(relay_of(region, broker).run()):
        async with background(relay_of(region, broker).run()):
            await count_up(log, 2_000)
            await becomes_level(log, broker, region)
        await count_up(log, 100)
        await becomes_level(log, broker, region)


class Unlocked(Relay):
    """A relay that believes to lead, as one does whose connection to PostgreSQL broke a moment ago."""

    async def _lead(self, connection: asyncpg.Connection) -> None:
        await connection.add_listener("event_log", lambda *_: self._news.set())


async def test_relays_that_both_believe_to_lead_are_fenced_by_the_stream(
    log: EventLog, broker: Client, region: TallyRegion, nats_url: str
) -> None:
    async with AsyncExitStack() as stack:
        for n in range(3):
            client = await connect(nats_url, f"relay {n}")
            stack.push_async_callback(client.close)
            await stack.enter_async_context(background(Unlocked(region.url, client, region.name, SERVICE).run()))
        for _ in range(10):
            await count_up(log, 150, tallies=10)
        await becomes_level(log, broker, region)


async def test_a_broker_that_lost_its_disk_is_refilled_from_the_log(
    log: EventLog, region: TallyRegion, own_nats: Callable[[], Broker], impatient: None
) -> None:
    server = own_nats()
    broker = await connect(server.url, "test")
    await count_up(log, 1_200)
    async with background(relay_of(region, broker).run()):
        await becomes_level(log, broker, region)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.lose_disk)
        await asyncio.to_thread(server.start)
        await becomes_level(log, broker, region)
        await count_up(log, 10)
        await becomes_level(log, broker, region)
    await broker.close()


async def test_a_broker_killed_in_the_middle_of_batches_is_level_again(
    log: EventLog, region: TallyRegion, own_nats: Callable[[], Broker], impatient: None
) -> None:
    server = own_nats()
    broker = await connect(server.url, "test")
    await count_up(log, 6_000)
    async with background(relay_of(region, broker).run()):
        for enough in (1, 2_000):

            async def under_way(enough: int = enough) -> None:
                assert (await broker.jetstream().stream_info(region.stream)).state.last_seq >= enough

            await eventually(under_way, retry=AWAY)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        await becomes_level(log, broker, region)
    await broker.close()


async def test_a_relay_that_loses_its_database_connection_goes_on(
    log: EventLog, broker: Client, region: TallyRegion, postgres_url: str
) -> None:
    async with background(relay_of(region, broker).run()):
        await count_up(log, 10)
        await becomes_level(log, broker, region)
        admin = await asyncpg.connect(postgres_url)
        query = "select count(pg_terminate_backend(pid)) from pg_stat_activity"
        ended = await admin.fetchval(
            f"{query} where (datname, application_name) = ($1, $2)", region.role, f"{SERVICE} relay"
        )
        await admin.close()
        assert ended == 1
        await count_up(log, 10)
        await becomes_level(log, broker, region)


async def test_a_stream_ahead_of_the_log_halts_the_relay(log: EventLog, broker: Client, region: TallyRegion) -> None:
    jetstream = broker.jetstream()
    await jetstream.add_stream(stream_config(region.name, SERVICE))
    await count_up(log, 2)
    for n in range(3):
        await jetstream.publish(f"{region.prefix}.Counted._._._", b"", headers={"Nats-Msg-Id": str(n)})
    with pytest.raises(StreamAhead, match="is at 3, its log at 2"):
        await relayed_once(relay_of(region, broker))
    assert len(await messages(broker, region.stream)) == 3


async def test_a_stream_with_another_tail_halts_the_relay(log: EventLog, broker: Client, region: TallyRegion) -> None:
    jetstream = broker.jetstream()
    await jetstream.add_stream(stream_config(region.name, SERVICE))
    await count_up(log, 5)
    for n in range(3):
        await jetstream.publish(f"{region.prefix}.Counted._._._", b"", headers={"Nats-Msg-Id": str(n)})
    with pytest.raises(StreamDiverged):
        await relayed_once(relay_of(region, broker))
    assert len(await messages(broker, region.stream)) == 3


async def test_nobody_purges_or_deletes_what_was_published(log: EventLog, broker: Client, region: TallyRegion) -> None:
    await count_up(log, 5)
    async with background(relay_of(region, broker).run()):
        await becomes_level(log, broker, region)
    jetstream = broker.jetstream()
    with pytest.raises(nats.js.errors.Error):
        await jetstream.purge_stream(region.stream)
    with pytest.raises(nats.js.errors.Error):
        await jetstream.delete_msg(region.stream, 3)
    await level(log, broker, region.stream)
