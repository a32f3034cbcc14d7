"""The files that an export is made of: CloudEvents, one a line or one a row, written and read a page at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from rembuk.broker.cloud_events import CloudEvent

PAGE = 500
"""Events held in memory at a time."""


class FormatMissing(Exception):
    """A library that the format needs is not installed; says which."""


class EventFile(ABC):
    """One kind of file: opened to be written, a page of events at a time."""

    @abstractmethod
    def __init__(self, path: Path) -> None: ...

    @abstractmethod
    def add(self, events: list[CloudEvent]) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    @staticmethod
    @abstractmethod
    def read(path: Path) -> Iterator[CloudEvent]: ...


class Ndjson(EventFile):
    """One CloudEvent in JSON format a line."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._encode = msgspec.json.Encoder().encode_lines

    def add(self, events: list[CloudEvent]) -> None:
        self._file.write(self._encode(events))

    def close(self) -> None:
        self._file.close()

    @staticmethod
    def read(path: Path) -> Iterator[CloudEvent]:
        decode = msgspec.json.Decoder(CloudEvent).decode
        with path.open("rb") as file:
            yield from map(decode, file)


class Parquet(EventFile):
    """One row a CloudEvent: `time` a UTC timestamp, `data` its JSON, an attribute that is not there null."""

    def __init__(self, path: Path) -> None:
        pyarrow, parquet = _pyarrow()
        kinds = {
            "position": pyarrow.int64(),
            "version": pyarrow.int32(),
            "time": pyarrow.timestamp("us", "UTC"),
        }
        self._schema = pyarrow.schema(
            [(name, kinds.get(name, pyarrow.string())) for name in CloudEvent.__struct_fields__]
        )
        self._table = pyarrow.Table.from_pylist
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")

    def add(self, events: list[CloudEvent]) -> None:
        rows = [
            {
                **{name: value for name, value in msgspec.structs.asdict(event).items() if value != ""},
                "time": datetime.fromisoformat(event.time),
                "area": event.area,
                "data": bytes(event.data).decode(),
            }
            for event in events
        ]
        self._writer.write_table(self._table(rows, schema=self._schema))

    def close(self) -> None:
        self._writer.close()

    @staticmethod
    def read(path: Path) -> Iterator[CloudEvent]:
        _, parquet = _pyarrow()
        for batch in parquet.ParquetFile(path).iter_batches(PAGE):
            for row in batch.to_pylist():
                row |= {"time": row["time"].isoformat(), "data": msgspec.Raw(row["data"].encode())}
                yield CloudEvent(**{name: value for name, value in row.items() if value is not None})


FORMATS: dict[str, type[EventFile]] = {"ndjson": Ndjson, "parquet": Parquet}


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise FormatMissing("Parquet needs pyarrow: pip install 'rembuk[parquet]'") from None
    return pyarrow, parquet
