"""What is to run, as a command tells it to the supervisor."""

from __future__ import annotations

import os

import msgspec
from rembuk.federation.hub_regions import DOMAIN
from rembuk.postgres.provisioning import SERVICES

PLAN = "REMBUK_PLAN"


class Plan(msgspec.Struct, frozen=True):
    """What is to run: `data` is absolute; `ports` name every service's, `nats` and `postgres`; a server with
    a URL of its own is not started by us. `new_region_key`: what the lost one sealed is given up; `new_log_key`: tree
    heads are signed by another key from now on; `hub`: it is not a region, but where regions come together;
    `key_copies`: a directory where keys are looked for before what they sealed is given up."""

    region: str
    data: str
    ports: dict[str, int]
    postgres_url: str = ""
    nats_url: str = ""
    extra: dict[str, str] = {}
    servers_only: bool = False
    new_region_key: bool = False
    new_log_key: bool = False
    hub: bool = False
    key_copies: str = ""

    @property
    def services(self) -> tuple[str, ...]:
        """Those to run, even where their servers alone do for now."""
        return (DOMAIN,) if self.hub else SERVICES

    @classmethod
    def told(cls) -> Plan:
        """The plan in our environment: arguments, unlike it, are for everybody to see."""
        return msgspec.json.decode(os.environ[PLAN], type=cls)

    def environment(self) -> dict[str, str]:
        """Ours, with the plan."""
        return {**os.environ, PLAN: msgspec.json.encode(self).decode()}
