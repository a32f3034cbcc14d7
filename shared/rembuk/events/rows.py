"""Rows of log.event as what they say. It needs neither database nor broker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rembuk.events.codec import Codec
from rembuk.events.event import RecordedEvent, decode_metadata

if TYPE_CHECKING:
    import asyncpg

COLUMNS = "position, id, stream_id, version, type, schema_version, area, data, metadata, recorded_at"


def recorded(codec: Codec, row: asyncpg.Record | Mapping[str, Any], *, leniently: bool = False) -> RecordedEvent[Any]:
    """A row, its `COLUMNS`, as the event that it holds. Raises Undecodable; `leniently` an Unreadable stands there."""
    decode = codec.decode_leniently if leniently else codec.decode
    return RecordedEvent(
        position=row["position"],
        id=row["id"],
        stream_id=row["stream_id"],
        version=row["version"],
        area=row["area"],
        recorded_at=row["recorded_at"],
        event=decode(row["type"], row["schema_version"], row["data"]),
        metadata=decode_metadata(row["metadata"]),
    )
