"""What `rembuk hub nats` writes, given to real nats-servers: regions join, the hub mirrors them, nobody else enters."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import nats
import nats.errors
import pytest
from nats.aio.client import Client
from rembuk.broker.stream_names import stream_name
from rembuk.broker.streams import stream_config
from rembuk.embedded.nats_server import nats_binary
from rembuk.embedded.server import HOST
from rembuk.federation.hub_regions import INBOX, JOINED, Invitation, mirror_config, new_seed, public_key, reader_seed
from rembuk.testing import forking
from rembuk.testing.ports import free_ports
from rembuk.testing.services import eventually

EXAMPLE = Path(__file__).parents[2] / "deploy/nats/regions.toml"


class Deployed:
    """One description, what is made of it, and servers that run by it."""

    def __init__(self, folder: Path, *regions: str) -> None:
        self.folder, self.out = folder, folder / "out"
        self.ports = {name: free_ports() for name in ("hub", "leaf", *regions)}
        self.servers: dict[str, subprocess.Popen[bytes]] = {}

    def describe(self, *regions: str) -> subprocess.CompletedProcess[str]:
        """Write it, and have everything made of it."""
        lines = ["[hub]", f'hosts = ["{HOST}"]', f'leaf = "{HOST}:{self.ports["leaf"]}"', *self._server("hub")]
        for name in regions:
            lines += [f"[regions.{name}]", *self._server(name)]
        file = self.folder / "regions.toml"
        file.write_text("\n".join(lines))
        return forking.run("rembuk_cli", ["hub", "nats", str(file), "--out", str(self.out)], os.environ, 60)

    def start(self, name: str) -> None:
        (self.folder / name).mkdir(exist_ok=True)
        with self.log(name).open("ab") as log:
            command = [str(nats_binary()), "-c", str(self.out / name / "nats.conf")]
            self.servers[name] = subprocess.Popen(command, stdout=log, stderr=log)
        eventually(lambda: self.says(name, "Server is ready"))

    def says(self, name: str, what: str) -> None:
        assert what in self.log(name).read_text()

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def told(self, name: str) -> dict[str, str]:
        """What the processes beside a server are told of it."""
        lines = (self.out / name / "services.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    async def region(self, name: str) -> Client:
        return await nats.connect(self.told(name)["REMBUK_NATS_URL"])

    async def at_hub(self, region: str) -> Client:
        """As the hub's worker finds its way by what it is told."""
        key = base64.b64decode(Path(self.told("hub")["REMBUK_HUB_KEY"]).read_text())
        seed = reader_seed(key, region)
        return await nats.connect(self.told("hub")["REMBUK_NATS_URL"], nkeys_seed_str=seed, inbox_prefix=INBOX)

    def _server(self, name: str) -> list[str]:
        return [f'listen = "{HOST}:{self.ports[name]}"', f'store = "{self.folder / name}"']


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Callable[..., Deployed]]:
    made: list[Deployed] = []

    def deploy(*regions: str) -> Deployed:
        made.append(Deployed(tmp_path, *regions))
        done = made[-1].describe(*regions)
        assert done.returncode == 0, done.stderr
        return made[-1]

    yield deploy
    for one in made:
        for server in one.servers.values():
            server.terminate()
        for server in one.servers.values():
            server.wait(20)


async def mirrored(deployed: Deployed, region: str, events: int) -> None:
    """The region's stream takes so many more events, and the hub's mirror of it has them all."""
    name = stream_name(region, "reports")
    own, hub = await deployed.region(region), await deployed.at_hub(region)
    await own.jetstream().add_stream(stream_config(region, "reports"))
    await hub.jetstream().add_stream(mirror_config(region, "reports"))
    for _ in range(events):
        await own.jetstream().publish(f"polmas.{region}.reports.Happened.35._._", b"{}")
    last = (await own.jetstream().stream_info(name)).state.last_seq
    deadline = time.monotonic() + 60
    while (await hub.jetstream().stream_info(name)).state.last_seq != last:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    await own.close()
    await hub.close()


async def test_regions_join_and_are_mirrored_each_in_its_own_account(deployed: Callable[..., Deployed]) -> None:
    one = deployed("jatim", "bali")
    for name in ("hub", "jatim", "bali"):
        one.start(name)
    await mirrored(one, "jatim", 3)
    await mirrored(one, "bali", 2)
    hub = await one.at_hub("bali")
    assert [stream.config.name for stream in await hub.jetstream().streams_info()] == ["BALI_REPORTS"]
    await hub.close()


async def test_who_was_not_admitted_and_who_says_nothing_is_refused(deployed: Callable[..., Deployed]) -> None:
    one = deployed("jatim")
    stranger = new_seed(secrets.token_bytes(32))
    conf = one.out / "jatim/server.conf"
    invitation = msgspec.json.decode((one.out / "jatim/hub.json").read_bytes(), type=Invitation)
    assert invitation.seed in conf.read_text()
    conf.write_text(conf.read_text().replace(invitation.seed, stranger))
    for name in ("hub", "jatim"):
        one.start(name)
    eventually(lambda: one.says("jatim", "Authorization Violation"))
    for name in ("hub", "jatim"):
        with pytest.raises(nats.errors.Error):
            await nats.connect(
                f"nats://{HOST}:{one.ports[name]}", allow_reconnect=False, error_cb=_nothing, max_reconnect_attempts=1
            )


async def _nothing(_: Exception) -> None: ...


def test_what_is_written_is_nobody_elses_and_stays_when_it_is_written_again(deployed: Callable[..., Deployed]) -> None:
    one = deployed("jatim", "bali")
    one.ports["papua"] = free_ports()

    def secrets_of(*names: str) -> dict[Path, bytes]:
        kept = ("hub.key", "hub.json", "nats-password", "ca.key", "server.key", "log.key")
        return {path: path.read_bytes() for name in names for path in (one.out / name).rglob("*") if path.name in kept}

    for path in one.out.rglob("*"):
        if path.is_file() and path.read_bytes() and path.name != "gate.json":
            assert path.stat().st_mode & 0o077 == 0 or path.name == "hub-ca.pem", path
    before = secrets_of("hub", "jatim", "bali")
    assert len(before) == 8
    assert one.describe("jatim", "bali", "papua").returncode == 0
    assert secrets_of("hub", "jatim", "bali") == before
    assert regions(one) == {"jatim": None, "bali": None, "papua": None}


def test_a_region_that_is_left_out_is_turned_away_and_invited_anew_when_it_is_back(
    deployed: Callable[..., Deployed],
) -> None:
    one = deployed("jatim", "bali")
    first = one.out.joinpath("bali/hub.json").read_bytes()
    turned_away = one.describe("jatim")
    assert "bali is turned away" in turned_away.stdout
    assert regions(one)["bali"] is not None
    invitation = msgspec.json.decode(first, type=Invitation)
    assert public_key(invitation.seed) not in one.out.joinpath("hub/nats.conf").read_text()
    assert "bali is admitted" in one.describe("jatim", "bali").stdout
    again = msgspec.json.decode(one.out.joinpath("bali/hub.json").read_bytes(), type=Invitation)
    assert again.seed != invitation.seed
    assert public_key(again.seed) in one.out.joinpath("hub/nats.conf").read_text()
    assert public_key(invitation.seed) not in one.out.joinpath("hub/nats.conf").read_text()
    assert again.seed in one.out.joinpath("bali/server.conf").read_text()


def regions(deployed: Deployed) -> dict[str, Any]:
    """When each was turned away; of each name the last word."""
    listed = msgspec.json.decode((deployed.out / "hub/regions.json").read_bytes())
    return {one["name"]: one.get("revoked_at") for one in listed}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[hub", "Expected"),
        ('[hub]\nlisten = "x"\nstore = "y"\nleaf = "z"\n[regions]', "missing required field `hosts`"),
        (EXAMPLE.read_text().replace("regions.bali", "regions.hub"), "is what the hub of all regions is called"),
        (EXAMPLE.read_text().replace("store", "stores"), "unknown field `stores`"),
    ],
)
def test_a_description_that_is_none_is_refused_and_nothing_written(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "regions.toml").write_text(text)
    command = [sys.executable, "-m", "rembuk_cli", "hub", "nats", "regions.toml", "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, why in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "out").exists()


def test_what_is_written_for_another_machine_names_its_places(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rembuk_cli", "hub", "nats", str(EXAMPLE), "--out", "out"]
    subprocess.run(command, cwd=tmp_path, timeout=60, check=True)
    for name, server in tomllib.loads(EXAMPLE.read_text())["regions"].items():
        assert f"{JOINED}=1" in (tmp_path / "out" / name / "services.env").read_text().splitlines()
        conf = (tmp_path / "out" / name / "server.conf").read_text()
        assert f'"store_dir": "{server["store"]}"' in conf
        assert f'"ca_file": "{server["directory"]}/hub-ca.pem"' in conf
        assert str(tmp_path) not in conf
    assert str(tmp_path) not in (tmp_path / "out/hub/nats.conf").read_text()
