"""Exports: what is written is the log as it was published, gone on with, and recognised when it is not whole."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rembuk.broker import cloud_events, streams
from rembuk.broker.stream_names import stream_name
from rembuk.events.event import Metadata
from rembuk.log.event_log import EventLog
from rembuk.log.sources import LogSource, ahead
from rembuk.operations import exporting
from rembuk.operations.exporting import BadExport, Export, ExportSource, Manifest, Selection
from rembuk.testing.tallies import SERVICE, Counted, TallyRegion, count_up

FORMATS = ["ndjson", "parquet"]
Exporting = Callable[..., Awaitable[Manifest]]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts and pages of a few events."""
    monkeypatch.setattr(exporting, "PART", 40)
    monkeypatch.setattr(exporting, "PAGE", 20)


@pytest.fixture
async def export_of(region: TallyRegion, log: EventLog) -> AsyncIterator[Exporting]:
    """Exports the region's log as it is now."""
    connection = await asyncpg.connect(region.url)

    async def export(to: Path, format_name: str = "ndjson", area: str = "", stop_after: int = 0) -> Manifest:
        export = Export(to)
        manifest = export.begin(region.name, SERVICE, format_name, Selection(area))
        source = LogSource(connection, region.name, SERVICE)
        writing = export.write(manifest, source, 0, await log.head())
        async for written in writing:
            if stop_after and written.events >= stop_after:
                await writing.aclose()
                break
        found = export.manifest()
        assert found is not None
        return found

    yield export
    await connection.close()


async def published(region: TallyRegion) -> list[tuple[int, dict[str, str], bytes]]:
    """What the relay would publish of the whole log."""
    connection = await asyncpg.connect(region.url)
    try:
        rows = await connection.fetch("select * from log.event order by position")
    finally:
        await connection.close()
    return [told(streams.LoggedMessage(region.name, SERVICE, row)) for row in rows]


def told(message: object) -> tuple[int, dict[str, str], bytes]:
    return streams.sequence(message), message.headers, message.data  # type: ignore[attr-defined, arg-type]


@pytest.mark.parametrize("format_name", FORMATS)
async def test_an_export_holds_every_message_to_the_byte(
    log: EventLog, region: TallyRegion, export_of: Exporting, tmp_path: Path, small_parts: None, format_name: str
) -> None:
    await count_up(log, 130)
    whole = Metadata("journey", "cause", "petugas:7", "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "fingerprint")
    await log.append(UUID(int=1), 0, [UUID(int=2)], [Counted(1, 'ümlaut \u2028 "\n')], "", whole)
    manifest = await export_of(tmp_path / "export", format_name)
    assert (manifest.complete, manifest.events, len(manifest.parts)) == (True, 131, 4)
    checked = Export(tmp_path / "export").check(region.name, SERVICE)
    source = ExportSource(Export(tmp_path / "export"), checked)
    held = [told(one) for start in (0, 50, 100) for one in await source.after(start, 50)]
    assert held == await published(region)
    assert [told(one) for one in await source.after(128, 50)] == held[128:]


async def test_each_line_is_a_cloud_event(
    log: EventLog, region: TallyRegion, export_of: Exporting, tmp_path: Path
) -> None:
    await count_up(log, 3)
    await export_of(tmp_path)
    for position, line in enumerate((tmp_path / "part-000001.ndjson").read_text().splitlines(), 1):
        event = json.loads(line)
        assert event["specversion"] == "1.0"
        assert (event["source"], event["position"]) == (f"/polmas/{region.name}/{SERVICE}", position)
        assert isinstance(event["data"], dict)


@pytest.mark.parametrize("format_name", FORMATS)
async def test_an_interrupted_export_goes_on_where_it_was_and_a_finished_one_with_what_is_new(
    log: EventLog, region: TallyRegion, export_of: Exporting, tmp_path: Path, small_parts: None, format_name: str
) -> None:
    await count_up(log, 100)
    interrupted = await export_of(tmp_path, format_name, stop_after=60)
    assert (interrupted.complete, interrupted.read) == (False, 40)
    with pytest.raises(BadExport, match="interrupted at position 40"):
        Export(tmp_path).check(region.name, SERVICE)
    assert Export(tmp_path).check(region.name, SERVICE, interrupted_too=True).events == 40
    assert (await export_of(tmp_path, format_name)).events == 100
    await count_up(log, 11)
    finished = await export_of(tmp_path, format_name)
    assert (finished.events, [part.last for part in finished.parts]) == (111, [40, 80, 100, 111])
    source = ExportSource(Export(tmp_path), Export(tmp_path).check(region.name, SERVICE))
    assert [told(one) for one in await source.after(0, 500)] == await published(region)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".lock", "_manifest.json", *(f"part-{number:06}.{format_name}" for number in range(1, 5)),
    ]  # fmt: skip


async def test_of_two_exports_into_one_place_at_once_the_second_is_refused(
    log: EventLog, region: TallyRegion, export_of: Exporting, tmp_path: Path, small_parts: None
) -> None:
    await count_up(log, 100)
    connection = await asyncpg.connect(region.url)
    export = Export(tmp_path)
    begun = [export.begin(region.name, SERVICE, "ndjson", Selection()) for _ in range(2)]
    first, second = (export.write(one, LogSource(connection, region.name, SERVICE), 0, 100) for one in begun)
    await anext(first)
    with pytest.raises(BadExport, match="another export into"):
        await anext(second)
    assert [written.position async for written in first][-1] == 100
    late = export.write(begun[1], LogSource(connection, region.name, SERVICE), 0, 100)
    with pytest.raises(BadExport, match="under way"):  # what it would go on from is no longer so
        await anext(late)
    assert export.check(region.name, SERVICE).events == 100
    await connection.close()


async def test_an_export_by_area_holds_what_lies_in_it_and_is_no_log(
    log: EventLog, region: TallyRegion, export_of: Exporting, tmp_path: Path, small_parts: None
) -> None:
    for number, area in enumerate(["35.78", "35.78.01", "35.7", "35", ""] * 30):
        await log.append(UUID(int=number), 0, [UUID(int=1000 + number)], [Counted(1)], area)
    manifest = await export_of(tmp_path, area="35.78")
    assert (manifest.events, manifest.read) == (60, 150)
    with pytest.raises(BadExport, match="only a selection"):
        Export(tmp_path).check(region.name, SERVICE)
    with pytest.raises(BadExport, match="another selection"):
        await export_of(tmp_path, area="35")
    assert Export(tmp_path).manifest() == manifest


async def test_what_is_not_the_whole_export_that_was_written_is_refused(
    log: EventLog, region: TallyRegion, export_of: Exporting, tmp_path: Path, small_parts: None
) -> None:
    await count_up(log, 100)
    await export_of(tmp_path)
    export = Export(tmp_path)
    with pytest.raises(BadExport, match="tallies of the region"):
        export.check("papua", SERVICE)
    manifest = tmp_path / "_manifest.json"
    written = manifest.read_text()
    manifest.write_text(written.replace('"ndjson"', '"scrolls"'))
    with pytest.raises(BadExport, match="is scrolls, which this release cannot read"):
        export.check(region.name, SERVICE)
    manifest.write_text(written)
    part = tmp_path / "part-000002.ndjson"
    right = part.read_bytes()
    part.write_bytes(right[:-100])
    with pytest.raises(BadExport, match=r"part-000002\.ndjson is cut short"):
        export.check(region.name, SERVICE)
    part.write_bytes(right.replace(b'"by":1', b'"by":9', 1))
    with pytest.raises(BadExport, match=r"part-000002\.ndjson was altered"):
        export.check(region.name, SERVICE)
    part.unlink()
    with pytest.raises(BadExport, match=r"part-000002\.ndjson is missing"):
        export.check(region.name, SERVICE)
    manifest = tmp_path / "_manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:50])
    with pytest.raises(BadExport, match="damaged"):
        export.check(region.name, SERVICE)
    manifest.unlink()
    with pytest.raises(BadExport, match="something else than an export"):
        await export_of(tmp_path)
    with pytest.raises(BadExport, match="there is no export"):
        Export(tmp_path / "nowhere").check(region.name, SERVICE)


recorded = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 30), timezones=st.just(UTC))
headers = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)


@settings(max_examples=200)
@given(st.uuids(), recorded, headers, headers, st.integers(1, 2**40))
def test_a_row_published_written_and_read_again_is_the_row(
    id: UUID, at: datetime, correlation: str, actor: str, position: int
) -> None:
    row = {
        "position": position, "id": id, "stream_id": id, "version": 3, "type": "Counted", "schema_version": 2,
        "area": "35.78", "data": '{"by": 1,  "note":"é"}', "recorded_at": at,
        "metadata": json.dumps(
            {name: value for name, value in (("correlation_id", correlation), ("actor", actor)) if value},
            separators=(",", ":"),
        ),
    }  # fmt: skip
    message = streams.LoggedMessage("jatim", SERVICE, row)
    again = cloud_events.binary(stream_name("jatim", SERVICE), cloud_events.structured(message))
    assert told(again) == told(message)
    assert streams.row("jatim", SERVICE, again) == row


async def test_who_leaves_a_source_early_may_ask_it_again(log: EventLog, region: TallyRegion) -> None:
    await count_up(log, 60)
    connection = await asyncpg.connect(region.url)
    source = LogSource(connection, region.name, SERVICE)
    for _ in range(10):
        async with ahead(source, 0, 60, 20) as pages:
            async for _ in pages:
                await asyncio.sleep(0)  # the next page is being read
                break
        assert len(await source.after(0, 5)) == 5
    await connection.close()
