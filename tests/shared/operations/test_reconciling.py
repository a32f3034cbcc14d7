"""Reconcile: whatever became of a stream is told position by position, and mended from the log where NATS can."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest
from nats.aio.client import Client
from rembuk.broker import streams
from rembuk.broker.connecting import connect
from rembuk.broker.raw_stream import RawStream
from rembuk.log.event_log import EventLog
from rembuk.log.relay import Relay
from rembuk.log.sources import StreamSource
from rembuk.operations import reconciling
from rembuk.operations.reconciling import CannotReconcile, Reconciliation
from rembuk.operations.steps import Reconciled, Reconciling, StreamDifference
from rembuk.testing.servers import Broker
from rembuk.testing.tallies import SERVICE, TallyRegion, background, count_up, forged, level, messages, renewed


@asynccontextmanager
async def reconciling_by(region: TallyRegion, broker: Client) -> AsyncIterator[Reconciliation]:
    """On a connection of its own to the same server."""
    stream = RawStream()
    assert broker.connected_url is not None
    await stream.connect(broker.connected_url.geturl())
    yield Reconciliation(region.url, stream, region.name, SERVICE)
    await stream.close()


async def reconciled(
    region: TallyRegion, broker: Client, anew: bool = False
) -> tuple[list[StreamDifference], Reconciled]:
    async with reconciling_by(region, broker) as reconciliation:
        steps = [step async for step in reconciliation.run(anew)]
    assert isinstance(steps[-1], Reconciled)
    return [step for step in steps if isinstance(step, StreamDifference)], steps[-1]


async def test_what_the_stream_lacks_at_its_end_is_published(
    log: EventLog, broker: Client, region: TallyRegion
) -> None:
    await count_up(log, 700)
    assert await reconciled(region, broker) == ([], Reconciled(700, 700, 700, 0, 0))
    await level(log, broker, region.stream)
    await count_up(log, 3)
    assert await reconciled(region, broker) == ([], Reconciled(703, 703, 3, 0, 0))
    assert await reconciled(region, broker) == ([], Reconciled(703, 703, 0, 0, 0))


async def test_beside_a_relay_at_work_it_is_that_one_which_publishes(
    log: EventLog, broker: Client, region: TallyRegion
) -> None:
    await count_up(log, 700)
    async with background(Relay(region.url, broker, region.name, SERVICE).run()):
        found, told = await reconciled(region, broker)
    assert (found, told.well) == ([], True)
    await level(log, broker, region.stream)


async def test_a_broker_that_lost_its_disk_is_filled_again(
    log: EventLog, region: TallyRegion, own_nats: Callable[[], Broker]
) -> None:
    server = own_nats()
    broker = await connect(server.url, "test")
    await count_up(log, 600)
    await reconciled(region, broker)
    server.kill()
    server.lose_disk()
    server.start()
    await broker.close()
    broker = await connect(server.url, "test")
    assert await reconciled(region, broker) == ([], Reconciled(600, 600, 600, 0, 0))
    await level(log, broker, region.stream)
    await broker.close()


async def test_an_altered_stream_is_told_by_position_and_made_anew_from_the_log(
    log: EventLog, broker: Client, region: TallyRegion
) -> None:
    await count_up(log, 60)
    await reconciled(region, broker)

    def alter(position: int, headers: dict[str, str], data: bytes) -> bytes:
        if position == 17:
            return data + b" "
        if position == 42:
            headers["ce-time"] = "2001-01-01T00:00:00+00:00"
        return data

    at_42 = (await messages(broker, region.stream))[41].headers["ce-time"]  # type: ignore[index]
    await forged(region, broker, alter)
    found, told = await reconciled(region, broker)
    assert found == [
        StreamDifference(17, "has other data in the stream"),
        StreamDifference(42, f"has another ce-time in the stream: '2001-01-01T00:00:00+00:00', not '{at_42}'"),
    ]
    assert not told.well
    assert (await reconciled(region, broker, anew=True))[1].well
    await level(log, broker, region.stream)


async def test_a_stream_ahead_of_its_log_is_told_and_never_forgotten(
    log: EventLog, broker: Client, region: TallyRegion
) -> None:
    await count_up(log, 40)
    await reconciled(region, broker)
    await renewed(region)
    found, told = await reconciled(region, broker)
    assert (found, told, told.well) == ([], Reconciled(0, 40, 0, 0, 40), False)
    with pytest.raises(CannotReconcile, match="rembuk restore tallies --from stream"):
        await reconciled(region, broker, anew=True)
    assert len(await messages(broker, region.stream)) == 40


async def test_noise_behind_the_log_is_told_apart_from_events_and_may_go(
    log: EventLog, broker: Client, region: TallyRegion
) -> None:
    await count_up(log, 5)
    await reconciled(region, broker)
    await broker.jetstream().publish(f"{region.prefix}.Noise.35.78._", b"{}")
    _, told = await reconciled(region, broker)
    assert told == Reconciled(5, 6, 0, 0, 0)
    await count_up(log, 5)
    found, told = await reconciled(region, broker)
    assert (found[0].position, told.well) == (6, False)
    assert (await reconciled(region, broker, anew=True))[1] == Reconciled(10, 10, 10, 0, 0)
    await level(log, broker, region.stream)


async def test_where_the_stream_is_no_longer_the_log_is_known_before_it_is_made_anew(
    log: EventLog, broker: Client, region: TallyRegion
) -> None:
    await count_up(log, 5)
    async with reconciling_by(region, broker) as reconciliation:
        assert await reconciliation.sound() == 0
        await reconciled(region, broker)
        assert await reconciliation.sound() == 5
        for _ in range(3):
            await broker.jetstream().publish(f"{region.prefix}.Noise.35.78._", b"{}")
        assert await reconciliation.sound() == 5
        await count_up(log, 10)
        assert await reconciliation.sound() == 5


async def test_a_stream_to_which_nothing_can_be_published_is_said_to_be_so(
    log: EventLog, broker: Client, region: TallyRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    await count_up(log, 5)
    holder = await asyncpg.connect(region.url)
    await holder.execute("select pg_advisory_lock(hashtext('rembuk relay'))")
    with monkeypatch.context() as impatient:  # until it is let go: then a busy machine may take longer than that
        impatient.setattr(reconciling, "PATIENCE_S", 0.5)
        with pytest.raises(CannotReconcile, match="the log of the tallies worker"):
            await reconciled(region, broker)
    await holder.close()
    assert (await reconciled(region, broker))[1].well


async def test_it_says_how_far_it_is(log: EventLog, broker: Client, region: TallyRegion) -> None:
    await count_up(log, 1_100)
    await reconciled(region, broker)
    async with reconciling_by(region, broker) as reconciliation:
        steps = [step async for step in reconciliation.run()]
    told = [(step.what, step.position, step.target) for step in steps if isinstance(step, Reconciling)]
    assert told == [("comparing", position, 1_100) for position in (500, 1_000, 1_100)]


async def test_a_hole_in_the_stream_is_told(log: EventLog, broker: Client, region: TallyRegion) -> None:
    await count_up(log, 1_100)
    await reconciled(region, broker)
    jetstream = broker.jetstream()
    await jetstream.delete_stream(region.stream)
    config = streams.stream_config(region.name, SERVICE)
    config.deny_delete = config.deny_purge = False
    await jetstream.add_stream(config)
    await reconciled(region, broker)
    for position in (1, 700, 701):
        await jetstream.delete_msg(region.stream, position)
    found, told = await reconciled(region, broker)
    assert found == [StreamDifference(position, "is missing in the stream") for position in (1, 700, 701)]
    assert told.differences == 3
    assert streams.sequence((await StreamSource(broker, region.stream).after(0, 1))[0]) == 2
