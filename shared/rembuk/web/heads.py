"""What a request's head may say (RFC 9110, 9112, 3986): a path has one spelling, what must be single is, and a body has
one length. Whoever stands before a service and the service itself then read the same request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

Fields = Sequence[tuple[bytes, bytes]]

_ENCODED = "%[0-9A-Fa-f]{2}"
_REG_NAME = "A-Za-z0-9!$&'()*+,;=._~-"  # unreserved and sub-delims
_PCHAR = f":@{_REG_NAME}"

_PLAIN_SEGMENT = "(?!\\.)[A-Za-z0-9._~-]++"
_PLAIN = re.compile(
    f"(/(?:{_PLAIN_SEGMENT}(?:/{_PLAIN_SEGMENT})*+)?+)(?:\\?((?:[/?{_PCHAR}]++|{_ENCODED})*+))?".encode()
)
"""The only spelling that a path has here: its segments are not empty, begin with no dot, and need no encoding."""
_TARGET = re.compile(f"/(?:[/{_PCHAR}]++|{_ENCODED})*+(?:\\?(?:[/?{_PCHAR}]++|{_ENCODED})*+)?".encode())
"""Any origin-form."""
_PORT = "(?::[0-9]{0,5})?"
_AUTHORITY = f"(?:(?:[{_REG_NAME}]++|{_ENCODED})++|\\[[0-9A-Fa-f:.]{{2,45}}\\]){_PORT}"
_HOST = re.compile(_AUTHORITY.encode())
_ABSOLUTE = re.compile(f"https?://{_AUTHORITY}([/?].*+)?".encode(), re.IGNORECASE | re.DOTALL)

NOWHERE = b"/%"
"""A path that no route has."""

SINGLE = frozenset({
    b"host", b"content-length", b"content-type", b"content-encoding", b"transfer-encoding", b"authorization",
    b"idempotency-key", b"if-match", b"last-event-id", b"x-correlation-id", b"expect", b"upgrade",
})  # fmt: skip
"""What is heeded here, and would mean two things if it were given twice."""


class Malformed(Exception):
    """A head that breaks a rule: which status it gets, and why."""

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.status = status


@lru_cache(1024)
def target(method: bytes, given: bytes) -> bytes:
    """Path and query that a request line asks for, `NOWHERE` for a path in another spelling than the one that leads
    somewhere. Raises Malformed."""
    if _PLAIN.fullmatch(given):
        return given
    if absolute := _ABSOLUTE.fullmatch(given):
        rest = absolute[1] or b"/"
        return target(method, rest if rest.startswith(b"/") else b"/" + rest)
    if given == b"*" and method == b"OPTIONS":
        return b"/"
    if _TARGET.fullmatch(given):
        return NOWHERE
    raise Malformed("the request's target is no URI")


def require_sound(version: str, fields: Fields, by_name: dict[bytes, bytes]) -> None:
    """Raises Malformed for header fields that can be read in two ways, and for a host that is none."""
    if len(by_name) != len(fields):
        _require_single(fields)
    host = by_name.get(b"host")
    if host is None:
        if version == "1.1":
            raise Malformed("Host must be given")
    elif not _is_host(host):
        raise Malformed("Host is not the name of a host")
    coding = by_name.get(b"transfer-encoding")
    if coding is not None:
        if version != "1.1" or b"content-length" in by_name:
            raise Malformed("Transfer-Encoding stands alone, in HTTP/1.1")
        if coding.lower() != b"chunked":
            raise Malformed("the only Transfer-Encoding here is chunked", 501)


@lru_cache(1024)
def _is_host(name: bytes) -> bool:
    return _HOST.fullmatch(name) is not None


def _require_single(fields: Fields) -> None:
    seen: set[bytes] = set()
    for name, _ in fields:
        if name in seen and name in SINGLE:
            raise Malformed(f"{name.decode().title()} must be given once")
        seen.add(name)
