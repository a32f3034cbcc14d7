"""`rembuk env`: what PostgreSQL's own programs have to know of a region, for a shell."""

from __future__ import annotations

import os
import shlex
from urllib.parse import unquote, urlsplit

from rembuk.embedded.postgres_server import postgres_binaries

from rembuk_cli.terminal.options import Data, RegionName, home_of, require_running
from rembuk_cli.terminal.writing import write


def env(region: RegionName = "", data: Data = None) -> None:
    """Write PGHOST, PGPORT, PGUSER, PGPASSWORD and PATH for a shell, so that pg_basebackup, pg_dump and psql find the
    region's PostgreSQL and are of its version. The user is the administrator: keep the output to yourself.

    Example: eval "$(rembuk env)"
    """
    home = home_of(region, data)
    running = require_running(home)
    given = os.environ.get("REMBUK_POSTGRES_URL")
    url = urlsplit(given or home.postgres(running.ports["postgres"]).url)
    values = {
        "PGHOST": url.hostname or "",
        "PGPORT": str(url.port or 5432),
        "PGUSER": unquote(url.username or ""),
        "PGPASSWORD": unquote(url.password or ""),
        "PGDATABASE": url.path.removeprefix("/") or "postgres",
    }
    for name, value in values.items():
        write(f"export {name}={shlex.quote(value)}\n")
    if not given:
        write(f"export PATH={shlex.quote(str(postgres_binaries()))}:$PATH\n")
