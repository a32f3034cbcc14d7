"""A hub's nats-server and regions' as its leaf nodes, for tests: real ones, with the accounts, the permissions and the
TLS that `rembuk.federation.hub_regions` gives them."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from nats.aio.client import Client
from nats.js import JetStreamContext

from rembuk.broker.connecting import connect
from rembuk.broker.nats_wire import parse_header_lines
from rembuk.broker.stream_names import OWN_INBOX, stream_name, subject, subject_prefix
from rembuk.broker.streams import header_lines, stream_config, tail_of
from rembuk.embedded.server import HOST
from rembuk.events.codec import type_of
from rembuk.events.event import Event
from rembuk.federation.hub_regions import (
    DOMAIN,
    INBOX,
    Admitted,
    Invitation,
    hub_server,
    new_seed,
    public_key,
    reader_seed,
    region_server,
)
from rembuk.postgres.provisioning import SERVICES
from rembuk.process.state_file import write
from rembuk.testing.ports import free_ports
from rembuk.testing.servers import DisposableNats, _running


class Federation:
    """A hub's nats-server and those of regions; `roster` is the list that the hub's service reads."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self.key = secrets.token_bytes(32)
        self.roster = folder / "regions.json"
        self.leaf_port = free_ports()
        self.certificate, self.private = certificate(folder)
        self.admitted: list[Admitted] = []
        self.hub: DisposableNats
        self.regions: dict[str, DisposableNats] = {}
        self._seeds: dict[str, str] = {}

    def start_hub(self) -> None:
        self._write()
        self.hub = self._stack.enter_context(_running(partial(DisposableNats, settings=self._hub_settings)))

    def admit(self, name: str) -> None:
        """The hub's nats-server reads what it is told anew; nobody else's link is touched."""
        self._seeds[name] = new_seed(secrets.token_bytes(32))
        self.admitted.append(Admitted(name, public_key(self._seeds[name]), datetime.now(UTC)))
        self._changed()

    def revoke(self, name: str) -> None:
        now = datetime.now(UTC)
        self.admitted = [
            msgspec.structs.replace(one, revoked_at=now) if one.name == name else one for one in self.admitted
        ]
        self._changed()

    def start_region(self, name: str, port: int = 0, **denied: list[str]) -> DisposableNats:
        """The nats-server of an admitted region, which reaches the hub by `port` where one is named; `deny_imports` and
        `deny_exports` of its link are more than usual."""
        invitation = Invitation(
            name, f"nats-leaf://{HOST}:{port or self.leaf_port}", self.certificate.read_text(), self._seeds[name]
        )
        told = region_server(invitation, self.certificate)
        [remote] = told["leafnodes"]["remotes"]
        for which, subjects in denied.items():
            remote[which] = [*remote.get(which, ()), *subjects]
        self.regions[name] = self._stack.enter_context(
            _running(partial(DisposableNats, settings=lambda: _wired(name, told)))
        )
        return self.regions[name]

    def seed(self, region: str) -> str:
        return reader_seed(self.key, region)

    @asynccontextmanager
    async def client_at_hub(self, region: str) -> AsyncIterator[Client]:
        """As the hub's own services see a region's account."""
        async with connected(self.hub.url, self.seed(region), INBOX) as client:
            yield client

    @asynccontextmanager
    async def at_hub(self, region: str) -> AsyncIterator[JetStreamContext]:
        """The streams that they see there."""
        async with self.client_at_hub(region) as client:
            yield client.jetstream()

    @asynccontextmanager
    async def at_region(self, name: str) -> AsyncIterator[JetStreamContext]:
        """As the region's own services see its nats-server, with the streams of all of them."""
        async with connected(self.regions[name].url) as client:
            for service in SERVICES:
                await client.jetstream().add_stream(stream_config(name, service))
            yield client.jetstream()

    @asynccontextmanager
    async def asking(self, name: str) -> AsyncIterator[Client]:
        """As whoever asks the hub from within a region."""
        async with connected(self.regions[name].url, inbox=INBOX) as client:
            yield client

    def _hub_settings(self) -> dict[str, Any]:
        told = hub_server(self.admitted, self.key, f"{HOST}:{self.leaf_port}", self.certificate, self.private)
        return _wired(DOMAIN, told)

    def _changed(self) -> None:
        self.hub.reload()
        self._write()

    def _write(self) -> None:
        write(self.roster, msgspec.json.encode(self.admitted))


def _wired(domain: str, told: dict[str, Any]) -> dict[str, Any]:
    """The settings of a nats-server with a JetStream domain, told more than every one is."""
    return {"server_name": domain, "jetstream": {"domain": domain}, **told}


async def publish(
    jetstream: JetStreamContext,
    region: str,
    service: str,
    *facts: tuple[UUID, Event],
    at: datetime | None = None,
) -> int:
    """Have a region's stream go on with these facts of some aggregates, recorded `at` a moment (None: now), as its
    relay would; the last position."""
    stream, prefix = stream_name(region, service), subject_prefix(region, service)
    position = await tail_of(jetstream, stream)
    for stream_id, event in facts:
        position += 1
        area = getattr(event, "area", "")
        row: dict[str, Any] = {
            "position": position,
            "id": uuid4(),
            "stream_id": stream_id,
            "version": position,
            "type": type_of(event),
            "schema_version": event.schema_version,
            "area": area,
            "metadata": "{}",
            "recorded_at": at or datetime.now(UTC),
        }
        headers = parse_header_lines(header_lines(region, service, row).encode())
        stored = await jetstream.publish(
            subject(prefix, row["type"], area), msgspec.json.encode(event), headers=headers, stream=stream
        )
        assert stored.seq == position
    return position


@asynccontextmanager
async def connected(url: str, seed: str | None = None, inbox: str = OWN_INBOX) -> AsyncIterator[Client]:
    client = await connect(url, "test", seed, inbox)
    try:
        yield client
    finally:
        await client.close()


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its private key: two files of PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    public, private = folder / "hub.pem", folder / "hub.key"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    encoding, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private.write_bytes(key.private_bytes(encoding, kind, serialization.NoEncryption()))
    return public, private


@contextmanager
def federation() -> Iterator[Federation]:
    """A hub that runs and has admitted nobody yet; all of its servers end with the block."""
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="rembuk-") as folder:
        federation = Federation(Path(folder), stack)
        federation.start_hub()
        yield federation
