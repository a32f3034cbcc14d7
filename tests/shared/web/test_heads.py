"""What a request line and its fields may say, by the grammar of RFC 3986 and RFC 9112."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rembuk.web.heads import NOWHERE, Malformed, require_sound, target

PATHS = st.text(st.sampled_from("/.%2eEfF7v1problems-_~0a;:@"), max_size=40).map(lambda rest: f"/{rest}")


@given(PATHS)
def test_a_path_that_leads_somewhere_is_what_any_reader_takes_it_for(path: str) -> None:
    """Decoded, without empty and dot segments, it is still itself: whoever normalises a path before us reads ours."""
    try:
        somewhere = target(b"GET", path.encode())
    except Malformed:
        return
    if somewhere != NOWHERE:
        segments = unquote(path).split("/")[1:]
        assert path == "/" or not {"", ".", ".."}.intersection(segments)
        assert somewhere.decode() == path == unquote(path)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_target_or_malformed(given: bytes) -> None:
    try:
        found = target(b"GET", given)
    except Malformed:
        return
    assert found.startswith(b"/")


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("/v1/problems?limit=1", "/v1/problems?limit=1"),
        ("/v1/areas?q=kali%20/?:@", "/v1/areas?q=kali%20/?:@"),
        ("/", "/"),
        ("http://rembuk.example/v1/problems?a", "/v1/problems?a"),
        ("HTTPS://[::1]:8001", "/"),
        ("http://rembuk.example?a=1", "/?a=1"),
        ("http://rembuk.example//v1/problems", "/%"),
    ],
)
def test_a_target_is_read_in_both_its_forms(given: str, read: str) -> None:
    assert target(b"GET", given.encode()) == read.encode()


@pytest.mark.parametrize("host", ["x", "x:8001", "[::1]:8001", "127.0.0.1", "rembuk.polri.example", "b%C3%BCcher"])
def test_a_host_is_a_name_or_an_address(host: str) -> None:
    require_sound("1.1", [(b"host", host.encode())], {b"host": host.encode()})


@pytest.mark.parametrize(
    "host", ["", "a b", "a/b", "user@x", "x:y", "x:1:2", "[::1", "::1", "x, y", "b\u00fccher", "%zz"]
)
def test_nothing_else_is_a_host(host: str) -> None:
    with pytest.raises(Malformed):
        require_sound("1.1", [(b"host", host.encode())], {b"host": host.encode()})
