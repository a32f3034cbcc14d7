"""`rembuk partner`: who is added can read at once, who is revoked cannot; what makes no sense is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from conftest import Command

pytestmark = pytest.mark.timeout(300)
REPORT = {"area": "35.78.08.1004", "category": "theft", "title": "Motor hilang", "description": "Di depan rumah."}


def added(running: Command, name: str, *scope: str) -> dict[str, Any]:
    said = running("partner", "add", name, *scope, "--json")
    assert said.returncode == 0, said.stderr
    told: dict[str, Any] = json.loads(said.stdout)
    return told


def feed(partner: dict[str, Any], service: str = "reports") -> httpx.Response:
    return httpx.get(partner["urls"][service], headers={"Authorization": f"Bearer {partner['token']}"})


def listed(running: Command, name: str) -> dict[str, Any]:
    said = running("partner", "list", "--json")
    assert said.stdout, said.stderr
    [one] = [one for one in json.loads(said.stdout) if one["name"] == name]
    assert isinstance(one, dict)
    return one


def refused(running: Command, *arguments: str) -> str:
    said = running("partner", *arguments)
    assert (said.returncode, said.stdout) == (2, ""), said
    return " ".join(said.stderr.split())


@contextmanager
def cut(running: Command, name: str) -> Iterator[bytes]:
    """A state file of the region lacks its end meanwhile; what is left of it."""
    path = running.data / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    try:
        yield whole[:-9]
    finally:
        path.write_bytes(whole)


def test_who_is_added_reads_its_scope_at_once_and_who_is_revoked_no_more(running: Command) -> None:
    reports = running.note()["urls"]["reports"]
    for area in ("35.78.08.1004", "35.73.01.1001"):
        httpx.post(f"{reports}/v1/problems", json=REPORT | {"area": area}).raise_for_status()
    partner = added(running, "dinas-pu", "--service", "reports", "--type", "ProblemReported", "--area", "35.78")
    assert {event["area"] for event in feed(partner).raise_for_status().json()} == {"35.78.08.1004"}
    assert listed(running, "dinas-pu")["areas"] == ["35.78"]
    shown = running("partner", "list")
    assert "ProblemReported of reports about 35.78" in shown.stdout
    assert partner["token"] not in shown.stdout + running("partner", "list", "--json").stdout
    assert running("partner", "revoke", "dinas-pu").returncode == 0
    assert feed(partner).status_code == 401
    assert "revoked_at" in listed(running, "dinas-pu")
    assert "no partner of this name is active" in refused(running, "revoke", "dinas-pu")
    assert "is taken" in refused(running, "add", "dinas-pu", "--service", "reports")


def test_what_a_partner_is_told_lets_it_begin(running: Command) -> None:
    said = running("partner", "add", "beginner", "--service", "forums")
    [curl] = [line.strip() for line in said.stdout.splitlines() if "curl" in line]
    token, url = curl.split("Bearer ")[1].split("' ")
    assert httpx.get(url, headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert f"nats: {running.note()['nats_url']}, consumer beginner on JATIM_FORUMS\n" in said.stdout
    told = added(running, "programmed", "--service", "forums")
    assert told["nats"] == {"url": running.note()["nats_url"], "streams": ["JATIM_FORUMS"]}


@pytest.mark.parametrize(("arguments", "named"), [
    (["--service", "report"], "there is no service report; there are reports, forums, notifications"),
    (["--service", "reports", "--type", "ForumHeld"], "type ForumHeld: reports publish only PersonErased, Problem"),
    (["--service", "reports", "--area", "35.99"], "--area 35.99: there is no area 35.99; find its code by"),
    (["--service", "reports", "--area", "91.01"], "Kabupaten Merauke, Papua Selatan is 93.01"),
    (["--service", "reports", "--area", "35.78.08.1004"], "must be the code of a province, regency or district"),
    (["--service", "reports", "--webhook", "ftp://x/"], "webhook 'ftp://x/': must be an http or https URL"),
    (["--service", "reports", "--webhook", "https://x:99999/"], "webhook 'https://x:99999/': A URL needs a host"),
    (["--service", "reports", "--webhook", "https://[::1"], "must be an http or https URL"),
    (["--service", "reports", "--webhook", "https://a b/"], "webhook 'https://a b/': A URL has no other than visible"),
])  # fmt: skip
def test_what_there_is_not_is_named_and_nobody_is_added(running: Command, arguments: list[str], named: str) -> None:
    assert named in refused(running, "add", "stranger", *arguments)
    assert "must be 2 to 32" in refused(running, "add", "No Body", "--service", "reports")
    assert "stranger" not in running("partner", "list").stdout


def test_a_webhook_is_set_back_where_there_is_one(running: Command) -> None:
    partner = added(running, "hooked", "--service", "forums", "--webhook", "https://example.invalid/hook")
    assert partner["webhook_secret"].startswith("whsec_")
    added(running, "unhooked", "--service", "forums")
    assert "the last position of forums is 0, which 7 is beyond" in refused(running, "replay", "hooked", "--after", "7")
    assert running("partner", "replay", "hooked", "--after", "0").returncode == 0
    assert listed(running, "hooked")["sent"]["forums"]["position"] == 0
    assert "no active partner named unhooked has a webhook" in refused(running, "replay", "unhooked", "--after", "0")
    assert "hooked reads forums, not reports" in refused(
        running, "replay", "hooked", "--after", "0", "--service", "reports"
    )


def test_without_a_region_there_are_no_partners(rembuk: Command) -> None:
    assert "no region lies in" in refused(rembuk, "list")


def test_a_damaged_file_is_told_and_left_alone(running: Command) -> None:
    with cut(running, "partners.json") as left:
        assert "partners.json is damaged" in refused(running, "add", "late", "--service", "forums")
        assert (running.data / "partners.json").read_bytes() == left


def test_who_is_revoked_while_nats_cannot_be_told_is_not_taken_for_cut_off(running: Command) -> None:
    added(running, "leaving", "--service", "forums")
    invitation = running.data / "hub.json"
    invitation.write_text("{}")
    try:
        told = running("partner", "revoke", "leaving")
        assert told.returncode == 2
        assert "NATS does not take it, so it knows whom it knew before" in " ".join(told.stderr.split())
    finally:
        invitation.unlink()
    conf = running.data / "nats" / "nats.conf"
    assert "partner-leaving" in conf.read_text()
    added(running, "another", "--service", "forums")
    assert "partner-leaving" not in conf.read_text()


def test_nobody_is_added_whose_secrets_could_not_be_shown(running: Command) -> None:
    with cut(running, "region.json"):
        assert "region.json is damaged" in refused(running, "add", "unshown", "--service", "forums")
    assert "unshown" not in running("partner", "list").stdout
