"""Whether the link in each e-mail that stops it leads somewhere for whoever gets the e-mail."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rembuk.settings import PUBLIC_URL

if TYPE_CHECKING:
    from rembuk_cli.home.running import Running


def stop_links(running: Running) -> str:
    """What is wrong with them; "" where they lead elsewhere than to this machine, or where no mail leaves it."""
    server = _host(running.smtp_url)
    if not server or _is_here(server):
        return ""
    url = running.public_url or running.urls.get("notifications", "")
    host = _host(url)
    if host and not _is_here(host):
        return ""
    leads = f"leads to {url}, which is the reader's own machine" if host else f"is none: {url} is no http(s) URL"
    return (
        f"e-mails leave through {server}, and the link in them that stops them {leads}: tell `rembuk up` by "
        f"{PUBLIC_URL} where the API of notifications is reached from outside, such as https://rembuk.example"
    )


def _host(url: str) -> str:
    with suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme in ("http", "https", "smtp", "smtps"):
            return parts.hostname or ""
    return ""


def _is_here(host: str) -> bool:
    with suppress(ValueError):
        address = ip_address(host)
        return address.is_loopback or address.is_unspecified
    return host == "localhost" or host.endswith(".localhost")
