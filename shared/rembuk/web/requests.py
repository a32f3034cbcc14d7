"""What a request says beside its body: idempotency key, expected version, where it belongs."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from litestar import Request
from uuid_utils import uuid7

from rembuk.decider import Refused
from rembuk.event import Metadata
from rembuk.handling import derive_id, fingerprint

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_VERSION = re.compile(r'(?:W/)?"?(\d{1,9})"?')
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_CORRELATION = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Intent:
    """Who asks what under which key. `key` is derived from the client's Idempotency-Key, the kind of command and
    its target, so that one key means one wish; without the header it is a new UUIDv7."""

    __slots__ = ("expected_version", "key", "metadata")

    def __init__(self, request: Request[Any, Any, Any], command: object, target: UUID | str = "") -> None:
        headers: dict[bytes, bytes] = dict(request.scope["headers"])  # once each; on the path of every report
        given = _text(headers.get(b"idempotency-key"))
        if given is None:
            self.key = str(uuid7())
        elif _KEY.fullmatch(given):
            self.key = str(derive_id(type(command).__name__, target, given))
        else:
            raise Refused("invalid-idempotency-key", "1 to 255 visible ASCII characters", field="Idempotency-Key")
        self.metadata = Metadata(
            correlation_id=_matching(_CORRELATION, headers.get(b"x-correlation-id")) or self.key,
            traceparent=_matching(_TRACEPARENT, headers.get(b"traceparent")),
            fingerprint="" if given is None else fingerprint(command, given),
        )
        self.expected_version = _expected_version(_text(headers.get(b"if-match")))


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _matching(pattern: re.Pattern[str], value: bytes | None) -> str:
    """The value where it has the right form, else "": a bad trace header is the sender's loss, not an error."""
    text = _text(value)
    return text if text is not None and pattern.fullmatch(text) else ""


def _expected_version(if_match: str | None) -> int | None:
    if if_match is None or if_match == "*":
        return None
    match = _VERSION.fullmatch(if_match)
    if match is None:
        raise Refused("invalid-if-match", 'expected a version, as the ETag gives it: "3"', field="If-Match")
    return int(match[1])
