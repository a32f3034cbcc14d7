"""`rembuk logs`: whatever lies in a region's log files is told in one order, each line in its place."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rembuk_cli.commands.logs import logs
from rembuk_cli.region import log_lines
from rembuk_cli.region.log_lines import Line, merged

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
EVER = datetime.min.replace(tzinfo=UTC)
Told = Callable[..., list[str]]


def said(second: float, event: str, level: str = "info", **more: str) -> str:
    at = (NOON + timedelta(seconds=second)).isoformat()
    return json.dumps({"event": event, "level": level, **more, "timestamp": at}) + "\n"


@pytest.fixture
def region(tmp_path: Path) -> Path:
    """Its directory, with what several processes and servers have logged from noon on."""
    failed = said(5, "five", "error", exception="Traceback:\n  why\nKeyError: 5\n")
    files = {
        "logs/reports-api.log.1": said(1, "one", correlation_id="c-1"),
        "logs/reports-api.log": failed + said(8, "eight"),
        "logs/forums-worker.log": said(2, "two", "warning", stream="JATIM_FORUMS") + said(7, "seven"),
        "logs/supervisor.log": '{"event": "no level", "timestamp": "2026-01-31T12:00:03Z"}\n',
        "postgres/postgres.log": "2026-01-31 12:00:04.000 UTC [7] FATAL:  four\n"
        "2026-01-31 12:00:04.000 UTC [7] HINT:  use a backup\n\tand its next line\n",
        "nats/nats-server.log": "[9] 2026/01/31 12:00:06.000000 [WRN] six\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def told(region: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    """What the command says of that region, without times and columns."""

    def told(**options: object) -> list[str]:
        logs(data=region, **{"since": "2026-01-01", **options})  # type: ignore[arg-type]
        return [" ".join(line[24:].split()) for line in capsys.readouterr().out.splitlines()]

    return told


def write(region: Path, text: bytes) -> None:
    (region / "logs/hub-api.log").write_bytes(text)


def test_all_files_are_merged_by_time_those_put_aside_and_the_servers_too(told: Told) -> None:
    assert [line for line in told() if line] == [
        "reports-api info one correlation_id=c-1",
        "forums-worker warning two stream=JATIM_FORUMS",
        "supervisor no level",
        "postgres error four",
        "postgres error HINT: use a backup",
        "postgres error and its next line",
        "reports-api error five",
        "nats warning six",
        "forums-worker info seven",
        "reports-api info eight",
    ]


def test_an_exception_is_shown_below_its_line(region: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs(since="2026-01-01", service="reports", level=log_lines.Level.ERROR, data=region)
    line, *below = capsys.readouterr().out.splitlines()
    assert line.split()[2:] == ["reports-api", "error", "five"]
    assert below == ["    Traceback:", "      why", "    KeyError: 5"]


def test_what_is_asked_for_is_told_alone(told: Told) -> None:
    assert told(service="forums") == ["forums-worker warning two stream=JATIM_FORUMS", "forums-worker info seven"]
    assert told(service="nats") == ["nats warning six"]
    assert told(correlation="c-1") == ["reports-api info one correlation_id=c-1"]
    assert told(level=log_lines.Level.ERROR, service="postgres")[0] == "postgres error four"
    assert "nats warning six" not in told(level=log_lines.Level.ERROR)
    assert told(since="2026-01-31T12:00:08+00:00") == ["reports-api info eight"]


def test_programs_are_told_an_object_a_line(region: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs(since="2026-01-01", data=region, as_json=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines if line["source"] == "reports-api"] == ["one", "five", "eight"]
    assert {line["level"] for line in lines if line["source"] == "postgres"} == {"error"}


@pytest.mark.parametrize("service", ["pos", "nobody", "reports-"])
def test_of_whom_there_are_no_logs_nothing_is_told(
    told: Told, service: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as exit:
        told(service=service)
    assert exit.value.exit_code == 2
    assert "there are those of forums-worker, nats, postgres, reports-api, supervisor" in capsys.readouterr().err


def test_nothing_in_a_log_moves_a_cursor_or_forges_a_line(told: Told, region: Path) -> None:
    write(region, said(9, "e\x1b[2J\n2026", name="\u202e\r\nforged").encode() + b"not ours: \x1b[31m\xff\xfe\r\n")
    ours, theirs = told(service="hub")
    assert ours == r"hub-api info e\x1b[2J\n2026 name=\u202e\r\nforged"
    assert theirs == r"hub-api not ours: \x1b[31m\xff\xfe"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n",
        b"{",
        b"[1]",
        b'{"timestamp": 7}',
        b'{"timestamp": "soon"}',
        b'{"timestamp": "0001-01-01T00:00+14:00"}',
        b'{"a":' + b"[" * 100_000,
        b"2026-13-31 12:00:04.000 UTC [7] LOG:  x",
        b"\x00" * 5,
        b'{"event": "cut off',
    ],
)
def test_what_is_no_line_of_ours_is_shown_as_it_is(told: Told, region: Path, text: bytes) -> None:
    write(region, said(1, "before").encode() + text)
    before, *shown = told(service="hub", level=log_lines.Level.INFO)
    assert before == "hub-api info before"
    assert len(shown) == (text != b"")


def test_what_a_dying_process_says_last_stands_at_its_end(told: Told, region: Path) -> None:
    """Without a time, it is as old as the file, or as the first line of the process after it."""
    write(region, said(1, "runs").encode() + b"Traceback: here\n" + said(300, "runs again").encode() + b"Killed\n")
    os.utime(region / "logs/hub-api.log", (0, NOON.timestamp() + 900))
    assert told(since="2026-01-31T12:02+00:00") == [
        "hub-api Traceback: here",
        "hub-api info runs again",
        "hub-api Killed",
    ]


def test_of_a_line_without_end_no_more_is_held_than_its_beginning(told: Told, region: Path) -> None:
    write(region, said(1, "before").encode())
    with (region / "logs/hub-api.log").open("r+b") as file:
        file.truncate(200 << 20)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + said(10, "after").encode())
    tracemalloc.start()
    try:
        [before, huge, after] = merged({region / "logs/hub-api.log": "hub-api"}, EVER)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (before.fields["event"], after.fields["event"]) == ("before", "after")
    assert "bytes more)" in huge.fields["event"]
    assert peak < 8 << 20


LINES = st.one_of(
    st.integers(0, 60).map(lambda second: said(second, "timed").encode()),
    st.binary(max_size=60).map(lambda line: line.replace(b"{", b"") + b"\n"),
)


@given(st.lists(LINES, max_size=30), st.integers(-1, 61), st.integers(1, 400), st.integers(1, 80))
def test_what_is_read_from_the_end_is_what_is_read_from_the_start(
    lines: list[bytes], second: int, step: int, longest: int
) -> None:
    """For a file of any lines whose times rise, and any time."""
    timed = sorted(line for line in lines if line.startswith(b"{"))
    rising = [timed.pop(0) if line.startswith(b"{") else line for line in lines]
    since = NOON + timedelta(seconds=second)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_lines, "FIRST_STEP", step)
        patch.setattr(log_lines, "LONGEST", longest + 60)
        log = Path(folder) / "log"
        log.write_bytes(b"".join(rising))
        assert list(merged({log: "x"}, since)) == [line for line in merged({log: "x"}, EVER) if line.at >= since]


@given(st.lists(st.lists(st.integers(0, 60), max_size=10), max_size=5))
def test_lines_of_one_file_keep_their_order_and_none_is_lost(files: list[list[int]]) -> None:
    with TemporaryDirectory() as folder:
        named = {Path(folder) / str(number): str(number) for number in range(len(files))}
        for path, seconds in zip(named, files, strict=True):
            path.write_text("".join(said(second, str(second)) for second in seconds))
        lines: list[Line] = list(merged(named, EVER))
    for number, seconds in enumerate(files):
        assert [int(line.fields["event"]) for line in lines if line.source == str(number)] == seconds
    if all(seconds == sorted(seconds) for seconds in files):
        assert [line.at for line in lines] == sorted(line.at for line in lines)
