"""`rembuk verify`: a region that nobody altered is found so; what somebody altered is named, and exits with 1."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from rembuk.postgres.provisioning import SERVICES
from rembuk.proof.signed_note import Signer
from rembuk.sealing.vault import TRUSTED_SECONDS
from rembuk.testing.services import eventually

if TYPE_CHECKING:
    from conftest import Command

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def region(running: Command) -> Command:
    """A region with 30 problems and what became of them, all of it signed."""
    assert running("simulate", "--problems", "30", "--seed", "5").returncode == 0
    eventually(lambda: _signed(running), 60)
    return running


def _signed(region: Command) -> None:
    region.level()
    assert region.ask_owner("reports", "select position = (select max(size) from log.tree_head) from log.head")


def verified(region: Command, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    said = region("verify", *arguments, "--json")
    assert said.returncode == code, said.stderr
    return [json.loads(line) for line in said.stdout.splitlines()]


def test_a_region_that_nobody_altered_is_found_so(region: Command) -> None:
    steps = verified(region)
    told = {step["service"]: step for step in steps if step["kind"] == "verified"}
    assert list(told) == list(SERVICES)
    reports = told["reports"]
    assert reports["events"] == reports["signed"] == reports["published"] >= 30
    assert {step["table"] for step in steps if step["kind"] == "compared"} >= {
        "problem",
        "open_problem",
        "subscription",
    }
    assert not [step for step in steps if step["kind"] in ("wrong", "difference")]


def test_people_are_told_in_words(region: Command) -> None:
    said = region("verify", "reports")
    assert said.returncode == 0
    assert "unaltered" in said.stdout
    assert "problem: 30 rows, no difference" in said.stdout


def test_an_altered_event_is_named_and_what_to_do(region: Command) -> None:
    text = region.ask_owner("reports", "select data::text from log.event where position = 7")
    region.ask_owner("reports", "alter table log.event disable trigger append_only")
    region.ask_owner("reports", "update log.event set data = '{}' where position = 7")
    try:
        steps = verified(region, "reports", code=1)
        said = region("verify", "reports")
    finally:
        region.ask_owner("reports", f"update log.event set data = $${text}$$ where position = 7")
        region.ask_owner("reports", "alter table log.event enable trigger append_only")
    found = {(step["what"], step["position"]) for step in steps if step["kind"] == "wrong"}
    assert found == {("log", 7), ("stream", 7)}
    assert "reports log, position 7: is not what was signed" in said.stdout
    assert "docs/runbook.md" in said.stderr
    assert said.returncode == 1
    verified(region, "reports")


def test_a_key_that_is_missing_or_spoilt_is_named_and_is_no_erasure(region: Command) -> None:
    url = region.note()["urls"]["reports"] + "/v1/problems"
    report = {"area": "35.78.08.1004", "category": "theft", "title": "Motor hilang", "description": "Di depan rumah."}
    made = httpx.post(url, json=report | {"reporter": {"name": "Siti"}}).raise_for_status().json()
    position, one = made["position"], f"{url}/{made['id']}"
    texts, reporter = region.ask_all(
        "reports",
        f"select regexp_replace(value, 'sealed:v1:([^:]*):.*', '\\1') from log.event, json_each_text(data::json) "
        f"where position = {position} and key in ('description', 'reporter') order by key",
    )
    region.ask_owner("reports", "create table kept_key as select * from vault_key")
    region.ask_owner("reports", f"delete from vault_key where person = '{texts[0]}'")
    region.ask_owner(
        "reports", f"update vault_key set wrapped = decode(repeat('00', 60), 'hex') where person = '{reporter[0]}'"
    )
    try:
        steps = verified(region, "reports", code=1)
        time.sleep(TRUSTED_SECONDS)  # as long as a process trusts a key that it has in mind
        shown = httpx.get(one, params={"at_least": position}).raise_for_status().json()
        asked = {"fields": ["description", "reporter"], "reason": "penyelidikan", "by": "officer:4711"}
        opened = httpx.post(f"{one}/open", json=asked).raise_for_status().json()["items"]
        wrong = region.status()["wrong"]
    finally:
        region.ask_owner("reports", "delete from vault_key where person in (select person from kept_key)")
        region.ask_owner("reports", "insert into vault_key select * from kept_key")
        region.ask_owner("reports", "drop table kept_key")
    found = {(step["what"], step["position"], step["said"].split()[0]) for step in steps if step["kind"] == "wrong"}
    assert found == {("keys", position, "description"), ("keys", position, "reporter")}
    assert (shown["description"], shown["erased"]) == (None, False)
    assert {item["field"]: (item["value"], item["erased"], item["fault"]) for item in opened} == {
        "description": (None, False, "key-missing"),
        "reporter": (None, False, "key-damaged"),
    }
    assert [said for said in wrong if "of 1 persons the key is missing, and no erasure says so" in said], wrong
    verified(region, "reports")


def test_an_altered_row_of_a_read_model_is_named(region: Command) -> None:
    one = region.ask_owner("reports", "select id from problem order by position limit 1")
    before = region.ask_owner("reports", f"select title from problem where id = '{one}'")
    region.ask_owner("reports", f"update problem set title = 'Semua aman' where id = '{one}'")
    try:
        steps = verified(region, "reports", code=1)
        said = region("verify", "reports")
    finally:
        region.ask_owner("reports", f"update problem set title = $${before}$$ where id = '{one}'")
    [difference] = [step for step in steps if step["kind"] == "difference"]
    assert (difference["table"], difference["live"]["id"]) == ("problem", str(one))
    assert f"{one} problem: title Semua aman" in said.stdout
    assert "rebuild reports" in said.stdout
    verified(region, "reports")


def test_an_event_that_was_skipped_is_shown_with_the_reason_and_an_invented_skip_is_wrong(region: Command) -> None:
    """Whoever has a service's password can have an event left out of the model and of each replay of it alike."""
    problem = region.ask_owner("reports", "select id from problem order by position desc limit 1")
    region.ask_owner("reports", f"create table aside as select * from problem where id = '{problem}'")
    region.ask_owner("reports", f"delete from problem where id = '{problem}'")
    region.ask_owner(
        "reports",
        "insert into skipped select 'projection', 'JATIM_REPORTS', position, stream_id::text, type, 'error', '{}', 'x',"
        f" now(), 'a [test]', 'Siti' from log.event where stream_id = '{problem}'",
    )
    try:
        steps = verified(region, "reports", code=1)
        said = region("verify", "reports")
    finally:
        region.ask_owner("reports", "delete from skipped")
        region.ask_owner("reports", "insert into problem select * from aside")
        region.ask_owner("reports", "drop table aside")
    skips = [step for step in steps if step["kind"] == "skipped"]
    assert {(one["why"], one["by_whom"]) for one in skips} == {("a [test]", "Siti")}
    assert [one["position"] for one in skips] == [one["position"] for one in steps if one["kind"] == "wrong"]
    assert "ProblemReported is skipped: “a [test]”, Siti" in said.stdout
    assert "reports followers, position" in said.stdout
    verified(region, "reports")


def test_a_checkpoint_beyond_the_end_is_wrong_and_the_other_services_are_looked_at_too(region: Command) -> None:
    where = "where follower = 'projection'"
    before = region.ask_owner("reports", f"select position from checkpoint {where}")
    region.ask_owner("reports", f"update checkpoint set position = position + 1000 {where}")
    try:
        steps = verified(region, code=1)
    finally:
        region.ask_owner("reports", f"update checkpoint set position = {before} {where}")
    assert [(step["service"], step["what"], step["position"]) for step in steps if step["kind"] == "wrong"] == [
        ("reports", "followers", before + 1000)
    ]
    assert {step["service"] for step in steps if step["kind"] == "verified"} == set(SERVICES)
    assert {step["service"] for step in steps if step["kind"] == "compared"} == set(SERVICES)
    verified(region, "reports")


def test_a_service_that_cannot_be_looked_at_keeps_nothing_of_the_others_back(region: Command) -> None:
    role = region.ask_owner("reports", "select current_database()")  # by convention it is called as its role
    region.ask_owner("reports", f'revoke select on table log.tree_key from "{role}"')
    try:
        steps = verified(region, code=2)
        told = region("verify")
    finally:
        region.ask_owner("reports", f'grant select on table log.tree_key to "{role}"')
    assert [step["service"] for step in steps if step["kind"] == "verified"] == ["forums", "notifications"]
    assert "reports could not verify" in told.stderr
    assert "forums: " in told.stdout


def test_an_auditor_needs_the_verifier_keys_alone(region: Command, tmp_path: Path) -> None:
    name = f"polmas/{region.note()['region']}/reports"
    key = (region.data / "log.key").read_text()
    theirs, strangers = tmp_path / "keys", tmp_path / "strangers"
    theirs.write_text(f"{Signer(name, base64.b64decode(key)).verifier}\n")
    strangers.write_text(f"{Signer(name, bytes(32)).verifier}\n")
    verified(region, "reports", "--keys", str(theirs))
    steps = verified(region, "reports", "--keys", str(strangers), code=1)
    [wrong, *_] = [step for step in steps if step["kind"] == "wrong"]
    assert wrong["what"] == "heads"
    assert "no key that is trusted here has signed it" in wrong["said"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (b"", "has no key of"),
        (b"nonsense", "is no verifier key"),
        (b"\xff", "codec can't decode"),
    ],
    ids=["none", "empty", "nonsense", "binary"],
)
def test_keys_that_are_none_are_refused(region: Command, tmp_path: Path, content: bytes | None, said: str) -> None:
    keys = tmp_path / "keys"
    if content is not None:
        keys.write_bytes(content)
    refused = region("verify", "reports", "--keys", str(keys))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert said in refused.stderr


def test_a_log_key_that_is_missing_is_asked_for(region: Command) -> None:
    key = region.data / "log.key"
    aside = key.rename(key.with_name("aside"))
    try:
        refused = region("verify", "reports")
    finally:
        aside.rename(key)
    assert refused.returncode == 2
    assert "log.key cannot be had" in refused.stderr
    assert "--keys FILE" in refused.stderr


def test_an_unknown_service_is_refused(region: Command) -> None:
    refused = region("verify", "complaints")
    assert (refused.returncode, "there is no service complaints" in refused.stderr) == (2, True)
