"""A module that is forked behaves like one that a new interpreter runs, to its parent and to itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from rembuk.process.forking import can_fork
from rembuk.testing.forked_popen import ForkedPopen
from rembuk.testing.services import eventually

pytestmark = pytest.mark.skipif(not can_fork(), reason="only Linux lets a process show another's name")

TELLS = """
import json, os, signal, sys
handlers = {number: repr(signal.getsignal(number)) for number in sorted(signal.valid_signals())}
told = dict(sorted(os.environ.items()))
files = [one for one in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{one}")]
print(json.dumps([sys.argv[1:], __name__, told, os.getcwd(), os.getsid(0) == os.getpid(), os.getppid()]))
print(json.dumps([handlers, files, os.getpriority(os.PRIO_PROCESS, 0), sys.stdin.read(), sys.stdout.encoding.lower()]))
"""
SEES = {
    "what it is told": TELLS,
    "a status": "print('half'); raise SystemExit(3)",
    "a status beyond a byte": "raise SystemExit(258)",
    "why it ends": "raise SystemExit('no: \\udce9')",
    "an error": "import sys; print('half'); sys.stdout.flush(); 1 / 0",
    "an interrupt": "import os, signal; print('half'); os.kill(os.getpid(), signal.SIGINT)",
    "its end by a signal": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "a reader who has gone": "import os; os.close(1); print('half')",
}


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that counts as ours."""
    monkeypatch.setattr("rembuk.testing.forked_popen.OURS", ("probe",))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "probe.py"


def _environment() -> dict[str, str]:
    return {"REMBUK_REGION": "jatim", **{name: value for name, value in os.environ.items() if "REMBUK" not in name}}


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("what", SEES)
def test_it_finds_says_and_ends_as_with_an_interpreter_of_its_own(
    probe: Path, monkeypatch: pytest.MonkeyPatch, what: str, unbuffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    probe.write_text(SEES[what])

    def ended(start: type[subprocess.Popen[Any]]) -> tuple[int, bytes, list[str]]:
        print("unwritten", end="")  # ours, which a fork has and must not write
        process = start(
            [sys.executable, "-m", "probe", "--json", "é"], env=_environment(), cwd=probe.parent,
            start_new_session=True, preexec_fn=lambda: os.nice(3),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        said, complained = process.communicate(b"asked")
        return process.returncode, said, complained.decode().splitlines()[-1:]

    assert ended(ForkedPopen) == ended(subprocess.Popen)


def test_it_shows_its_command_and_environment_and_ends_by_a_signal(probe: Path) -> None:
    probe.write_text("import time; time.sleep(60)")
    process = ForkedPopen([sys.executable, "-m", "probe", "api"], env=_environment())

    def shown() -> None:
        one = psutil.Process(process.pid)
        assert [part for part in one.cmdline() if part] == [sys.executable, "-m", "probe", "api"]
        assert one.environ()["REMBUK_REGION"] == "jatim"

    try:
        eventually(shown)
    finally:
        process.terminate()
    assert process.wait(20) == -signal.SIGTERM


@pytest.mark.parametrize("told", [{}, {"PYTHONHASHSEED": "7"}])
def test_other_modules_and_other_variables_of_python_get_an_interpreter_of_their_own(
    probe: Path, told: dict[str, str]
) -> None:
    probe.write_text("import sys; print(len(sys.modules))")
    module = "probe" if told else "this"
    process = ForkedPopen(
        [sys.executable, "-m", module], env=os.environ | told, cwd=probe.parent, stdout=subprocess.PIPE
    )
    said, _ = process.communicate()
    assert int(said) < 200 if told else said.startswith(b"The Zen of Python")
