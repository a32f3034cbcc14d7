"""Exports: the events of a log as CloudEvents in files, to be kept, handed on, gone on with, and restored from.

An export is a directory of parts, each whole or absent, and a `_manifest.json` that names them with their digests: what
was interrupted goes on behind the last part, and what was cut short, mixed up or altered is recognised.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import islice
from pathlib import Path

import msgspec
from nats.aio.msg import Msg

from rembuk.broker import cloud_events, streams
from rembuk.broker.cloud_events import CloudEvent
from rembuk.broker.stream_names import stream_name
from rembuk.log.sources import Source, ahead
from rembuk.operations.export_formats import FORMATS, PAGE
from rembuk.operations.steps import Exporting
from rembuk.process.state_file import put_in_place

MANIFEST = "_manifest.json"  # readers of Parquet pass over what begins so
LOCK = ".lock"
PART = 20_000
"""Events in a part, but for the last one of a run."""


class BadExport(Exception):
    """Not an export, or not whole, or not the one that was asked for; says what to do."""


class Selection(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which events: about an area and below, recorded since then, before then; "" and None for all."""

    area: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def __str__(self) -> str:
        said = {"area": self.area, "since": self.since, "until": self.until}
        return ", ".join(f"{name} {value}" for name, value in said.items() if value) or "everything"


class Part(msgspec.Struct, frozen=True):
    """One file: the positions of its first and last event, how many there are, its bytes and their SHA-256."""

    name: str
    first: int
    last: int
    events: int
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What an export holds: every event selected of the log's positions up to `read`; `complete` once that was all
    there was."""

    region: str
    service: str
    format: str
    selection: Selection
    read: int = 0
    complete: bool = False
    parts: tuple[Part, ...] = ()

    @property
    def events(self) -> int:
        return sum(part.events for part in self.parts)


class Export:
    """The export in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def manifest(self) -> Manifest | None:
        """None where there is nothing. Raises BadExport for anything else that is no export."""
        path = self.directory / MANIFEST
        try:
            return msgspec.json.decode(path.read_bytes(), type=Manifest)
        except (FileNotFoundError, NotADirectoryError):
            if not self.directory.exists() or (self.directory.is_dir() and set(os.listdir(self.directory)) <= {LOCK}):
                return None
            raise BadExport(f"{self.directory} holds something else than an export: {MANIFEST} is missing") from None
        except msgspec.MsgspecError as error:
            raise BadExport(f"{path} is damaged ({error}): take another copy of the export") from error

    def begin(self, region: str, service: str, format_name: str, selection: Selection) -> Manifest:
        """The manifest to go on from: that of the same wish, or a new one. Raises BadExport."""
        wanted = Manifest(region, service, format_name, selection)
        found = self.manifest()
        if found is None:
            return wanted
        for what in ("region", "service", "format", "selection"):
            theirs, ours = getattr(found, what), getattr(wanted, what)
            if theirs != ours:
                raise BadExport(
                    f"the export in {self.directory} is of another {what}: {theirs}, not {ours}; "
                    "export to another place"
                )
        return found

    async def write(self, manifest: Manifest, source: Source, after: int, target: int) -> AsyncIterator[Exporting]:
        """Add what is selected of the log's positions `after` to `target` behind what the manifest has; memory is that
        of one page. Raises what `source` does, BadExport and OSError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._alone(manifest):
            self._keep(manifest)
            part: _Open | None = None
            try:
                async with ahead(source, max(after, manifest.read), target, PAGE) as pages:
                    async for messages in pages:
                        chosen = [one for one in messages if _about(manifest.selection.area, one)]
                        position = streams.sequence(messages[-1])
                        if chosen:
                            part = part or _Open(self.directory, manifest)
                            part.add([cloud_events.structured(message) for message in chosen])
                        if part is not None and (part.events >= PART or position == target):
                            manifest = msgspec.structs.replace(manifest, parts=(*manifest.parts, part.close()))
                            part = None
                        if part is None:
                            manifest = msgspec.structs.replace(manifest, read=position, complete=position == target)
                            self._keep(manifest)
                        yield Exporting(position, target, manifest.events + (part.events if part else 0))
            finally:
                if part is not None:
                    part.discard()
            self._keep(msgspec.structs.replace(manifest, complete=True))

    @contextmanager
    def _alone(self, manifest: Manifest) -> Iterator[None]:
        """Nobody else writes there meanwhile, or has since the manifest was read: two would write into one file."""
        with (self.directory / LOCK).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                alone = self.manifest() in (None, manifest)
            except BlockingIOError:
                alone = False
            if not alone:
                raise BadExport(f"another export into {self.directory} is under way")
            yield

    def check(self, region: str, service: str, interrupted_too: bool = False) -> Manifest:
        """The manifest of an export of all events, each part as it was written. Raises BadExport."""
        manifest = self.manifest()
        if manifest is None:
            raise BadExport(f"there is no export in {self.directory}")
        if (manifest.region, manifest.service) != (region, service):
            theirs = f"{manifest.service} of the region {manifest.region}"
            raise BadExport(f"{self.directory} is an export of {theirs}, not of {service} of {region}")
        if manifest.format not in FORMATS:
            raise BadExport(f"{self.directory} is {manifest.format}, which this release cannot read: take a newer one")
        if manifest.selection.area:
            raise BadExport(f"{self.directory} holds only a selection ({manifest.selection}): a log has all its events")
        if not (manifest.complete or interrupted_too):
            raise BadExport(
                f"the export in {self.directory} was interrupted at position {manifest.read}: finish it by the same "
                "`rembuk export`, or take it as far as it goes by --interrupted-too"
            )
        for part in manifest.parts:
            self._check_part(part)
        return manifest

    def _check_part(self, part: Part) -> None:
        path = self.directory / part.name
        try:
            size = path.stat().st_size
            if size != part.size:
                raise BadExport(f"{path} is cut short: {size} of {part.size} bytes; take another copy of the export")
            if _digest(path) != part.sha256:
                raise BadExport(f"{path} was altered: its SHA-256 is another; take another copy of the export")
        except FileNotFoundError:
            raise BadExport(f"{path} is missing; take another copy of the export") from None

    def _keep(self, manifest: Manifest) -> None:
        fresh = self.directory / f".{MANIFEST}"
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        put_in_place(fresh, self.directory / MANIFEST)


class ExportSource:
    """The events of a checked export, read in order."""

    def __init__(self, export: Export, manifest: Manifest) -> None:
        self._export, self._manifest = export, manifest
        self._stream = stream_name(manifest.region, manifest.service)
        self._position = 0
        self._messages: Iterator[Msg] = iter(())

    async def after(self, position: int, limit: int) -> list[Msg]:
        """Raises BadExport."""
        if position != self._position or position == 0:
            self._messages = self._from(position)
        found = list(islice(self._messages, limit))
        self._position = streams.sequence(found[-1]) if found else position
        return found

    def _from(self, position: int) -> Iterator[Msg]:
        for part in self._manifest.parts:
            if part.last > position:
                for event in FORMATS[self._manifest.format].read(self._export.directory / part.name):
                    if event.position > position:
                        yield cloud_events.binary(self._stream, event)


class _Open:
    """A part in the making, under a name that no manifest knows."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self._name = f"part-{len(manifest.parts) + 1:06}.{manifest.format}"
        self._path, self._fresh = directory / self._name, directory / f".{self._name}"
        self._file = FORMATS[manifest.format](self._fresh)
        self._first = self._last = self.events = 0

    def add(self, events: list[CloudEvent]) -> None:
        self._file.add(events)
        self._first, self._last = self._first or events[0].position, events[-1].position
        self.events += len(events)

    def close(self) -> Part:
        self._file.close()
        put_in_place(self._fresh, self._path)
        size = self._path.stat().st_size
        return Part(self._name, self._first, self._last, self.events, size, _digest(self._path))

    def discard(self) -> None:
        with suppress(Exception):
            self._file.close()
        self._fresh.unlink(missing_ok=True)


def _about(area: str, message: Msg) -> bool:
    theirs: str = (message.headers or {})["ce-area"]
    return not area or theirs == area or theirs.startswith(area + ".")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
