"""Processes of services and of `rembuk` for tests, forked off one that has read their code already: each is there in a
fraction of the time that reading it takes. They are processes like any other, to be killed and waited for."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import IO, Any

SERVICES = ("reports", "forums", "notifications", "hub")

_fork = multiprocessing.get_context("forkserver")
_fork.set_forkserver_preload(
    [
        "uvloop", "uvicorn", "rembuk.main", "rembuk.web.protocol", "rembuk.errands", "rembuk_cli.__main__",
        *(f"{service}.{room}" for service in SERVICES for room in ("app", "worker")),
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
    os.chdir(where)
    os.environ.clear()
    os.environ.update(environment)
    for number, file in enumerate(files, 1):
        if file is not None:
            opened = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.dup2(opened, number)
            os.close(opened)
    sys.argv = [program, *arguments]
    main = import_module(f"{program}.__main__" if program == "rembuk_cli" else "rembuk.main").main
    if program == "rembuk_cli":
        main()
    else:
        main(program)
