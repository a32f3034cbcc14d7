"""Bad input by real HTTP: each answer is problem details, names the field at fault, and leaves the service intact."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit
from uuid import uuid4

import httpx
import nats
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rembuk.broker.stream_names import stream_name
from rembuk.postgres.provisioning import SERVICES
from rembuk.testing.services import PARTNER, RunningRegion, eventually
from rembuk.testing.wire import RawResponse, asked, sent

MIB = 1024 * 1024
AREA = "35.78.08.1004"


class Target(NamedTuple):
    """What a service is asked with a good request, `text` being a field of it that people write; its list is there
    to be read."""

    path: str
    good: dict[str, Any]
    text: str


TARGETS = {
    "reports": Target(
        "/v1/problems",
        {"area": AREA, "category": "theft", "title": "Motor hilang", "description": "Di depan rumah."},
        "title",
    ),
    "forums": Target("/v1/forums", {"area": AREA, "model": "wilayah", "name": "FKPM Airlangga"}, "name"),
    "notifications": Target(
        "/v1/subscriptions", {"area": AREA, "channel": "email", "contact": "warga@example.org"}, "contact"
    ),
}
LISTS = {"reports": "/v1/problems", "forums": "/v1/meetings", "notifications": "/v1/alerts"}


class Bad(NamedTuple):
    """A request, raw, and how it has to be refused: under which rule, and for which field if for one."""

    name: str
    request: Callable[[Target], bytes]
    status: int
    rule: str
    field: str | None = None


def posted(target: Target, body: bytes, *headers: str | bytes, length: str | None = None) -> bytes:
    return asked(f"POST {target.path}", "Content-Type: application/json", *headers, body=body, length=length)


def body(make: Callable[[Target], Any]) -> Callable[[Target], bytes]:
    """The request with this body: bytes as they are, anything else as JSON."""

    def request(target: Target) -> bytes:
        made = make(target)
        return posted(target, made if isinstance(made, bytes) else json.dumps(made).encode())

    return request


def good(*headers: str | bytes, length: str | None = None) -> Callable[[Target], bytes]:
    """The good request, but with these headers."""
    return lambda target: posted(target, json.dumps(target.good).encode(), *headers, length=length)


def text(value: bytes) -> Callable[[Target], bytes]:
    """The good request, but with this as the JSON of the text."""

    def request(target: Target) -> bytes:
        rest = json.dumps({name: kept for name, kept in target.good.items() if name != target.text}).encode()
        return posted(target, rest[:-1] + b', "%s": %s}' % (target.text.encode(), value))

    return request


def typed(content_type: str | None) -> Callable[[Target], bytes]:
    def request(target: Target) -> bytes:
        headers = [] if content_type is None else [f"Content-Type: {content_type}"]
        return asked(f"POST {target.path}", *headers, body=json.dumps(target.good).encode())

    return request


def chunked(body: bytes) -> Callable[[Target], bytes]:
    return lambda target: posted(target, body, "Transfer-Encoding: chunked", length="")


def chunks(size: int) -> bytes:
    each = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    return each * (size // 65536) + b"0\r\n\r\n"


def same(head: str, *headers: str) -> Callable[[Target], bytes]:
    return lambda _: asked(head, *headers)


def without(name: str) -> Callable[[Target], Any]:
    return lambda target: {other: value for other, value in target.good.items() if other != name}


def no_json(name: str, request: Callable[[Target], bytes]) -> Bad:
    return Bad(name, request, 400, "malformed-input", "body")


TEXT = "<text>"  # stands for the name of the target's text field

BODIES = [
    Bad("an area that there is not", body(lambda t: t.good | {"area": "99.99"}), 422, "unknown-area", "area"),
    Bad("no code of an area", body(lambda t: t.good | {"area": "Surabaya"}), 400, "invalid-input", "area"),
    Bad("a line break after the area", body(lambda t: t.good | {"area": "35.78\n"}), 400, "invalid-input", "area"),
    Bad("Arabic digits", body(lambda t: t.good | {"area": "٣٥"}), 400, "invalid-input", "area"),
    Bad("a field missing", body(without("area")), 400, "invalid-input", "area"),
    Bad("a field unknown", body(lambda t: t.good | {"religion": "x"}), 400, "invalid-input", "religion"),
    Bad("a field without a name", body(lambda t: t.good | {"": 1}), 400, "invalid-input", "body"),
    Bad("a number for a text", text(b"12345"), 400, "invalid-input", TEXT),
    Bad("null for a text", text(b"null"), 400, "invalid-input", TEXT),
    Bad("an array for a text", text(b'["a"]'), 400, "invalid-input", TEXT),
    Bad("a number beyond all types", text(b"9" * 5000), 400, "invalid-input", TEXT),
    Bad("1e999", text(b"1e999"), 400, "invalid-input", TEXT),
    Bad("a text too long", text(b'"%s"' % (b"x" * 5000)), 400, "invalid-input", TEXT),
    Bad("a text too short", text(b'"x"'), 400, "invalid-input", TEXT),
    no_json("NaN", text(b"NaN")),
    no_json("Infinity", text(b"-Infinity")),
    no_json("half a surrogate pair", text(rb'"abc\ud800def"')),
    no_json("bytes that are no UTF-8", text(b'"abc\xff\xfedef"')),
    no_json("a NUL byte", text(b'"abc\x00def"')),
    no_json("an unknown escape", text(rb'"abc\x00def"')),
    Bad(
        "a byte order mark",
        body(lambda t: b"\xef\xbb\xbf" + json.dumps(t.good).encode()),
        400,
        "malformed-input",
        "body",
    ),
    no_json("UTF-16", body(lambda t: json.dumps(t.good).encode("utf-16"))),
    no_json("JSON cut off", body(lambda t: json.dumps(t.good).encode()[:-1])),
    Bad(
        "something behind the JSON", body(lambda t: json.dumps(t.good).encode() + b"x"), 400, "malformed-input", "body"
    ),
    no_json("a comma too many", body(lambda _: b'{"area": "35",}')),
    no_json("single quotes", body(lambda _: b"{'area': '35'}")),
    Bad("no body", body(lambda _: b""), 400, "invalid-input", "body"),
    no_json("white space", body(lambda _: b" \n")),
    Bad("null", body(lambda _: None), 400, "invalid-input", "body"),
    Bad("an array", body(lambda t: [t.good]), 400, "invalid-input", "body"),
    Bad("a text", body(lambda _: "area"), 400, "invalid-input", "body"),
    Bad("arrays in arrays", body(lambda _: b"[" * 500_000), 400, "invalid-input", "body"),
    Bad("objects in objects", text(b'{"a":' * 100_000), 400, "invalid-input", TEXT),
    Bad("depth in an unknown field", body(lambda _: b'{"x":' + b"[" * 500_000), 400, "invalid-input", "x"),
    Bad("1 MiB and a byte", body(lambda _: b" " * (MIB + 1)), 413, "body-too-large", "body"),
    Bad("chunks without end", chunked(chunks(MIB + 65536)), 413, "body-too-large", "body"),
    Bad("a length beyond 1 MiB", good(length=str(10**12)), 413, "body-too-large", "body"),
    no_json("a length that is too short", good(length="10")),
    Bad("no content type", typed(None), 415, "json-expected", "Content-Type"),
    Bad("plain text", typed("text/plain"), 415, "json-expected", "Content-Type"),
    Bad("a form", typed("application/x-www-form-urlencoded"), 415, "json-expected", "Content-Type"),
    Bad("almost JSON", typed("application/jsonp"), 415, "json-expected", "Content-Type"),
    Bad("an empty type", typed(""), 415, "json-expected", "Content-Type"),
]
HEADERS = [
    Bad(f"{name} as {header}", good(b"%s: %s" % (header.encode(), value)), 422, rule, header)
    for header, rule, values in (
        (
            "Idempotency-Key",
            "invalid-idempotency-key",
            {"256": b"x" * 256, "nothing": b"", "two words": b"a b", "no ASCII": "é".encode(), "latin 1": b"\xe9"},
        ),
        ("If-Match", "invalid-if-match", {"garbage": b"abc", "minus": b'"-1"', "nothing": b"", "huge": b"9" * 400}),
    )
    for name, value in values.items()
]
PATHS = [
    Bad("an unknown path", same("GET /v1/nothing"), 404, "not-found"),
    Bad("the path of another's file", same("GET /../../etc/passwd"), 404, "not-found"),
    Bad("NUL in a path", lambda t: asked(f"GET {t.path}/%00"), 404, "not-found"),
    Bad("no UTF-8 in a path", lambda t: asked(f"GET {t.path}/%ff"), 404, "not-found"),
    Bad("no id", lambda t: asked(f"GET {t.path}/abc"), 404, "not-found"),
    *(
        Bad(f"{name} in a path", lambda t, change=change: asked("GET " + change(t.path)), 404, "not-found")
        for name, change in {
            "a second slash": lambda path: f"/{path}",
            "a slash behind": lambda path: f"{path}/",
            "two slashes": lambda path: path.replace("/v1/", "/v1//"),
            "an encoded slash": lambda path: path.replace("/v1/", "/v1%2f"),
            "an overlong slash": lambda path: path.replace("/v1/", "/v1%c0%af"),
            "an encoded letter": lambda path: path.replace("v1", "%761"),
            "a dot": lambda path: f"/.{path}",
            "two dots": lambda path: f"/x/..{path}",
            "encoded dots": lambda path: f"/x/%2e%2e{path}",
            "parameters": lambda path: f"{path};a=b",
            "capitals": str.upper,
            "a host, and a second slash": lambda path: f"http://rembuk/{path}",
        }.items()
    ),
    Bad("almost an id", lambda t: asked(f"GET {t.path}/{str(uuid4())[:-1]}"), 404, "not-found"),
    Bad("another method", lambda t: asked(f"PUT {t.path}"), 405, "method-not-allowed"),
    Bad("TRACE", lambda t: asked(f"TRACE {t.path}"), 405, "method-not-allowed"),
]
BEARER = [f"{name}: {value}" for name, value in PARTNER.items()]
QUERIES = [
    Bad(f"?{query}", same(f"GET {path}?{query}", *BEARER), status, rule, query.partition("=")[0])
    for path, queries in {
        "{list}": {
            "at_least=-1": 400,
            "at_least=4611686018427387905": 400,
            f"at_least={'9' * 400}": 400,
            "at_least=now": 400,
            "at_least=": 400,
            "at_least=null": 400,
            "as_of=null": 400,
            "at_least=1&at_least=1": 400,
            "limit=0": 400,
            "limit=201": 400,
            "limit=all": 400,
            "limit=1&limit=2": 400,
            "limits=1": 400,
            "queries=1": 400,
            "area=%00": 400,
            "area=%25": 400,
            "area=%FF": 400,
            "area=99": 422,
            f"cursor={'x' * 501}": 400,
            "cursor=garbage": 422,
            "cursor=": 422,
            "cursor=%00": 422,
            "cursor=WzkyMjMzNzIwMzY4NTQ3NzU4MDhd": 422,  # [9223372036854775808], one beyond PostgreSQL's bigint
            "cursor=Wy0xXQ": 422,  # [-1]
            "cursor=W10": 422,  # []
        },
        "/v1/events": {"after=-1": 400, "after=x": 400, f"after={2**62 + 1}": 400, "limit=501": 400, "before=7": 400},
    }.items()
    for query, status in queries.items()
    for rule in ["unknown-area" if "area=99" in query else "invalid-cursor" if status == 422 else "invalid-input"]
]
CONNECTIONS = [
    Bad("TLS", lambda _: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "malformed-input"),
    Bad("no HTTP", lambda _: b"what is this?\r\n\r\n", 400, "malformed-input"),
    Bad("an unknown method", same("REPORT /v1/events\x01"), 400, "malformed-input"),
    Bad("a version to come", lambda _: b"GET /v1/events HTTP/9.9\r\nHost: x\r\n\r\n", 400, "malformed-input"),
    Bad("HTTP/2.0", lambda _: b"GET /v1/events HTTP/2.0\r\nHost: x\r\n\r\n", 505, "malformed-input"),
    *(
        Bad(f"the line {line!r}", lambda _, line=line: line + b"\r\nHost: x\r\n\r\n", status, "malformed-input")
        for line, status in {
            b"GET v1/events HTTP/1.1": 400,
            b"GET /v1/events#1 HTTP/1.1": 400,
            b"GET /v1\\events HTTP/1.1": 400,
            b"GET /v1/%zz HTTP/1.1": 400,
            b"GET /v1/caf\xc3\xa9 HTTP/1.1": 400,
            b"GET /v1/areas?q=a|b HTTP/1.1": 400,
            b"GET /v1 /events HTTP/1.1": 400,
            b"GET\t/v1/events HTTP/1.1": 400,
            b"GET /v1/events": 505,
            b"GET * HTTP/1.1": 400,
            b"GET ftp://x/v1/events HTTP/1.1": 400,
            b"GET http:///v1/events HTTP/1.1": 400,
            b"GET http://a@b@c/v1/events HTTP/1.1": 400,
            b"CONNECT x:443 HTTP/1.1": 405,
        }.items()
    ),
    Bad("no host", lambda _: b"GET /v1/events HTTP/1.1\r\n\r\n", 400, "malformed-input"),
    Bad("an empty host", lambda _: b"GET /v1/events HTTP/1.1\r\nHost:\r\n\r\n", 400, "malformed-input"),
    Bad("lines that end in LF", lambda t: good()(t).replace(b"\r\n", b"\n"), 400, "malformed-input"),
    Bad("lines that end in CR", lambda t: good()(t).replace(b"\r\n", b"\r"), 400, "malformed-input"),
    Bad("CR in a value", good("X-Correlation-ID: a\rX-Evil: 1"), 400, "malformed-input"),
    Bad("LF in a value", good("X-Correlation-ID: a\nX-Evil: 1"), 400, "malformed-input"),
    Bad("a space before the colon", good("If-Match : 1"), 400, "malformed-input"),
    Bad("a space before a name", lambda t: good()(t).replace(b"\r\n", b"\r\n X: y\r\n", 1), 400, "malformed-input"),
    *(
        Bad(f"two of {line}", good(line, line.upper()), 400, "malformed-input")
        for line in (
            "Host: rembuk",
            "Content-Length: 1",
            "Content-Type: application/json",
            "Idempotency-Key: a",
            "If-Match: 1",
            "Authorization: Bearer a",
            "Last-Event-ID: 1",
            "X-Correlation-ID: a",
        )
    ),
    *(
        Bad(
            f"{name}, coding",
            lambda t, lines=lines: posted(t, b"0\r\n\r\n", *lines, length=""),
            status,
            "malformed-input",
        )
        for name, lines, status in (
            ("before a length", ("Transfer-Encoding: chunked", "Content-Length: 5"), 400),
            ("twice", ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), 400),
            ("identity", ("Transfer-Encoding: identity",), 501),
            ("another", ("Transfer-Encoding: gzip",), 501),
            ("another first", ("Transfer-Encoding: gzip, chunked",), 501),
            ("chunked first", ("Transfer-Encoding: chunked, gzip",), 400),
            ("almost chunked", ("Transfer-Encoding: xchunked",), 501),
            ("hidden by a tab", ("Transfer-Encoding: \x0bchunked",), 400),
            ("folded", ("Transfer-Encoding:\r\n chunked",), 400),
        )
    ),
    Bad(
        "chunks in HTTP/1.0",
        lambda t: posted(t, b"0\r\n\r\n", "Transfer-Encoding: chunked", length="").replace(b"HTTP/1.1", b"HTTP/1.0"),
        400,
        "malformed-input",
    ),
    Bad("a chunk that ends in LF", chunked(b"1\n{\r\n0\r\n\r\n"), 400, "malformed-input"),
    Bad("a chunk of -1", chunked(b"-1\r\n{\r\n0\r\n\r\n"), 400, "malformed-input"),
    Bad("a chunk of 0x1", chunked(b"0x1\r\n{\r\n0\r\n\r\n"), 400, "malformed-input"),
    Bad("a chunk that is longer than it says", chunked(b"1\r\n{}\r\n0\r\n\r\n"), 400, "malformed-input"),
    Bad("a chunk's extension without end", chunked(b"1;a=" + b"x" * (9 * MIB)), 431, "framing-too-large"),
    Bad("many chunks' extensions", chunked((b"1" + b";a=b" * 99 + b"\r\n \r\n") * 2_000), 431, "framing-too-large"),
    Bad("a trailer without end", chunked(b"2\r\n{}\r\n0\r\nX: " + b"x" * MIB), 431, "framing-too-large"),
    Bad("trailers without end", chunked(b"2\r\n{}\r\n0\r\n" + b"X: xxxxxxx\r\n" * 90_000), 431, "framing-too-large"),
    Bad("a bad host", lambda _: b"GET /v1/events HTTP/1.1\r\nHost: a b/c\r\n\r\n", 400, "malformed-input"),
    Bad("control characters as a key", good("Idempotency-Key: a\x01b"), 400, "malformed-input"),
    Bad("NUL as a key", good("Idempotency-Key: a\x00b"), 400, "malformed-input"),
    Bad("a header on two lines", good("X-Correlation-ID: a\r\n b"), 400, "malformed-input"),
    Bad("a header without a name", good(": a"), 400, "malformed-input"),
    Bad("a length below zero", good(length="-1"), 400, "malformed-input"),
    Bad("a length that is none", good(length="many"), 400, "malformed-input"),
    Bad("a length beyond all types", good(length="9" * 40), 400, "malformed-input"),
    Bad("two lengths", good("Content-Length: 5"), 400, "malformed-input"),
    Bad("a length and chunks", good("Transfer-Encoding: chunked"), 400, "malformed-input"),
    Bad("a chunk of no length", chunked(b"zz\r\n"), 400, "malformed-input"),
    Bad("a head without end", lambda t: posted(t, b"")[:-4] + b"\r\nX-Big: " + b"a" * 300_000, 431, "head-too-large"),
]


def reports(name: str, field: str, status: int = 400, rule: str = "invalid-input", **change: Any) -> Any:
    return _own("reports", name, TARGETS["reports"].good | change, field, status, rule)


def _own(service: str, name: str, wish: Any, field: str, status: int, rule: str, path: str = "") -> Any:
    def request(target: Target) -> bytes:
        return posted(target._replace(path=path or target.path), json.dumps(wish).encode())

    return service, Bad(name, request, status, rule, field)


def _query(service: str, query: str, status: int = 400, rule: str = "invalid-input") -> Any:
    name = query.partition("?")[2].partition("=")[0]
    return service, Bad(query, same(f"GET {query}"), status, rule, name)


def meeting(name: str, field: str, status: int = 400, rule: str = "invalid-input", **change: Any) -> Any:
    plan = {"forum_id": str(uuid4()), "at": "2026-03-02T19:00:00+07:00", "place": "Balai RW 3"}
    return _own("forums", name, plan | change, field, status, rule, "/v1/meetings")


def subscription(name: str, field: str, status: int = 400, rule: str = "invalid-input", **change: Any) -> Any:
    return _own("notifications", name, TARGETS["notifications"].good | change, field, status, rule)


def alert(name: str, field: str, status: int = 400, rule: str = "invalid-input", **change: Any) -> Any:
    notice = {"area": AREA, "headline": {"id": "Awas banjir"}, "text": {"id": "Air naik."}}
    return _own("notifications", name, notice | change, field, status, rule, "/v1/alerts")


OWN = [
    reports("an unknown category", "category", 422, "unknown-category", category="flying_saucers"),
    reports("no code of a category", "category", category="Theft!"),
    reports("a blank title", "title", title=" \u2003\t "),
    reports("NUL in a title", "title", title="abc\0def"),
    *(
        reports(f"a title of U+{ord(one):04X} alone", "title", 422, "invisible-text", title=one * 3)
        for one in "\u200b\u2800\u3164\u2060\u0301\U000e0041"
    ),
    *(reports(f"U+{ord(one):04X} in a title", "title", title=f"Lampu{one}mati") for one in "\n\r\x1b\x9b\u2028"),
    reports("a description that nobody sees", "description", 422, "invisible-text", description="\u200b \u2060"),
    reports("a reporter whom nobody sees", "reporter.name", 422, "invisible-text", reporter={"name": "\u3164"}),
    reports("a former code", "area", 422, "unknown-area", area="91.01.01"),
    reports("an unknown disclosure", "disclosure", disclosure="everybody"),
    reports("a place on the Moon", "location.lat", location={"lat": 89.0, "lon": 110.0}),
    reports("a place in words", "location.lon", location={"lat": -7.2, "lon": "112.7"}),
    reports("half a place", "location.lon", location={"lat": -7.2}),
    reports("a place that is none", "location", location="null"),
    reports("a phone that is none", "reporter.phone", reporter={"name": "Siti", "phone": "call me"}),
    reports("a nameless reporter", "reporter.name", reporter={"name": "  "}),
    _query("reports", "/v1/problems?since=garbage", 422, "invalid-moment"),
    _query("reports", "/v1/problems?since=1767225600", 422, "invalid-moment"),
    _query("reports", "/v1/problems?since=2026-03-02T19:00:00+07:00", 422, "invalid-moment"),
    _query("reports", "/v1/problems?since=2026-01-01T00:00:00", 422, "invalid-moment"),
    _query("reports", "/v1/problems?since=0001-01-01T00:00:00%2B14:00", 422, "invalid-moment"),
    _query("reports", "/v1/problems?status=lost"),
    _query("reports", "/v1/problems?status=null"),
    _query("reports", "/v1/problems?category=%00"),
    _query("reports", "/v1/problems?category=flying_saucers", 422, "unknown-category"),
    _query("reports", "/v1/areas?q="),
    _query("reports", "/v1/areas?q=" + "x" * 101),
    ("reports", Bad("/v1/areas without q", same("GET /v1/areas"), 400, "invalid-input", "q")),
    meeting("a forum that there is not", "forum_id", 422, "unknown-forum"),
    meeting("no id", "forum_id", forum_id="abc"),
    meeting("a moment anywhere", "at", at="2026-03-02T19:00:00"),
    meeting("a moment before time", "at", 422, "invalid-moment", at="0001-01-01T00:00:00+14:00"),
    meeting("a moment after time", "at", 422, "invalid-moment", at="9999-12-31T23:59:59-12:00"),
    meeting("seconds since 1970", "at", at=1767225600),
    _own(
        "forums", "a name that nobody sees", TARGETS["forums"].good | {"name": "\u200b" * 3}, "name",
        422, "invisible-text",
    ),
    meeting("no id on the agenda", "agenda[1]", agenda=[str(uuid4()), "x"]),
    meeting("a long agenda", "agenda", agenda=[str(uuid4())] * 51),
    _query("forums", "/v1/meetings?forum_id=%00"),
    _query("forums", "/v1/meetings?forum_id=null"),
    _query("forums", "/v1/commitments?status=%00"),
    subscription("a pigeon", "channel", channel="pigeon"),
    subscription("no address", "contact", 422, "invalid-contact", contact="nobody"),
    subscription("two addresses", "contact", 422, "invalid-contact", contact="a@example.org\r\nBcc: b@example.org"),
    subscription("no URL", "contact", 422, "invalid-contact", channel="webhook", contact="ftp://example.org"),
    subscription("no category", "categories[0]", categories=["NO"]),
    alert("a blank headline", "headline.id", headline={"id": "   "}),
    alert("a headline that nobody sees", "headline.id", 422, "invisible-text", headline={"id": "\u2800" * 3}),
    alert("a headline in two lines", "headline.en", headline={"id": "Awas", "en": "Subject\nBcc: a@example.org"}),
    alert("NUL in a headline", "headline.en", headline={"id": "Awas", "en": "\0"}),
    alert("an unknown category", "category", 422, "unknown-category", category="flying_saucers"),
    alert("no id", "about", about="x"),
    _own(
        "notifications", "Arabic digits for a code", {"code": "١" * 8}, "code", 400, "invalid-input",
        "/v1/subscriptions/0192f0c4-7a3e-7c11-9d55-3c1f0a9b7e21/confirm",
    ),
    _query("notifications", "/v1/alerts/0192f0c4-7a3e-7c11-9d55-3c1f0a9b7e21/deliveries?state=lost"),
    _query("notifications", "/v1/alerts?category=%00"),
]  # fmt: skip


@pytest.fixture(scope="module")
def running(start_region: Callable[..., RunningRegion]) -> Iterator[RunningRegion]:
    """After all of it each service accepts a good request, and its log has no gap."""
    region = start_region()
    yield region
    for service, target in TARGETS.items():
        with httpx.Client(base_url=region.url(service), headers=PARTNER, timeout=10) as client:
            accepted = client.post(target.path, json=target.good).raise_for_status().json()
            positions = [event["position"] for event in _log(client)]
            assert positions == list(range(1, len(positions) + 1))
            assert accepted["position"] in positions
            assert service == "notifications" or accepted["position"] == positions[-1]  # there a delivery may follow


def _log(client: httpx.Client) -> Iterator[dict[str, Any]]:
    after = 0
    while events := client.get("/v1/events", params={"after": after, "limit": 500}).raise_for_status().json():
        yield from events
        after = events[-1]["position"]


def refused(answer: RawResponse, bad: Bad, target: Target) -> None:
    assert answer.status == bad.status, answer.body[:500]
    assert answer.headers["content-type"] == "application/problem+json"
    problem = json.loads(answer.body)
    assert (problem["type"], problem["status"]) == (f"/problems/{bad.rule}", bad.status)
    assert problem["title"]
    fields = [error["field"] for error in problem.get("errors", ())]
    assert fields == ([] if bad.field is None else [target.text if bad.field == TEXT else bad.field]), problem
    assert all(error["rule"] for error in problem.get("errors", ()))
    assert "regex" not in answer.body.decode()


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("bad", [*BODIES, *HEADERS, *PATHS, *CONNECTIONS], ids=lambda bad: bad.name)
def test_a_bad_request_is_refused_in_problem_details(running: RunningRegion, service: str, bad: Bad) -> None:
    target = TARGETS[service]
    refused(sent(running.url(service), bad.request(target)), bad, target)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("bad", QUERIES, ids=lambda bad: bad.name[:40])
def test_a_bad_parameter_is_refused_by_name(running: RunningRegion, service: str, bad: Bad) -> None:
    request = bad.request(TARGETS[service]).replace(b"{list}", LISTS[service].encode())
    refused(sent(running.url(service), request), bad, TARGETS[service])


@pytest.mark.parametrize(("service", "bad"), OWN, ids=lambda one: one.name[:60] if isinstance(one, Bad) else one)
def test_a_services_own_rules_are_told_by_field(running: RunningRegion, service: str, bad: Bad) -> None:
    refused(sent(running.url(service), bad.request(TARGETS[service])), bad, TARGETS[service])


def test_an_id_has_one_spelling(running: RunningRegion) -> None:
    made = str(json.loads(sent(running.url("reports"), good()(TARGETS["reports"])).body)["id"])
    wish = json.dumps({"fields": ["description"], "reason": "Uji coba", "by": "officer:1"}).encode()

    def opened(spelled: str) -> int:
        target = TARGETS["reports"]._replace(path=f"/v1/problems/{spelled}/open")
        return sent(running.url("reports"), posted(target, wish)).status

    others = [made.upper(), made.replace("-", ""), f"-{made}", f"%7b{made}%7d", f"urn:uuid:{made}", f"{made}/"]
    assert [opened(one) for one in (made, *others)] == [200, *[404] * len(others)]


def test_a_request_is_answered_in_full_forms_and_offers_of_other_protocols(running: RunningRegion) -> None:
    """RFC 9112, 3.2.2 and RFC 9110, 7.8, which Java's HttpClient relies on."""
    url, target = running.url("reports"), TARGETS["reports"]
    full = target._replace(path=f"http://rembuk{target.path}")
    assert sent(url, good()(full)).status == 201
    assert (
        sent(url, good("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAM")(target)).status
        == 201
    )


@pytest.mark.parametrize("service", SERVICES)
def test_who_knows_an_address_alone_is_told_where_to_look(running: RunningRegion, service: str) -> None:
    with httpx.Client(base_url=running.url(service), headers=PARTNER, timeout=20) as client:
        told = client.get("/").raise_for_status().json()
        assert (told["service"], told["region"]) == (service, running.region.name)
        assert client.get("/docs").json() == told
        for link in told["links"]:
            client.get(link["href"]).raise_for_status()
        page = client.get("/", headers={"Accept": "text/html,application/xhtml+xml"}).raise_for_status()
        assert page.headers["content-type"].startswith("text/html")
        assert all(f'<a href="{link["href"]}">' in page.text for link in told["links"])
        assert sent(running.url(service), asked("OPTIONS *")).status == 204


def test_what_trails_a_body_is_no_header(running: RunningRegion) -> None:
    data = json.dumps(TARGETS["reports"].good).encode()
    request = chunked(b"%x\r\n%b\r\n0\r\nIdempotency-Key: %b\r\n\r\n" % (len(data), data, b"x" * 300))
    assert sent(running.url("reports"), request(TARGETS["reports"])).status == 201


@pytest.mark.parametrize("service", SERVICES)
def test_an_idempotency_key_means_one_wish(running: RunningRegion, service: str) -> None:
    target, key = TARGETS[service], f"Idempotency-Key: {uuid4()}"
    first = sent(running.url(service), good(key)(target))
    assert first.status == 201
    assert sent(running.url(service), good(key)(target)).body == first.body
    other = posted(target, json.dumps(target.good | {"area": "35.78.08"}).encode(), key)
    bad = Bad("", lambda _: other, 422, "idempotency-key-reused", "Idempotency-Key")
    refused(sent(running.url(service), other), bad, target)


@pytest.mark.parametrize(
    ("service", "path", "wish"),
    [
        ("reports", "/v1/problems/{}/verify", {}),
        ("forums", "/v1/forums/{}/members", {"pillar": "youth", "role": "member", "sex": "female", "name": "Sri"}),
        ("notifications", "/v1/subscriptions/{}/confirm", {"code": "04711815"}),
    ],
)
def test_an_outdated_version_is_refused(running: RunningRegion, service: str, path: str, wish: Any) -> None:
    made = json.loads(sent(running.url(service), good()(TARGETS[service])).body)["id"]
    target = TARGETS[service]._replace(path=path.format(made))
    request = posted(target, json.dumps(wish).encode(), 'If-Match: "7"')
    bad = Bad("", lambda _: request, 412, "version-conflict", "If-Match")
    refused(sent(running.url(service), request), bad, target)
    unknown = sent(running.url(service), posted(target._replace(path=path.format(uuid4())), json.dumps(wish).encode()))
    assert (unknown.status, unknown.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    "evil",
    [
        b"X-Correlation-ID: a\r\nX-Evil: 1",
        b"X-Correlation-ID: <script>alert(1)</script>",
        b"X-Correlation-ID: " + b"x" * 5000,
        b"X-Correlation-ID: \xff\xfe",
        b"traceparent: 00-garbage\r\nSet-Cookie: a=b",
        b"traceparent: 00-" + b"0" * 5000,
    ],
    ids=lambda evil: str(evil[:30]),
)
def test_a_bad_trace_is_neither_told_on_nor_a_reason_to_refuse(
    running: RunningRegion, service: str, evil: bytes
) -> None:
    answer = sent(running.url(service), good(evil)(TARGETS[service]))
    assert answer.status == 201
    assert {name.lower() for name in answer.headers} <= {
        "date", "content-type", "content-length", "etag", "location", "connection",
    }  # fmt: skip
    position = json.loads(answer.body)["position"]
    (event,) = httpx.get(
        f"{running.url(service)}/v1/events", headers=PARTNER, params={"after": position - 1, "limit": 1}
    ).json()
    assert event["correlationid"] in ("a", event["correlationid"].lower())
    assert len(event["correlationid"]) <= 36
    assert "traceparent" not in event


ANSWERED = {
    "date", "content-type", "content-length", "etag", "location", "connection", "allow", "vary", "cache-control",
    "retry-after", "www-authenticate",
}  # fmt: skip
PUBLISHED = {
    "Nats-Msg-Id", "Nats-Expected-Last-Sequence", "Nats-Batch-Id", "Nats-Batch-Sequence", "Nats-Batch-Commit", "ce-id",
    "ce-specversion", "ce-type", "ce-source", "ce-subject", "ce-time", "ce-dataschema", "ce-datacontenttype",
    "ce-region", "ce-position", "ce-version", "ce-area", "ce-correlationid", "ce-causationid", "ce-actor",
    "ce-traceparent", "traceparent",
}  # fmt: skip
ASKED = [
    "X-Correlation-Id", "traceparent", "tracestate", "Idempotency-Key", "If-Match", "Authorization", "Origin", "Accept",
    "Last-Event-ID", "X-Request-Id",
]  # fmt: skip
BREAKS = [
    b"\r\nX-Evil: 1", b"\nX-Evil: 1", b"\rX-Evil: 1", b"%0d%0aX-Evil: 1", "\u2028X-Evil: 1".encode(), b"\x85X-Evil: 1",
    b"\x00", b"\r\n folded", b"a", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01", b'"1"', b"Bearer ", b": ",
]  # fmt: skip


def test_nothing_that_is_asked_forms_a_header_of_an_answer_or_of_an_event(running: RunningRegion) -> None:
    """Whatever stands in headers, in a path, in a query and in texts of a report."""
    url, target = running.url("reports"), TARGETS["reports"]
    evil = st.lists(st.sampled_from(BREAKS) | st.binary(max_size=6), max_size=4).map(b"".join)
    paths = st.sampled_from(["/v1/problems?reference={}", "/v1/problems/{}", "/v1/areas?q={}", "/v1/{}", "/v1/log/{}"])
    accepted = []

    @settings(max_examples=100, deadline=None)
    @given(st.dictionaries(st.sampled_from(ASKED), evil, max_size=4), paths, evil)
    def ask(headers: dict[str, bytes], path: str, text: bytes) -> None:
        lines = [f"{name}: ".encode() + value for name, value in headers.items()]
        wish = target.good | {"title": f"Motor {text.decode(errors='replace')}"}
        for request in (
            posted(target, json.dumps(wish).encode(), *lines),
            asked(f"GET {path.format(quote(text))}", *lines),
        ):
            with suppress(http.client.HTTPException):  # a connection that is ended without an answer
                answer = sent(url, request)
                assert {name.lower() for name in answer.headers} <= ANSWERED
                if answer.status == 201:
                    accepted.append(json.loads(answer.body)["position"])

    ask()
    assert len(accepted) > 10
    names = eventually(lambda: asyncio.run(published(running, max(accepted))))
    assert names <= PUBLISHED


async def published(running: RunningRegion, position: int) -> set[str]:
    """The names of the headers of all that the reports' stream holds, which is level up to there."""
    client = await nats.connect(running.region.nats_url)
    try:
        stream, jetstream = stream_name(running.region.name, "reports"), client.jetstream()
        assert (await jetstream.stream_info(stream)).state.last_seq >= position
        return {
            name
            for number in range(1, position + 1)
            for name in (await jetstream.get_msg(stream, number)).headers or {}
        }
    finally:
        await client.close()


@pytest.mark.parametrize("service", SERVICES)
def test_of_a_field_given_twice_the_last_holds(running: RunningRegion, service: str) -> None:
    """RFC 8259 leaves it open; what counts is that both are never taken for one another."""
    target = TARGETS[service]
    twice = json.dumps(target.good).encode()[:-1] + b', "area": "35.78"}'
    accepted = sent(running.url(service), posted(target, twice))
    assert accepted.status == 201
    after = json.loads(accepted.body)["position"] - 1
    event = httpx.get(f"{running.url(service)}/v1/events", headers=PARTNER, params={"after": after}).json()[0]
    assert event["area"] == "35.78"


@pytest.mark.parametrize("service", SERVICES)
def test_a_method_that_is_not_allowed_hears_which_are(running: RunningRegion, service: str) -> None:
    target = TARGETS[service]
    expected = {"POST", "OPTIONS"} if service == "notifications" else {"GET", "POST", "OPTIONS"}
    for method in ("PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"):
        answer = httpx.request(method, running.url(service) + target.path, timeout=10)
        assert answer.status_code == (204 if method == "OPTIONS" else 405)
        assert set(answer.headers["allow"].split(", ")) == expected


def test_who_hangs_up_halfway_leaves_nothing(running: RunningRegion) -> None:
    address = urlsplit(running.url("reports"))
    with httpx.Client(base_url=running.url("reports"), headers=PARTNER, timeout=10) as client:
        before = list(_log(client))
    for _ in range(20):
        with socket.create_connection((address.hostname, address.port), timeout=10) as wire:
            wire.sendall(good(length="5000")(TARGETS["reports"]))

    def unchanged() -> None:
        with httpx.Client(base_url=running.url("reports"), headers=PARTNER, timeout=10) as client:
            assert list(_log(client)) == before

    eventually(unchanged)


def test_a_request_is_not_charged_with_the_bytes_of_the_one_before_it(running: RunningRegion) -> None:
    """A large body and the beginning of the next head, in one read of the socket."""
    target = TARGETS["reports"]
    large = json.dumps(target.good).encode() + b" " * 100_000
    first = posted(target, large).replace(b"Connection: close\r\n", b"")
    second = posted(target, json.dumps(target.good).encode())
    answered = sent(running.url("reports"), first + second[:40])
    assert answered.status == 201
    both = sent(running.url("reports"), first + second)
    assert both.status == 201


def test_an_idle_connection_is_left_to_the_client_to_end(running: RunningRegion) -> None:
    """httpx gives an idle connection up after five seconds; who sends in the last of them must be heard."""
    address = urlsplit(running.url("reports"))
    with socket.create_connection((address.hostname, address.port), timeout=7) as wire:
        wire.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert wire.recv(65536).startswith(b"HTTP/1.1 200 ")
        with pytest.raises(TimeoutError):
            wire.recv(65536)
