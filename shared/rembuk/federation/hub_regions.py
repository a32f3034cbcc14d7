"""The regions that a hub has admitted, and how its nats-server and theirs are set up for it.

Each region's nats-server is a leaf node of the hub's, in an account of its own: no region can reach what another one's
streams hold, and the hub reads a region's streams; of what else its key would let somebody do, decision 20 tells. The
hub's streams mirror them, so their sequences are the same positions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rembuk.broker.stream_names import stream_name

if TYPE_CHECKING:
    from nats.js.api import StreamConfig

SETTING, KEY_SETTING = "REMBUK_HUB_REGIONS", "REMBUK_HUB_KEY"
"""The absolute path of the list of regions (a Roster of Admitted); the hub's key, as `rembuk.keys.key_setting` reads
it."""
DOMAIN = "hub"
"""JetStream domain of the hub; that of a region is its name, which therefore cannot be this one."""
INBOX = "_HUB"
"""What answers to the hub's questions, and to questions to the hub, are sent to: those within a region stay there."""
STANDING = "rembuk.hub.standing"
"""Where a region asks how far the hub knows it; the answer is a list of Known in JSON."""
MIRROR = "rembuk.hub.mirror"
"""Where a region asks for what the hub holds of a stream of its own (a Wanted); see `rembuk.federation.hub_source`."""
REGIONS = "rembuk.hub.regions"
"""Where a region asks which others are admitted and have said by which key to seal for them; the answer is a list of
Introduced in JSON."""
ADDRESSED = "rembuk.hub.inbox"
"""Where a region asks what others have said to it behind a position; the answer is a Page (see
`rembuk.federation.inbox`)."""
JOINED = "REMBUK_HUB_JOINED"
"""Is not empty in the environment of a region's services where the region has a hub."""
LINKS = {"max_leafnodes": 1}
"""Of a region's account at the hub: a second server with the same invitation is refused, where nats-server would have
the two evict each other every second."""
SILENT = {"ping_interval": "2s", "ping_max": 2}
"""A region whose connection broke unnoticed is let in again after so many unanswered pings: 6 to 8 s."""
SYSTEM = "HUB-SYSTEM"
"""The account in which the hub's nats-server tells about itself and is told whom to cut off; no region's can be so."""
FORBIDDEN = (
    "STREAM.CREATE", "STREAM.UPDATE", "STREAM.DELETE", "STREAM.PURGE", "STREAM.MSG", "STREAM.SNAPSHOT",
    "STREAM.RESTORE", "CONSUMER.DELETE", "CONSUMER.DURABLE", "CONSUMER.RESET", "CONSUMER.PAUSE", "CONSUMER.LEADER",
    "CONSUMER.UNPIN", "DIRECT",
)  # fmt: skip
"""Of a region's JetStream, what it lets nobody at the hub do."""


class Admitted(msgspec.Struct, frozen=True, omit_defaults=True):
    """A region by its name and the public nkey of its nats-server."""

    name: str
    nkey: str
    admitted_at: datetime
    revoked_at: datetime | None = None


class Invitation(msgspec.Struct, frozen=True):
    """What a region is given: where the hub is (`nats-leaf://host:port`), by which certificate it is known (PEM), and
    the seed of the region's nkey there. Whoever has it is that region to the hub."""

    region: str
    url: str
    ca: str
    seed: str

    @property
    def fault(self) -> str:
        """Which field cannot be what a hub has written, and why; empty for none."""
        if not re.fullmatch(r"nats-leaf://[^\s/@]+:[0-9]{1,5}", self.url):
            return "url is not nats-leaf://host:port"
        if not self.ca.startswith("-----BEGIN CERTIFICATE-----"):
            return "ca is no certificate in PEM"
        if not re.fullmatch("SU[A-Z2-7]{56}", self.seed):
            return "seed is not the seed of a user's nkey"
        return ""


class Known(msgspec.Struct, frozen=True):
    """How far the hub knows one stream of a region: the last position of its mirror, and its judgement of it (`level`,
    `behind`, `stalled`, `diverged` ...) when it looked last."""

    service: str
    position: int
    state: str
    looked_at: datetime


class EventsRequest(msgspec.Struct, frozen=True):
    """So many events of a service's, after a position."""

    service: str
    after: int
    limit: int


class Introduced(msgspec.Struct, frozen=True):
    """A region, and the public half of its referral key (see `rembuk.keys.referral_key`)."""

    name: str
    public_key: str


def account(region: str) -> str:
    """The name of a region's account at the hub: `JATIM`."""
    return region.upper()


def public_key(seed: str) -> str:
    """The public half of an nkey."""
    import nkeys  # like the libraries below, not for whoever only starts processes

    return str(nkeys.from_seed(seed.encode()).public_key.decode())


def new_seed(secret: bytes) -> str:
    """The seed of a user's nkey from 32 secret bytes."""
    import nkeys

    return str(nkeys.encode_seed(secret, nkeys.PREFIX_BYTE_USER).decode())


def reader_seed(key: bytes, region: str) -> str:
    """By which the hub's own services read a region's account: derived from the hub's key."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return new_seed(HKDF(SHA256(), 32, salt=None, info=f"rembuk hub reads {region}".encode()).derive(key))


def operator_seed(key: bytes) -> str:
    """By which the hub's operators ask its nats-server about itself: derived from the hub's key."""
    return reader_seed(key, "its own server")


def hub_server(regions: Iterable[Admitted], key: bytes, leaf: str, certificate: Path, private: Path) -> dict[str, Any]:
    """What the hub's nats-server is told besides what every one is: accounts, and who may be a leaf node on the address
    `leaf`. The files are its TLS certificate and that one's private key. A region that was turned away keeps its
    account, with nobody of its own in it: one that a reload brings back has no JetStream (2.15.1)."""
    accounts: dict[str, Any] = {
        account(one.name): {
            "jetstream": "enabled",
            "limits": LINKS,
            "users": [
                {"nkey": public_key(reader_seed(key, one.name))},
                *([] if one.revoked_at else [{"nkey": one.nkey, "permissions": _of_leaf(one.name)}]),
            ],
        }
        for one in {one.name: one for one in regions}.values()  # of each name the last
    }
    return {
        "accounts": accounts | {SYSTEM: {"users": [{"nkey": public_key(operator_seed(key))}]}},
        "system_account": SYSTEM,
        **SILENT,
        "leafnodes": {"listen": leaf, "tls": {"cert_file": str(certificate), "key_file": str(private)}},
    }


def _of_leaf(region: str) -> Mapping[str, Any]:
    """A region delivers to mirrors, answers questions about its JetStream, and asks the hub's service: how far it knows
    the region and what it holds of it, which others there are, what they say."""
    asked = [STANDING, MIRROR, REGIONS, ADDRESSED]
    return {
        "publish": {"allow": ["$JS.M.>", "$JSC.R.>", f"{INBOX}.>", *asked]},
        "subscribe": {"allow": [f"$JS.{region}.API.>", "$JS.FC.>", f"{INBOX}.>"]},
    }


def region_server(invitation: Invitation, ca: Path, linked: bool = True) -> dict[str, Any]:
    """What a region's nats-server is told to be a leaf node of the hub's; the invitation's `ca` is in that file. One
    that is not to be `linked` leaves, and comes back by a reload."""
    own = f"$JS.{invitation.region}.API"
    return {
        "leafnodes": {
            "remotes": [
                {
                    "url": invitation.url,
                    "nkey": invitation.seed,
                    "tls": {"ca_file": str(ca)},
                    "disabled": not linked,
                    "ignore_discovered_servers": True,  # the hub would tell addresses within its own network
                    "deny_imports": [
                        "polmas.>",
                        "inbox.>",
                        "rembuk.partners.>",
                        "$JS.API.>",
                        *(f"{own}.{what}.>" for what in FORBIDDEN),
                    ],
                }
            ]
        },
    }


def mirror_config(region: str, service: str) -> StreamConfig:
    """The hub's copy of a region's stream: same name, same subjects, same sequences; nobody publishes to it, and
    nothing is deleted of it."""
    from nats.js.api import ExternalStream, StreamConfig, StreamSource

    name = stream_name(region, service)
    return StreamConfig(
        name=name,
        mirror=StreamSource(name=name, external=ExternalStream(api=f"$JS.{region}.API")),
        allow_direct=True,
        deny_delete=True,
        deny_purge=True,
        max_age=0,
    )
