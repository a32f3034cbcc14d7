"""The hub's data directory: its key, which regions it has admitted, and the certificate by which they know it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
from rembuk.embedded.nats_server import EmbeddedNats
from rembuk.embedded.region import RegionConfig, require_name
from rembuk.federation import hub_regions
from rembuk.federation.hub_regions import DOMAIN, Admitted, Invitation, new_seed
from rembuk.keys import key_setting
from rembuk.partners.roster import Roster
from rembuk.process import state_file
from rembuk.settings import WITNESSED, CannotRun

from rembuk_cli.home.directory import Home
from rembuk_cli.home.hub_certificate import HubCertificate
from rembuk_cli.home.plan import Plan
from rembuk_cli.home.running import Running

_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")


class BadGate(CannotRun):
    """Regions could not be awaited there, or not reach the hub by that."""


class Gate(msgspec.Struct, frozen=True):
    """Where the nats-servers of regions are awaited (`host:port`), and by which names and addresses they reach it."""

    listen: str
    hosts: tuple[str, ...]

    @property
    def url(self) -> str:
        """For invitations: `nats-leaf://hub.example:7422`."""
        host = self.hosts[0]
        return f"nats-leaf://{f'[{host}]' if ':' in host else host}:{self.listen.rpartition(':')[2]}"

    def require_sound(self) -> None:
        """Raises BadGate."""
        place, _, port = self.listen.rpartition(":")
        is_port = ":" in self.listen and port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 1 << 16
        if not is_port or not (place == "" or _is_host(place.removeprefix("[").removesuffix("]"))):
            raise BadGate(f"--listen {self.listen!r}: must be an address and a port, as 0.0.0.0:7422")
        for host in self.hosts:
            if not _is_host(host):
                raise BadGate(
                    f"--host {host!r}: must be a name as DNS has it (xn-- for other letters), or an address, by itself"
                )


def _is_host(text: str) -> bool:
    try:
        return bool(ip_address(text))
    except ValueError:
        return _NAME.fullmatch(text) is not None


class HubHome(Home):
    """What a hub keeps beside what a region does."""

    def __init__(self, data: Path) -> None:
        super().__init__(data)
        self.key = self.data / "hub.key"
        self.certificate = HubCertificate(self.data / "tls")
        self.regions = Roster(self.data / "regions.json", Admitted)
        self.witnessed_logs = self.data / "witnessed-logs"
        self._gate = self.data / "gate.json"

    def prepare(self) -> None:
        super().prepare()
        for key in (self.key, self.log_key, self.region_key, self.witness_key):
            key_setting.create(key)
        self.witnessed_logs.touch()

    def open(self, gate: Gate) -> None:
        """Where regions are awaited from the next start on. Raises BadGate."""
        gate.require_sound()
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        state_file.write(self._gate, msgspec.json.encode(gate))

    def invite(self, regions: list[Admitted], name: str) -> Invitation:
        """Add a region to the list, as it is being changed; what it joins by. Raises BadRegionName."""
        require_name(name)
        gate, seed = self.gate(), new_seed(secrets.token_bytes(key_setting.KEY))
        assert gate is not None
        regions.append(Admitted(name, hub_regions.public_key(seed), datetime.now(UTC)))
        return Invitation(name, gate.url, self.certificate.authority.read_text(), seed)

    def gate(self) -> Gate | None:
        """None before the first start. Raises Damaged."""
        again = "move it away, and say `--listen` and `--host` at the next `rembuk hub up`"
        return state_file.read_json(self._gate, Gate, again)

    def _reads(self) -> list[Callable[[], Any]]:
        return [*super()._reads(), self.gate, self.regions.read, lambda: self.secret, self._certificate_lasts]

    def _certificate_lasts(self) -> None:
        """Raises Damaged, CannotRun."""
        if (gate := self.gate()) is not None:
            self.certificate.require_lasting(gate.hosts)

    @property
    def operator_seed(self) -> str:
        """By which the hub's nats-server knows us."""
        return hub_regions.operator_seed(self.secret)

    @property
    def secret(self) -> bytes:
        [key, *_] = key_setting.read_keys(str(self.key), "the hub's key")
        return key

    def nats(self, region: str, port: int, linked: bool = True) -> EmbeddedNats:
        return EmbeddedNats(self.data / "nats", port, lambda: self.nats_settings(region, linked))

    def nats_settings(self, region: str = DOMAIN, linked: bool = True) -> dict[str, Any]:
        """What the hub's nats-server is told: accounts of the regions that are admitted, and where it awaits them."""
        gate = self.gate()
        assert gate is not None
        self.certificate.prepare(gate.hosts)
        certificate = self.certificate
        told = hub_regions.hub_server(
            self.regions.read(), self.secret, gate.listen, certificate.certificate, certificate.key
        )
        return {"server_name": DOMAIN, "jetstream": {"domain": DOMAIN}, **told}

    def region(self, plan: Plan) -> RegionConfig:
        """The hub as its processes are told of it."""
        return RegionConfig(
            name=DOMAIN,
            postgres_url=self.postgres(plan.ports["postgres"]).url,
            nats_url=self.nats(plan.region, plan.ports["nats"]).url,
            password=self._password(),
            region_key=str(self.region_key),
            log_key=str(self.log_key),
            ports={DOMAIN: plan.ports[DOMAIN]},
            extra=plan.extra
            | self._told
            | {WITNESSED: str(self.witnessed_logs), "REMBUK_WITNESS_KEY": str(self.witness_key)},
            services=(DOMAIN,),
        )

    def running_region(self, running: Running) -> RegionConfig:
        return msgspec.structs.replace(super().running_region(running), extra=self._told)

    @property
    def _told(self) -> dict[str, str]:
        """Where its processes find the regions, and the key by which they read them."""
        return {hub_regions.SETTING: str(self.regions.path), hub_regions.KEY_SETTING: str(self.key)}
