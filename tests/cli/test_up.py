"""A whole region by one command: up, looked at, up again, down; and what is left when its supervisor is killed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import msgspec
import nats
import nats.errors
import psutil  # type: ignore[import-untyped]
import pytest
from rembuk.broker.connecting import connect
from rembuk.embedded.region import PORT_OFFSETS, PROCESSES
from rembuk.embedded.server import HOST
from rembuk.federation.hub_regions import JOINED, Invitation, new_seed
from rembuk.postgres.provisioning import SERVICES
from rembuk.process import state_file
from rembuk.testing.ports import free_ports
from rembuk.testing.services import eventually
from rembuk_cli.__main__ import app
from rembuk_cli.home.directory import AnothersDirectory, Home
from rembuk_cli.home.hub_certificate import HubCertificate
from rembuk_cli.home.noted_process import Process
from rembuk_cli.home.plan import Plan
from rembuk_cli.home.running import Running, without_credentials
from rembuk_cli.region.stop_links import stop_links
from rembuk_cli.running.joining import join
from typer.testing import CliRunner

if TYPE_CHECKING:
    from conftest import Command

pytestmark = pytest.mark.timeout(300)
DIRECTORY = "wilayah ü '\" \\ $HOME %s [red]"


def test_when_up_returns_every_service_is_ready_and_its_url_is_told(running: Command) -> None:
    assert all(service["ready"] for service in running.status()["services"])
    again = running.up()
    assert (again.returncode, again.stdout.count("\n")) == (0, 1)
    assert "already runs" in again.stdout


def test_every_process_is_the_supervisors_own_goes_by_its_name_and_is_found_if_nothing_notes_it(
    running: Command,
) -> None:
    children = psutil.Process(running.pids()[0]).children()
    named = {" ".join(child.cmdline()[1:]).rstrip(): child for child in children}
    for service in SERVICES:
        for process in PROCESSES:
            environment = named[f"-m {service} {process}"].environ()
            assert environment["REMBUK_LOG_KEY"] == str(running.data / "log.key")


@pytest.mark.skipif(sys.platform != "linux", reason="told by /proc")
def test_a_process_is_found_again_by_what_does_not_change_when_the_clock_is_set() -> None:
    noted = Process.of(os.getpid())
    assert 0 < noted.created <= time.clock_gettime(time.CLOCK_BOOTTIME) + 1
    by_the_clock = Process(os.getpid(), psutil.Process().create_time())  # as earlier releases noted it
    for one in (noted, by_the_clock):
        found = one.find()
        assert found is not None
        assert found.pid == os.getpid()
        assert msgspec.structs.replace(one, created=one.created - 10).find() is None
    assert msgspec.structs.replace(noted, boot="another").find() is None


def test_secrets_are_the_owners_alone(running: Command) -> None:
    for name in ("password", "nats-password", "nats/nats.conf", "region.key"):
        assert (running.data / name).stat().st_mode & 0o777 == 0o600
    told = "".join(path.read_text() for path in [*(running.data / "logs").iterdir(), running.data / "region.json"])
    told += (running.data / "nats" / "nats-server.log").read_text() + running("status", "--json").stdout
    told += "".join(" ".join(psutil.Process(pid).cmdline()) for pid in running.pids())
    for name in ("password", "nats-password"):
        assert (running.data / name).read_text() not in told


def test_nobody_enters_nats_who_does_not_say_who_he_is(running: Command) -> None:
    async def enter() -> None:
        async with asyncio.timeout(10):
            await nats.connect(running.note()["nats_url"], allow_reconnect=False, max_reconnect_attempts=1)

    with pytest.raises(nats.errors.Error, match="Authorization Violation"):
        asyncio.run(enter())


INVITATION = Invitation("jatim", "nats-leaf://127.0.0.1:1", "-----BEGIN CERTIFICATE-----", new_seed(b"s" * 32))
FILES = (
    *("owner.json", "password", "nats-password", "partners.json", "hub.json", "log.key"),
    *("postgres/password", "nats/monitoring"),
)


@pytest.mark.parametrize("left", [0, 0.5])
def test_a_damaged_file_is_named_and_nothing_is_said_without_it(running: Command, left: float) -> None:
    home = Home(running.data)
    for name in FILES:
        path = running.data / name
        whole = path.read_bytes() if path.exists() else None
        path.touch(mode=0o600)
        path.write_bytes((whole or b'[{"name": "dinas"}]')[: int(left * len(whole or b"x" * 19))])
        try:
            [fault] = home.faults()
            assert name in fault
            if name in ("nats-password", "partners.json"):
                told = running("status")
                assert (told.returncode, name in told.stdout + told.stderr) == (1 + ("password" in name), True), told
        finally:
            path.unlink() if whole is None else path.write_bytes(whole)
    assert home.faults() == []
    eventually(running.well, 60)


@pytest.mark.skipif(sys.platform != "linux", reason="root is made subject to modes by capabilities")
def test_what_may_not_be_read_is_neither_nothing_nor_damaged_and_ends_nobody(running: Command) -> None:
    """Whoever may not read who runs does not take it for nobody, and is given no advice that would lose a file."""
    as_anybody = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--"] if os.geteuid() == 0 else []
    before = running.pids()
    for names in (("lock", "region.json"), ("password",), ("owner.json",)):
        files = [running.data / name for name in names]
        for file in files:
            file.chmod(0)
        try:
            for said in ("status", "down") if "lock" in names else ("status",):
                command = [*as_anybody, sys.executable, "-m", "rembuk_cli", said, "--data", str(running.data)]
                told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
                assert (told.returncode, "cannot be read by the user" in told.stderr) == (2, True), told
                assert any(str(file) in told.stderr for file in files), told.stderr
                assert not re.search("Traceback|damaged|backup|move it away", told.stderr), told.stderr
        finally:
            for file in files:
                file.chmod(0o600)
    assert running.pids() == before
    running.well()


def test_what_a_nats_server_trusts_its_hub_by_is_written_anew_where_it_was_damaged(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.membership.accept(INVITATION)
    for left in ("", "the hub"):
        home.membership.authority.write_text(left)
        home.nats_settings("jatim")
        assert home.membership.authority.read_text() == INVITATION.ca


CHANGED: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "truncated": lambda file: file.write_text(""),
    "it invites jateng, and this is jatim": lambda file: written(file, region="jateng"),
    "url is not": lambda file: written(file, url="http://127.0.0.1:1"),
    "ca is no": lambda file: written(file, ca="the hub's authority"),
    "seed is not": lambda file: written(file, seed=new_seed(b"k" * 32)[:-1]),
    "not what this region's NATS was started with": lambda file: written(file, seed=new_seed(b"k" * 32)),
    "not what this region's NATS was": lambda file: [file.unlink(), file.with_name("hub-ca.pem").unlink()],
}


def written(file: Path, **fields: str) -> None:
    state_file.write_json(file, msgspec.structs.replace(INVITATION, **fields))


def test_a_hub_that_is_not_the_one_that_was_joined_is_told_and_joining_anew_mends_it(tmp_path: Path) -> None:
    """Whatever became of hub.json while the region runs; nobody is taken for another region."""
    home, file = Home(tmp_path / "jatim"), tmp_path / "jatim.hub.json"
    authority = HubCertificate(tmp_path / "tls")
    authority.prepare([HOST])
    invitation = msgspec.structs.replace(INVITATION, ca=authority.authority.read_text())
    state_file.write_json(file, invitation)
    home.prepare()
    home.own("jatim")
    server = home.nats("jatim", free_ports())

    def said() -> list[str]:
        return [fault for fault in home.faults() if "hub.json" in fault]

    for why, change in CHANGED.items():
        join(home, "jatim", str(file))
        server.start()
        try:
            assert said() == []
            change(home.membership.file)
            [fault] = said()
            assert why in fault
            join(home, "jatim", str(file))
            assert (home.membership.invitation(), said()) == (invitation, [])
        finally:
            server.kill()
    elsewhere = Plan(
        "jatim", str(home.data), dict.fromkeys(SERVICES, 1), "postgresql://127.0.0.1:1", "nats://127.0.0.1:1"
    )
    assert home.region(elsewhere).extra.get(JOINED) == "1"
    join(home, "jatim", "none")
    server.start()
    home.membership.authority.write_text("left there by an earlier release")
    assert (said(), home.region(elsewhere).extra.get(JOINED)) == ([], None)
    server.kill()


def test_a_backup_is_not_begun_of_a_region_that_does_not_run_or_for_days_that_are_no_number(tmp_path: Path) -> None:
    """Without the region's variables pg_basebackup would take whatever PostgreSQL the machine has."""
    nightly, rembuk = Path("deploy/backup/nightly").absolute(), Path(sys.executable).with_name("rembuk")
    for days, why in (("30", "nothing runs in"), ("many", "DAYS is a number, not many")):
        refused = subprocess.run(
            [nightly, "jatim", "backup", days], cwd=tmp_path, env={**os.environ, "REMBUK": str(rembuk)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (refused.returncode, why in refused.stderr, "pg_basebackup" in refused.stderr) == (2, True, False)
        assert list(tmp_path.iterdir()) == []


def test_a_directory_belongs_to_one_region_whoever_is_named(running: Command) -> None:
    for said in (("status",), ("down",), ("up", "--detach"), ("partner", "list"), ("vault", "status"), ("env",)):
        refused = CliRunner().invoke(app, [*said, "--region", "jateng", "--data", str(running.data)])
        assert (refused.exit_code, "is the directory of jatim" in refused.stderr) == (2, True), refused
    refused = CliRunner().invoke(app, ["hub", "up", "--data", str(running.data)])
    assert (refused.exit_code, "is the directory of jatim" in refused.stderr) == (2, True), refused
    eventually(running.well, 60)


def test_whose_a_directory_is_is_known_though_nothing_runs_and_where_only_it_is_named(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path)
    (tmp_path / "nats").mkdir()
    (tmp_path / "nats" / "nats.conf").write_text('{"server_name": "jabar"}')  # as an earlier release has left it
    assert home.owner() == "jabar"
    home.own("jabar")
    (tmp_path / "nats" / "nats.conf").unlink()
    assert home.owner() == "jabar"
    with pytest.raises(AnothersDirectory, match="say --region jabar"):
        home.own("jatim")
    said = CliRunner().invoke(app, ["status", "--data", str(tmp_path)])
    assert f"up --region jabar --data {tmp_path}" in said.stderr
    said = CliRunner().invoke(app, ["up", "--region", "jateng", "--data", str(tmp_path)])
    assert (said.exit_code, "is the directory of jabar" in said.stderr) == (2, True)
    assert not (tmp_path / "password").exists()


def test_what_is_simulated_shows_in_events_and_status_and_a_second_run_adds_nothing(running: Command) -> None:
    asked = ("simulate", "--problems", "40", "--seed", "11", "--json")
    first = json.loads(running(*asked).stdout)
    second = json.loads(running(*asked).stdout)
    assert first["problems"] == second["problems"] == 40
    lines = running("events", "reports", "--json").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["position"] for event in events] == list(range(1, first["requests"] + 1))
    assert {event["specversion"] for event in events} == {"1.0"}

    def caught_up() -> None:
        standing = running.status()
        reports = next(service for service in standing["services"] if service["name"] == "reports")
        assert reports["log"] == reports["stream"] == first["requests"]
        assert all(one["behind"] == 0 for service in standing["services"] for one in service["followers"])
        assert standing["wrong"] == []

    eventually(caught_up, 60)
    village = events[0]["area"]
    there = [json.loads(line) for line in running("events", "--area", village, "--json").stdout.splitlines()]
    assert there
    assert {event["area"] for event in there} == {village}


def test_a_process_that_dies_is_started_again(running: Command) -> None:
    before = running.note()["processes"]["forums-worker"]["pid"]
    os.kill(before, signal.SIGKILL)

    def runs_again() -> None:
        now = running.note()["processes"]["forums-worker"]
        assert now["pid"] not in (0, before)
        assert now["restarts"] >= 1

    eventually(runs_again, 30)


def test_services_are_told_the_password_of_the_nats_server_that_was_started_again(running: Command) -> None:
    before = running.note()["processes"]["nats"]["pid"]
    (running.data / "nats-password").write_text("lain-" * 6)
    os.kill(before, signal.SIGKILL)

    def told() -> None:
        processes = running.note()["processes"]
        assert processes["nats"]["pid"] not in (0, before)
        assert processes["notifications-worker"]["restarts"] == 1
        running.well()

    eventually(told, 60)


@pytest.mark.skipif(sys.platform != "linux", reason="told by /proc")
def test_whatever_it_starts_may_have_as_many_files_open_as_the_system_lets_it(running: Command) -> None:
    for name, process in running.note()["processes"].items():
        limits = Path(f"/proc/{process['pid']}/limits").read_text()
        [(soft, hard)] = re.findall(r"Max open files +(\S+) +(\S+)", limits)
        assert soft == hard, name


def test_regions_are_not_demonstrated_in_place_of_one_that_runs_and_it_is_said_how_to_go_on(
    running: Command, tmp_path: Path
) -> None:
    (tmp_path / "jatim").symlink_to(running.data)
    refused = type(running)(tmp_path)("demo", "--regions", "3")
    assert refused.returncode == 2
    first, beside, or_else, stop = refused.stderr.splitlines()
    assert "jatim runs already" in first
    assert "stop what runs" in or_else
    assert beside.endswith("demo --regions 3 --data .rembuk-regions --port-base 9000")
    assert stop.endswith(f"down --region jatim --data {tmp_path / 'jatim'}")


def test_a_taken_port_is_told_in_one_line_with_who_has_it_and_nothing_is_left(rembuk: Command) -> None:
    with socket.create_server((HOST, rembuk.base + PORT_OFFSETS["forums"])) as server:
        refused = rembuk.up()
        assert refused.returncode == 2
        assert f"port {server.getsockname()[1]} is taken (by pid {os.getpid()}" in refused.stderr
        assert refused.stderr.strip().count("\n") == 0
    assert not (rembuk.data / "region.json").exists()
    assert not rembuk.listens("postgres")


def test_servers_given_by_url_are_used_and_left_alone_and_their_credentials_noted_nowhere(
    rembuk: Command, postgres_url: str, nats_url: str
) -> None:
    parts = urlsplit(nats_url)
    with_secret = parts._replace(netloc=f"police:rahasia@{parts.netloc}").geturl()
    rembuk.environment = {"REMBUK_POSTGRES_URL": postgres_url, "REMBUK_NATS_URL": with_secret}
    up = rembuk.up("--region", f"t{secrets.token_hex(5)}")
    assert up.returncode == 0, up.stderr
    assert not rembuk.listens("postgres")
    assert not rembuk.listens("nats")
    assert rembuk("simulate", "--problems", "3").returncode == 0
    told = rembuk("events", "--json", "reports").stdout
    assert len(told.splitlines()) >= 3
    eventually(rembuk.well, 60)
    noted = "".join(path.read_text() for path in (rembuk.data / "logs").iterdir())
    noted += (rembuk.data / "region.json").read_text() + up.stdout + rembuk("status", "--json").stdout
    assert "rahasia" not in noted
    assert urlsplit(postgres_url).password not in noted
    assert rembuk("down").returncode == 0
    asyncio.run(_answer(postgres_url, nats_url))


def test_a_partner_who_was_added_while_the_region_did_not_run_is_among_what_its_own_nats_is_to_include(
    rembuk: Command, postgres_url: str, nats_url: str
) -> None:
    rembuk.environment = {"REMBUK_POSTGRES_URL": postgres_url, "REMBUK_NATS_URL": nats_url}
    region = f"t{secrets.token_hex(5)}"
    rembuk.data.mkdir(parents=True, exist_ok=True)
    added = rembuk("partner", "add", "bappeda", "--service", "reports", "--region", region)
    assert (added.returncode, "when the region runs" in added.stderr) == (0, True), added.stderr
    assert rembuk.up("--region", region).returncode == 0
    assert "partner-bappeda" in (rembuk.data / "partners.conf").read_text()
    revoked = rembuk("partner", "revoke", "bappeda")
    assert (revoked.returncode, "partners.conf" in revoked.stderr) == (0, True), revoked.stderr
    assert "partner-bappeda" not in (rembuk.data / "partners.conf").read_text()


@pytest.mark.parametrize(
    "url",
    ["nats://police:rahasia@nats.id:4222", "police:rahasia@nats.id:4222", "postgresql://nats.id:4222?password=rahasia",
     "postgresql://a:rah@asia@nats.id:4222/x?user=rahasia"],
)  # fmt: skip
def test_a_url_is_shown_without_what_opens_it(url: str) -> None:
    shown = without_credentials(url)
    assert "nats.id:4222" in shown
    assert "rahasia" not in shown
    assert "@" not in shown


async def _answer(postgres_url: str, nats_url: str) -> None:
    await (await asyncpg.connect(postgres_url)).close()
    await (await connect(nats_url, "test")).close()


@pytest.mark.parametrize(
    ("smtp", "public", "warned"),
    [
        ("", "", ""),
        ("smtp://127.0.0.1:25", "", ""),
        ("smtp://[::1]:25", "", ""),
        ("smtp://localhost", "", ""),
        ("smtps://mail.polri.invalid:465", "", "leads to http://127.0.0.1:8003"),
        ("smtp://10.0.0.5", "http://localhost:8003/", "leads to http://localhost:8003/"),
        ("smtp://10.0.0.5", "https://0.0.0.0", "leads to https://0.0.0.0"),
        ("smtp://10.0.0.5", "rembuk.polri.example", "is no http(s) URL"),
        ("smtp://10.0.0.5", "https://rembuk.polri.example", ""),
    ],
)
def test_a_link_that_stops_mails_leads_to_more_than_this_machine_where_mails_leave_it(
    smtp: str, public: str, warned: str
) -> None:
    urls = {"notifications": "http://127.0.0.1:8003"}
    running = Running("jatim", Process(1, 0.0), True, urls, "", "", {}, smtp_url=smtp, public_url=public)
    said = stop_links(running)
    assert warned in said
    assert bool(said) == bool(warned)


def test_a_name_that_cannot_be_a_regions_is_refused(rembuk: Command) -> None:
    assert rembuk("up", "--detach", "--region", "Jawa Timur").returncode == 2


def test_where_nothing_runs_down_is_harmless_and_status_cannot_run(rembuk: Command) -> None:
    assert rembuk("down").returncode == 0
    assert rembuk("status").returncode == 2
    assert rembuk("events").returncode == 2


def lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:  # at any moment
        return False


def test_a_killed_supervisor_takes_all_with_it_and_up_starts_anew_with_the_same_data(rembuk: Command) -> None:
    assert rembuk.up().returncode == 0
    assert rembuk("simulate", "--problems", "5").returncode == 0
    recorded = rembuk("events", "--json", "reports").stdout
    pids = rembuk.pids()
    os.kill(pids[0], signal.SIGKILL)
    if sys.platform == "linux":

        def gone() -> None:
            assert not [pid for pid in pids if lives(pid)]

        eventually(gone, 60)
    rembuk.environment = {"REMBUK_SMTP_URL": "smtp://mail.polri.invalid:25"}
    warned = [rembuk.up(), rembuk("status")]
    for said in warned:
        assert said.returncode == 0
        assert "that stops them leads to http://127.0.0.1:" in said.stdout + said.stderr
    assert "all is well" in warned[1].stdout
    assert rembuk("events", "--json", "reports").stdout == recorded
    supervisor, noted = rembuk.note()["supervisor"]["pid"], rembuk.data / "region.json"
    noted.write_bytes(noted.read_bytes()[:100])
    for refused in (rembuk("status"), rembuk.up()):
        assert (refused.returncode, f"pid {supervisor} runs here" in refused.stderr) == (2, True), refused
    assert "what ran stopped in" in rembuk("down").stdout
    assert not noted.exists()
    assert not rembuk.listens("postgres")
    assert not rembuk.listens("reports")


def test_in_the_foreground_it_runs_until_it_is_interrupted(rembuk: Command) -> None:
    up = rembuk.begin("up", "--port-base", str(rembuk.base))
    assert up.stdout is not None
    assert next(up.stdout).startswith("reports")
    assert rembuk.listens("reports")
    up.send_signal(signal.SIGINT)
    assert up.wait(60) == 0
    up.stdout.close()
    assert not rembuk.listens("reports")
    assert not rembuk.listens("postgres")
    assert not (rembuk.data / "region.json").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_is_told_to_end_while_it_starts_a_region_ends_it(rembuk: Command, number: signal.Signals) -> None:
    ours = signal.signal(number, signal.SIG_DFL)  # where tests run by nohup, a child would ignore SIGHUP
    try:
        up = rembuk.begin("up", "--detach", "--port-base", str(rembuk.base))
    finally:
        signal.signal(number, ours)

    def begun() -> None:
        assert (rembuk.data / "region.json").exists()

    eventually(begun)
    up.send_signal(number)
    assert up.wait(60) != 0
    assert up.stdout is not None
    up.stdout.close()
    assert not (rembuk.data / "region.json").exists()
    assert not rembuk.listens("postgres")
    assert not rembuk.listens("nats")
