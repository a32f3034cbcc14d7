"""Two regions that witness each other: what one signs bears the other's cosignature, and whoever rewrites his log with
his own key gets none any more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from rembuk.proof.cosignature import verifiers
from rembuk.proof.receipt import Proven, proven
from rembuk.proof.signed_note import Verifier
from rembuk.settings import WITNESSED, WITNESSES, Settings
from rembuk.testing.services import TEST_KEY, RunningRegion, eventually
from rembuk.transparency.log_key import signers
from rembuk.witness.witness import Witness

PROBLEM = {"area": "35.78.08.1004", "category": "theft", "title": "Motor hilang", "description": "Di depan rumah."}
REWRITTEN = """
    alter table log.event disable trigger append_only;
    alter table log.tree_head disable trigger append_only;
    alter table log.tree_node disable trigger append_only;
    update log.event set area = '35.79' where position = 1;
    delete from log.tree_head; delete from log.tree_node"""


class Region:
    """A region of one service that signs often."""

    def __init__(self, postgres_url: str, nats_url: str, folder: Path) -> None:
        extra = {
            "REMBUK_TREE_HEAD_SECONDS": "0.1",
            "REMBUK_WITNESS_KEY": TEST_KEY,
            WITNESSED: str(folder / "logs"),
            WITNESSES: str(folder / "witnesses"),
        }
        folder.mkdir()
        self.folder = folder
        self.running = RunningRegion(postgres_url, nats_url, ("reports",), extra)

    def settings(self) -> Settings:
        return Settings.load("reports", self.running.region.environment("reports"))

    def meet(self, other: Region) -> None:
        """Witness the other."""
        (self.folder / "logs").write_text(f"{signers(other.settings())[0].verifier}\n")
        witness = Witness.told(self.settings())
        assert witness is not None
        url = self.running.url("reports")
        (other.folder / "witnesses").write_text(f"{url}/v1/witness {witness.verifier}\n")

    def report(self) -> str:
        answer = httpx.post(f"{self.running.url('reports')}/v1/problems", json=PROBLEM, timeout=10)
        problem: str = answer.raise_for_status().json()["id"]
        return problem

    def proven(self, problem: str, keys: list[Verifier]) -> Proven:
        answer = httpx.get(f"{self.running.url('reports')}/v1/problems/{problem}/receipt", timeout=10)
        assert answer.status_code == 200, answer.text
        return proven(answer.text, keys)

    def ask(self, query: str) -> list[asyncpg.Record]:
        return self.running.ask("reports", query)

    def keys(self, witness: Region) -> list[Verifier]:
        """Ours, and that of our witness, as both publish them."""
        ours = httpx.get(f"{self.running.url('reports')}/v1/log/keys", timeout=10).text
        theirs = httpx.get(f"{witness.running.url('reports')}/v1/witness/key", timeout=10).text
        return verifiers(ours + theirs)


@pytest.fixture(scope="module")
def regions(
    postgres_url: str, nats_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Region, Region]]:
    folder = tmp_path_factory.mktemp("witnesses")
    one, other = (Region(postgres_url, nats_url, folder / name) for name in ("one", "other"))
    one.meet(other)
    other.meet(one)
    try:
        for region in (one, other):
            region.running.prepare()
            region.running.start_all()
        yield one, other
    finally:
        for region in (one, other):
            region.running.stop_all()


def cosigned(region: Region, problem: str, keys: list[Verifier]) -> Proven:
    found = region.proven(problem, keys)
    assert [one.at for one in found.cosigned if one.at]
    return found


def test_what_each_region_signs_the_other_vouches_for(regions: tuple[Region, Region]) -> None:
    for region, witness in (regions, regions[::-1]):
        keys = region.keys(witness)
        for _ in range(2):
            problem = region.report()
            found = eventually(lambda r=region, p=problem, k=keys: cosigned(r, p, k))  # type: ignore[misc]
            assert (found.trusted, len(found.cosigned)) == (True, 1)


def test_a_region_whose_witness_is_away_accepts_signs_and_gives_receipts(regions: tuple[Region, Region]) -> None:
    region, witness = regions
    keys = region.keys(witness)
    witness.running.stop("reports", "api")

    def failing() -> Any:
        [row] = region.ask("select failing_since, failure from witness")
        assert row["failing_since"] is not None
        return row["failure"]

    try:
        problem = region.report()
        assert eventually(lambda: region.proven(problem, keys)).cosigned == ()
        assert "cannot be reached" in eventually(failing)
    finally:
        witness.running.start("reports", "api")
    eventually(lambda: cosigned(region, problem, keys))
    eventually(lambda: _fails_no_more(region))


def _fails_no_more(region: Region) -> None:
    assert region.ask("select failure from witness")[0]["failure"] == ""


def test_whoever_rewrites_his_log_with_his_own_key_gets_no_cosignature(regions: tuple[Region, Region]) -> None:
    region, witness = regions
    keys = region.keys(witness)
    eventually(lambda: cosigned(region, region.report(), keys))
    [before] = witness.ask("select size, root from witnessed")
    region.running.stop("reports", "worker")
    region.ask(REWRITTEN)
    region.report()
    region.running.start("reports", "worker")

    def refused() -> None:
        [row] = region.ask("select failure from witness")
        assert "422" in row["failure"], row
        assert region.ask("select max(size) as size from log.tree_head")[0]["size"] > before["size"]

    eventually(refused)
    assert witness.ask("select size, root from witnessed") == [before]
