"""Requests that are answered directly get the answers that Litestar's general way would give."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar, Request, get, post
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath, HeaderParameter, JSONBody, QueryParameter, SkipValidation
from litestar.types import Empty
from litestar.utils.scope.state import ScopeState
from rembuk.events.decider import Refused
from rembuk.keys.region_key import Tampered
from rembuk.log.handling import KeyReused, VersionMismatch
from rembuk.postgres.database import Unavailable
from rembuk.web import problem_details
from rembuk.web.answers import Answer
from rembuk.web.app import answered_unread
from rembuk.web.direct import Direct
from rembuk.web.problem_details import TooSoon
from rembuk.web.protocol import WIRE
from rembuk.web.reading import AtLeast, Limit, queried
from rembuk.web.requests import StrictRequest

ID = "5f0c2f6e-6f0a-5c1b-9a51-2c7a1f0b3d4e"
FAILURES: dict[str, Exception] = {
    "refused": Refused("too-early"),
    "field": Refused("unknown-area", field="area"),
    "unknown": Refused("unknown-problem"),
    "reused": KeyReused(),
    "mismatch": VersionMismatch(1, 2),
    "away": Unavailable("gone"),
    "tampered": Tampered("spoilt"),
    "soon": TooSoon(3.2),
    "guarded": NotAuthorizedException("who?", headers={"WWW-Authenticate": "Bearer"}),
    "bug": ZeroDivisionError(),
}
Json = Request[Any, Any, Any]


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=5)]
    count: int = 0


class Seen(msgspec.Struct):
    """What a handler was given, and whether Litestar had found it."""

    said: Any
    generally: bool = False


def seen(request: Json, said: Any) -> Answer[Seen]:
    generally = ScopeState.from_scope(request.scope).exception_handlers is not Empty
    return Answer(Seen(said, generally), 7, "/v1/things/7")


@post("/v1/things")
async def make(request: Json, data: JSONBody[Wish]) -> Answer[Seen]:
    if data.name in FAILURES:
        raise FAILURES[data.name]
    return seen(request, data)


@post("/v1/things/{id:uuid}/change", status_code=200)
async def change(request: Json, id: FromPath[UUID], data: JSONBody[Wish]) -> Answer[Seen]:
    return seen(request, (id, data))


@post("/v1/things/{id:uuid}/end", status_code=200)
async def end(request: Json, id: FromPath[UUID]) -> Answer[Seen]:
    return seen(request, id)


@post("/v1/files", opt={"any_body": True})
async def take(request: Json) -> Answer[Seen]:
    return seen(request, (await request.body()).decode("latin-1"))


@get("/v1/things")
async def some(
    request: Json, queries: NamedDependency[SkipValidation[str]], limit: Limit = 50, at_least: AtLeast = None
) -> Answer[Seen]:
    return seen(request, (queries, limit, at_least))


@get("/v1/things/{id:uuid}")
async def one(request: Json, queries: NamedDependency[SkipValidation[str]], id: FromPath[UUID]) -> Answer[Seen]:
    return seen(request, (queries, id))


@get("/v1/found")
async def find(request: Json, q: Annotated[str, QueryParameter(min_length=2)], limit: Limit = 10) -> Answer[Seen]:
    return seen(request, (q, limit))


@get("/v1/failures/{name:str}")
async def fail(name: FromPath[str]) -> Answer[Seen]:
    raise FAILURES[name]


def closed(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    if connection.headers.get("authorization") != "Bearer right":
        raise FAILURES["guarded"]


@get("/v1/guarded", guards=[closed])
async def guarded(request: Json) -> Answer[Seen]:
    return seen(request, "in")


@get("/v1/since")
async def since(request: Json, last: Annotated[int, HeaderParameter(name="last-event-id")] = 0) -> Answer[Seen]:
    return seen(request, last)


@get("/v1/plain", sync_to_thread=False)
def plain() -> list[int]:
    return [1]


APP = Litestar(
    [make, change, end, take, some, one, find, fail, guarded, since, plain],
    dependencies={"queries": queried(lambda as_of: f"as of {as_of}")},
    exception_handlers=problem_details.HANDLERS,
    request_class=StrictRequest,
    middleware=[answered_unread],
    logging_config=None,
    openapi_config=None,
)
GENERAL = APP.asgi_handler
DIRECT = Direct(APP)
Sent = tuple[int, list[tuple[bytes, bytes]], bytes]


def ask(
    handler: Any, method: str, path: str, query: str = "", headers: dict[str, str] | None = None, body: bytes = b""
) -> Sent:
    """Status, headers in order, and body that a request is answered with."""
    fields = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(body))}
    fields |= headers or {}
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    async def whole(status: int, fields: bytes, body: bytes) -> None:
        headers = [tuple(line.split(b": ", 1)) for line in fields.split(b"\r\n")[:-1]]
        sent.append({"status": status, "headers": [*headers, (b"content-length", b"%d" % len(body))]})
        sent.append({"body": body})

    scope: Any = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method,
        "scheme": "http", "root_path": "", "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in fields.items() if value],
        "server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2), "state": {},
        "extensions": {WIRE: SimpleNamespace(whole=whole)},
    }  # fmt: skip
    APP.asgi_handler = handler
    asyncio.run(APP(scope, receive, send))  # type: ignore[arg-type]
    told = sorted(one for one in sent[0]["headers"] if one[0] != b"x-correlation-id")
    return sent[0]["status"], told, b"".join(one.get("body", b"") for one in sent[1:])


def said(sent: Sent) -> tuple[Any, bool]:
    """The answer's body without how it was come by, and that."""
    body = msgspec.json.decode(sent[2])
    generally = body.pop("generally", True) if isinstance(body, dict) else True
    return (*sent[:1], body, [one for one in sent[1] if one[0] != b"content-length"]), generally


def both(*asked: Any, **more: Any) -> tuple[Any, bool]:
    """The one answer to a request, and whether it was come by directly."""
    (general, _), (direct, generally) = said(ask(GENERAL, *asked, **more)), said(ask(DIRECT, *asked, **more))
    assert direct == general
    return direct, not generally


@pytest.mark.parametrize(
    ("asked", "body"),
    [
        (("POST", "/v1/things"), b'{"name": "a", "count": 2}'),
        (("POST", f"/v1/things/{ID}/change"), b'{"name": "a"}'),
        (("POST", f"/v1/things/{ID}/end"), b""),
        (("GET", "/v1/things"), b""),
        (("GET", "/v1/things", "limit=3"), b""),
        (("GET", "/v1/found", "q=kota%20surabaya&limit=2"), b""),
        (("GET", "/v1/things", "at%5Fleast=%37&limit=20"), b""),
        (("GET", f"/v1/things/{ID}"), b""),
    ],
)
def test_what_asks_nothing_unusual_is_answered_directly(asked: tuple[str, ...], body: bytes) -> None:
    (status, *_), directly = both(*asked, body=body)
    assert directly
    assert status < 300


@pytest.mark.parametrize(
    "asked",
    [
        ("GET", "/v1/things", "as_of=3"),
        ("GET", "/v1/things", "unknown=1"),
        ("GET", "/v1/things", "limit=1&unknown=1"),
        ("GET", "/v1/things", "limit=3&as_of=3"),
        ("GET", "/v1/things", "limit=3&limit=4"),
        ("GET", "/v1/things", "at_least=null"),
        ("GET", f"/v1/things/{ID}", "limit=3"),
        ("POST", "/v1/things", "limit=3"),
        ("GET", f"/v1/things/{ID.upper()}"),
        ("GET", f"/v1/things/{{{ID}}}"),
        ("GET", "/v1/things/5f0c2f6e6f0a5c1b9a512c7a1f0b3d4e"),
        ("GET", "/v1/things/z1234567-1234-1234-1234-123456789012"),
        ("GET", f"/v1/nothing/{ID}"),
        ("GET", f"/v1/things/{ID}/change"),
        ("GET", f"/v1/things/{ID}/nothing/more"),
        ("DELETE", "/v1/things"),
        ("OPTIONS", "/v1/things"),
        ("HEAD", "/v1/things"),
        ("GET", "/v1/things/"),
        ("GET", "/v1/since"),
        ("GET", "/v1/found"),
        ("GET", "/v1/found", "limit=3"),
        ("GET", "/v1/found", "q=a"),
        ("GET", "/v1/plain"),
    ],
)  # fmt: skip
def test_whatever_is_unusual_goes_the_general_way(asked: tuple[str, ...]) -> None:
    general, direct = ask(GENERAL, *asked), ask(DIRECT, *asked)
    assert direct == general


@pytest.mark.parametrize("kind", ["", "text/plain", "application/json; charset=utf-8", "APPLICATION/JSON"])
@pytest.mark.parametrize(("path", "body"), [("/v1/things", b'{"name": "a"}'), ("/v1/files", b"\xff")])
def test_a_body_is_what_it_is_declared_to_be(kind: str, path: str, body: bytes) -> None:
    both("POST", path, headers={"content-type": kind}, body=body)


@pytest.mark.parametrize("name", FAILURES)
def test_whoever_fails_is_told_the_same(name: str) -> None:
    both("POST", "/v1/things", body=msgspec.json.encode({"name": name[:5]}))
    if len(name) > 5:
        both("GET", f"/v1/failures/{name}")


@pytest.mark.parametrize("token", ["", "Bearer wrong", "Bearer right"])
def test_a_guard_guards_the_short_way_too(token: str) -> None:
    (status, *_), _ = both("GET", "/v1/guarded", headers={"authorization": token})
    assert status == (200 if token == "Bearer right" else 401)


def test_a_body_that_is_too_large_is_refused_on_either_way() -> None:
    for size in ("1048577", "5"):
        both("POST", "/v1/things", headers={"content-length": size}, body=b'"' + b"x" * 1_048_577)


json = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=7), lambda inner: (
    st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "count", "more"]), inner, max_size=3)
))  # fmt: skip


@given(st.binary(max_size=40) | json.map(msgspec.json.encode))
def test_any_body_is_taken_or_refused_alike(body: bytes) -> None:
    both("POST", "/v1/things", body=body)
    both("POST", f"/v1/things/{ID}/change", body=body)


@given(st.sampled_from(["limit", "at_least"]), st.text(max_size=5) | st.integers().map(str))
def test_any_value_of_a_query_is_taken_or_refused_alike(name: str, value: str) -> None:
    both("GET", "/v1/things", urlencode({name: value}, errors="replace"))
