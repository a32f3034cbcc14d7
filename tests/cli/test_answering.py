"""What cannot be done is told in one line with exit code 2, what is found wrong with 1: never a traceback, and what is
suggested can be pasted. The last rules here leave little of the region that they share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import httpx
import psutil
import pytest
from rembuk.testing.asking import asked
from rembuk.testing.services import eventually
from rembuk_cli.__main__ import app
from rembuk_cli.home.directory import Home
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

if TYPE_CHECKING:
    from conftest import Command

pytestmark = pytest.mark.timeout(300)
REPORT = {"area": "35.78.08.1004", "category": "theft", "title": "Motor hilang", "description": "Di depan rumah."}


@pytest.fixture(scope="module")
def problem(running: Command) -> str:
    url = running.note()["urls"]["reports"] + "/v1/problems"
    return str(httpx.post(url, json=REPORT, timeout=10).raise_for_status().json()["id"])


def refused(said: subprocess.CompletedProcess[str]) -> str:
    """The one line of what could not be done."""
    assert said.returncode == 2, said
    [line] = said.stderr.splitlines()
    return line


def commands(group: TyperGroup, called: str = "rembuk") -> Iterator[tuple[str, Any]]:
    """How each command is called; groups of commands are among them."""
    yield called, group
    for name, unread in group.commands.items():
        command = getattr(unread, "read", unread)
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{called} {name}")
        else:
            yield f"{called} {name}", command


def test_every_command_shows_an_example_of_itself() -> None:
    told = [one for one in commands(cast(TyperGroup, get_command(app))) if not isinstance(one[1], TyperGroup)]
    assert len(told) > 25
    assert [called for called, one in told if called not in (one.help or "").partition("Example: ")[2]] == []


def test_no_help_loses_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks like markup, `[parquet]`, could be swallowed by it, and a narrow terminal cut lines short."""
    monkeypatch.setenv("COLUMNS", "60")
    lost = {}
    for called, command in commands(cast(TyperGroup, get_command(app))):
        shown = CliRunner().invoke(app, [*called.split()[1:], "--help"]).output
        texts = [command.help or "", *(getattr(one, "help", None) or "" for one in command.params)]
        texts += [(one.help or "").partition("\n\n")[0] for one in getattr(command, "commands", {}).values()]
        if words := {word for text in texts for word in text.split()} - set(shown.split()):
            lost[called] = words
    assert lost == {}


@pytest.mark.parametrize(
    ("asked", "unneeded"),
    [("--help", {"asyncpg", "asyncio", "cryptography", "httpx", "msgspec", "nats", "psutil", "rich", "structlog"}),
     ("status --data nowhere", {"asyncpg", "cryptography", "importlib.metadata", "nats", "rich.table"}),
     ("status", {"cryptography", "httpx", "nats", "opentelemetry", "prometheus_client", "rembuk.worker",
                 "rich.markdown", "rich.progress", "rich.traceback", "structlog", "uuid_utils"})],
)  # fmt: skip
def test_who_asks_waits_for_no_library_that_the_answer_does_not_need(
    running: Command, asked: str, unneeded: set[str]
) -> None:
    """`bench/idling.py` measures how long they wait."""
    unneeded |= {"faststream", "litestar", "matplotlib", "pyarrow", "pydantic", "sqlalchemy", "uvicorn"}
    here = ["--data", str(running.data)] if asked == "status" else []
    main = "from rembuk_cli.__main__ import main; main()"
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", main, *asked.split(), *here],
        cwd=running.data, capture_output=True, text=True, check=False,
    ).stderr  # fmt: skip
    imported = {line.rpartition("|")[2].strip() for line in told.splitlines() if line.startswith("import time:")}
    assert {"typer", "rembuk_cli.terminal.answering"} <= imported
    assert imported & unneeded == set()


def test_each_command_has_a_line_in_the_list_of_all() -> None:
    for name, command in cast(TyperGroup, get_command(app)).commands.items():
        assert command.name == name
        assert 10 < len(command.help or "") < 80


@contextmanager
def without(running: Command, server: str) -> Iterator[None]:
    """One server is dead, and its supervisor does not look after it."""
    supervisor, dead = running.note()["supervisor"]["pid"], running.note()["processes"][server]["pid"]
    os.kill(supervisor, signal.SIGSTOP)
    try:
        os.kill(dead, signal.SIGKILL)
        eventually(lambda: _gone(running, server), 20)
        yield
    finally:
        os.kill(supervisor, signal.SIGCONT)
    eventually(running.well, 60)


def _gone(running: Command, server: str) -> None:
    assert not running.listens(server)


@pytest.mark.parametrize(
    ("place", "region", "options"),
    [(".rembuk/jatim", "jatim", ""), (".rembuk/jabar", "jabar", " --region jabar"),
     ("/srv/r", "jatim", " --data /srv/r"), ("/srv/a b", "jabar", " --region jabar --data '/srv/a b'")],
)  # fmt: skip
def test_a_suggested_command_names_a_region_that_would_not_be_found(place: str, region: str, options: str) -> None:
    assert Home(Path(place)).options(region) == options


def test_where_nothing_runs_the_command_that_starts_it_is_whole(rembuk: Command) -> None:
    assert refused(rembuk("status", "--region", "jabar")).endswith(f"rembuk up --region jabar --data {rembuk.data}")


def test_what_is_wrong_comes_with_a_whole_command_in_one_line(running: Command, problem: str) -> None:
    plant = f"""insert into quarantine (follower, stream, position, stream_id, type, error, headers, data)
                values ('projection', 'JATIM_REPORTS', 1, '{problem}', 'Nope', 'why', '{{}}', '{{}}'); select 1"""
    asked(running.owner_url("reports"), plant)
    try:
        said = running("status")
    finally:
        asked(running.owner_url("reports"), "delete from quarantine; select 1")
    assert said.returncode == 1
    assert [line for line in said.stdout.splitlines() if line.endswith(f"rembuk quarantine list --data {running.data}")]


def test_a_file_that_cannot_be_written_or_holds_no_key_is_named(running: Command, problem: str, tmp_path: Path) -> None:
    nowhere, empty, receipt = tmp_path / "no/where", tmp_path / "empty", tmp_path / "receipt"
    assert f"{nowhere}: No such file" in refused(running("receipt", "get", problem, "--out", str(nowhere)))
    empty.touch()
    assert running("receipt", "get", problem, "--out", str(receipt)).returncode == 0
    assert f"{empty} holds no key" in refused(running("receipt", "verify", str(receipt), "--key", str(empty)))


def test_nothing_in_quarantine_is_said_and_an_unknown_follower_refused(running: Command, problem: str) -> None:
    for more in ([], ["--follower", "open_problems"]):
        again = running("quarantine", "retry", *more)
        assert (again.returncode, again.stdout.startswith("nothing")) == (0, True)
    for command in (["retry"], ["skip", problem, "--why", "x"]):
        assert "no follower nobody" in refused(running("quarantine", *command, "--follower", "nobody"))
    assert f"nothing of {problem}" in refused(running("quarantine", "skip", problem, "--why", "x"))


def test_an_event_that_this_release_cannot_read_is_told_by_position_and_type(running: Command, problem: str) -> None:
    owner = running.owner_url("reports")
    assert running("receipt", "get", problem).returncode == 0  # signed as it is, else the log would be altered for good
    [row] = asked(owner, "select position, schema_version from log.event where stream_id = $1", problem)
    change = "alter table log.event disable trigger user; update log.event set schema_version = {} where position = {}"
    asked(owner, change.format(99, row["position"]))
    try:
        for command in (["events"], ["events", "reports", "--json"], ["replay", problem]):
            said = refused(running(*command))
            assert f"position {row['position']}, a ProblemReported: " in said
            assert "version 99 is unknown" in said
    finally:
        asked(
            owner, change.format(row["schema_version"], row["position"]) + "; alter table log.event enable trigger user"
        )


def test_whoever_has_read_enough_is_left_alone(running: Command) -> None:
    assert running("simulate", "--problems", "40").returncode == 0
    command = f"{sys.executable} -m rembuk_cli events --data {running.data} | head -n 1"
    said = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (said.stdout.count("\n"), said.stderr) == (1, "")


def test_a_terminal_of_few_letters_gets_the_others_spelt_out(running: Command, problem: str) -> None:
    url = f"{running.note()['urls']['reports']}/v1/problems/{problem}"
    httpx.post(f"{url}/verify", json={}, timeout=10).raise_for_status()
    running.environment["PYTHONIOENCODING"] = "latin-1"
    said = running("replay", problem)
    del running.environment["PYTHONIOENCODING"]
    assert (said.returncode, said.stderr) == (0, "")
    assert r"status reported \u2192 verified" in said.stdout


def test_a_dead_nats_is_told_within_seconds(running: Command) -> None:
    there = REPORT | {"area": "35.21.01"}
    httpx.post(running.note()["urls"]["reports"] + "/v1/problems", json=there, timeout=10).raise_for_status()
    following = running.begin("events", "--follow", "--json", "--since", "1h", "--area", there["area"])
    assert following.stdout is not None
    assert following.stdout.readline()  # it follows
    with without(running, "nats"):
        assert following.wait(30) == 2
        began = time.monotonic()
        said = running("status")
        assert said.returncode == 1
        assert "NATS does not answer" in said.stdout
        assert "NATS does not answer" in refused(running("events", "--follow"))
        assert time.monotonic() - began < 20
    following.stdout.close()


def test_a_dead_postgresql_is_told_with_what_to_do(running: Command, problem: str) -> None:
    with without(running, "postgres"):
        for command in (
            ["events"], ["replay", problem], ["quarantine", "list"], ["quarantine", "retry"], ["vault", "status"],
            ["deliveries", "list"], ["deliveries", "retry", "--all-given-up"],
            ["restore", "reports", "--from", "stream"], ["reconcile", "reports"],
        ):  # fmt: skip
            assert "connect" in refused(running(*command)).lower()
        assert refused(running("events")).endswith(f"rembuk status --data {running.data}")
        assert running("status").returncode == 1


def test_files_that_postgresql_loses_while_it_runs_are_blamed_on_nobody_who_asks(running: Command) -> None:
    """It looks whether they are there once a minute, and answers until then as it can."""
    files = running.data / "postgres" / "cluster" / "global"
    away = files.rename(files.with_name("taken"))
    try:
        server = psutil.Process(running.note()["processes"]["postgres"]["pid"])
        ended = [one for one in server.children() if "jatim_reports" in " ".join(one.cmdline())]
        for backend in ended:
            backend.terminate()
        assert psutil.wait_procs(ended, 20)[1] == []  # until then it answers
        answer = httpx.post(running.note()["urls"]["reports"] + "/v1/problems", json=REPORT, timeout=30)
        told = running("status")
    finally:
        away.rename(files)
    assert (answer.status_code, answer.headers.get("retry-after") is not None) == (503, True)
    assert (told.returncode, "reports: its database does not answer: UndefinedFile" in told.stdout) == (1, True)
    eventually(running.well, 60)


def test_a_service_without_its_database_is_told(running: Command) -> None:
    home = Home(running.data)
    asked(home.postgres(running.note()["ports"]["postgres"]).url, 'drop database "jatim_notifications" with (force)')
    said = refused(running("restore", "notifications", "--from", "stream"))
    assert '"jatim_notifications" does not exist' in said
    assert f"rembuk up --servers-only --data {running.data}" in said


def test_an_up_that_fails_tells_nothing_of_earlier_attempts(running: Command) -> None:
    assert running("down").returncode == 0
    (running.data / "region.key").rename(running.data / "kept.key")
    with (running.data / "logs/prepare.log").open("a") as log:
        log.write("the failure of yesterday\n")
    said = running.up()
    assert said.returncode == 2
    see, why = said.stderr.splitlines()
    assert see.endswith("logs/prepare.log:")
    assert "region.key is missing" in why
    since_now = running("logs", "--since", "1m", "--service", "prepare").stdout.splitlines()
    assert why.strip() in since_now[-2]  # what has no time of its own has that of the line behind it
    assert "databases are not prepared" in since_now[-1]
