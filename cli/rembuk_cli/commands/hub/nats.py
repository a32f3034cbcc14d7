"""`rembuk hub nats`: the configuration of the hub's nats-server and the regions', for who runs them by himself, made of
one description of all of them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rembuk.embedded.nats_server import nats_configuration, nats_text
from rembuk.embedded.region import BadRegionName, require_name
from rembuk.embedded.region_nats import linked_within
from rembuk.federation.hub_regions import DOMAIN, JOINED, KEY_SETTING, SETTING, hub_server, region_server
from rembuk.keys import key_setting
from rembuk.partners.nats_accounts import REGION, USER, to_include
from rembuk.process import state_file

from rembuk_cli.home.directory import Home
from rembuk_cli.home.hub_directory import Gate, HubHome
from rembuk_cli.terminal.options import cannot_run
from rembuk_cli.terminal.writing import escape, out


class ServerLocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where one is: the address of its clients, the directory of its streams, and that of its files, on its machine."""

    listen: str
    store: str
    directory: str = ""


class HubServer(ServerLocation, frozen=True):
    """By which names and addresses regions reach it, and where it awaits them."""

    hosts: tuple[str, ...]
    leaf: str


class Described(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All servers; regions by name."""

    hub: HubServer
    regions: dict[str, ServerLocation]


def nats(
    file: Annotated[Path, typer.Argument(help="The description, as deploy/nats/regions.toml is one.")],
    to: Annotated[Path, typer.Option("--out", help="Where each server gets a directory; there are secrets in it.")],
) -> None:
    """Write what the nats-servers of a hub and its regions are told, where they are not embedded.

    Run again, it keeps every key; regions that were added are admitted, those that were left out are turned away. See
    deploy/nats/README.md.

    Example: rembuk hub nats deploy/nats/regions.toml --out secrets
    """
    try:
        described = msgspec.toml.decode(file.read_bytes(), type=Described)
        for name in described.regions:
            require_name(name)
    except (msgspec.MsgspecError, ValueError, BadRegionName) as error:
        cannot_run(escape(f"{file}: {error}"))
    hub = HubHome(to / DOMAIN)
    hub.open(Gate(described.hub.leaf, described.hub.hosts))
    hub.certificate.prepare(described.hub.hosts)
    for key in (hub.key, hub.log_key):
        key_setting.create(key)
    _admit(hub, to, described)
    _write_hub(hub, described.hub)
    for name, server in described.regions.items():
        _write_region(Home(to / name), name, server, hub)
    out.print(f"written into {to}: {', '.join([DOMAIN, *described.regions])}")


def _admit(hub: HubHome, to: Path, described: Described) -> None:
    """Have the list of regions be that of the description; an invitation that was lost is replaced."""
    with hub.regions.changing() as regions:
        for number, one in enumerate(regions):
            lost = one.name not in described.regions or not Home(to / one.name).membership.file.exists()
            if one.revoked_at is None and lost:
                regions[number] = msgspec.structs.replace(one, revoked_at=datetime.now(UTC))
                out.print(f"{one.name} is turned away: reload the hub's nats-server, or restart it if it is connected")
        admitted = {one.name for one in regions if one.revoked_at is None}
        for name in described.regions.keys() - admitted:
            region = Home(to / name)
            region.data.mkdir(mode=0o700, parents=True, exist_ok=True)
            region.membership.accept(hub.invite(regions, name))
            out.print(f"{name} is admitted")


def _write_hub(hub: HubHome, server: HubServer) -> None:
    place = Path(server.directory or hub.data)
    certificate, private = (
        place / path.relative_to(hub.data) for path in (hub.certificate.certificate, hub.certificate.key)
    )
    told = hub_server(hub.regions.read(), hub.secret, server.leaf, certificate, private)
    state_file.write(hub.data / "nats.conf", _configuration(DOMAIN, server, told))
    _write_environment(hub, {
        "REMBUK_REGION": DOMAIN, "REMBUK_NATS_URL": f"nats://{server.listen}",
        SETTING: str(place / hub.regions.path.name), KEY_SETTING: str(place / hub.key.name),
        "REMBUK_LOG_KEY": str(place / hub.log_key.name),
    })  # fmt: skip


def _write_region(region: Home, name: str, server: ServerLocation, hub: HubHome) -> None:
    """Its partners are in files of their own, which `rembuk partner` goes on to write."""
    gate, invitation = hub.gate(), region.membership.invitation()
    assert gate is not None
    assert invitation is not None
    invitation = msgspec.structs.replace(invitation, url=gate.url)  # where the hub is now
    region.membership.accept(invitation)
    place, password = Path(server.directory or region.data), region.password_of_nats()
    told = linked_within(region_server(invitation, place / region.membership.authority.name))
    accounts = f"""
accounts {{
  {REGION} {{
    jetstream: enabled
    users: [{{user: {USER}, password: {nats_text(password)}}}]
    include "region-exports.conf"
  }}
  include "partners.conf"
}}
"""
    state_file.write(region.data / "server.conf", _configuration(name, server, told))
    state_file.write(region.data / "nats.conf", f'include "server.conf"\n{accounts}'.encode())
    for file, part in to_include(name, []).items():
        if not (region.data / file).exists():
            state_file.write_json(region.data / file, part)
    _write_environment(region, {
        "REMBUK_REGION": name, "REMBUK_NATS_URL": f"nats://{USER}:{password}@{server.listen}", JOINED: "1",
    })  # fmt: skip


def _configuration(domain: str, server: ServerLocation, told: Mapping[str, Any]) -> bytes:
    own = {"server_name": domain, "jetstream": {"domain": domain}, "pid_file": f"{server.store}/nats.pid"}
    return nats_text(nats_configuration(server.listen, Path(server.store), {**own, **told})).encode() + b"\n"


def _write_environment(home: Home, told: Mapping[str, str]) -> None:
    state_file.write(
        home.data / "services.env", "".join(f"{name}={shlex.quote(value)}\n" for name, value in told.items()).encode()
    )
