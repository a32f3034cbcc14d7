"""What a request says: its body, decoded to the letter, and beside it idempotency key, expected version, trace."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request
from litestar.exceptions import ClientException, ValidationException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.params import FromPath
from litestar.types import Empty
from uuid_utils import uuid7

from rembuk.events.decider import Refused
from rembuk.events.event import Metadata
from rembuk.events.ids import derive_id
from rembuk.events.texts import require_ink
from rembuk.log.handling import fingerprint
from rembuk.process import logs

MAX_BODY_BYTES = 1024 * 1024
Id = FromPath[UUID]
"""In a route's path."""
KEY = "[!-~]{1,255}"
VERSION = '(?:W/)?"?([0-9]{1,9})"?'

_KEY = re.compile(KEY)
_VERSION = re.compile(VERSION)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_CORRELATION = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class StrictRequest(Request[Any, Any, Any]):
    """A request whose JSON body becomes what its route handler wants at once and strictly: Litestar would take "3"
    for a number, "null" for null, and any nesting for a reason to fail."""

    async def json(self) -> Any:
        """The body as the handler's `data`; raises ValidationException."""
        field = self.route_handler.parsed_data_field
        wanted = field.annotation if field else Any
        body = await self.body()
        try:
            try:
                return _decoder(wanted).decode(body)
            except msgspec.ValidationError as error:
                if _FRACTION not in str(error):
                    raise
                return msgspec.convert(_whole_numbers.decode(body), wanted)
        except msgspec.ValidationError as error:
            raise ValidationException(extra=[{"message": str(error)}]) from error
        except RecursionError as error:
            raise ValidationException("JSON is nested too deeply") from error
        except UnicodeDecodeError as error:
            raise ValidationException("JSON is malformed: not UTF-8") from error
        except msgspec.DecodeError as error:
            raise ValidationException(str(error)) from error

    async def body(self) -> bytes:
        """All of it; raises RequestEntityTooLarge, before reading it where it announces as much, and ClientException
        when the client leaves. Litestar's own goes through a stream and an index of the headers: a twentieth of the
        time of accepting a report."""
        if self._body is Empty:
            if _announced(self.scope["headers"]) > MAX_BODY_BYTES:
                raise RequestEntityTooLarge
            parts: list[bytes] = []
            size, more = 0, True
            while more:
                message = await self.receive()
                if message["type"] != "http.request":
                    raise ClientException("the client left before its request was whole")  # heard by nobody
                parts.append(message["body"])
                size, more = size + len(message["body"]), message["more_body"]
                if size > MAX_BODY_BYTES:
                    raise RequestEntityTooLarge
            self._body = b"".join(parts)
        return self._body


def correlation_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The client's X-Correlation-Id, "" where it sent none that can be one."""
    for name, value in headers:
        if name == b"x-correlation-id":
            return _matching(_CORRELATION, value)
    return ""


def declares_json(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the first Content-Type is JSON, whatever its parameters."""
    for name, value in headers:
        if name == b"content-type":
            return value.partition(b";")[0].strip().lower() == b"application/json"
    return False


def _announced(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """The Content-Length, which the server has found to be a number; 0 without one."""
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return 0


@cache
def _decoder(wanted: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(wanted)


def _number(digits: str) -> int | float:
    number = float(digits)
    return int(number) if number.is_integer() else number


_FRACTION = "Expected `int`, got `float`"
_whole_numbers = msgspec.json.Decoder(float_hook=_number)  # JSON Schema takes 1.0 for the integer it is


class Intent:
    """Who asks what under which key. `key` is derived from the client's Idempotency-Key, the kind of command and
    its target, so that one key means one wish; without the header it is a new UUIDv7. Raises Refused."""

    __slots__ = ("expected_version", "key", "metadata")

    def __init__(self, request: Request[Any, Any, Any], command: object, target: UUID | str = "") -> None:
        require_ink(command)
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
        logs.begin_journey(self.metadata.correlation_id)
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
