"""Processes of services and of `rembuk` for tests, forked off one that has read their code already: each is there in a
fraction of the time that reading it takes. They are processes like any other, to be killed and waited for. Whatever of
ours such a `rembuk` starts is forked, too."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from pkgutil import walk_packages
from typing import IO, Any

from rembuk.process.forking import become, can_fork, read_first
from rembuk.testing.forked_popen import ForkedPopen

SERVICES = ("reports", "forums", "notifications", "hub")


def _modules_of(package: str) -> list[str]:
    """By name, of a package that may not be installed."""
    found = find_spec(package)
    return [] if found is None else [one.name for one in walk_packages(found.submodule_search_locations, f"{package}.")]


_fork = multiprocessing.get_context("forkserver")
_fork.set_forkserver_preload(
    [
        __name__, *read_first(SERVICES), "rembuk.operations.errands", "rembuk.postgres.migrations",
        *_modules_of("rembuk_cli"),
        *("pydantic.fields", "pydantic.functional_validators", "pydantic.type_adapter", "pydantic.types"),  # for typer
        *("rich.progress", "rich.spinner", "rich.table"),
    ]
)  # fmt: skip


class Forked:
    """`python -m <program> <arguments>` with this environment; stdout and stderr go to files, or where ours go. It
    answers as a `subprocess.Popen` does."""

    def __init__(
        self,
        program: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        output: IO[Any] | None = None,
        errors: IO[Any] | None = None,
    ) -> None:
        files = [None if one is None else one.name for one in (output, errors or output)]
        where = os.getcwd()
        self._process: ForkServerProcess = _fork.Process(
            target=_become, daemon=True, args=(program, [*arguments], dict(environment), where, files)
        )
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if (code := self._process.exitcode) is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout or 0)
        return code

    def send_signal(self, how: signal.Signals) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended just now, which its status is still to tell
                os.kill(self.pid, how)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(
    program: str, arguments: Sequence[str], environment: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` of it does, with what it wrote."""
    with tempfile.NamedTemporaryFile("w+") as output, tempfile.NamedTemporaryFile("w+") as errors:
        process = Forked(program, arguments, environment, output, errors)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        said, complained = Path(output.name).read_text(), Path(errors.name).read_text()
    return subprocess.CompletedProcess([program, *arguments], code, said, complained)


def _become(
    program: str, arguments: list[str], environment: dict[str, str], where: str, files: list[str | None]
) -> None:
    gc.freeze()  # what was read beforehand is no garbage of this process
    os.chdir(where)
    for number, file in enumerate(files, 1):
        if file is not None:
            opened = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.dup2(opened, number)
            os.close(opened)
    if program == "rembuk_cli" and can_fork():
        subprocess.Popen = ForkedPopen  # type: ignore[misc]
    become(program, arguments, environment, import_module(f"{program}.__main__").main)
