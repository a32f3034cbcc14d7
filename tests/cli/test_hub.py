"""A hub by its command: regions are invited, join, are cut off and come back, and are turned away."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from cryptography import x509
from rembuk.embedded.nats_server import EmbeddedNats
from rembuk.embedded.server import HOST
from rembuk.federation.hub_regions import (
    DOMAIN,
    Admitted,
    Invitation,
    account,
    hub_server,
    new_seed,
    public_key,
    region_server,
)
from rembuk.process import state_file
from rembuk.settings import CannotRun
from rembuk.testing import forking
from rembuk.testing.ports import free_ports
from rembuk.testing.services import eventually
from rembuk_cli.__main__ import app
from rembuk_cli.home import hub_certificate
from rembuk_cli.home.directory import Home
from rembuk_cli.home.hub_certificate import HubCertificate
from rembuk_cli.home.hub_directory import Gate, HubHome
from rembuk_cli.region.hub_leaves import connected
from rembuk_cli.region.hub_link import refusal
from rembuk_cli.region.servers import broker
from typer.testing import CliRunner

if TYPE_CHECKING:
    from conftest import Command

pytestmark = pytest.mark.timeout(300)


class HubCommand:
    """`rembuk hub` for one data directory and ports of its own."""

    def __init__(self, data: Path) -> None:
        self.data, self.base, self.leaf = data, free_ports(10), free_ports()

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.rembuk("hub", *arguments)

    def rembuk(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command that regions have, too."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("REMBUK_")}
        return forking.run("rembuk_cli", [*arguments, "--data", str(self.data)], environment, 240)

    def up(self, *more: str) -> subprocess.CompletedProcess[str]:
        return self("up", "--detach", "--port-base", str(self.base), "--listen", f"{HOST}:{self.leaf}", *more)

    def kill_nats(self) -> None:
        """As a crash would: it is another one when this returns."""
        running = HubHome(self.data).running()
        assert running is not None
        before = running.processes["nats"].pid
        os.kill(before, signal.SIGKILL)
        eventually(lambda: assert_other(before, HubHome(self.data).nats(DOMAIN, self.base + 4).pid))

    def links(self, region: str) -> int:
        """How many servers of a region are connected."""
        home = HubHome(self.data)

        async def ask() -> int:
            async with broker(home.nats(DOMAIN, self.base + 4).url, "test", seed=home.operator_seed) as client:
                return len((await connected(client))[1].get(account(region), ()))

        return asyncio.run(ask())

    def linked(self, region: str, number: int) -> None:
        eventually(lambda: assert_equal(self.links(region), number))

    def stream(self, region: str, service: str = "reports") -> dict[str, Any]:
        told = json.loads(self("status", "--json").stdout)
        [streams] = [one["streams"] for one in told if one["name"] == region]
        [stream] = [one for one in streams if one["service"] == service]
        return stream


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubCommand]:
    command = HubCommand(tmp_path_factory.mktemp("hub"))
    started = command.up()
    assert started.returncode == 0, started.stderr
    yield command
    command("down")


@pytest.fixture
def invited(hub: HubCommand, tmp_path: Path) -> Path:
    """An invitation for jatim, which is not admitted any more afterwards."""
    invitation = tmp_path / "jatim.json"
    admitted = hub("admit", "jatim", "--to", str(invitation))
    assert admitted.returncode == 0, admitted.stderr
    return invitation


class Leaf(EmbeddedNats):
    """The nats-server of a region, and nothing else of it."""

    def __init__(self, invitation: Path, folder: Path) -> None:
        folder.mkdir()
        invited = msgspec.json.decode(invitation.read_bytes(), type=Invitation)
        (authority := folder / "ca.pem").write_text(invited.ca)
        told = {"server_name": invited.region, "jetstream": {"domain": invited.region}}
        super().__init__(folder / "nats", free_ports(), lambda: told | region_server(invited, authority))

    def hears(self, why: str) -> None:
        """What the hub says to it from now on comes to be this."""
        before = len(self.log.read_text())
        eventually(lambda: assert_in(why, self.log.read_text()[before:]))


@pytest.fixture
def leaf(tmp_path: Path) -> Iterator[Callable[[Path], Leaf]]:
    """Starts a region's nats-server that joins by an invitation; all end with the test."""
    leaves: list[Leaf] = []

    def start(invitation: Path) -> Leaf:
        leaves.append(Leaf(invitation, tmp_path / f"leaf-{len(leaves)}"))
        leaves[-1].start()
        return leaves[-1]

    yield start
    for one in leaves:
        one.kill()


@pytest.fixture(autouse=True)
def turned_away(hub: HubCommand) -> Iterator[None]:
    yield
    hub("revoke", "jatim")


def report(rembuk: Command) -> int:
    problem = {"area": "35.78.08.1004", "category": "theft", "title": "Motor hilang", "description": "Di pasar."}
    answer = httpx.post(f"{rembuk.note()['urls']['reports']}/v1/problems", json=problem, timeout=20)
    position: int = answer.raise_for_status().json()["position"]
    return position


def link(rembuk: Command, linked: bool) -> None:
    home = Home(rembuk.data)
    home.nats("jatim", rembuk.note()["ports"]["nats"], linked).reload()


@pytest.mark.drills
def test_a_region_is_known_to_the_hub_cut_off_level_again_turned_away_and_admitted_anew(
    hub: HubCommand, invited: Path, rembuk: Command
) -> None:
    assert invited.stat().st_mode & 0o777 == 0o600
    joined = rembuk.up("--hub", str(invited))
    assert joined.returncode == 0, joined.stderr

    def level_at(position: int) -> None:
        at_hub = hub.stream("jatim")
        assert (at_hub["state"], at_hub["shown"]) == ("level", position)
        standing = rembuk.status()
        assert {one["service"]: one["position"] for one in standing["hub"]["mirrored"]}["reports"] == position
        assert standing["wrong"] == []

    introduced = ("events", "reports", "--type", "RegionIntroduced", "--json")
    eventually(lambda: assert_in("public_key", rembuk(*introduced).stdout), 30)
    first = report(rembuk)
    eventually(lambda: level_at(first), 90)

    def read() -> None:
        followers = [one for service in rembuk.status()["services"] for one in service["followers"]]
        assert ("referrals", "JATIM_INBOX", 0) in [(one["name"], one["stream"], one["behind"]) for one in followers]

    eventually(read)
    link(rembuk, linked=False)

    def cut_off() -> None:
        assert hub.stream("jatim")["state"] == "cut_off"
        assert [why for why in rembuk.status()["wrong"] if "does not answer" in why]

    eventually(cut_off)
    assert hub("status").returncode == 1
    last = [report(rembuk) for _ in range(20)][-1]
    link(rembuk, linked=True)
    eventually(lambda: level_at(last), 90)
    [counted] = httpx.get(f"http://{HOST}:{hub.base + 1}/v1/counts", params={"by": "region"}).json()
    assert (counted["key"], counted["problems"]) == ("jatim", 21)

    turned = hub("revoke", "jatim")
    assert turned.returncode == 0, turned.stderr
    server_log = rembuk.data / "nats" / "nats-server.log"
    eventually(lambda: assert_in("Authorization Violation", server_log.read_text()))
    assert report(rembuk) == last + 1
    assert [one["revoked_at"] is None for one in json.loads(hub("regions", "--json").stdout)][-1] is False

    again = rembuk.data.parent / "again.json"
    assert hub("admit", "jatim", "--to", str(again)).returncode == 0
    (keys := rembuk.data / "keys").write_text(rembuk("receipt", "keys").stdout)
    watched = hub("admit", "jatim", "--log-keys", str(keys))
    assert (watched.returncode, watched.stdout.startswith("3 logs of jatim are witnessed now")) == (0, True)
    refused = hub("admit", "jabar", "--log-keys", str(keys))
    assert (refused.returncode, "polmas/jatim/reports is no log of jabar" in refused.stderr) == (2, True)
    witness = f"http://{HOST}:{hub.base + 1}/v1/witness"
    (witnesses := rembuk.data / "witnesses").write_text(f"{witness} {httpx.get(f'{witness}/key').text}")
    rembuk("down")
    rembuk.environment["REMBUK_WITNESSES"] = str(witnesses)
    joined = rembuk.up("--hub", str(again))
    assert joined.returncode == 0, joined.stderr
    eventually(lambda: level_at(last + 1), 90)
    eventually(lambda: assert_in("size", str(hub.stream("jatim")["cosigned"])))


def assert_in(what: str, text: str) -> None:
    assert what in text


def assert_equal(one: int, other: int) -> None:
    assert one == other


def assert_other(before: int, now: int | None) -> None:
    assert now not in (None, before)


def test_a_nats_server_that_dies_is_started_with_who_is_admitted_by_then(
    hub: HubCommand, invited: Path, leaf: Callable[[Path], Leaf], tmp_path: Path
) -> None:
    former = leaf(invited)
    hub.linked("jatim", 1)
    hub.kill_nats()
    hub.linked("jatim", 1)
    assert hub("revoke", "jatim").returncode == 0
    hub.kill_nats()
    former.hears("Authorization Violation")
    assert hub.links("jatim") == 0
    assert hub("admit", "jatim", "--to", str(tmp_path / "again.json")).returncode == 0
    former.hears("Authorization Violation")
    assert "turned away there, or its invitation is a former one" in refusal(former.log)
    leaf(tmp_path / "again.json")
    hub.linked("jatim", 1)
    hub.kill_nats()
    hub.linked("jatim", 1)


def test_a_former_invitation_ends_with_the_next_one(
    hub: HubCommand, invited: Path, leaf: Callable[[Path], Leaf], tmp_path: Path
) -> None:
    """Even where the list was changed while nobody heard of it."""
    former = leaf(invited)
    hub.linked("jatim", 1)
    home = HubHome(hub.data)
    with home.regions.changing() as regions:
        regions[-1] = msgspec.structs.replace(regions[-1], revoked_at=datetime.now(UTC))
    assert hub("admit", "jatim", "--to", str(tmp_path / "again.json")).returncode == 0
    assert hub.links("jatim") == 0
    former.hears("Authorization Violation")


def test_of_two_regions_with_one_invitation_the_second_is_refused_and_both_sides_say_why(
    hub: HubCommand, invited: Path, leaf: Callable[[Path], Leaf]
) -> None:
    first = leaf(invited)
    hub.linked("jatim", 1)
    second = leaf(invited)
    second.hears("maximum account active connections exceeded")

    def named() -> None:
        told = hub("status")
        assert told.returncode == 1
        assert "jatim: another server tries to join as jatim by the same invitation, from 127.0.0.1" in told.stdout

    eventually(named, 30)
    assert "another one is connected by the same invitation" in refusal(second.log)
    assert (refusal(first.log), "Duplicate Remote" in first.log.read_text()) == ("", False)
    first.kill()
    hub.linked("jatim", 1)


@pytest.mark.parametrize(
    ("hosts", "lasts", "another", "why"),
    [
        ([HOST], timedelta(days=365), True, "its certificate is another authority's"),
        ([HOST], timedelta(hours=-1), False, "shows a certificate that is not valid now"),
        (["hub.example"], timedelta(days=365), False, "does not name the address of this region's invitation"),
    ],
)
def test_a_hub_that_does_not_show_the_certificate_that_was_invited_by_is_not_joined_and_it_is_said_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hosts: list[str], lasts: timedelta, another: bool, why: str
) -> None:
    monkeypatch.setattr(hub_certificate, "LASTS", lasts)
    shown, invited_by = HubCertificate(tmp_path / "tls"), HubCertificate(tmp_path / ("other" if another else "tls"))
    for one in (shown, invited_by):
        one.prepare(hosts)
    seed, leaf_port = new_seed(b"s" * 32), free_ports()
    admitted = [Admitted("jatim", public_key(seed), datetime.now(UTC))]
    hub = EmbeddedNats(
        tmp_path / "hub", free_ports(),
        lambda: hub_server(admitted, b"k" * 32, f"{HOST}:{leaf_port}", shown.certificate, shown.key),
    )  # fmt: skip
    invitation = Invitation("jatim", f"nats-leaf://{HOST}:{leaf_port}", invited_by.authority.read_text(), seed)
    state_file.write_json(tmp_path / "jatim.hub.json", invitation)
    hub.start()
    leaf = Leaf(tmp_path / "jatim.hub.json", tmp_path / "leaf")
    try:
        leaf.start()
        eventually(lambda: assert_in(why, refusal(leaf.log)))
    finally:
        leaf.kill()
        hub.kill()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (["admit", "hub"], "'hub' is what the hub of all regions is called"),
        (["admit", "Jawa Timur"], "is not a region's name"),
        (["revoke", "mars"], "mars is not admitted"),
    ],
)
def test_who_cannot_be_admitted_or_turned_away_is_told_why(hub: HubCommand, said: list[str], why: str) -> None:
    answer = hub(*said)
    assert (answer.returncode, why in answer.stderr) == (2, True), answer.stderr


@pytest.mark.parametrize(
    ("listen", "host"),
    [
        *((listen, "hub.example") for listen in ("7422", "0.0.0.0", "0.0.0.0:0", "0.0.0.0:65536", "a b:7422", "x:y")),
        *(
            ("0.0.0.0:7422", host)
            for host in ("", "a b", "hub.example:7422", "nats://x", "*.example", "bücher.example")
        ),
        ("0.0.0.0:7422", f"{'x' * 64}.example"),
    ],
)
def test_where_no_region_could_reach_a_hub_is_refused_and_where_they_did_is_kept(
    tmp_path: Path, listen: str, host: str
) -> None:
    home, kept = HubHome(tmp_path), Gate("[::1]:7422", ("2001:db8::7", f"hub.{'x' * 63}.example"))
    home.open(kept)
    assert kept.url == "nats-leaf://[2001:db8::7]:7422"
    said = ["hub", "up", "--data", str(tmp_path), "--listen", listen, "--host", host]
    refused = CliRunner().invoke(app, said)
    assert (refused.exit_code, "--listen" in refused.stderr or "--host" in refused.stderr) == (2, True), refused
    assert home.gate() == kept
    home.certificate.prepare([f"hub.{'x' * 63}.example"])
    assert names_of(home.certificate) == [f"hub.{'x' * 63}.example"]


def test_a_region_of_the_same_name_is_not_admitted_twice(hub: HubCommand, invited: Path, tmp_path: Path) -> None:
    again = hub("admit", "jatim", "--to", str(tmp_path / "another.json"))
    assert (again.returncode, "jatim is admitted already" in again.stderr) == (2, True)
    assert not (tmp_path / "another.json").exists()


def test_a_region_that_cannot_join_is_not_started_and_told_why(invited: Path, rembuk: Command, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text(invited.read_text()[:-40])
    for told, why in (
        (["--hub", str(tmp_path / "nowhere.json")], "no invitation to a hub can be read from"),
        (["--hub", str(broken)], "no invitation to a hub can be read from"),
        (["--hub", "nats-leaf://127.0.0.1:7422"], "there is no invitation to"),
        (["--hub", str(invited), "--region", "jabar"], "the invitation is for jatim, this region is jabar"),
        (["--region", "hub"], "'hub' is what the hub of all regions is called"),
    ):
        refused = rembuk.up(*told)
        assert (refused.returncode, why in refused.stderr) == (2, True), refused.stderr
        assert not (rembuk.data / "region.json").exists()


def test_what_the_hub_shows_is_rebuilt_verified_and_retried_by_the_commands_that_regions_have(
    hub: HubCommand, invited: Path
) -> None:
    rebuilt = hub.rembuk("rebuild", "hub", "--json")  # also of a region that was admitted and has not come yet
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert json.loads(rebuilt.stdout.splitlines()[-1])["kind"] == "swapped"
    verified = hub.rembuk("verify", "hub")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "JATIM_FORUMS: 0 events, no head of it was cosigned" in verified.stdout
    assert "meeting: 0 rows, no difference" in verified.stdout
    listed = hub.rembuk("quarantine", "list", "--region", "hub")
    assert (listed.returncode, "nothing is in quarantine" in listed.stdout) == (0, True)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (["rebuild", "hub", "--as-of", "1"], "the hub has no log of its own"),
        (["export", "hub"], "the hub records nothing of its own"),
        (["reconcile", "hub"], "the hub records nothing of its own"),
        (["restore", "hub", "--from", "stream"], "the hub records nothing of its own"),
        (["status", "--region", "hub"], "'hub' is what the hub of all regions is called"),
    ],
)
def test_what_the_hub_has_not_is_refused_and_said(hub: HubCommand, said: list[str], why: str) -> None:
    answer = hub.rembuk(*said)
    assert (answer.returncode, why in answer.stderr) == (2, True), answer.stderr


def names_of(certificate: HubCertificate) -> list[str]:
    loaded = x509.load_pem_x509_certificate(certificate.certificate.read_bytes())
    names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names]


def test_the_hubs_certificate_follows_its_names_and_is_renewed_under_the_same_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = HubCertificate(tmp_path / "tls")
    certificate.prepare(["hub.example", "10.0.0.7"])
    authority, first = certificate.authority.read_bytes(), certificate.certificate.read_bytes()
    assert names_of(certificate) == ["hub.example", "10.0.0.7"]
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "tls").iterdir()} == {0o600}
    certificate.prepare(["hub.example", "10.0.0.7"])
    assert certificate.certificate.read_bytes() == first
    certificate.prepare(["hub.example"])
    assert names_of(certificate) == ["hub.example"]
    second = certificate.certificate.read_bytes()
    certificate.require_lasting(["hub.example"])
    with monkeypatch.context() as soon:
        soon.setattr(hub_certificate, "RENEWED_BEFORE", hub_certificate.LASTS)
        with pytest.raises(CannotRun, match="regions will soon know this hub no more"):
            certificate.require_lasting(["hub.example"])
        certificate.prepare(["hub.example"])
    third = certificate.certificate.read_bytes()
    assert third != second
    monkeypatch.setattr(hub_certificate, "BACKDATED", -timedelta(days=2))  # signed while the clock ran ahead
    certificate.prepare(["other.example"])
    monkeypatch.undo()
    with pytest.raises(CannotRun):
        certificate.require_lasting(["other.example"])
    certificate.prepare(["other.example"])
    certificate.require_lasting(["other.example"])
    assert certificate.authority.read_bytes() == authority
