"""What runs in a directory now, as region.json tells."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

import msgspec

from rembuk_cli.home.noted_process import Process


class Running(msgspec.Struct, frozen=True):
    """What region.json tells: no secrets in it. `ready` once everything was that is to run; `processes` by name
    (`reports-api`, `nats`, `postgres`); `smtp_url` is where its e-mails go, `public_url` where the
    links in them lead. URLs are without credentials."""

    region: str
    supervisor: Process
    ready: bool
    urls: dict[str, str]
    postgres_url: str
    nats_url: str
    ports: dict[str, int]
    processes: dict[str, Process] = {}
    smtp_url: str = ""
    public_url: str = ""
    servers_only: bool = False


def without_credentials(url: str) -> str:
    """As it may be shown: neither what stands before @ (with or without a scheme), nor parameters."""
    scheme, separator, rest = url.rpartition("://")
    parts = urlsplit(f"//{rest}")
    shown = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))
    return scheme + separator + shown.removeprefix("//")


def with_credentials(url: str, given: str) -> str:
    """The URL as it was `given`, if that is the same but for its credentials."""
    return given if given and without_credentials(given) == url else url
