"""Which text is a URL that somebody else's server can be reached by: whoever gives one is told at once, and not when
nothing ever arrives."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit


class BadUrl(ValueError):
    """The text is none; says why."""


def web_url(text: str) -> SplitResult:
    """The parts of an http or https URL. Raises BadUrl."""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise BadUrl("A URL has no other than visible ASCII characters.")
    try:
        url = urlsplit(text)
        _ = url.port
        host = (url.hostname or "").encode("idna")  # no label is empty or over 63 characters
        _ = [label[4:].decode("punycode") for label in host.split(b".") if label.startswith(b"xn--")]
    except ValueError:  # UnicodeError is one
        raise BadUrl("A URL needs a host that there can be, and a port from 0 to 65535.") from None
    if url.scheme not in ("http", "https") or not host:
        raise BadUrl("A URL begins with http:// or https:// and a host.")
    return url
