"""Processes of services that are forked off one that has read their code are children like any other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from rembuk.process.forking import CannotFork, Forking, can_fork

pytestmark = pytest.mark.skipif(not can_fork(), reason="only Linux makes another's child ours")


@pytest.fixture
def forking() -> Iterator[Forking]:
    with closing(Forking(["reports"], {"PATH": os.environ["PATH"]})) as forking:
        yield forking


def test_it_is_our_child_told_its_own_environment_and_says_in_its_own_log_why_it_ended(
    forking: Forking, tmp_path: Path
) -> None:
    with (tmp_path / "log").open("wb") as log:
        one = forking.fork("reports", "worker", {"REMBUK_REGION": "jatim"}, log.fileno())
        other = forking.fork("reports", "api", {}, log.fileno())
        assert (one.wait(20), other.wait(20)) == (2, 2)
    said = (tmp_path / "log").read_text()
    assert "REMBUK_REGION is not set" in said
    assert "REMBUK_REPORTS_DATABASE_URL is not set" in said
    one.terminate()  # has ended, and its number may be another's


def test_where_the_process_that_forks_has_ended_that_is_said(forking: Forking) -> None:
    [process] = [one for one in psutil.Process().children() if "rembuk.process.forking" in one.cmdline()]
    process.kill()
    with pytest.raises(CannotFork):
        forking.fork("reports", "api", {}, 1)
