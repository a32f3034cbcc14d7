"""The region's key as the processes of a service meet it: refused where it cannot be had, followed by a new one."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable

import httpx
import msgspec
import pytest
from rembuk.keys.region_key import RegionKey
from rembuk.testing import forking
from rembuk.testing.services import TEST_KEY, RunningRegion

REPORT = {
    "area": "35.78.08.1004",
    "category": "theft",
    "title": "Motor hilang",
    "description": "Di depan rumah.",
    "reporter": {"name": "Siti Rahayu"},
}


@pytest.fixture(scope="module")
def running(start_region: Callable[..., RunningRegion]) -> RunningRegion:
    return start_region("reports")


def run(running: RunningRegion, process: str, region_key: str) -> tuple[int, str, str]:
    """Run a process of reports with that key, to its end: exit code, what it wrote, what it complained of."""
    region = msgspec.structs.replace(running.region, region_key=region_key)
    ran = forking.run("reports", [process], region.environment("reports", process), 30)
    return ran.returncode, ran.stdout, ran.stderr


def test_keys_of_persons_go_over_to_a_new_region_key_and_the_old_one_is_needed_no_more(running: RunningRegion) -> None:
    httpx.post(f"{running.url('reports')}/v1/problems", json=REPORT).raise_for_status()
    new = base64.b64encode(secrets.token_bytes(32)).decode()
    old_id = RegionKey(base64.b64decode(TEST_KEY)).key_id
    code, _, complaint = run(running, "rewrap", new)
    assert code == 2
    assert f"wrapped by the region key {old_id}" in complaint
    assert run(running, "rewrap", f"{new} {TEST_KEY}") == (0, "2\n", "")
    assert run(running, "rewrap", new) == (0, "", "")


@pytest.mark.parametrize("setting", ["", "mistyped", "/nowhere/region.key", "command:false"])
def test_no_process_starts_without_it(running: RunningRegion, setting: str) -> None:
    code, said, complaint = run(running, "api", setting)
    assert (code, said) == (2, "")
    assert "the region key" in complaint
    assert "mistyped" not in complaint
