"""What a service process is told by its environment, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TypeVar

import msgspec

WITNESSED, WITNESSES = "REMBUK_WITNESSED_LOGS", "REMBUK_WITNESSES"
"""Whose tree heads we cosign, and who is asked to cosign ours: files (see `rembuk.witness.witness`,
`rembuk.witness.cosigning`)."""
PARTNERS = "REMBUK_PARTNERS"
"""Who may read what we publish: the absolute path of a file (see `rembuk.partners.partners`)."""


class CannotRun(Exception):
    """Why a process ends with its work undone, and what to do about it: the exit code is 2."""


class MissingSetting(CannotRun):
    """The environment does not say what it has to; names the variable."""


class BadSetting(CannotRun):
    """The environment says what cannot be; names the variable and the rule."""


N = TypeVar("N", int, float)


def number(environment: Mapping[str, str], name: str, otherwise: N, least: N, most: N) -> N:
    """The number that `name` says, of the kind of `otherwise`, which is meant where it is empty or not set. Raises
    BadSetting."""
    text = environment.get(name, "")
    try:
        said = type(otherwise)(text) if text else otherwise
    except ValueError:
        said = None
    if said is None or not least <= said <= most:
        kind = "a whole number" if isinstance(otherwise, int) else "a number"
        raise BadSetting(f"{name} is {text!r}, and has to be {kind} from {least:g} to {most:g}")
    return said


class Settings(msgspec.Struct, frozen=True):
    """One service of one region. URLs are as libpq and NATS write them; `region` is a lower-case word."""

    region: str
    service: str
    database_url: str
    nats_url: str
    host: str
    port: int
    region_key: str
    log_key: str
    environment: Mapping[str, str]

    @property
    def name(self) -> str:
        """`jatim_reports`: the database, its role, and the first part of every durable consumer's name."""
        return f"{self.region}_{self.service}"

    @property
    def owner_url(self) -> str:
        """As the owner of the database, from REMBUK_<SERVICE>_OWNER_URL; raises MissingSetting."""
        name = f"REMBUK_{self.service.upper()}_OWNER_URL"
        if name not in self.environment:
            raise MissingSetting(f"{name} is not set")
        return self.environment[name]

    @classmethod
    def load(cls, service: str, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read REMBUK_REGION, REMBUK_NATS_URL, REMBUK_HOST, REMBUK_REGION_KEY and REMBUK_LOG_KEY (see
        `rembuk.keys.key_setting`) and, for `service`, REMBUK_<SERVICE>_DATABASE_URL and REMBUK_<SERVICE>_PORT. Raises
        MissingSetting, BadSetting."""

        def read(name: str, default: str | None = None) -> str:
            value = environment.get(name, default)
            if value is None:
                raise MissingSetting(f"{name} is not set")
            return value

        prefix = f"REMBUK_{service.upper()}"
        return cls(
            region=read("REMBUK_REGION"),
            service=service,
            database_url=read(f"{prefix}_DATABASE_URL"),
            nats_url=read("REMBUK_NATS_URL", "nats://127.0.0.1:4222"),
            host=read("REMBUK_HOST", "127.0.0.1"),
            port=number(environment, f"{prefix}_PORT", 8000, 1, 65_535),
            region_key=read("REMBUK_REGION_KEY", ""),
            log_key=read("REMBUK_LOG_KEY", ""),
            environment=environment,
        )
