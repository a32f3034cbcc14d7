"""docs/integrate.md is all that a partner's programmer has: what it says is run here against a region."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread

import httpx
import pytest
from rembuk.testing.documents import commands, run
from rembuk.testing.ports import free_ports
from rembuk.testing.services import eventually

pytestmark = pytest.mark.timeout(180)
ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/integrate.md").read_text()
ADD, PAGING, STREAMING, REPLAY = commands(PAGE)[:4]
REPORT = {"category": "theft", "description": "Di depan rumah."}
SURABAYA, MALANG = "35.78.08.1004", "35.73.01.1001"
NODE = shutil.which("node")


def program(language: str, beginning: str) -> str:
    """The only one of the page in a language that begins so."""
    [found] = [code for code in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if code.startswith(beginning)]
    return str(found)


class Checkout:
    """A running region, as an operator has it, and what its partner has in its environment."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.base = folder, free_ports(10)
        (folder / ".venv").symlink_to(ROOT / ".venv")
        self.url = f"http://127.0.0.1:{self.base + 1}"

    def run(self, command: str, **told: str) -> str:
        done = run(self.folder, command, self.base, **told)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def added(self, name: str) -> dict[str, str]:
        """The environment of one more partner, added as the page says."""
        said = self.run(ADD.replace("dinas-pu", name))
        [token] = re.findall(r"token: (rembuk_\S+)", said)
        return {"REMBUK_URL": self.url, "REMBUK_TOKEN": token}

    def report(self, title: str, area: str = SURABAYA) -> None:
        problem = REPORT | {"area": area, "title": title}
        httpx.post(f"{self.url}/v1/problems", json=problem, timeout=10).raise_for_status()


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    checkout = Checkout(tmp_path_factory.mktemp("region"))
    checkout.run(".venv/bin/rembuk up --detach", REMBUK_WEBHOOK_PRIVATE="allow")
    checkout.report("Lampu mati")
    checkout.report("Bukan urusannya", MALANG)
    checkout.report("Motor hilang")
    yield checkout
    checkout.run(".venv/bin/rembuk down")


@contextmanager
def lines(arguments: list[str], folder: Path, told: dict[str, str]) -> Iterator[Callable[[], str]]:
    """A program that runs within the block; its next line, waited for 20 s at most."""
    running = subprocess.Popen(
        arguments, cwd=folder, env=os.environ | told, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    said: Queue[str] = Queue()

    def listen() -> None:
        assert running.stdout is not None
        for line in running.stdout:
            said.put(line)
        said.put(f"ended with {running.wait()}")

    listening = Thread(target=listen, daemon=True)
    listening.start()
    try:
        yield lambda: said.get(timeout=20)
    finally:
        running.kill()
        listening.join(10)


def test_a_page_is_read_by_curl(region: Checkout) -> None:
    said = region.run(PAGING, **region.added("paging"))
    assert said.count('"specversion":"1.0"') == 2
    assert "Bukan urusannya" not in said
    assert re.search(r"(?i)rembuk-position: 3", said)


def test_a_stream_is_read_by_curl(region: Checkout) -> None:
    with lines(["bash", "-c", STREAMING], region.folder, region.added("streaming")) as line:
        told = [line() for _ in range(10)]
    assert told[2:5:2] == ["id: 1\n", told[4]]
    assert [one for one in told if one.startswith("id:")] == ["id: 1\n", "id: 3\n"]
    assert "event: ProblemReported\n" in told


def test_curl_says_why_a_partner_reads_nothing_any_more(region: Checkout) -> None:
    told = region.added("revoked")
    region.run(".venv/bin/rembuk partner revoke revoked")

    def refused() -> None:
        for command in (PAGING, STREAMING):
            done = run(region.folder, command, region.base, **told)
            assert done.returncode != 0
            assert "not-a-partner" in done.stdout

    eventually(refused)


@pytest.mark.parametrize(
    ("name", "arguments", "language", "beginning"),
    [
        ("python", [sys.executable, "follow.py"], "python", '"""follow.py'),
        pytest.param(
            "node",
            [str(NODE), "follow.mjs"],
            "js",
            "// follow.mjs",
            marks=pytest.mark.skipif(NODE is None, reason="there is no node"),
        ),
    ],
)
def test_a_program_follows_a_regions_problems_goes_on_from_its_cursor_and_ends_when_revoked(
    region: Checkout, tmp_path: Path, name: str, arguments: list[str], language: str, beginning: str
) -> None:
    (tmp_path / arguments[1]).write_text(program(language, beginning))
    told = region.added(f"by-{name}")
    with lines(arguments, tmp_path, told) as line:
        assert line() == f"1 ProblemReported {SURABAYA} Lampu mati\n"
        assert line() == f"3 ProblemReported {SURABAYA} Motor hilang\n"
        region.report(f"Sekarang juga ({name})")
        while f"Sekarang juga ({name})" not in (said := line()):
            pass

        def kept() -> None:
            assert (tmp_path / "cursor").read_text() == said.split()[0]

        eventually(kept)
    region.report("Bukan urusannya", MALANG)
    region.report(f"Sementara itu ({name})")
    with lines(arguments, tmp_path, told) as line:
        assert line().endswith(f"Sementara itu ({name})\n")
        region.run(f".venv/bin/rembuk partner revoke by-{name}")
        rest = [line()]
        while not rest[-1].startswith("ended"):
            rest.append(line())
        assert "not-a-partner" in "".join(rest)
        assert rest[-1] == "ended with 1"


def test_a_program_is_sent_events_and_after_a_loss_again(region: Checkout, tmp_path: Path) -> None:
    (tmp_path / "receive.py").write_text(program("python", '"""receive.py'))
    port = free_ports()
    said = region.run(f"{ADD.strip()} --webhook http://127.0.0.1:{port}/".replace("dinas-pu", "dinas-hub"))
    [secret] = re.findall(r"webhook secret: (whsec_\S+)", said)
    told = {"REMBUK_WEBHOOK_SECRET": secret, "PORT": str(port)}
    arguments = [sys.executable, "receive.py"]
    for replay in ("", REPLAY):
        with lines(arguments, tmp_path, told) as line:
            if replay:
                region.run(replay)
            events = (one for one in iter(line, "") if "ProblemReported" in one)
            assert next(events) == "1 ProblemReported Lampu mati\n"
            assert next(events) == "3 ProblemReported Motor hilang\n"
