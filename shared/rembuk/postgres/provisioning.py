"""Databases and roles of a region's services in one PostgreSQL cluster, made by its administrator."""

from __future__ import annotations

from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

SERVICES = ("reports", "forums", "notifications")

NOTICED_GONE_MS = 1000
"""How often PostgreSQL looks, while it works on a question, whether whoever asked is still there: otherwise it would
work on for nobody until it has the answer."""


class ServiceDatabase(msgspec.Struct, frozen=True):
    """Where one service keeps its log and read models: as its owner (migrations only) and as the service."""

    role: str
    owner_url: str
    service_url: str


def service_database(admin_url: str, region: str, service: str, password: str) -> ServiceDatabase:
    """The names and URLs by convention: database and role `jatim_reports`, its owner `jatim_reports_owner`."""
    role = f"{region}_{service}"
    return ServiceDatabase(
        role, _url(admin_url, f"{role}_owner", password, role), _url(admin_url, role, password, role)
    )


async def provision(admin_url: str, region: str, service: str, password: str) -> ServiceDatabase:
    """Create what is missing and set both roles' password; harmless when it is all there."""
    import asyncpg  # 5 MB that a region's supervisor, which only starts processes, does without

    database = service_database(admin_url, region, service, password)
    admin = await asyncpg.connect(admin_url, timeout=10)
    try:
        for role in (database.role, f"{database.role}_owner"):
            if not await admin.fetchval("select 1 from pg_roles where rolname = $1", role):
                await admin.execute(f'create role "{role}" login')
            literal = await admin.fetchval("select quote_literal($1)", password)
            await admin.execute(f'alter role "{role}" password {literal}')
        await admin.execute(f'alter role "{database.role}" set client_connection_check_interval = {NOTICED_GONE_MS}')
        if not await admin.fetchval("select 1 from pg_database where datname = $1", database.role):
            await admin.execute(f'create database "{database.role}" owner "{database.role}_owner"')
            await admin.execute(f'revoke all on database "{database.role}" from public')
            await admin.execute(f'grant connect on database "{database.role}" to "{database.role}"')
    finally:
        await admin.close()
    return database


def _url(admin_url: str, user: str, password: str, database: str) -> str:
    parts = urlsplit(admin_url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(user)}:{quote(password)}@{host}", path=f"/{database}"))
