"""Bringing a service's database to the newest shape: Alembic, run as the owner, never as the service."""

from __future__ import annotations

import asyncio
from importlib.resources import files
from typing import Protocol

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.util import await_only

from rembuk.postgres.read_engine import owners_engine

FIRST_SCRIPTS = ("0001_event_log.sql", "0002_flow.sql", "0003_vault.sql")
"""What the first migration of every service runs, in this order, before its own tables."""
SEALING_SCRIPTS = ("0006_append.sql", "0007_erased.sql")
KERNEL_SCRIPTS = (
    *FIRST_SCRIPTS,
    "0004_skipped.sql",
    "0005_tree.sql",
    *SEALING_SCRIPTS,
    "0008_witness.sql",
    "0009_webhook.sql",
    "0010_key_missing.sql",
)
"""All that the migrations of a service run of ours, in this order."""

GRANTS = """
grant usage on schema public, log to "{role}";
grant select on all tables in schema log to "{role}";
revoke execute on all functions in schema log from public;
grant execute on all functions in schema log to "{role}";
grant select, insert, update, delete on all tables in schema public to "{role}";
revoke all on table alembic_version from "{role}";
"""


class Bound(Protocol):
    """What runs in a migration: `alembic.op`."""

    def get_bind(self) -> Connection: ...


def run_script(op: Bound, name: str, package: str = "rembuk.postgres.kernel") -> None:
    """Run a file of several SQL statements within the migration's transaction."""
    _run(op.get_bind(), files(package).joinpath(name).read_text())


def upgrade(package: str, owner_url: str, service_role: str, revision: str = "head") -> None:
    """Run the migrations in `package`.migrations as the owner, then grant the service what it may do: read the log,
    append by log.append() alone, and keep its own read models and ledgers."""
    config = Config()
    config.set_main_option("script_location", f"{package}:migrations")

    def migrate(connection: Connection) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        _run(connection, GRANTS.format(role=service_role))

    async def run() -> None:
        owner = owners_engine(owner_url, f"{package} migrations")
        async with owner.begin() as connection:
            await connection.run_sync(migrate)
        await owner.dispose()

    asyncio.run(run())


def _run(connection: Connection, script: str) -> None:
    connection.exec_driver_sql("select 1")  # opens the transaction, which the raw connection then is in too
    driver = connection.connection.driver_connection
    assert driver is not None
    await_only(driver.execute(script))
