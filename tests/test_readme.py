"""The README is a promise to a newcomer: its commands are run here, in order, on a bare copy of the checkout."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from rembuk.testing.documents import commands, run
from rembuk.testing.ports import free_ports

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = commands(README)


@pytest.fixture(scope="module")
def port_base() -> int:
    """So that a region somebody runs on the ports of the README is left alone."""
    return free_ports(10)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, port_base: int) -> Iterator[Path]:
    """What git would give a newcomer: no .venv, nothing running. Whatever was started there is stopped."""
    folder = tmp_path_factory.mktemp("checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    keep_bytecode(folder)
    yield folder
    if (folder / ".venv/bin/rembuk").exists():
        run(folder, ".venv/bin/rembuk down", port_base)
    shutil.rmtree(folder, ignore_errors=True)


def keep_bytecode(folder: Path) -> None:
    """What our own packages were compiled to: `make setup` compiles again what is not of the very same file, and would
    spend half a minute of a processor on all of it."""
    for pages in (ROOT / ".venv/lib").rglob("__pycache__"):
        there = folder / pages.relative_to(ROOT)
        there.mkdir(parents=True)
        for compiled in pages.glob("*.pyc"):
            try:
                (there / compiled.name).hardlink_to(compiled)
            except OSError:  # another disk
                shutil.copy2(compiled, there)


def test_the_two_commands_are_there() -> None:
    assert COMMANDS[0] == "make demo\n"
    assert "\nmake test\n" in README


def test_what_it_points_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.timeout(600)
def test_every_command_does_what_it_says_on_a_bare_checkout(bare: Path, port_base: int) -> None:
    said: list[str] = []
    *tour, stop = COMMANDS
    for command in [*tour, *tour[1:], stop]:  # whoever takes the tour a second time sees the same
        done = run(bare, command, port_base)
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        said.append(done.stdout)
        if command == "make demo\n":  # it survives being run twice
            again = run(bare, ".venv/bin/rembuk demo --problems 0", port_base)
            assert again.returncode == 0, again.stdout + again.stderr
            assert "ProblemClosed" in again.stdout
    demo, *parts, _ = said
    first, second = parts[: len(tour) - 1], parts[len(tour) - 1 :]
    for event in ("ProblemReported", "ForumHeld", "SolutionProposed", "SolutionApplied", "ProblemClosed"):
        assert event in demo
    for status, reported, listed, found, feed, events, proven, simulated in (first, second):
        assert "all is well" in status
        assert '"reference":"JATIM-' in reported
        assert "Lampu gang padam" in listed
        assert "Gubeng" in found
        assert '"specversion":"1.0"' in feed
        assert "ProblemReported" in events
        assert "PROVEN .rembuk/receipt: the report JATIM-000001 is kept" in proven
        assert "50 problems" in simulated
