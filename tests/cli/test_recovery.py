"""`rembuk export`, `restore`, `reconcile` and `up`: what is wrong is told with what to do next, and nothing changes."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import nats
import pytest
from pyarrow import parquet
from rembuk.testing.asking import asked
from rembuk.testing.services import eventually
from rembuk_cli.region.soundness import Unsound, require_logs_of_streams

if TYPE_CHECKING:
    from conftest import Command

pytestmark = [pytest.mark.drills, pytest.mark.timeout(300)]
REPORT = {"area": "35.78.08.1004", "category": "theft", "title": "Motor hilang", "description": "Di depan rumah."}


@pytest.fixture(scope="module")
def lived(running: Command) -> Command:
    """A region in which something has happened."""
    assert running("simulate", "--problems", "30", "--seed", "3").returncode == 0
    eventually(running.level, 60)
    return running


def rows(rembuk: Command, query: str, service: str = "reports") -> list[tuple[Any, ...]]:
    return [tuple(row) for row in asked(rembuk.owner_url(service), query)]


def head(rembuk: Command) -> int:
    [[position]] = rows(rembuk, "select position from log.head")
    return int(position)


def exported(rembuk: Command, to: Path, *more: str) -> dict[str, Any]:
    said = rembuk("export", "reports", "--out", str(to), "--json", *more)
    assert said.returncode == 0, said.stderr
    told: dict[str, Any] = json.loads(said.stdout)
    return told


def refused(rembuk: Command, *arguments: str) -> str:
    said = rembuk(*arguments)
    assert (said.returncode, said.stdout) == (2, ""), said
    return " ".join(said.stderr.split())


def test_an_export_is_the_events_as_other_systems_read_them(lived: Command, tmp_path: Path) -> None:
    told = exported(lived, tmp_path / "all")
    assert (told["events"], told["read"]) == (head(lived), head(lived))
    partner = json.loads(lived("partner", "add", "reader", "--service", "reports", "--json").stdout)
    bearer = {"Authorization": f"Bearer {partner['token']}"}
    feed = httpx.get(partner["urls"]["reports"], headers=bearer, params={"limit": 500}).json()
    lines = (tmp_path / "all/part-000001.ndjson").read_text().splitlines()
    assert [json.loads(line) for line in lines[:500]] == feed
    exported(lived, tmp_path / "parquet", "--format", "parquet")
    table = parquet.read_table(tmp_path / "parquet")
    assert table["position"].to_pylist() == list(range(1, head(lived) + 1))
    assert json.loads(table["data"][0].as_py()) == feed[0]["data"]


def test_an_export_may_be_of_an_area_and_a_time(lived: Command, tmp_path: Path) -> None:
    events = [json.loads(line) for line in lived("events", "reports", "--json").stdout.splitlines()]
    area, middle = events[0]["area"][:5], events[len(events) // 2]["time"]
    for number, options in enumerate((["--area", area], ["--since", middle], ["--until", middle])):
        told = lived("events", "reports", "--json", *options).stdout.splitlines()
        exported(lived, tmp_path / str(number), *options)
        found = [
            json.loads(line)
            for part in sorted((tmp_path / str(number)).glob("*.ndjson"))
            for line in part.read_text().splitlines()
        ]
        assert [one["id"] for one in found] == [json.loads(line)["id"] for line in told]
    assert "another selection" in refused(lived, "export", "reports", "--out", str(tmp_path / "0"))
    for wrong in (("--area", "99.99"), ("--since", "yesterday"), ("--format", "csv")):
        assert lived("export", "reports", "--out", str(tmp_path / "wrong"), *wrong).returncode == 2
    assert not (tmp_path / "wrong").exists()


def test_an_export_that_is_not_the_whole_log_of_this_region_is_not_restored(lived: Command, tmp_path: Path) -> None:
    exported(lived, tmp_path / "right")
    before = rows(lived, "select * from log.event")
    part = tmp_path / "right/part-000001.ndjson"

    def told(origin: Path, service: str = "reports") -> str:
        return refused(lived, "restore", service, "--from", str(origin))

    assert "an export of reports of the region jatim, not of forums of jatim" in told(tmp_path / "right", "forums")
    papua = tmp_path / "papua"
    shutil.copytree(tmp_path / "right", papua)
    manifest = json.loads((papua / "_manifest.json").read_text())
    (papua / "_manifest.json").write_text(json.dumps(manifest | {"region": "papua"}))
    assert "of the region papua, not of reports of jatim" in told(papua)
    part.write_bytes(part.read_bytes()[:-1])
    assert "is cut short" in told(tmp_path / "right")
    assert "there is no export" in told(tmp_path / "nowhere")
    assert "there is no service papua" in told(papua, "papua")
    assert rows(lived, "select * from log.event") == before


def test_what_a_log_has_already_is_not_added(lived: Command, tmp_path: Path) -> None:
    exported(lived, tmp_path)
    before = head(lived)
    for origin in (str(tmp_path), "stream"):
        said = lived("restore", "reports", "--from", origin, "--json")
        assert (said.returncode, json.loads(said.stdout)["events"]) == (0, 0), said.stderr
    httpx.post(lived.note()["urls"]["reports"] + "/v1/problems", json=REPORT).raise_for_status()
    eventually(lived.level, 30)
    assert f"goes on to position {before + 1}, the export ends at {before}: restore from the stream" in refused(
        lived, "restore", "reports", "--from", str(tmp_path)
    )
    assert head(lived) == before + 1


def test_a_stream_that_is_the_log_is_said_to_be(lived: Command) -> None:
    said = lived("reconcile", "reports", "--json")
    told = json.loads(said.stdout)
    assert (said.returncode, told["head"], told["tail"], told["differences"]) == (0, head(lived), head(lived), 0)
    assert "there is no service" in refused(lived, "reconcile", "nothing")


def test_a_lost_log_is_told_and_nothing_goes_on_without_it(rembuk: Command, tmp_path: Path) -> None:
    """The stream is ahead; less than others have followed is restored when somebody accepts the loss, and they go on
    with what comes then."""
    assert rembuk.up().returncode == 0
    assert rembuk("simulate", "--problems", "10", "--seed", "3").returncode == 0
    eventually(rembuk.level, 60)
    exported(rembuk, tmp_path / "export")
    last = head(rembuk)
    assert rembuk("simulate", "--problems", "5", "--seed", "4").returncode == 0
    eventually(rembuk.level, 60)
    ahead = head(rembuk)
    assert "stop it first" in refused(rembuk, "aside", "postgres")
    rembuk("down")
    assert rembuk("aside", "postgres").returncode == 0
    assert (next(rembuk.data.glob("aside/postgres.2*")) / "cluster" / "PG_VERSION").exists()
    told = refused(rembuk, "up", "--detach", "--port-base", str(rembuk.base))
    assert "no empty one is begun in its place" in told
    assert not (rembuk.data / "postgres" / "cluster").exists()
    assert rembuk.up("--servers-only").returncode == 0
    with pytest.raises(Unsound, match=f"the log of reports ends at 0, its stream at {ahead}"):
        asyncio.run(require_logs_of_streams(rembuk.region(), ""))
    assert "only the servers of jatim run" in refused(rembuk, "up", "--detach")
    assert not rembuk.listens("reports")
    told = rembuk("reconcile", "reports")
    assert (told.returncode, f"the stream has {ahead} events that the log has not" in told.stdout) == (1, True)
    assert "restore the log from it first" in refused(rembuk, "reconcile", "reports", "--anew")
    assert "restore from the stream" in refused(rembuk, "restore", "reports", "--from", str(tmp_path / "export"))
    # forums has followed all of it, and NATS loses its disk as well
    rows(rembuk, f"insert into checkpoint values ('open_problems', 'JATIM_REPORTS', {ahead})", "forums")
    asyncio.run(_forget_stream(rembuk))
    from_export = ("restore", "reports", "--from", str(tmp_path / "export"))
    assert f"other services have followed JATIM_REPORTS to {ahead}" in refused(rembuk, *from_export)
    assert head(rembuk) == 0
    accepted = rembuk(*from_export, "--accept-loss")
    assert accepted.returncode == 0, accepted.stderr
    assert "forums has shown events that are lost" in accepted.stdout
    assert rows(rembuk, "select position from checkpoint", "forums") == [(last,)]
    assert head(rembuk) == last
    assert "stream is not there" in refused(rembuk, "restore", "forums", "--from", "stream").lower()


async def _forget_stream(rembuk: Command) -> None:
    client = await nats.connect(rembuk.region().nats_url)
    for service in ("REPORTS", "FORUMS", "NOTIFICATIONS"):
        await client.jetstream().delete_stream(f"JATIM_{service}")
    await client.close()
