"""The data directory of an embedded region: what lies where, its secrets, and what runs there now."""

from __future__ import annotations

import os
import re
import secrets
import shlex
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from rembuk.embedded.nats_server import EmbeddedNats
from rembuk.embedded.postgres_server import ClusterLost, EmbeddedPostgres
from rembuk.embedded.region import RegionConfig
from rembuk.embedded.region_nats import RegionNats
from rembuk.federation.hub_regions import DOMAIN
from rembuk.postgres.provisioning import SERVICES
from rembuk.process import state_file
from rembuk.process.state_file import Damaged
from rembuk.settings import PARTNERS, WITNESSED, CannotRun

from rembuk_cli.home.lock import Lock
from rembuk_cli.home.membership import Membership
from rembuk_cli.home.plan import Plan
from rembuk_cli.home.running import Running, with_credentials
from rembuk_cli.home.usual import USUAL, usual_place

_LOG_BYTES = 8 << 20
_SERVER_NAME = re.compile(r'"server_name": "([a-z0-9]+)"')
_OWNER = '{"region": "<its name>"}'
_MADE_ANEW = "move it away, and the next `rembuk up` makes another"


class AnothersDirectory(CannotRun):
    """A directory belongs to one region: with its keys, another one would be taken for it."""


class Owner(msgspec.Struct, frozen=True):
    """What owner.json tells: the region, or the hub, that a directory belongs to for good."""

    region: str


class Home:
    """A region's data directory."""

    def __init__(self, data: Path) -> None:
        self.data = data.expanduser().resolve()
        self.logs = self.data / "logs"
        self._region_json = self.data / "region.json"
        self.lock = Lock(self.data)
        self.membership = Membership(self.data, self.owner)
        self._begun: dict[str, int] = {}  # how large each log was when this process first opened it

    def options(self, region: str) -> str:
        """By which a command finds the region of this name here, a space before each; "" where it looks anyway."""
        named = "" if region == USUAL else f" --region {region}"
        return named if usual_place(region) == self.data else f"{named} --data {shlex.quote(str(self.data))}"

    def prepare(self) -> None:
        """Make the directory and the passwords of the databases' roles and of NATS, once; raises OSError, Damaged."""
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.logs.mkdir(mode=0o700, exist_ok=True)
        for password in (self._role_password, self._nats_password):
            state_file.write_once(password, secrets.token_urlsafe(24).encode())
            state_file.read_password(password, _MADE_ANEW)

    def owner(self) -> str | None:
        """The region, or the hub, that the directory belongs to; None before the first start. Raises Damaged."""
        if (owner := state_file.read_json(self._owner, Owner, f"write it as {_OWNER}")) is not None:
            return owner.region
        with suppress(OSError):  # a directory of an earlier release
            conf = (self.data / "nats" / "nats.conf").read_text(errors="replace")
            return found[1] if (found := _SERVER_NAME.search(conf)) else None
        return None

    def require_owner(self, region: str) -> None:
        """Raises AnothersDirectory, Damaged."""
        if (owner := self.owner()) not in (None, region):
            raise AnothersDirectory(
                f"{self.data} is the directory of {owner}, and not of {region}: say --region {owner}, or another --data"
                if DOMAIN not in (owner, region)
                else f"{self.data} is the directory of {owner}, and not of {region}: say another --data"
            )

    def own(self, region: str) -> None:
        """Have the directory belong to this region, or to the hub, for good. Raises AnothersDirectory, Damaged,
        OSError."""
        self.require_owner(region)
        state_file.write_once(self._owner, msgspec.json.encode(Owner(region)))

    @property
    def region_key(self) -> Path:
        """The file that everything sealed hangs on."""
        return self.data / "region.key"

    @property
    def log_key(self) -> Path:
        """The file with which tree heads and promises are signed."""
        return self.data / "log.key"

    @property
    def witness_key(self) -> Path:
        """The file from which its witnesses' keys are derived, where it is a witness."""
        return self.data / "witness.key"

    @property
    def partners(self) -> Path:
        """The file of who may read what the region publishes (see `rembuk.partners.partners`)."""
        return self.data / "partners.json"

    def postgres(self, port: int, anew: bool = False) -> EmbeddedPostgres:
        """The region's PostgreSQL; with `anew` an empty one may take the place of one that is lost."""
        server = EmbeddedPostgres(self.data / "postgres", port)
        server.begun, server.anew = self.data / "postgres-begun", anew
        return server

    def nats(self, region: str, port: int, linked: bool = True) -> EmbeddedNats:
        """The nats-server of the region of this name, which goes its way to the hub where it is to be `linked`."""
        return RegionNats(
            self.data / "nats", port, region, self._nats_password, self.partners,
            lambda: self.nats_settings(region, linked),
        )  # fmt: skip

    def password_of_nats(self) -> str:
        """What the region's services say to NATS; made where it is not there yet."""
        state_file.write_once(self._nats_password, secrets.token_urlsafe(24).encode())
        return state_file.read_password(self._nats_password, _MADE_ANEW)

    def admit_partners(self) -> bool:
        """Have the region's NATS admit whoever is a partner now, and cut off who is none any more. Whether that was for
        us to do: a NATS that is not embedded is its operator's, one that does not run admits them when it starts.
        Raises EmbeddedError."""
        running = self.running()
        if running is None or "nats" not in running.processes:
            return running is None
        self.nats(running.region, running.ports["nats"]).reload()
        return True

    def include_partners(self, region: str) -> list[str]:
        """Write what a NATS that is not ours is to include, so that it admits whoever is a partner now; the files."""
        from rembuk.partners.nats_accounts import to_include
        from rembuk.partners.partners import Partners

        files = []
        for name, part in to_include(region, Partners(self.partners).read()).items():
            state_file.write_json(self.data / name, part)
            files.append(str(self.data / name))
        return files

    def nats_settings(self, region: str, linked: bool = True) -> dict[str, Any]:
        """What the region's own nats-server is told: its domain, and its way to the hub if there is one, which it goes
        where it is to be `linked`."""
        own = {"server_name": region, "jetstream": {"domain": region}}
        return own | self.membership.settings(linked)

    def region(self, plan: Plan) -> RegionConfig:
        """The region as its processes are told of it; PostgreSQL must have been started once."""
        return RegionConfig(
            name=plan.region,
            postgres_url=plan.postgres_url or self.postgres(plan.ports["postgres"]).url,
            nats_url=plan.nats_url or self.nats(plan.region, plan.ports["nats"]).url,
            password=self._password(),
            region_key=str(self.region_key),
            log_key=str(self.log_key),
            ports={service: plan.ports[service] for service in SERVICES},
            extra=plan.extra
            | {PARTNERS: str(self.partners)}
            | self.membership.environment()
            | ({"REMBUK_WITNESS_KEY": str(self.witness_key)} if WITNESSED in plan.extra else {}),
        )

    def running_region(self, running: Running) -> RegionConfig:
        """The region as somebody beside it sees it: its databases and streams, no administrator's rights. What NATS
        asks of us is not noted: of ours it is in a file, of another REMBUK_NATS_URL tells it, as when the region was
        started."""
        nats_url = with_credentials(running.nats_url, os.environ.get("REMBUK_NATS_URL", ""))
        if "nats" in running.processes:
            nats_url = self.nats(running.region, running.ports["nats"]).url
        return RegionConfig(
            name=running.region,
            postgres_url=running.postgres_url,
            nats_url=nats_url,
            password=self._password(),
            region_key="",
            log_key="",
            ports={service: running.ports[service] for service in running.urls},
            services=tuple(running.urls),
            extra=self.membership.environment(),
        )

    def note(self, running: Running) -> None:
        """Write region.json, whole or not at all."""
        state_file.write_json(self._region_json, running)

    def noted(self) -> Running | None:
        """What region.json says, whether or not it still runs. Raises Damaged."""
        return state_file.read_json(self._region_json, Running, "end what is left with `down`")

    def running(self) -> Running | None:
        """The region whose supervisor is alive; None when nothing runs here. Raises Damaged where something does, or
        might, and region.json does not say what."""
        supervisor, unknown = None, None
        try:
            supervisor = self.lock.holder()
        except Damaged as error:
            unknown = error
        then = f"pid {supervisor.pid if supervisor else 0} runs here: end it with `down`, and start it again"
        try:
            noted = state_file.read_json(self._region_json, Running, then)
        except Damaged:
            if supervisor is None and unknown is None:
                return None
            raise
        if noted is not None and noted.supervisor.find() is not None:
            return noted
        if unknown is not None:
            raise unknown
        if supervisor is not None and supervisor.pid != os.getpid():
            raise Damaged(self._region_json, "missing, or it is just starting or stopping", then)
        return None

    def faults(self) -> list[str]:
        """What is wrong with the files that lie here, each read as it is in use; but for the region's key."""
        wrong = []
        for read in self._reads():
            try:
                read()
            except (CannotRun, ClusterLost, OSError) as error:
                wrong.append(f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error))
        return list(dict.fromkeys(wrong))

    def _reads(self) -> list[Callable[[], Any]]:
        from rembuk.keys.key_setting import read_keys
        from rembuk.partners.partners import Partners  # as above, not for a supervisor

        keys = [key for key in (self.log_key, self.witness_key) if key.exists() or key == self.log_key]
        return [
            self.owner, self._cluster, self._passwords_of_servers, self._password, self.password_of_nats,
            self.membership.require_linked_as_invited, Partners(self.partners).read,
            *(partial(read_keys, str(key), f"the key in {key.name}") for key in keys),
        ]  # fmt: skip

    def _cluster(self) -> None:
        """Raises ClusterLost."""
        if (server := self.postgres(0)).is_lost:
            raise ClusterLost(server.data / "cluster")

    def _passwords_of_servers(self) -> None:
        """Of the servers that ran here: what no process has open, and the next start needs. Raises Damaged."""
        for path, then in (
            (self.data / "postgres" / "password", "put it back from a backup"),
            (self.data / "nats" / "monitoring", "delete it, and have NATS started again"),
        ):
            if path.is_symlink() or path.exists():
                state_file.read_password(path, then)

    def forget(self) -> None:
        self._region_json.unlink(missing_ok=True)

    def open_log(self, name: str) -> int:
        """A descriptor to append to logs/<name>.log; a large one is put aside first, as <name>.log.1."""
        log = self.logs / f"{name}.log"
        with suppress(FileNotFoundError):
            if log.stat().st_size > _LOG_BYTES:
                log.replace(log.with_suffix(".log.1"))
        opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._begun.setdefault(name, os.fstat(opened).st_size)
        return opened

    def logged(self, name: str) -> tuple[Path, list[str]]:
        """A log that was opened here, and the lines that came to it since."""
        log = self.logs / f"{name}.log"
        return log, log.read_bytes()[self._begun[name] :].decode(errors="replace").splitlines()

    @property
    def _nats_password(self) -> Path:
        return self.data / "nats-password"

    @property
    def _role_password(self) -> Path:
        return self.data / "password"

    @property
    def _owner(self) -> Path:
        return self.data / "owner.json"

    def _password(self) -> str:
        return state_file.read_password(self._role_password, _MADE_ANEW)
