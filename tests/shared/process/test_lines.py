"""A log line is written or lost, and never raises: what handles an error must not end by telling of it."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rembuk.process.lines import Lines

SPEAKER = """
import logging, os, sys
import structlog
from rembuk.process import logs
logs.configure("reports", "worker")
exec(sys.argv[1])
structlog.get_logger("ours").critical("ours", exc_info=RuntimeError("why"))
logging.getLogger("a library").warning("theirs")
print("lives on")
"""


@pytest.mark.parametrize(
    "fate",
    [
        "os.dup2(os.open('/dev/full', os.O_WRONLY), 2)",
        "reader, writer = os.pipe(); os.dup2(writer, 2); os.close(reader)",
        "os.close(2)",
        "sys.stderr.close()",
    ],
    ids=["full disk", "nobody reads", "closed", "stream closed"],
)
def test_neither_ours_nor_a_librarys_line_raises_whatever_its_file_does(fate: str) -> None:
    said = subprocess.run([sys.executable, "-c", SPEAKER, fate], capture_output=True, text=True, check=True)
    assert said.stdout == "lives on\n"


def test_both_kinds_of_lines_are_json_on_stderr() -> None:
    said = subprocess.run([sys.executable, "-c", SPEAKER, ""], capture_output=True, text=True, check=True)
    ours, theirs = map(json.loads, said.stderr.splitlines())
    assert ours["event"] == "ours"
    assert "RuntimeError: why" in ours["exception"]
    assert (theirs["event"], theirs["service"], theirs["level"]) == ("theirs", "reports", "warning")


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\n"), max_size=20)), st.data())
def test_a_line_that_was_cut_by_a_full_disk_spoils_no_other(lines: list[str], data: st.DataObject) -> None:
    """Of each line a part was written, or all; those that were written whole can be read."""
    written, room = bytearray(), 0

    def write(_: int, left: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError("no space left on device")
        taken = left[:room]
        room -= len(taken)
        written.extend(taken)
        return len(taken)

    whole = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", write)
        told = Lines(2)
        for line in lines:
            room = data.draw(st.integers(0, 100))
            told.write(line + "\n")
            if room:
                whole.append(line)
    kept = bytes(written).decode(errors="replace").split("\n")
    at = -1
    for line in whole:
        at = kept.index(line, at + 1)


def test_a_surrogate_is_written_out(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        handler = logging.StreamHandler(Lines(file.fileno()))  # type: ignore[arg-type]
        handler.emit(logging.LogRecord("a", logging.WARNING, "", 0, "\udce4", None, None))
    assert (tmp_path / "log").read_bytes() == b"\\udce4\n"
