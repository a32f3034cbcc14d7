"""`python -m <module>` forked off a process that has already imported the module, where `subprocess.Popen` starts a new
interpreter (Linux).

Exit status, streams, signals, session, directory and environment are those of a new interpreter. `/proc` shows the
command line and the environment that it would have, too.
"""

from __future__ import annotations

import ctypes
import gc
import os
import runpy
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import BufferedReader, BufferedWriter, FileIO, TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn

from rembuk.process.forking import be_named

OURS = ("rembuk", "rembuk_cli", "reports", "forums", "notifications", "hub")
"""The packages whose modules are forked; every other program is started as usual."""


class ForkedPopen(subprocess.Popen[Any]):
    """A `subprocess.Popen` that forks our own modules, unless their interpreter is to get other PYTHON* variables."""

    def __init__(self, args: Any, *more: Any, **told: Any) -> None:
        environment = os.environ if told.get("env") is None else told["env"]
        if _can_be_forked(args, environment) and not told.get("pass_fds"):
            told["preexec_fn"] = partial(_become, args[2:], dict(environment), told.get("preexec_fn"))
        super().__init__(args, *more, **told)


def _can_be_forked(args: Any, environment: Mapping[str, str]) -> bool:
    match args:
        case [sys.executable, "-m", str(module), *_]:
            return module.partition(".")[0] in OURS and _of_python(environment) == _of_python(os.environ)
        case _:
            return False


def _of_python(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith("PYTHON")}


def _become(command: Sequence[str], environment: dict[str, str], prepare: Callable[[], None] | None) -> None:
    """The child's `preexec_fn`, called where it would execute its program; never returns."""
    code = 1
    try:
        if prepare is not None:
            prepare()
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # the parent waits until one of these is closed, as `exec` does
        gc.freeze()  # a file of the parent's that was collected here would close a number that is ours by then
        _reset_signals()
        os.environ.clear()
        os.environ.update(environment)
        _show(environment)
        be_named(sys.executable, "-m", *command)
        _reset_streams()
        module, *arguments = command
        sys.argv = ["-m", *arguments]
        for name in (module, f"{module}.__main__"):
            sys.modules.pop(name, None)  # `python -m` knows it as __main__ alone
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = _status(end.code)
    except BaseException as error:
        traceback.print_exc()
        code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    finally:
        _end(code)


def _reset_signals() -> None:
    """As `exec` and a new interpreter do: handlers end, what is ignored stays ignored."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)


_parents: list[Any] = []
"""Streams of the parent's, never to be freed here: that would write what the parent is still to write."""


def _reset_streams() -> None:
    _parents.extend((sys.stdin, sys.stdout, sys.stderr))
    sys.stdin = TextIOWrapper(BufferedReader(FileIO(0, closefd=False)))
    sys.stdout = _writes(1, "strict")
    sys.stderr = _writes(2, "backslashreplace")


def _writes(number: int, errors: str) -> TextIOWrapper:
    at_once = bool(os.environ.get("PYTHONUNBUFFERED"))
    file = FileIO(number, "w", closefd=False)
    buffer: Any = file if at_once else BufferedWriter(file)
    return TextIOWrapper(buffer, errors=errors, line_buffering=number == 2, write_through=at_once)


def _show(environment: dict[str, str]) -> None:
    """Write the environment over the one in /proc/self/environ, as far as there is room; ours first."""
    start, end = map(int, Path("/proc/self/stat").read_text().rpartition(")")[2].split()[47:49])
    ours_first = sorted(environment.items(), key=lambda one: not one[0].startswith("REMBUK_"))
    block = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in ours_first)[: end - start]
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, block, block.rfind(b"\0") + 1)


def _status(code: Any) -> int:
    if code is None or isinstance(code, int):
        return (code or 0) & 0xFF
    print(code, file=sys.stderr)
    return 1


def _end(code: int) -> NoReturn:
    """With this exit status, or by this signal where it is negative."""
    try:
        sys.stdout.flush()
    except OSError:
        traceback.print_exc()
        code = 120  # as Python ends then
    sys.stderr.flush()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
