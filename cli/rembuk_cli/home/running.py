"""What runs in a directory now, as region.json tells."""

from __future__ import annotations

import os
from urllib.parse import urlsplit, urlunsplit

import msgspec
from rembuk.embedded.server import HOST

from rembuk_cli.home.noted_process import Process
from rembuk_cli.home.plan import Plan


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

    @classmethod
    def of(cls, plan: Plan, ready: bool, processes: dict[str, Process]) -> Running:
        """What is planned, as it runs now under this process."""
        nats_url = plan.nats_url or f"nats://{HOST}:{plan.ports['nats']}"
        postgres_url = plan.postgres_url or f"postgresql://{HOST}:{plan.ports['postgres']}/postgres"
        return cls(
            region=plan.region,
            supervisor=Process.of(os.getpid()),
            ready=ready,
            urls={service: f"http://{HOST}:{plan.ports[service]}" for service in plan.services},
            postgres_url=without_credentials(postgres_url),
            nats_url=without_credentials(nats_url),
            ports=plan.ports,
            smtp_url=without_credentials(plan.extra.get("REMBUK_SMTP_URL", "")),
            public_url=without_credentials(plan.extra.get("REMBUK_NOTIFICATIONS_PUBLIC_URL", "")),
            servers_only=plan.servers_only,
            processes=processes,
        )


def without_credentials(url: str) -> str:
    """As it may be shown: neither what stands before @ (with or without a scheme), nor parameters."""
    scheme, separator, rest = url.rpartition("://")
    parts = urlsplit(f"//{rest}")
    shown = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))
    return scheme + separator + shown.removeprefix("//")


def with_credentials(url: str, given: str) -> str:
    """The URL as it was `given`, if that is the same but for its credentials."""
    return given if given and without_credentials(given) == url else url
