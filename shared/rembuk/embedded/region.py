"""One region as it is run on one machine: which services, where, with what environment; used by the operator's
command and by tests alike."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import msgspec

from rembuk.federation.hub_regions import DOMAIN
from rembuk.postgres import kernel_versions
from rembuk.postgres.provisioning import SERVICES, ServiceDatabase, provision, service_database
from rembuk.process.lifeline import end_with_us

PROCESSES = ("api", "worker")
OWNERS = ("replay", "rebuild", "restore")
"""Processes that are told the owner's URL as well."""
PORT_OFFSETS = {"console": 0, "reports": 1, "forums": 2, "notifications": 3, "nats": 4, "postgres": 5}
"""From the port base: 8000 gives 8001 for reports, and so on."""

_NAME = re.compile(r"[a-z][a-z0-9]{1,15}")


class BadRegionName(ValueError):
    """A region's name is a word of 2 to 16 lower-case letters and digits: it becomes part of many other names."""


def require_name(name: str) -> None:
    """Raises BadRegionName."""
    _require_word(name)
    if name == DOMAIN:
        raise BadRegionName(f"{name!r} is what the hub of all regions is called; a region is called otherwise")


def _require_word(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise BadRegionName(f"{name!r} is not a region's name: 2 to 16 lower-case letters and digits")


def newest_shape(service: str) -> str:
    """The revision of the last migration, whose file's name begins with it; nothing of the service is imported."""
    found = find_spec(service)
    assert found is not None
    assert found.submodule_search_locations is not None
    [package] = found.submodule_search_locations
    return max(path.name.partition("_")[0] for path in Path(package).glob("migrations/versions/[0-9]*.py"))


class RegionConfig(msgspec.Struct, frozen=True):
    """What every process of a region, or of the hub, has to know. `region_key` and `log_key` are settings that
    `rembuk.keys.key_setting` reads, `password` is that of all its database roles, `ports` those of its HTTP services;
    `extra` goes into the environment of each process."""

    name: str
    postgres_url: str
    nats_url: str
    password: str
    region_key: str
    log_key: str
    ports: dict[str, int]
    host: str = "127.0.0.1"
    extra: dict[str, str] = {}
    services: tuple[str, ...] = SERVICES

    def __post_init__(self) -> None:
        _require_word(self.name)

    def url(self, service: str) -> str:
        """Where a service's HTTP API is: `http://127.0.0.1:8001`."""
        return f"http://{self.host}:{self.ports[service]}"

    def database(self, service: str) -> ServiceDatabase:
        return service_database(self.postgres_url, self.name, service, self.password)

    async def provision(self, services: Iterable[str] = ()) -> None:
        """Create the databases and roles that are missing, of all services unless some are named."""
        for service in services or self.services:
            await provision(self.postgres_url, self.name, service, self.password)

    def environment(self, service: str, process: str = "") -> dict[str, str]:
        """What that process of `service` is told, the owner's URL only where it is one of `OWNERS`."""
        prefix = f"REMBUK_{service.upper()}"
        owner = {f"{prefix}_OWNER_URL": self.database(service).owner_url} if process in OWNERS else {}
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("REMBUK_")},
            "REMBUK_REGION": self.name,
            "REMBUK_NATS_URL": self.nats_url,
            "REMBUK_HOST": self.host,
            "REMBUK_REGION_KEY": self.region_key,
            "REMBUK_LOG_KEY": self.log_key,
            f"{prefix}_DATABASE_URL": self.database(service).service_url,
            f"{prefix}_PORT": str(self.ports[service]),
            **owner,
            **self.extra,
        }

    def spawn(
        self,
        service: str,
        process: str,
        output: IO[Any] | int | None = None,
        signal_at_our_end: signal.Signals | None = None,
        arguments: Sequence[str] = (),
        errors: IO[Any] | int | None = subprocess.STDOUT,
    ) -> subprocess.Popen[bytes]:
        """Start `python -m <service> <process> <arguments>`, paths among them being absolute; stdout goes to `output`,
        stderr to `errors`. With a signal it gets that one when the thread that started it ends (see
        `rembuk.process.lifeline`)."""
        return subprocess.Popen(
            [sys.executable, "-m", service, process, *arguments],
            cwd="/",  # Python looks for modules where it is started, and anybody may have put an http.py there
            env=self.environment(service, process), stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
            preexec_fn=end_with_us(signal_at_our_end),
        )  # fmt: skip

    async def behind(self) -> list[str]:
        """The services whose databases do not have the newest shape, of the service's tables or of the kernel's."""
        newest_kernel = kernel_versions.newest()
        return [
            service for service in self.services if await self._shape(service) != (newest_shape(service), newest_kernel)
        ]

    async def _shape(self, service: str) -> tuple[str | None, int | None]:
        import asyncpg  # not for whoever only starts processes

        owner = await asyncpg.connect(self.database(service).owner_url, timeout=10)
        try:
            revision = await owner.fetchval("select version_num from alembic_version")
            return revision, await owner.fetchval(kernel_versions.VERSION)
        except asyncpg.UndefinedTableError:
            return None, None
        finally:
            owner.terminate()

    def migrate(self, services: Iterable[str] | None = None) -> None:
        """Bring the databases to the newest shape, all unless some are named. In this process: one of Python for each
        would take twenty times as long to start as it then had to do."""
        from rembuk.postgres.migrations import upgrade  # not for whoever only starts processes

        for service in self.services if services is None else services:
            database = self.database(service)
            try:
                upgrade(service, database.owner_url, database.role)
            except Exception as error:
                error.add_note(f"while {service} was brought to its newest shape")
                raise
