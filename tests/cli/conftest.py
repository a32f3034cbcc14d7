"""`rembuk` for tests: a data directory and ports of its own, and a region that runs for a module's tests."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rembuk.embedded.region import PORT_OFFSETS, RegionConfig
from rembuk.embedded.server import is_free
from rembuk.testing import forking
from rembuk.testing.asking import asked
from rembuk.testing.ports import free_ports
from rembuk_cli.home.directory import Home


def _as_a_login_does() -> None:
    """Few open files, and leave to have more; an interrupt is heard, which a shell has its background jobs ignore."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, most), most))


class Command:
    """`rembuk` for one data directory and one range of ports; of REMBUK_* it knows what is in `environment`."""

    def __init__(self, data: Path) -> None:
        self.data, self.base = data, free_ports(10)
        self.environment: dict[str, str] = {}

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command, come to its end; on an interpreter of its own where that is told something."""
        how = self._how(arguments)
        if any(name.startswith("PYTHON") for name in self.environment):
            return subprocess.run(**how, capture_output=True, text=True, timeout=240, check=False)
        return forking.run("rembuk_cli", how["args"][3:], how["env"], 240)

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that goes on until it is interrupted."""
        return subprocess.Popen(**self._how(arguments), stdout=subprocess.PIPE, text=True)

    def _how(self, arguments: tuple[str, ...]) -> dict[str, Any]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("REMBUK_")}
        environment = ours | self.environment
        command = [sys.executable, "-m", "rembuk_cli", *arguments, "--data", str(self.data)]
        return {"args": command, "env": environment, "preexec_fn": _as_a_login_does}

    def up(self, *more: str) -> subprocess.CompletedProcess[str]:
        return self("up", "--detach", "--port-base", str(self.base), *more)

    def status(self) -> dict[str, Any]:
        standing: dict[str, Any] = json.loads(self("status", "--json").stdout)
        return standing

    def note(self) -> dict[str, Any]:
        note: dict[str, Any] = json.loads((self.data / "region.json").read_text())
        return note

    def region(self) -> RegionConfig:
        """The region while it runs, for what a test plants past all services."""
        home = Home(self.data)
        noted = home.running()
        assert noted is not None
        return home.running_region(noted)

    def owner_url(self, service: str) -> str:
        """Of a service's database."""
        return self.region().database(service).owner_url

    def ask_owner(self, service: str, query: str) -> Any:
        """The first value of the answer of a service's database, asked as its owner."""
        answer = self.ask_all(service, query)
        return answer[0][0] if answer else None

    def ask_all(self, service: str, query: str) -> Any:
        """All rows of it."""
        return asked(self.owner_url(service), query)

    def well(self) -> None:
        assert self.status()["wrong"] == []

    def level(self) -> None:
        """All is well, every stream is its log, and every follower has come to the end of its stream."""
        standing = self.status()
        assert standing["wrong"] == []
        assert all(service["log"] == service["stream"] for service in standing["services"])
        assert all(one["behind"] == 0 for service in standing["services"] for one in service["followers"])

    def listens(self, what: str) -> bool:
        return not is_free(self.base + PORT_OFFSETS[what])

    def pids(self) -> list[int]:
        """Of everything that was running when last noted, the supervisor first."""
        note = self.note()
        return [note["supervisor"]["pid"], *(process["pid"] for process in note["processes"].values())]


@pytest.fixture
def rembuk(tmp_path: Path) -> Iterator[Command]:
    command = Command(tmp_path / "region")
    yield command
    command("down")


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """A region that runs for all tests that leave it as it is, in the DIRECTORY of their module where it names one, and
    told the ENVIRONMENT that it names."""
    command = Command(tmp_path_factory.mktemp("up") / getattr(request.module, "DIRECTORY", "region"))
    command.environment = dict(getattr(request.module, "ENVIRONMENT", {}))
    started = command.up()
    assert started.returncode == 0, started.stderr
    yield command
    assert command("down").returncode == 0
