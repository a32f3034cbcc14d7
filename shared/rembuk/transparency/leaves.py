"""The leaves of a log's Merkle tree: each event as it is published, the data by its digest.

A leaf is text: those of the message's headers that `_HEADERS` lists, in that order, each line ending in CRLF, the
schema by its path alone, then `content-digest` of the data (RFC 9530). So whoever follows the stream can compute the
tree, and whoever holds a leaf knows all about an event but its data, which they can tell when they see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg
from nats.aio.msg import Msg

from rembuk.broker import streams
from rembuk.events.event import SCHEMA_SCHEME
from rembuk.proof.content_digest import content_digest

_HEADERS = (
    "Nats-Msg-Id", "ce-id", "ce-specversion", "ce-type", "ce-source", "ce-subject", "ce-time", "ce-dataschema",
    "ce-region", "ce-position", "ce-version", "ce-area", "ce-correlationid", "ce-causationid", "ce-actor",
    "traceparent",
)  # fmt: skip


def leaf(region: str, service: str, row: asyncpg.Record | Mapping[str, Any]) -> bytes:
    """The leaf of a row of log.event."""
    return leaf_of(streams.header_lines(region, service, row), row["data"].encode())


def leaf_of(headers: str, data: bytes) -> bytes:
    """The leaf of an event with these header lines."""
    return (headers + _digest_line(data)).encode()


def published_leaf(message: Msg) -> bytes:
    """The leaf of a message as a stream holds it, whatever else its headers say."""
    return leaf_within(message.headers or {}, message.data)


def leaf_within(header: Mapping[str, str], data: bytes) -> bytes:
    """The leaf that is in such headers, whichever release published them."""
    lines = "".join([f"{name}: {header[name]}\r\n" for name in _HEADERS if name in header])
    return leaf_of(lines.replace(f"\r\nce-dataschema: {SCHEMA_SCHEME}", "\r\nce-dataschema: ", 1), data)


def _digest_line(data: bytes) -> str:
    return f"content-digest: {content_digest(data)}\r\n"
