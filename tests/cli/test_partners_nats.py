"""A whole region with partners on its NATS: the programs of docs/integrate-nats.md, run as they are printed there."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from copy import copy
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import nats
import pytest
from nats.js.api import ConsumerInfo
from rembuk.partners.nats_accounts import new_credentials
from rembuk.partners.partners import Partner, Partners, Scope
from rembuk.testing.services import eventually
from rembuk_cli.home.directory import Home

if TYPE_CHECKING:
    from conftest import Command

pytestmark = pytest.mark.timeout(300)

PAGE = Path(__file__).parents[2] / "docs" / "integrate-nats.md"
PROGRAMS = dict(
    zip(
        ("nats-py", "faststream", "node"),
        re.findall(r"```(?:python|js)\n(.*?)```", PAGE.read_text(), re.S),
        strict=True,
    )
)
PACKAGES = re.findall(r"`npm install (.*)`", PAGE.read_text())[0].split()


REPORT = {"area": "35.78.08.1004", "category": "theft", "title": "Motor hilang", "description": "Di depan rumah."}
MANY = 250
"""So many that a pipe does not hold what is said of them."""
PATIENCE_S = 90
"""A batch that FastStream 0.7.8 drops comes again after 30 s."""


class Program:
    """One of the page's programs, in a directory of its own, for a partner of its own."""

    def __init__(self, rembuk: Command, kind: str, folder: Path) -> None:
        self.name = f"bappeda-{kind}-{secrets.token_hex(3)}"
        self._home, self.folder, self._kind = Home(rembuk.data), folder, kind
        self._port = rembuk.region().nats_url.rpartition(":")[2]
        self.lines: list[str] = []

    def admit(self, *areas: str) -> None:
        seed, nkey = new_credentials()
        scope = Scope(("reports",), ("ProblemReported",), areas)
        Partners(self._home.partners).add(Partner(self.name, scope, "", datetime.now(UTC), nkey))
        assert self._home.admit_partners()
        (self.folder / "partner.seed").write_text(seed)

    def another(self) -> Program:
        """A second one with the same seed, and a cursor of its own."""
        second = copy(self)
        second.folder, second.lines = self.folder / "second", []
        second.folder.mkdir()
        shutil.copy(self.folder / "partner.seed", second.folder)
        return second

    def revoke(self) -> None:
        Partners(self._home.partners).revoke(self.name)
        assert self._home.admit_partners()

    def begin(self, heard: bool = True) -> subprocess.Popen[str]:
        """Where nobody has `heard` what it says, it comes to stand when the pipe is full."""
        text = PROGRAMS[self._kind].replace(":4222", f":{self._port}").replace('"bappeda"', f'"{self.name}"')
        program = self.folder / ("program.mjs" if self._kind == "node" else "program.py")
        program.write_text(text)
        interpreter = shutil.which("node") if self._kind == "node" else sys.executable
        assert interpreter is not None
        process = subprocess.Popen(
            [interpreter, str(program)], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if heard:
            threading.Thread(target=self.hear, args=(process,), daemon=True).start()
        return process

    def hear(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line)

    def positions(self) -> list[int]:
        """In the order of its lines, but a line once that a killed one had said and not kept."""
        said = [int(line.split()[0]) for line in self.lines if re.match(r"\d+ ProblemReported .*\n", line)]
        return [position for position, _ in groupby(said)]

    def is_amid(self) -> None:
        assert (self.folder / "cursor").exists()


def report(rembuk: Command, problems: int) -> None:
    with httpx.Client(base_url=rembuk.note()["urls"]["reports"]) as client:
        for _ in range(problems):
            client.post("/v1/problems", json=REPORT).raise_for_status()


def reported(rembuk: Command) -> list[int]:
    return [
        row[0]
        for row in rembuk.ask_all("reports", "select position from log.event where type = 'ProblemReported' order by 1")
    ]


SLOW = pytest.param("faststream", marks=pytest.mark.drills)  # waits for full batches, at times for redelivery


@pytest.fixture(params=["nats-py", SLOW, "node"])
def program(running: Command, tmp_path: Path, request: pytest.FixtureRequest) -> Program:
    if request.param == "node":
        npm = shutil.which("npm")
        if npm is None or shutil.which("node") is None:
            pytest.skip("Node is not there")
        subprocess.run([npm, "install", "--silent", "--no-package-lock", *PACKAGES], cwd=tmp_path, check=True)
    return Program(running, request.param, tmp_path)


def test_a_program_of_the_page_reads_everything_once_in_order_though_it_is_killed_and_ends_with_its_partner(
    running: Command, program: Program
) -> None:
    report(running, MANY)
    program.admit()
    (program.folder / "partner.seed").open("a").write("\n")  # as an editor leaves it
    eventually(lambda: _is_there(running, program.name))
    process = program.begin(heard=False)
    try:
        eventually(program.is_amid)
        process.kill()
        program.hear(process)
        assert 0 < len(program.positions()) < MANY
        report(running, 5)
        process = program.begin()
        eventually(lambda: _same(program, reported(running)), PATIENCE_S)
        _deliver_again(running, program.name)
        report(running, 5)
        eventually(lambda: _same(program, reported(running)), PATIENCE_S)
        process.kill()
        process.wait()
        process = program.begin()
        eventually(lambda: _is_asked(running, program.name))
        _deliver_again(running, program.name)  # counted from 1, as what the program waits for
        report(running, 5)
        eventually(lambda: _same(program, reported(running)), PATIENCE_S)
        os.kill(int((running.data / "nats" / "nats.pid").read_text()), signal.SIGKILL)
        report(running, 5)
        eventually(lambda: _same(program, reported(running)), PATIENCE_S)
        program.revoke()
        report(running, 5)
        eventually(lambda: _is_gone(running, program.name))
        assert process.wait(30) == 1
        eventually(lambda: _says_why(program))
        assert program.positions() != reported(running)
    finally:
        process.kill()
        process.wait()


def test_of_two_programs_with_one_seed_the_first_says_so_and_ends_and_neither_loses_anything(
    running: Command, program: Program
) -> None:
    report(running, 5)
    program.admit()
    eventually(lambda: _is_there(running, program.name))
    second = program.another()
    processes = [program.begin()]
    try:
        eventually(lambda: _same(program, reported(running)), PATIENCE_S)
        (second.folder / "cursor").write_text(str(reported(running)[2]))
        processes.append(second.begin())

        def ended() -> None:
            report(running, 1)
            assert processes[0].poll() == 1

        eventually(ended, PATIENCE_S)
        eventually(lambda: _says("another program reads JATIM_REPORTS with this seed", program))
        eventually(lambda: _same(second, reported(running)[3:]), PATIENCE_S)
        assert program.positions() == reported(running)[: len(program.positions())]
        assert processes[1].poll() is None
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _says(what: str, program: Program) -> None:
    assert what in "".join(program.lines), "".join(program.lines[-20:])


def _says_why(program: Program) -> None:
    assert re.search("not let in any more: .*Authorization Violation", program.lines[-1]), program.lines[-1]


def _same(program: Program, expected: list[int]) -> None:
    assert program.positions() == expected, "".join(program.lines[-20:])


def _consumers(rembuk: Command) -> dict[str, ConsumerInfo]:
    """By name."""

    async def ask() -> dict[str, ConsumerInfo]:
        client = await nats.connect(rembuk.region().nats_url)
        standing = await client.jetstream().consumers_info("JATIM_REPORTS")
        await client.close()
        return {one.name: one for one in standing}

    return asyncio.run(ask())


def _is_asked(rembuk: Command, name: str) -> None:
    assert _consumers(rembuk)[name].num_waiting


def _deliver_again(rembuk: Command, name: str) -> None:
    """Its deliveries are not those any more that a program counts, as when some are lost on their way."""

    async def reset() -> None:
        client = await nats.connect(rembuk.region().nats_url)
        await client.jetstream().reset_consumer("JATIM_REPORTS", name, seq=1)
        await client.close()

    asyncio.run(reset())


def _is_there(rembuk: Command, name: str) -> None:
    assert name in _consumers(rembuk)


def _is_gone(rembuk: Command, name: str) -> None:
    assert name not in _consumers(rembuk)
    assert "authentication error" in (rembuk.data / "nats" / "nats-server.log").read_text()
