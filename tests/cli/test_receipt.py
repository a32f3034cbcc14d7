"""`rembuk receipt`: fetched from a running region, verified by whoever has the file and a key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import chdir
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest
from rembuk.keys.key_setting import read_keys
from rembuk.proof.promises import promising
from rembuk.proof.receipt import proven
from rembuk.proof.signed_note import Signer
from rembuk.testing import forking
from rembuk.testing.services import eventually
from rembuk.transparency.leaves import leaf
from rembuk.transparency.tree import origin
from rembuk_cli.home.directory import Home

if TYPE_CHECKING:
    from conftest import Command

REPORT = {"area": "35.78.08.1004", "category": "theft", "title": "Motor hilang", "description": "Di depan rumah."}


class Reporter:
    """Somebody who has reported, and has all that he was given in files."""

    def __init__(self, rembuk: Command, folder: Path) -> None:
        self.url = rembuk.note()["urls"]["reports"]
        self.folder, self.body = folder, httpx.post(f"{self.url}/v1/problems", json=REPORT, timeout=10).json()
        self.receipt, self.promise = folder / "receipt", folder / "promise"
        self.promise.write_text(self.body["promise"])
        got = rembuk("receipt", "get", self.body["id"], "--out", str(self.receipt))
        assert got.returncode == 0, got.stderr
        self.keys, self.history = folder / "keys", folder / "history.json"
        self.keys.write_text(httpx.get(f"{self.url}/v1/log/keys").text)
        self.history.write_bytes(httpx.get(f"{self.url}/v1/problems/{self.body['id']}/history").content)
        self.key = self.keys.read_text().strip()


@pytest.fixture(scope="module")
def reporter(running: Command, tmp_path_factory: pytest.TempPathFactory) -> Reporter:
    return Reporter(running, tmp_path_factory.mktemp("reporter"))


def verify(*arguments: object) -> subprocess.CompletedProcess[str]:
    """By a command that knows of no region."""
    with chdir("/"):
        return forking.run("rembuk_cli", ["receipt", "verify", *map(str, arguments)], os.environ, 60)


@pytest.mark.parametrize("report", ["JATIM-999999", "JATENG-000001", "nonsense"])
def test_what_is_no_report_has_no_receipt(running: Command, reporter: Reporter, report: str) -> None:
    said = running("receipt", "get", report)
    assert (said.returncode, said.stdout) == (2, "")
    assert f"{report} is neither an id nor the reference of a report" in " ".join(said.stderr.split())


def test_the_position_of_another_event_is_no_reference(running: Command, reporter: Reporter) -> None:
    verified = httpx.post(f"{reporter.url}/v1/problems/{reporter.body['id']}/verify", json={}, timeout=10)
    said = running("receipt", "get", f"JATIM-{verified.raise_for_status().json()['position']:06d}")
    assert (said.returncode, said.stdout) == (2, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a file that is always full")
def test_a_command_that_finds_the_disk_full_says_where_the_runbook_helps(running: Command, reporter: Reporter) -> None:
    said = running("receipt", "get", reporter.body["reference"], "--out", "/dev/full")
    assert said.returncode == 2
    assert "No space left on device. Give the disk room: docs/runbook.md, DiskFillsUp" in " ".join(said.stderr.split())


def test_a_receipt_is_fetched_by_id_and_by_reference(running: Command, reporter: Reporter) -> None:
    by_reference = running("receipt", "get", reporter.body["reference"])
    leaves = [proven(text).leaf for text in (by_reference.stdout, reporter.receipt.read_text())]
    assert leaves[0] == leaves[1]
    unknown = running("receipt", "get", str(uuid4()))
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "unknown-problem" in unknown.stderr


def test_what_is_proven_under_a_key_that_is_given_is_well(reporter: Reporter) -> None:
    for key in (reporter.key, reporter.keys):
        said = verify(reporter.receipt, reporter.promise, "--key", key, "--data", reporter.history)
        assert said.returncode == 0, said.stdout + said.stderr
        assert f"position {reporter.body['position']}" in said.stdout
        assert reporter.body["id"] in said.stdout
        assert said.stdout.count("the same as the data that you gave") == 2
        kept, promised = (line for line in said.stdout.splitlines() if line.startswith("PROVEN "))
        assert kept.endswith(f"the report {reporter.body['reference']} is kept")
        assert promised.endswith(f"the region has promised to keep the report {reporter.body['reference']}")
        assert said.stdout.count(f"signed by {reporter.key}, a key that you gave") == 2
        assert said.stdout.count("it follows:") == 2


def test_a_key_that_nobody_vouches_for_is_not_well(reporter: Reporter) -> None:
    said = verify(reporter.receipt)
    assert said.returncode == 1
    assert said.stdout.startswith("NOT PROVEN ")
    assert f"{reporter.key}, a key that it names itself" in said.stdout
    assert "\nPROVEN" not in said.stdout


def test_programs_are_told_in_json(reporter: Reporter) -> None:
    said = verify(reporter.receipt, "--key", reporter.keys, "--json")
    told: dict[str, Any] = json.loads(said.stdout)
    [file] = told["files"]
    assert told["contradictions"] == []
    assert (file["verdict"], file["reference"]) == ("PROVEN", reporter.body["reference"])
    assert (file["proven"]["trusted"], file["proven"]["event"]["aggregate"]) == (True, reporter.body["id"])


def test_what_proves_nothing_is_found_wrong_and_says_why(reporter: Reporter, tmp_path: Path) -> None:
    bad, other = tmp_path / "bad", tmp_path / "other.json"
    bad.write_text(reporter.receipt.read_text().replace("index ", "index 1"))
    other.write_text(reporter.history.read_text().replace("Motor", "Mobil"))
    stranger = Signer(origin("jatim", "reports"), bytes(32)).verifier
    for arguments, why in (
        ([bad, "--key", reporter.key], "the file was altered or cut short, or it is no receipt"),
        ([reporter.receipt, "--key", stranger], "not signed by a known key"),
        ([reporter.receipt, "--key", reporter.key, "--data", other], "the data are not those of the event"),
    ):
        said = verify(*arguments)
        assert said.returncode == 1, said.stdout + said.stderr
        assert said.stdout.startswith("NOT PROVEN ")
        assert why in " ".join(said.stdout.split())


def test_of_a_file_without_end_no_more_is_read_than_a_receipt_may_hold(reporter: Reporter) -> None:
    said = verify("/dev/zero", "--key", reporter.key)
    assert (said.returncode, said.stdout.startswith("NOT PROVEN /dev/zero: ")) == (1, True)


def test_what_cannot_be_read_is_no_verdict(reporter: Reporter, tmp_path: Path) -> None:
    for arguments, why in (
        ([tmp_path / "missing"], "cannot be read"),
        ([reporter.receipt, "--key", "no+key"], "is no verifier key"),
        ([reporter.receipt, "--key", tmp_path / "missing"], "cannot be read"),
        ([reporter.receipt, "--data", tmp_path / "missing"], "cannot be read"),
    ):
        said = verify(*arguments)
        assert (said.returncode, said.stdout) == (2, ""), said
        assert why in " ".join(said.stderr.split())


def test_a_broken_promise_is_proven(running: Command, reporter: Reporter, tmp_path: Path) -> None:
    """A region that promised the same position to somebody else, with its own key."""
    event = proven(reporter.promise.read_text()).event
    [key] = read_keys(str(Home(running.data).log_key), "the log's key")
    row = {
        "position": event.position, "id": uuid4(), "stream_id": uuid4(), "version": 1, "type": event.type,
        "schema_version": 1, "area": "", "data": "{}", "metadata": "{}",
        "recorded_at": datetime.fromisoformat(event.time),
    }  # fmt: skip
    promise = promising(Signer(origin("jatim", "reports"), key), partial(leaf, "jatim", "reports"))
    broken = tmp_path / "broken"
    broken.write_text(promise([row])[0])
    assert verify(broken, "--key", reporter.key).returncode == 0
    said = verify(broken, reporter.receipt, "--key", reporter.key)
    assert said.returncode == 1
    assert f"has signed two events at position {event.position}" in " ".join(said.stdout.split())


def test_status_tells_the_last_checkpoint(running: Command, reporter: Reporter) -> None:
    def signed() -> None:
        reports = next(one for one in running.status()["services"] if one["name"] == "reports")
        assert reports["checkpoint"]["size"] == reports["log"] >= reporter.body["position"]
        assert reports["checkpoint"]["age_s"] >= 0

    eventually(signed, 40)
    assert "s ago" in running("status").stdout


def test_the_script_for_everybody_agrees(reporter: Reporter) -> None:
    script = Path(__file__).parents[2] / "docs/verify_receipt.py"
    for file in (reporter.receipt, reporter.promise):
        for arguments, code in (([file, reporter.key], 0), ([file], 1), ([reporter.keys], 1), ([], 2)):
            said = subprocess.run(
                [sys.executable, script, *arguments], capture_output=True, text=True, check=False, timeout=60
            )
            assert said.returncode == code, said.stdout + said.stderr
            assert ("PROVEN" in said.stdout) == (code == 0)
