"""Errors as RFC 9457 problem details: each names the broken rule and, where there is one, the field at fault."""

from __future__ import annotations

import ast
import re
from math import ceil
from typing import Any, cast

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec
from sqlalchemy.exc import SQLAlchemyError

from rembuk.events.codec import EventTooLarge
from rembuk.events.decider import Refused
from rembuk.events.wording import RULES
from rembuk.keys.region_key import Unopened
from rembuk.log.event_log import VersionConflict
from rembuk.log.handling import Contended, KeyReused, VersionMismatch
from rembuk.postgres.database import Unavailable
from rembuk.postgres.read_engine import is_unreachable
from rembuk.process import logs
from rembuk.process.state_file import Damaged
from rembuk.transparency.proofs import NotYet
from rembuk.transparency.signing import PAUSE_S
from rembuk.web.choices import choices
from rembuk.web.parameters import asked_as

RETRY_AFTER_S = 2

_log = structlog.get_logger(__name__)
_AT = re.compile(r"^(?P<rule>.*?)(?: - at `(?P<field>[^`]*)`)?$", re.DOTALL)  # how msgspec words it
_NAMED = re.compile(r"^Object (?:contains unknown|missing required) field `(?P<field>.*)`$", re.DOTALL)
_MISSING = re.compile(r"^Missing required query parameter '(?P<field>[^']*)'")  # how Litestar words it
_NO_BODY = "'data'"  # Litestar's way to say so
_PATTERN = "Expected `str` matching regex "
_CHOICE = "Invalid enum value "


class FieldError(msgspec.Struct, frozen=True):
    """One input at fault: `field` as a path into the body ("body" for all of it), or the name of the parameter or
    header."""

    field: str
    rule: str


class ProblemDetails(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of every error. `type` ends in the kebab-case name of the broken rule."""

    type: str
    title: str
    status: int
    detail: str = ""
    errors: tuple[FieldError, ...] = ()


class TooSoon(Exception):
    """It was asked for a moment ago, and may be again after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"it was asked for a moment ago; ask again in {ceil(seconds)} s")
        self.seconds = seconds


class Behind(Exception):
    """The read model has not reached the position a reader asked for in time."""


def response(
    status: int, rule: str, detail: str = "", errors: tuple[FieldError, ...] = (), headers: dict[str, str] | None = None
) -> Response[Any]:
    """A problem-details answer; `rule` is the kebab-case name of what went wrong."""
    body = ProblemDetails(f"/problems/{rule}", rule.replace("-", " ").capitalize(), status, detail, errors)
    return Response(body, status_code=status, media_type="application/problem+json", headers=headers)


def _validation(request: Request[Any, Any, Any], error: ValidationException) -> Response[Any]:
    extra: Any = error.extra if isinstance(error.extra, list) else []
    errors = tuple(_field_error(request, one) for one in extra if isinstance(one, dict))
    if missing := _MISSING.match(error.detail):
        errors = (FieldError(missing["field"], "must be given"),)
    if not errors:
        return response(400, "malformed-input", error.detail, (FieldError("body", "must be well-formed JSON"),))
    return response(400, "invalid-input", errors=errors)


def _field_error(request: Request[Any, Any, Any], one: dict[str, Any]) -> FieldError:
    message = str(one.get("message", ""))
    if message == _NO_BODY:
        return FieldError("body", "a JSON body must be given")
    match = _AT.match(message)
    assert match is not None
    key = str(one.get("key") or "")
    parameters = request.route_handler.parsed_fn_signature.parameters
    asked = parameters.get(key)
    within = (asked_as(asked) if asked else key) or (match["field"] or "").removeprefix("$")
    within = "" if within == "data" else within.removeprefix(".")
    named = _NAMED.match(match["rule"])
    field = ".".join(filter(None, (within, named["field"] if named else "")))
    if match["rule"].startswith(_CHOICE):
        decoded = asked or parameters.get("data")
        there_are = choices(decoded.annotation, match["field"] or "") if decoded else []
        return FieldError(field, f"not one of {', '.join(there_are) or 'the values that there are'}")
    return FieldError(field or "body", _said(match["rule"]))


def _said(rule: str) -> str:
    """A rule as people read it: what msgspec says, but for patterns what they stand for, and never what was sent."""
    if not rule.startswith(_PATTERN):
        return rule
    regex: str = ast.literal_eval(rule.removeprefix(_PATTERN))
    return RULES.get(regex, rule)


_TOO_LARGE = (FieldError("body", "body-too-large"),)
_HTTP_RULES = {
    400: "malformed-input",
    401: "not-a-partner",
    403: "outside-scope",
    404: "not-found",
    405: "method-not-allowed",
    413: "body-too-large",
    415: "json-expected",
    429: "too-many-streams",
}


def _http(_: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    status = error.status_code
    if status >= 500:
        return _failed(error, status)
    errors = _TOO_LARGE if status == 413 else ()
    return response(status, _HTTP_RULES.get(status, "request-refused"), error.detail, errors, headers=error.headers)


def _refused(_: Request[Any, Any, Any], error: Refused) -> Response[Any]:
    if error.field:
        return response(422, error.rule, str(error), (FieldError(error.field, error.rule),))
    return response(404 if error.rule.startswith("unknown-") else 409, error.rule, str(error))


def _key_reused(_: Request[Any, Any, Any], error: KeyReused) -> Response[Any]:
    return response(422, "idempotency-key-reused", str(error), (FieldError("Idempotency-Key", "reused"),))


def _mismatch(_: Request[Any, Any, Any], error: VersionMismatch) -> Response[Any]:
    return response(412, "version-conflict", str(error), (FieldError("If-Match", f"current is {error.actual}"),))


def _conflict(_: Request[Any, Any, Any], error: VersionConflict) -> Response[Any]:
    return response(409, "version-conflict", str(error))


def _not_yet(_: Request[Any, Any, Any], error: NotYet) -> Response[Any]:
    return response(409, "not-signed-yet", str(error), headers={"Retry-After": f"{PAUSE_S:.0f}"})


def _too_soon(_: Request[Any, Any, Any], error: TooSoon) -> Response[Any]:
    return response(429, "too-soon", str(error), headers={"Retry-After": str(ceil(error.seconds))})


def _too_large(_: Request[Any, Any, Any], error: EventTooLarge) -> Response[Any]:
    return response(413, "body-too-large", str(error), _TOO_LARGE)


def _unopened(_: Request[Any, Any, Any], error: Unopened) -> Response[Any]:
    """A person's key that is not as it was recorded: the operator has to mend it."""
    _log.error("what is sealed cannot be opened", why=str(error))
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    return response(503, error.fault, "what is sealed cannot be opened", headers=headers)


_LATER: dict[type[Exception], str] = {Behind: "read-model-behind", Contended: "contended"}


def _unavailable(_: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    rule = _LATER.get(type(error), "temporarily-unavailable")
    if type(error) not in _LATER and not is_unreachable(error):
        return _failed(error)
    return response(503, rule, "try again", headers={"Retry-After": str(RETRY_AFTER_S)})


def _damaged(_: Request[Any, Any, Any], error: Damaged) -> Response[Any]:
    _log.critical("a file of the region is damaged", why=str(error))
    return response(
        503, "state-damaged", "a file that this answer takes is damaged here, and its operators have to put it back",
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )  # fmt: skip


def _unexpected(_: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    if is_unreachable(error):
        return _unavailable(_, error)
    return _failed(error)


def _failed(error: Exception, status: int = 500) -> Response[Any]:
    """Our own fault: the log has the traceback, under the correlation id that the answer names."""
    _log.error("request failed", exc_info=error)
    return response(status, "internal-error", headers={"X-Correlation-Id": logs.correlation_id()})


HANDLERS: dict[type[Exception] | int, Any] = {
    ValidationException: _validation,
    HTTPException: _http,
    Refused: _refused,
    KeyReused: _key_reused,
    VersionMismatch: _mismatch,
    VersionConflict: _conflict,
    NotYet: _not_yet,
    TooSoon: _too_soon,
    EventTooLarge: _too_large,
    Unavailable: _unavailable,
    Unopened: _unopened,
    Damaged: _damaged,
    Behind: _unavailable,
    Contended: _unavailable,
    SQLAlchemyError: _unavailable,
    Exception: _unexpected,
}


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """The answer to a request that failed so."""
    handler = next(HANDLERS[kind] for kind in type(error).__mro__ if kind in HANDLERS)
    return cast(Response[Any], handler(request, error))


def documented(*statuses: int) -> dict[int, ResponseSpec]:
    """The OpenAPI declaration of error answers."""
    return {
        status: ResponseSpec(
            ProblemDetails, media_type="application/problem+json", description=_DESCRIPTIONS[status],
            generate_examples=False,
        )
        for status in statuses
    }  # fmt: skip


_DESCRIPTIONS = {
    400: "The request is malformed or breaks a rule of the schema; `errors` names the field",
    401: "No partner is known by this token, or it was revoked",
    403: "The partner may read other services alone",
    404: "There is no such thing",
    409: "The domain refuses it in the present state; with Retry-After: not yet",
    412: "If-Match names another version than the current one",
    413: "The body is larger than 1 MiB",
    415: "The body is not application/json",
    422: "A field breaks a rule of the domain, or the idempotency key was used for something else",
    429: "Asked for too often, or the partner has as many streams open as it may; Retry-After says when to come back",
    503: "The service cannot answer now; Retry-After says when to come back",
}
