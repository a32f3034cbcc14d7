"""How a region stands, as `rembuk status` tells it."""

from __future__ import annotations

import msgspec
from rembuk.flow.standing import SetAside
from rembuk.transparency.standing import SignedHead
from rembuk.witness.standing import WitnessRecord

from rembuk_cli.region.processes import ProcessStanding


class FollowerStanding(msgspec.Struct):
    """Where a follower stands in a stream; `behind_s` is the age of the first event that it has not taken, `refused`
    how many of a reaction's commands the domain said no to since the beginning (which is an outcome, nothing wrong)."""

    name: str
    stream: str
    position: int
    behind: int = 0
    behind_s: float = 0.0
    refused: int = 0


class ServiceStanding(msgspec.Struct):
    """One service; None where it could not be read. A negative `relay_behind` is a stream ahead of its log, a
    `diverged` one ends in another event than the log has there; the relay publishes to neither."""

    name: str
    url: str
    ready: bool = False
    log: int | None = None
    stream: int | None = None
    clock_ahead_s: float = 0.0
    relay_behind: int | None = None
    relay_behind_s: float = 0.0
    diverged: bool = False
    followers: list[FollowerStanding] = []
    quarantine: list[SetAside] = []
    checkpoint: SignedHead | None = None
    witnesses: list[WitnessRecord] = []


class Mirrored(msgspec.Struct, frozen=True):
    """How far the hub has come with a stream: its mirror's last position, how many events it has yet to get, since when
    the first of them waits, and the hub's own word."""

    service: str
    position: int
    behind: int
    behind_s: float
    state: str


class HubStanding(msgspec.Struct, frozen=True):
    """The hub that the region has joined; no `mirrored` where it does not answer."""

    url: str
    mirrored: list[Mirrored]


class RegionStanding(msgspec.Struct):
    """The whole region; `wrong` says in words what is, and is empty when all is well; `warnings` what is not as it
    should be though everything works."""

    region: str
    services: list[ServiceStanding]
    processes: list[ProcessStanding]
    wrong: list[str]
    hub: HubStanding | None = None
    warnings: list[str] = []
