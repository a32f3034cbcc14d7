"""What a request says beside its body: idempotency key, expected version, where it belongs."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import uuid_utils.compat as uuids
from litestar import Request

from rembuk.decider import Refused
from rembuk.event import Metadata
from rembuk.handling import derive_id, fingerprint

IDEMPOTENCY_KEY = "idempotency-key"

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_VERSION = re.compile(r'(?:W/)?"?(\d{1,9})"?')
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_CORRELATION = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Intent:
    """Who asks what under which key. `key` is derived from the client's Idempotency-Key, the kind of command and
    its target, so that one key means one wish; without the header it is a new UUIDv7."""

    __slots__ = ("expected_version", "key", "metadata")

    def __init__(self, request: Request[Any, Any, Any], command: object, target: UUID | str = "") -> None:
        header = request.headers
        given = header.get(IDEMPOTENCY_KEY)
        if given is None:
            self.key = uuids.uuid7()
        elif _KEY.fullmatch(given):
            self.key = derive_id(type(command).__name__, target, given)
        else:
            raise Refused("invalid-idempotency-key", "1 to 255 visible ASCII characters", field="Idempotency-Key")
        self.metadata = Metadata(
            correlation_id=_matching(_CORRELATION, header.get("x-correlation-id")) or str(self.key),
            traceparent=_matching(_TRACEPARENT, header.get("traceparent")),
            fingerprint="" if given is None else fingerprint(command),
        )
        self.expected_version = _expected_version(header.get("if-match"))


def _matching(pattern: re.Pattern[str], value: str | None) -> str:
    """The value where it has the right form, else "": a bad trace header is the sender's loss, not an error."""
    return value if value is not None and pattern.fullmatch(value) else ""


def _expected_version(if_match: str | None) -> int | None:
    if if_match is None or if_match == "*":
        return None
    match = _VERSION.fullmatch(if_match)
    if match is None:
        raise Refused("invalid-if-match", 'expected a version, as the ETag gives it: "3"', field="If-Match")
    return int(match[1])
