"""`rembuk vault` and `rembuk erase`: a new region key takes over while people report, who is erased is gone, and
lost keys are written off."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest
from rembuk.embedded.postgres_server import postgres_binaries
from rembuk.keys.region_key import RegionKeys
from rembuk.testing.services import eventually
from rembuk_cli.home.directory import Home

if TYPE_CHECKING:
    from conftest import Command

pytestmark = [pytest.mark.drills, pytest.mark.timeout(300)]
REPORT = {
    "area": "35.78.08.1004",
    "category": "theft",
    "title": "Motor hilang",
    "description": "Di depan rumah Bu Merpati.",
    "reporter": {"name": "Siti Kenari"},
}


def reported(running: Command) -> tuple[str, dict[str, Any]]:
    """A problem's URL, and how it reads once it is shown."""
    url = f"{running.note()['urls']['reports']}/v1/problems"
    accepted = httpx.post(url, json=REPORT, timeout=20).raise_for_status().json()
    one = f"{url}/{accepted['id']}"
    return one, httpx.get(one, params={"at_least": accepted["position"]}).raise_for_status().json()


def keys(running: Command) -> list[dict[str, Any]]:
    told = running("vault", "status", "--json")
    assert told.returncode == 0, told.stderr
    wrapped: list[dict[str, Any]] = json.loads(told.stdout)
    return wrapped


def path_of(running: Command) -> Path:
    return Home(running.data).region_key


def test_a_new_key_takes_over_while_people_report(running: Command) -> None:
    url, shown = reported(running)
    assert shown["description"] == REPORT["description"]
    [before] = keys(running)
    assert before["current"]
    assert before["persons"]["reports"] >= 2
    over = threading.Event()
    urls: list[str] = []

    def report() -> None:
        while not over.is_set():
            urls.append(reported(running)[0])

    people = threading.Thread(target=report)
    people.start()
    try:
        rotated = running("vault", "rotate", "--settle", "2", "--json")
    finally:
        over.set()
        people.join()
    assert rotated.returncode == 0, rotated.stderr
    [after] = keys(running)
    assert after["key_id"] == json.loads(rotated.stdout)["key_id"] != before["key_id"]
    assert after["persons"]["reports"] == before["persons"]["reports"] + 2 * len(urls)
    assert path_of(running).stat().st_mode & 0o077 == 0
    for one in (url, *urls):
        assert httpx.get(one).json()["description"] == REPORT["description"]
    assert f"{after['key_id']} current" in running("vault", "status").stdout


def test_an_interrupted_rotation_goes_on_with_the_key_it_began_with(running: Command) -> None:
    [before] = keys(running)
    begun = running.begin("vault", "rotate", "--settle", "600")

    def halfway() -> list[str]:
        ids = RegionKeys.load(str(path_of(running).absolute())).ids
        assert len(ids) == 2
        return ids

    new, old = eventually(halfway)
    begun.send_signal(signal.SIGKILL)
    begun.wait()
    assert old == before["key_id"]
    url, _ = reported(running)
    assert {key["key_id"] for key in keys(running)} == {new, old}
    finished = running("vault", "rotate", "--settle", "1", "--json")
    assert json.loads(finished.stdout)["key_id"] == new
    assert [key["key_id"] for key in keys(running)] == [new]
    assert httpx.get(url).json()["description"] == REPORT["description"]


def test_of_two_rotations_the_second_does_not_begin(running: Command) -> None:
    first = running.begin("vault", "rotate", "--settle", "600")
    path = path_of(running)

    def halfway() -> str:
        assert len(path.read_text().split()) == 2
        return path.read_text()

    begun = eventually(halfway)
    try:
        second = running("vault", "rotate", "--settle", "0")
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert (second.returncode, "under way" in second.stderr) == (2, True), second.stderr
    assert path.read_text() == begun
    assert running("vault", "rotate", "--settle", "0").returncode == 0
    assert len(keys(running)) == 1


@pytest.mark.parametrize("spoilt", ["", "half a key"])
def test_a_spoilt_file_changes_nothing_is_told_and_begins_no_rotation(running: Command, spoilt: str) -> None:
    reported(running)  # so that the service has looked since the key was changed
    path, [key] = path_of(running), keys(running)
    kept = path.read_text()
    path.write_text(spoilt)
    try:
        url, shown = reported(running)
        assert shown["description"] == REPORT["description"]
        told = running("status", "--json")
        assert told.returncode == 1
        assert f"wrapped by the region key {key['key_id']}, which is not in" in told.stdout
        assert "the region's key cannot be read" in told.stdout
        for command in ("status", "rotate"):
            refused = running("vault", command)
            assert (refused.returncode, key["key_id"] in refused.stderr) == (2, True), refused.stderr
        assert path.read_text() == spoilt
    finally:
        path.write_text(kept)
    assert [one["key_id"] for one in keys(running)] == [key["key_id"]]
    assert httpx.get(url).json()["description"] == REPORT["description"]


def test_a_key_that_is_not_at_hand_is_told_and_begins_no_rotation_and_who_remembers_it_still_reads(
    running: Command,
) -> None:
    path, [key] = path_of(running), keys(running)
    kept, stray = path.read_text(), "dGVzdCB0ZXN0IHRlc3QgdGVzdCB0ZXN0IHRlc3QgdGU=\n"
    before, _ = reported(running)
    path.write_text(stray)
    try:
        after, shown = reported(running)  # under the stray key
        assert shown["description"] == httpx.get(before).json()["description"] == REPORT["description"]
        told = running("vault", "status")
        assert told.returncode == 1
        assert f"{key['key_id']} NOT AT HAND" in told.stdout
        assert any(key["key_id"] in why for why in running.status()["wrong"])
        refused = running("vault", "rotate", "--settle", "0")
        assert (refused.returncode, key["key_id"] in refused.stderr) == (2, True), refused.stderr
        assert path.read_text() == stray
    finally:
        path.write_text(kept + stray)
    assert running("vault", "rotate", "--settle", "0").returncode == 0
    assert (path.read_text(), [one["key_id"] for one in keys(running)]) == (kept, [key["key_id"]])
    for url in (before, after):
        assert httpx.get(url).json()["description"] == REPORT["description"]


def test_a_problem_is_erased_by_its_id_or_its_reference_once(running: Command) -> None:
    url, _ = reported(running)
    names = url[-36:], httpx.get(url).json()["reference"]
    first, again = (running("erase", "reports", name, "--why", "request", "--json") for name in names)
    assert first.returncode == again.returncode == 0, first.stderr
    persons = [json.loads(line) for line in first.stdout.splitlines()]
    assert len(persons) == 2
    assert [json.loads(line)["position"] for line in again.stdout.splitlines()] == [one["position"] for one in persons]

    def gone() -> None:
        shown = httpx.get(url).json()
        assert (shown["description"], shown["erased"], shown["anonymous"]) == (None, True, True)

    eventually(gone)


def test_lost_keys_are_looked_for_everywhere_before_they_are_written_off(running: Command, tmp_path: Path) -> None:
    in_backup, lost = reported(running)[0], reported(running)[0]
    places = ("--backups", str(tmp_path / "backup"), "--key-copies", str(tmp_path / "elsewhere"))
    dump = tmp_path / "backup/2026-01-31T020000/reports.dump"
    dump.parent.mkdir(parents=True)
    lose(running, lost)
    program = postgres_binaries() / "pg_dump"
    subprocess.run([program, "--format", "custom", "--file", dump, running.owner_url("reports")], check=True)
    lose(running, in_backup)
    assert "of 4 persons the key is missing, and no erasure says so" in str(running.status()["wrong"])
    kept = path_of(running).read_text()
    assert running("vault", "rotate", "--settle", "0").returncode == 0  # so that the backup is of an older region key
    new = path_of(running).read_text()

    def refused(said: str, *more: str) -> None:
        answer = running("vault", "write-off", "reports", *more, *places)
        assert (answer.returncode, said in answer.stderr, "nothing was written" in answer.stderr) == (2, True, True), (
            answer.stderr
        )

    told = running("vault", "missing", *places)
    assert (told.returncode, "2 more, wrapped by the region key" in told.stdout) == (1, True), told.stdout
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/old").write_text(kept)
    refused("backups have the keys of 2 of them", "--persons", "4")
    path_of(running).write_text(kept)
    (tmp_path / "elsewhere/new").write_text(new)
    refused(f"in {tmp_path}/elsewhere/new", "--persons", "4")
    path_of(running).write_text(new)
    assert "of 4 keys that were missing 2 are back" in running("vault", "put-back", "reports", *places).stdout
    refused("3 are not those that were shown", "--persons", "3")
    refused("--persons 2")
    (cut := tmp_path / "backup/2026-02-01T020000").mkdir()
    (cut / "reports.dump").write_bytes(dump.read_bytes()[: dump.stat().st_size // 2])
    answer = running("vault", "write-off", "reports", "--persons", "2", *places)
    assert (answer.returncode, "cannot be read" in answer.stderr) == (2, True), answer.stderr
    (cut / "reports.dump").unlink()
    assert running("vault", "write-off", "reports", "--persons", "2", *places).returncode == 0
    again = running("vault", "write-off", "reports", "--persons", "2", *places)
    assert (again.returncode, "nothing to write off" in again.stdout) == (0, True)
    assert running("vault", "missing", *places).returncode == 0
    eventually(running.well, 60)
    said = running("verify", "reports")
    assert (said.returncode, "of 2 persons the key was lost and written off" in said.stdout) == (0, True), said.stdout
    assert httpx.get(in_backup).json()["description"] == REPORT["description"]
    asked = {"fields": ["description", "reporter"], "reason": "penyelidikan", "by": "officer:4711"}
    opened = httpx.post(f"{lost}/open", json=asked).raise_for_status().json()["items"]
    assert [(one["value"], one["erased"], one["ground"]) for one in opened] == [(None, True, "lost")] * 2


def lose(running: Command, url: str) -> None:
    """The keys of a problem's texts and of its reporter are gone."""
    persons = f"select unnest(array[texts_of, reporter_of]) from problem where id = '{url[-36:]}'"
    running.ask_owner("reports", f"delete from vault_key where person in ({persons}) returning person")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("reports", "nobody", "--why", "request"), "is neither an id nor the reference of a report of jatim"),
        (("reports", str(uuid4()), "--why", "request"), "nothing of"),
        (("police", str(uuid4()), "--why", "request"), "no service police"),
        (("reports", str(uuid4())), "--why"),
        (("reports", str(uuid4()), "--why", "because Siti asked"), "--why"),
    ],
)
def test_what_cannot_be_erased_is_refused_and_changes_nothing(
    running: Command, arguments: tuple[str, ...], why: str
) -> None:
    refused = running("erase", *arguments)
    assert refused.returncode == 2
    assert why in refused.stderr
