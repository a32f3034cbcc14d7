"""What a partner may do on a region's NATS, and that nothing else gets through: with the real server and its log."""

import asyncio
import hashlib
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import nats
import nats.errors
import nats.js.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import DeliverPolicy
from rembuk.broker import streams
from rembuk.embedded.nats_server import EmbeddedNats, nats_binary
from rembuk.embedded.region_nats import RegionNats
from rembuk.embedded.server import is_free
from rembuk.partners.nats_accounts import ASKED, DOMAIN, LIMITS, new_credentials, to_include
from rembuk.partners.partner_consumers import INVALID_RESET, PULLS, READER, WISHES, Consumers, consumer_config
from rembuk.partners.partners import Partner, Partners, Scope
from rembuk.testing.ports import free_ports

SERVICE, STREAM = "reports", "JATIM_REPORTS"
PULL = f"$JS.{DOMAIN}.API.CONSUMER.MSG.NEXT.{STREAM}"
SURABAYA, MALANG = "polmas.jatim.reports.ProblemReported.35.78.08", "polmas.jatim.reports.ProblemReported.35.73.01"
CLOSED = "polmas.jatim.reports.ProblemClosed.35.78.08"


PASSWORD = "rahasia-" * 4


class Given:
    """A region's NATS with a stream of six events, and partners of it."""

    def __init__(self, folder: Path, domain: str = "") -> None:
        settings = {"jetstream": {"domain": domain}} if domain else {}
        password = folder / "password"
        password.write_text(PASSWORD)
        self.partners = Partners(folder / "partners.json")
        self.server = RegionNats(folder / "nats", free_ports(), "jatim", password, self.partners.path, lambda: settings)
        self.seeds: dict[str, str] = {}
        self.said: list[str] = []
        self.clients: list[Client] = []

    async def start(self) -> None:
        self.server.start()
        await self.enter_region()
        await self.region.jetstream().add_stream(streams.stream_config("jatim", SERVICE))
        for subject in (SURABAYA, MALANG, CLOSED) * 2:
            await self.publish(subject)

    async def enter_region(self, url: str = "") -> None:
        """As a worker of its does, which answers partners."""
        self.region = await self.connected(url or self.server.url)
        self.consumers = Consumers(self.region, "jatim", SERVICE, self.partners)

    async def publish(self, subject: str) -> None:
        await self.region.jetstream().publish(subject, b"{}")

    async def partner(self, name: str, *, types: tuple[str, ...] = (), areas: tuple[str, ...] = ()) -> None:
        """Added while the server runs, as everybody is."""
        self.seeds[name], nkey = new_credentials()
        scope = Scope((SERVICE,), types, areas)
        self.partners.add(Partner(name, scope, hashlib.sha256().hexdigest(), datetime.now(UTC), nkey))
        await self.applied()

    async def revoke(self, name: str) -> None:
        self.partners.revoke(name)
        await asyncio.to_thread(self.server.reload)

    async def applied(self) -> None:
        await asyncio.to_thread(self.server.reload)
        await self.kept()

    async def kept(self) -> None:
        """As the worker does once a second."""
        await self.consumers.keep()
        await self.region.flush()

    async def killed(self) -> None:
        """The server, and it is there again."""
        await self.region.close()
        self.server.kill()
        self.server.start()
        await self.enter_region()

    async def enter(self, name: str) -> Client:
        return await self.connected(f"nats://127.0.0.1:{self.server.port}", nkeys_seed_str=self.seeds[name])

    async def connected(self, url: str, **options: str) -> Client:
        async def said(error: Exception) -> None:
            self.said.append(str(error))

        async with asyncio.timeout(10):
            client = await nats.connect(
                url, error_cb=said, allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0, **options
            )
        self.clients.append(client)
        return client

    async def untouched(self) -> None:
        """The stream is as it was, and who pulls from it, too."""
        info = await self.region.jetstream().stream_info(STREAM)
        assert (info.state.first_seq, info.state.last_seq, info.state.messages) == (1, 6, 6)
        assert info.config.subjects == ["polmas.jatim.reports.>"]
        assert {one.name for one in await self.region.jetstream().consumers_info(STREAM)} == set(self.seeds)

    def logged(self) -> str:
        return self.server.log.read_text()

    async def stop(self) -> None:
        for client in self.clients:
            await client.close()
        self.server.kill()


@pytest.fixture(params=["", "jatim"], ids=["alone", "leaf"])
async def given(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Given]:
    """Alone, and with the JetStream domain that a region at a hub has."""
    given = Given(tmp_path, request.param)
    try:
        await given.start()
        yield given
    finally:
        await given.stop()


async def pulled(client: Client, name: str, most: int = 10, within: float = 0.5) -> list[Msg]:
    """What comes and is acknowledged; [] where nothing does."""
    pull = await client.jetstream(domain=DOMAIN).pull_subscribe_bind(consumer=name, stream=STREAM)
    with suppress(TimeoutError):
        messages = await pull.fetch(most, timeout=within)
        for message in messages:
            await message.ack_sync()
        return messages
    return []


def positions(messages: list[Msg]) -> list[int]:
    return list(map(streams.sequence, messages))


async def eventually_said(said: Callable[[], str], what: str) -> None:
    async with asyncio.timeout(5):
        while what not in said():
            await asyncio.sleep(0.01)


async def test_a_partner_reads_what_its_scope_sees_from_the_beginning_and_as_it_happens(given: Given) -> None:
    await given.partner("bappeda", types=("ProblemReported",), areas=("35.78",))
    await given.partner("polda")
    bappeda, polda = await given.enter("bappeda"), await given.enter("polda")
    assert positions(await pulled(bappeda, "bappeda")) == [1, 4]
    assert positions(await pulled(polda, "polda")) == [1, 2, 3, 4, 5, 6]
    waiting = asyncio.create_task(pulled(bappeda, "bappeda", 1, within=10))
    for subject in (MALANG, CLOSED, SURABAYA):
        await given.publish(subject)
    [live] = await waiting
    assert (streams.sequence(live), live.subject, live.metadata.num_pending) == (9, SURABAYA, 0)


async def test_a_partner_goes_on_where_it_acknowledged_whenever_it_comes_back(given: Given) -> None:
    await given.partner("polda")
    first = await given.enter("polda")
    assert positions(await pulled(first, "polda", 4)) == [1, 2, 3, 4]
    await first.close()
    assert positions(await pulled(await given.enter("polda"), "polda")) == [5, 6]
    await given.kept()
    await given.killed()
    await given.publish(MALANG)
    await given.kept()
    assert positions(await pulled(await given.enter("polda"), "polda")) == [7]


async def test_what_was_acknowledged_when_the_server_was_killed_comes_again_and_nothing_before_it(given: Given) -> None:
    await given.partner("polda")
    client = await given.enter("polda")
    await pulled(client, "polda", 4)
    await given.kept()
    await pulled(client, "polda", 2)
    await given.killed()
    await given.kept()
    assert positions(await pulled(await given.enter("polda"), "polda")) == [5, 6]


async def test_who_was_set_back_is_set_back_for_the_next_start_too(given: Given) -> None:
    await given.partner("polda")
    client = await given.enter("polda")
    await pulled(client, "polda")
    await client.jetstream(domain=DOMAIN).reset_consumer(STREAM, "polda", seq=3)
    await given.kept()
    await given.killed()
    await given.kept()
    assert positions(await pulled(await given.enter("polda"), "polda")) == [3, 4, 5, 6]


async def test_a_consumer_of_an_earlier_release_is_made_anew_where_it_stands(given: Given) -> None:
    """Its state was on the disk, and was written several times a second."""
    await given.partner("polda")
    config = consumer_config("jatim", SERVICE, given.partners.active()[0])
    config.mem_storage = False
    config.deliver_policy, config.opt_start_seq = DeliverPolicy.BY_START_SEQUENCE, 2
    await given.region.jetstream().delete_consumer(STREAM, "polda")
    await given.region.jetstream().add_consumer(STREAM, config)
    client = await given.enter("polda")
    await pulled(client, "polda", 3)
    await given.kept()
    [consumer] = await given.region.jetstream().consumers_info(STREAM)
    assert (consumer.config.mem_storage, consumer.config.deliver_policy) == (True, DeliverPolicy.ALL)
    assert positions(await pulled(client, "polda")) == [5, 6]


async def test_a_partner_goes_on_from_a_position_in_order_whatever_was_in_its_hands_when_it_was_lost(
    given: Given,
) -> None:
    await given.partner("bappeda", areas=("35.78",))
    lost = await given.enter("bappeda")
    pull = await lost.jetstream(domain=DOMAIN).pull_subscribe_bind(consumer="bappeda", stream=STREAM)
    first, *unacknowledged = await pull.fetch(3)
    assert positions([first, *unacknowledged]) == [1, 3, 4]
    await first.ack_sync()
    await lost.close()
    client = await given.enter("bappeda")
    jetstream = client.jetstream(domain=DOMAIN)
    await jetstream.reset_consumer(STREAM, "bappeda", seq=2)
    messages = await pulled(client, "bappeda")
    assert positions(messages) == [3, 4, 6]
    assert [message.metadata.sequence.consumer for message in messages] == [1, 2, 3]  # so a gap would be seen
    await jetstream.reset_consumer(STREAM, "bappeda", seq=1)
    assert positions(await pulled(client, "bappeda")) == [1, 3, 4, 6]
    await jetstream.reset_consumer(STREAM, "bappeda", seq=7)  # it has everything
    for subject in (SURABAYA, MALANG, SURABAYA):
        await given.publish(subject)
    assert positions(await pulled(client, "bappeda")) == [7, 9]


async def test_a_partner_goes_on_from_any_position_that_there_is_after_the_server_was_killed(given: Given) -> None:
    await given.partner("polda")
    await pulled(await given.enter("polda"), "polda")
    await given.kept()
    await given.killed()
    await given.kept()
    client = await given.enter("polda")
    jetstream = client.jetstream(domain=DOMAIN)
    assert positions(await pulled(client, "polda")) == []
    assert await reader(client, "polda") is None
    readers = []
    for seq in (1, 4, 7, 2):
        reset = await jetstream.reset_consumer(STREAM, "polda", seq=seq)
        assert positions(await pulled(client, "polda")) == list(range(seq, 7))
        readers.append((reset.info.config.metadata or {})[READER])
        assert await reader(client, "polda") == readers[-1]
    assert len(set(readers)) == 4
    with pytest.raises(nats.js.errors.ConsumerInvalidResetError, match=f"7 is beyond the head of {STREAM}, which is 6"):
        await jetstream.reset_consumer(STREAM, "polda", seq=8)
    for wish in (b'{"seq": -1}', b'{"seq": "all"}', b"[]", b'{"seq": 8, "seq": 9}'):
        answer = await client.request(f"$JS.{DOMAIN}.API.CONSUMER.RESET.{STREAM}.polda", wish)
        assert msgspec.json.decode(answer.data)["error"]["err_code"] == INVALID_RESET
    assert await reader(client, "polda") == readers[-1]  # what is refused makes nobody else the reader


async def reader(client: Client, partner: str) -> str | None:
    """Who reads a partner's consumer, as the partner is told."""
    info = await client.jetstream(domain=DOMAIN).consumer_info(STREAM, partner)
    return (info.config.metadata or {}).get(READER)


async def test_a_position_is_what_is_looked_at_however_it_is_spelt(given: Given) -> None:
    await given.partner("polda")
    client = await given.enter("polda")
    reset = f"$JS.{DOMAIN}.API.CONSUMER.RESET.{STREAM}.polda"
    answer = await client.request(reset, b'{"seq": 2, "SEQ": 5000}')  # the server would take the second for it
    assert "error" not in msgspec.json.decode(answer.data)
    assert positions(await pulled(client, "polda")) == [2, 3, 4, 5, 6]


async def test_a_partner_that_wishes_without_end_is_heeded_now_and_then_and_others_at_once(given: Given) -> None:
    await given.partner("polda")
    await given.partner("bappeda")
    client, other = await given.enter("bappeda"), await given.enter("polda")
    before = given.region.stats["in_msgs"]
    for _ in range(50 * WISHES):
        await client.publish(f"$JS.{DOMAIN}.API.CONSUMER.RESET.{STREAM}.bappeda", b'{"seq": 1}', reply="_INBOX.it")
    await client.flush()
    await other.jetstream(domain=DOMAIN).reset_consumer(STREAM, "polda", seq=5)
    assert given.region.stats["in_msgs"] - before <= 4 * WISHES  # the wishes and what the server says to each
    assert positions(await pulled(other, "polda")) == [5, 6]
    jetstream = client.jetstream(domain=DOMAIN)
    with pytest.raises(nats.js.errors.ServiceUnavailableError):
        await jetstream.reset_consumer(STREAM, "bappeda", seq=3)
    async with asyncio.timeout(5):
        while positions(await pulled(client, "bappeda")) != [3, 4, 5, 6]:
            await given.kept()
            with suppress(nats.js.errors.ServiceUnavailableError):
                await jetstream.reset_consumer(STREAM, "bappeda", seq=3)


FORBIDDEN = [
    f"$JS.{DOMAIN}.API.CONSUMER.RESET.{STREAM}.polda",
    SURABAYA,
    "polmas.jateng.reports.ProblemReported.33.74.01",
    f"$JS.API.STREAM.PURGE.{STREAM}",
    f"$JS.API.STREAM.DELETE.{STREAM}",
    f"$JS.API.STREAM.MSG.DELETE.{STREAM}",
    f"$JS.API.STREAM.UPDATE.{STREAM}",
    f"$JS.API.STREAM.INFO.{STREAM}",
    f"$JS.{DOMAIN}.API.STREAM.DELETE.{STREAM}",
    f"$JS.{DOMAIN}.API.CONSUMER.DELETE.{STREAM}.polda",
    f"$JS.{DOMAIN}.API.CONSUMER.DURABLE.CREATE.{STREAM}.polda",
    f"$JS.{DOMAIN}.API.CONSUMER.CREATE.{STREAM}.mata-mata.>",
    f"$JS.{DOMAIN}.API.DIRECT.GET.{STREAM}",
    f"{PULL}.polda",
    f"$JS.{DOMAIN}.API.CONSUMER.INFO.{STREAM}.polda",
    f"$JS.ACK.{STREAM}.polda.1.1.1.1.1",
    f"$JS.ACK.{STREAM}.>",
    "$SYS.REQ.SERVER.PING",
    "_INBOX.somebody",
]


async def test_a_partner_publishes_nothing_and_every_attempt_is_in_the_servers_log(given: Given) -> None:
    await given.partner("polda")
    await given.partner("bappeda", areas=("35.78",))
    client = await given.enter("bappeda")
    for subject in FORBIDDEN:
        for headers in (None, {"Nats-Stream-Source": f"{STREAM} 1", "Nats-Msg-Id": "1", "ce-position": "1"}):
            await client.publish(subject, b'{"batch": 1}', reply="_INBOX.answer", headers=headers)
    await client.flush()
    for subject in FORBIDDEN:
        await eventually_said(given.logged, f'Publish Violation - Subject "{subject}"')
    assert given.logged().count('"partner-bappeda/nkey:') == 2 * len(FORBIDDEN)
    await given.untouched()
    assert positions(await pulled(await given.enter("polda"), "polda")) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("subject", [">", "*", "polmas.>", "$JS.>", "_R_.>", "$SYS.>", "_INBOX_polda.>"])
async def test_a_partner_listens_to_its_inbox_alone(given: Given, subject: str) -> None:
    await given.partner("bappeda")
    client = await given.enter("bappeda")
    heard = await client.subscribe(subject)
    await client.flush()
    await eventually_said(given.logged, f'Subscription Violation - Subject "{subject}"')
    await given.publish(SURABAYA)
    with pytest.raises(nats.errors.TimeoutError):
        await heard.next_msg(timeout=0.3)


async def test_an_inbox_hears_nothing_of_others(given: Given) -> None:
    await given.partner("bappeda", areas=("33",))
    await given.partner("polda")
    heard = await (await given.enter("bappeda")).subscribe("_INBOX.>")
    assert len(await pulled(await given.enter("polda"), "polda")) == 6
    await given.region.publish("_INBOX.of-a-service", b"")
    with pytest.raises(nats.errors.TimeoutError):
        await heard.next_msg(timeout=0.3)


@pytest.mark.parametrize(
    "reply", [SURABAYA, f"$JS.API.STREAM.DELETE.{STREAM}", f"$JS.API.CONSUMER.DELETE.{STREAM}.polda"]
)
async def test_no_answer_to_a_partner_goes_to_a_subject_of_the_region(given: Given, reply: str) -> None:
    await given.partner("polda")
    await given.partner("bappeda")
    client = await given.enter("bappeda")
    for asked in ASKED:
        question = f"$JS.{DOMAIN}.API.CONSUMER.{asked}.{STREAM}.bappeda"
        await client.publish(question, b"", reply=reply)
    await client.flush()
    assert len(await pulled(client, "bappeda")) >= 5  # which it was asked after those
    await given.untouched()


async def test_no_partner_takes_more_than_its_share(given: Given) -> None:
    await given.partner("bappeda")
    for _ in range(LIMITS["max_connections"]):
        client = await given.enter("bappeda")
    with pytest.raises((nats.errors.Error, OSError)):
        await given.enter("bappeda")
    await eventually_said(given.logged, "maximum account active connections exceeded")
    for number in range(LIMITS["max_subscriptions"] + 1):
        await client.subscribe(f"_INBOX.{number}")
    await client.publish(f"{PULL}.bappeda", b" " * (LIMITS["max_payload"] + 1))
    await eventually_said(given.logged, "maximum payload exceeded")
    await eventually_said(given.logged, "maximum subscriptions exceeded")
    await given.untouched()


async def test_pulls_without_end_wait_in_a_short_line(given: Given) -> None:
    await given.partner("bappeda")
    client = await given.enter("bappeda")
    await pulled(client, "bappeda")
    answers = await client.subscribe("_INBOX.flood")
    for _ in range(PULLS * 10):
        await client.publish(f"{PULL}.bappeda", b'{"batch": 1, "expires": 60000000000}', reply="_INBOX.flood")
    for _ in range(PULLS * 9):
        assert "MaxWaiting" in str((await answers.next_msg(timeout=5)).headers)
    assert (await given.region.jetstream().consumer_info(STREAM, "bappeda")).num_waiting == PULLS


async def test_who_is_revoked_is_cut_off_at_once_and_does_not_come_back_while_others_go_on(given: Given) -> None:
    await given.partner("bappeda")
    await given.partner("polda")
    bappeda, polda = await given.enter("bappeda"), await given.enter("polda")
    await pulled(polda, "polda")
    given.partners.revoke("bappeda")
    reloading = asyncio.create_task(asyncio.to_thread(given.server.reload))
    async with asyncio.timeout(1):
        while bappeda.is_connected:
            await asyncio.sleep(0.01)
    await reloading
    with pytest.raises(nats.errors.Error, match="Authorization Violation"):
        await given.enter("bappeda")
    assert "authentication error" in given.logged()
    assert polda.is_connected
    await given.publish(MALANG)
    assert positions(await pulled(polda, "polda")) == [7]


async def test_a_pull_that_waits_is_answered_though_another_partner_is_added_meanwhile(given: Given) -> None:
    await given.partner("polda")
    client = await given.enter("polda")
    await pulled(client, "polda")
    waiting = asyncio.create_task(pulled(client, "polda", 1, within=20))
    async with asyncio.timeout(10):
        while not (await given.region.jetstream().consumer_info(STREAM, "polda")).num_waiting:
            await asyncio.sleep(0.01)
    await given.partner("bappeda")
    await given.publish(MALANG)
    assert positions(await waiting) == [7]


@pytest.mark.parametrize("who", ["", "region:salah@", "region@"])
async def test_nobody_enters_who_does_not_say_who_he_is(given: Given, who: str) -> None:
    with pytest.raises(nats.errors.Error, match="Authorization Violation"):
        await given.connected(f"nats://{who}127.0.0.1:{given.server.port}")


async def test_consumers_are_kept_as_the_partners_are(given: Given) -> None:
    await given.partner("bappeda")
    await given.partner("polda")
    await given.region.jetstream().add_consumer(STREAM, durable_name="jatim_reports_problems")
    await given.region.jetstream().delete_consumer(STREAM, "polda")
    await given.revoke("bappeda")
    await given.applied()
    there = {one.name for one in await given.region.jetstream().consumers_info(STREAM)}
    assert there == {"polda", "jatim_reports_problems"}


@pytest.mark.parametrize(
    ("areas", "sees"), [(("35.78",), [7]), (("35.78", "35.73"), [7, 8]), ((), [7, 8])], ids=["one", "two", "all"]
)
async def test_a_consumer_goes_on_where_it_stands_with_the_scope_that_its_partner_has_now(
    given: Given, areas: tuple[str, ...], sees: list[int]
) -> None:
    await given.partner("polda", areas=("35.73",))
    assert positions(await pulled(client := await given.enter("polda"), "polda")) == [2, 5]
    with given.partners.changing() as known:
        known[:] = [msgspec.structs.replace(one, scope=Scope((SERVICE,), (), areas)) for one in known]
    await given.kept()
    made = (await given.region.jetstream().consumer_info(STREAM, "polda")).created
    await given.kept()
    assert (await given.region.jetstream().consumer_info(STREAM, "polda")).created == made
    for subject in (SURABAYA, MALANG):
        await given.publish(subject)
    assert [one for one in positions(await pulled(client, "polda")) if one > 6] == sees


async def test_a_partner_reads_from_the_beginning_of_a_stream_that_was_made_anew(given: Given) -> None:
    await given.partner("polda")
    await pulled(await given.enter("polda"), "polda")
    given.server.kill()
    shutil.rmtree(given.server.data / "jetstream")
    await given.start()
    keeping = asyncio.create_task(Consumers(given.region, "jatim", SERVICE, given.partners).run())
    try:
        async with asyncio.timeout(10):
            while not await given.region.jetstream().consumers_info(STREAM):
                await asyncio.sleep(0.01)
        assert positions(await pulled(await given.enter("polda"), "polda")) == [1, 2, 3, 4, 5, 6]
    finally:
        keeping.cancel()


async def test_a_server_is_started_with_the_partners_and_the_password_of_that_moment(given: Given) -> None:
    await given.partner("polda")
    await given.partner("polres")
    given.server.kill()
    given.partners.revoke("polda")
    (given.partners.path.parent / "password").write_text("lain-" * 6)
    given.server.start()
    with pytest.raises(nats.errors.Error):
        await given.connected(f"nats://region:{PASSWORD}@127.0.0.1:{given.server.port}")
    with pytest.raises(nats.errors.Error):
        await given.enter("polda")
    await given.enter_region()
    await given.kept()
    assert positions(await pulled(await given.enter("polres"), "polres")) == [1, 2, 3, 4, 5, 6]


@pytest.fixture
def before(tmp_path: Path) -> Iterator[EmbeddedNats]:
    """The server of a region as it was when nobody was asked."""
    server = EmbeddedNats(tmp_path / "nats", free_ports())
    server.start()
    yield server
    server.kill()


async def test_what_was_kept_before_there_were_accounts_is_kept(before: EmbeddedNats, tmp_path: Path) -> None:
    client = await nats.connect(before.url)
    await client.jetstream().add_stream(streams.stream_config("jatim", SERVICE))
    await client.jetstream().publish(SURABAYA, b"{}")
    await client.jetstream().add_consumer(STREAM, durable_name="jatim_reports_problems")
    await client.close()
    before.stop()
    given = Given(tmp_path)
    try:
        given.server.start()
        jetstream = (await given.connected(given.server.url)).jetstream()
        assert (await jetstream.stream_info(STREAM)).state.messages == 1
        assert (await jetstream.consumer_info(STREAM, "jatim_reports_problems")).num_pending == 1
    finally:
        await given.stop()


INCLUDING = """
listen: 127.0.0.1:%d
jetstream { store_dir: "%s" }
accounts {
  REGION { jetstream: enabled, users: [{user: region, password: rahasia}]
    include "region-exports.conf"
  }
  include "partners.conf"
}
"""


async def test_a_server_of_the_regions_own_includes_the_same_accounts(given: Given, tmp_path: Path) -> None:
    await given.partner("bappeda", areas=("35.78",))
    await given.partner("polda")
    for name, content in to_include("jatim", given.partners.read()).items():
        (tmp_path / name).write_bytes(msgspec.json.encode(content))
    port = free_ports()
    (tmp_path / "own.conf").write_text(INCLUDING % (port, tmp_path / "own"))
    own = subprocess.Popen([str(nats_binary()), "-c", str(tmp_path / "own.conf")], stderr=subprocess.DEVNULL)
    try:
        await given.enter_region(await _listening(f"nats://region:rahasia@127.0.0.1:{port}", port))
        await given.region.jetstream().add_stream(streams.stream_config("jatim", SERVICE))
        await given.publish(MALANG)
        await given.publish(SURABAYA)
        await given.kept()
        bappeda = await given.connected(f"nats://127.0.0.1:{port}", nkeys_seed_str=given.seeds["bappeda"])
        assert positions(await pulled(bappeda, "bappeda")) == [2]
    finally:
        own.kill()
        own.wait()


async def _listening(url: str, port: int) -> str:
    async with asyncio.timeout(20):
        while is_free(port):
            await asyncio.sleep(0.01)
    return url
