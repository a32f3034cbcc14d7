"""The digest by which an event's leaf knows its data (RFC 9530)."""

from __future__ import annotations

from binascii import b2a_base64
from hashlib import sha256


def content_digest(data: bytes) -> str:
    """`sha-256=:<base64>:`."""
    return f"sha-256=:{b2a_base64(sha256(data).digest(), newline=False).decode()}:"
