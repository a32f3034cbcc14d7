"""Bringing a service's database to the newest shape: Alembic, run as the owner, never as the service."""

from __future__ import annotations

import asyncio

from alembic import command
from alembic.config import Config
from alembic.operations import MigrateOperation, Operations
from alembic.script.revision import ResolutionError
from alembic.util import CommandError
from sqlalchemy import Connection
from sqlalchemy.util import await_only

from rembuk.postgres import kernel_versions
from rembuk.postgres.read_engine import owners_engine
from rembuk.settings import CannotRun

GRANTS = """
grant usage on schema public, log to "{role}";
grant select on all tables in schema log to "{role}";
revoke execute on all functions in schema log from public;
grant execute on all functions in schema log to "{role}";
grant select, insert, update, delete on all tables in schema public to "{role}";
revoke all on table alembic_version, kernel_version from "{role}";
"""


class OfALaterRelease(CannotRun):
    """The database was brought to a shape that this release does not know."""

    def __init__(self, package: str, shape: str) -> None:
        super().__init__(
            f"the database of {package} has {shape}: use the release that brought it there, or a later one"
        )


@Operations.register_operation("bring_kernel_to")
class BringKernelTo(MigrateOperation):
    """What a service's migrations say of the kernel's tables."""

    @classmethod
    def bring_kernel_to(cls, operations: Operations, version: int) -> None:
        """`op.bring_kernel_to(5)`: what follows in the migration needs this version of the kernel's tables."""
        _bring_kernel_to(operations.get_bind(), version)


def upgrade(package: str, owner_url: str, service_role: str, revision: str = "head") -> None:
    """Run the migrations in `package`.migrations as the owner, bring the kernel's tables to their newest version, then
    grant the service what it may do: read the log, append by log.append() alone, and keep its own read models and
    ledgers. Up to a `revision` that is not the newest, the kernel's tables have the version which that one needs.

    Raises OfALaterRelease."""

    async def run() -> None:
        owner = owners_engine(owner_url, f"{package} migrations")
        async with owner.begin() as connection:
            await connection.run_sync(migrate, package, service_role, revision)
        await owner.dispose()

    asyncio.run(run())


def migrate(connection: Connection, package: str, service_role: str, revision: str = "head") -> None:
    """As `upgrade`, within the transaction of a connection."""
    _run(connection, kernel_versions.numbering())
    if (found := _kernel_version(connection)) > kernel_versions.newest():
        newest = kernel_versions.newest()
        raise OfALaterRelease(package, f"version {found} of the kernel's tables, and this release knows {newest}")
    config = Config()
    config.set_main_option("script_location", "rembuk.postgres:alembic_environment")
    config.set_main_option("version_locations", f"{package}:migrations/versions")
    config.set_main_option("path_separator", "newline")  # of locations, of which there is one
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, revision)
    except CommandError as error:
        if isinstance(error.__cause__, ResolutionError):
            raise OfALaterRelease(package, "a revision that this release does not know") from error
        raise
    if revision == "head":
        _bring_kernel_to(connection, kernel_versions.newest())
    _run(connection, GRANTS.format(role=service_role))


def _bring_kernel_to(connection: Connection, version: int) -> None:
    if script := kernel_versions.upgrading(_kernel_version(connection), version):
        _run(connection, script)


def _kernel_version(connection: Connection) -> int:
    return int(connection.exec_driver_sql(kernel_versions.VERSION).scalar_one())


def _run(connection: Connection, script: str) -> None:
    connection.exec_driver_sql("select 1")  # opens the transaction, which the raw connection then is in too
    driver = connection.connection.driver_connection
    assert driver is not None
    await_only(driver.execute(script))
