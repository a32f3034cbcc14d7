"""Every database that a release made becomes the one that a new region gets, and tables.py describes it."""

import asyncio
import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
from rembuk.embedded.region import RegionConfig
from rembuk.postgres import kernel_versions
from rembuk.postgres.migrations import OfALaterRelease, migrate
from rembuk.postgres.provisioning import ServiceDatabase, provision
from rembuk.postgres.read_engine import owners_engine
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import AsyncConnection

ROOT = Path(__file__).parents[1]
VERSIONS = "services/{0}/{0}/migrations/versions"
WITHOUT_VERSIONS = {"reports": "0014", "forums": "0011", "notifications": "0012", "hub": "0009"}
"""The services, each with its last revision from before databases said which version the kernel's tables have."""
KNOWN_BY_THEIR_TABLES = (3, 4, 5, 7, 8, 9, 10, 11)
"""The versions that these revisions left behind."""

FACTS = """
    with relation as (
        select oid, relnamespace::regnamespace || '.' || relname as name, reloptions, relacl
        from pg_class where relnamespace::regnamespace::text in ('public', 'log') and relkind not in ('i', 'c')
    ), feature as (
        select attrelid as oid, attname, attnum, attnotnull, format_type(atttypid, atttypmod) as type, collname
        from pg_attribute left join pg_collation on pg_collation.oid = attcollation and collname <> 'default'
        where attnum > 0 and not attisdropped
    ), told as (
        select name, 'column' as kind, concat_ws(' ', attname, type, collname) as fact
        from relation join feature using (oid)
        union all select name, 'not null', attname from relation join feature using (oid) where attnotnull
        union all select name, 'default', attname || ': ' || pg_get_expr(adbin, adrelid)
        from relation join feature using (oid) join pg_attrdef on adrelid = relation.oid and adnum = attnum
        union all select name, 'order', string_agg(attname, ', ' order by attnum)
        from relation join feature using (oid) group by name
        union all select name, 'constraint', conname || ' ' || pg_get_constraintdef(pg_constraint.oid)
        from relation join pg_constraint on conrelid = relation.oid where contype <> 'n'
        union all select name, 'index', pg_get_indexdef(indexrelid)
        from relation join pg_index on indrelid = relation.oid
        union all select name, 'trigger', pg_get_triggerdef(pg_trigger.oid)
        from relation join pg_trigger on tgrelid = relation.oid where not tgisinternal
        union all select name, 'setting', unnest(reloptions) from relation
        union all select name, 'comment', objsubid || ' ' || description
        from relation join pg_description on objoid = relation.oid
        union all select name, 'privileges', relacl::text from relation
        union all select oid::regprocedure::text, 'function', pg_get_functiondef(oid) from pg_proc
        where pronamespace::regnamespace::text in ('public', 'log')
        union all select oid::regprocedure::text, 'privileges', proacl::text from pg_proc
        where pronamespace::regnamespace::text in ('public', 'log')
    )
    select name, kind, fact from told where fact is not null"""
Fact = tuple[str, str, str]
IN_TABLES_PY = ("column", "not null", "default", "constraint", "index", "setting")
"""What `tables.py` says of a table: not the order of its columns, for what is added later is last; no triggers."""

FILLING = {
    "bigint": "1", "integer": "1", "smallint": "1", "text": "''", "bytea": "''", "boolean": "false", "date": "now()",
    "double precision": "0", "json": "'{}'", "jsonb": "'[]'", "timestamp with time zone": "now()",
    "uuid": "'0192f0c4-7a3e-7c11-9d55-3c1f0a9b7e21'",
}  # fmt: skip
WORDS = {"area": "'35.78.08.1004'", "category": "'theft'", "severity": "'minor'", "status": "'verified'"}
"""What is put into columns of these names, and into others by their type."""


def revisions(service: str) -> list[str]:
    return sorted(path.name.partition("_")[0] for path in (ROOT / VERSIONS.format(service)).glob("[0-9]*.py"))


def tables_of(service: str) -> list[MetaData]:
    tables = importlib.import_module(f"{service}.tables")
    return [value for value in vars(tables).values() if isinstance(value, MetaData)]


@pytest.fixture(scope="module")
async def database(postgres_url: str) -> ServiceDatabase:
    return await provision(postgres_url, f"m{uuid4().hex[:8]}", "reports", "test")


@pytest.fixture
async def owner(database: ServiceDatabase) -> AsyncIterator[AsyncConnection]:
    async with in_transaction(database) as owner:
        yield owner


@asynccontextmanager
async def in_transaction(database: ServiceDatabase) -> AsyncIterator[AsyncConnection]:
    """Of an empty database, which stays so."""
    engine = owners_engine(database.owner_url, "test")
    async with engine.connect() as connection, connection.begin() as transaction:
        await connection.exec_driver_sql("select 1")  # for the driver begins with the first statement
        yield connection
        await transaction.rollback()
    await engine.dispose()


@asynccontextmanager
async def undone(owner: AsyncConnection) -> AsyncIterator[None]:
    """What is done within is undone after it."""
    transaction = await owner.begin_nested()
    try:
        yield
    finally:
        await transaction.rollback()


async def run(owner: AsyncConnection, script: str) -> None:
    driver = (await owner.get_raw_connection()).driver_connection
    assert driver is not None
    await driver.execute(script or "select")


async def facts(owner: AsyncConnection) -> set[Fact]:
    return {(row.name, row.kind, row.fact) for row in await owner.exec_driver_sql(FACTS)}


def of_kinds(facts: set[Fact], *kinds: str) -> set[Fact]:
    return {fact for fact in facts if fact[1] in kinds}


def relations(facts: set[Fact]) -> set[str]:
    return {name for name, _, _ in of_kinds(facts, "order")}


async def kernel_version(owner: AsyncConnection) -> int:
    return int((await owner.exec_driver_sql(kernel_versions.VERSION)).scalar_one())


@pytest.fixture(scope="module")
async def from_nothing(database: ServiceDatabase) -> dict[str, set[Fact]]:
    """What each service has in a database that was empty."""
    made = {}
    async with in_transaction(database) as owner:
        for service in WITHOUT_VERSIONS:
            async with undone(owner):
                await owner.run_sync(migrate, service, database.role)
                made[service] = await facts(owner)
    return made


@pytest.fixture(scope="module")
async def kernel(database: ServiceDatabase) -> set[Fact]:
    """The kernel's tables alone, made in an empty database."""
    async with in_transaction(database) as owner:
        await run(owner, kernel_versions.creating())
        return of_kinds(await facts(owner), *IN_TABLES_PY, "order", "trigger", "comment", "function")


async def plant(owner: AsyncConnection, kernels: set[str]) -> None:
    """A row in each table of the service, an event of that row, and a person's key."""
    id, at = FILLING["uuid"], "'2026-01-02Z'"
    await run(owner, f"insert into vault_key values ({id}, decode(repeat('ab', 60), 'hex'), '01234567', {at})")
    await run(owner, f"insert into log.event values (1, {id}, {id}, 1, 'Told', 1, '', '{{}}', '{{}}', {at})")
    await run(owner, f"update log.head set position = 1, recorded_at = {at}")
    columns: dict[str, list[str]] = {}
    for name, _, fact in of_kinds(await facts(owner), "column"):
        columns.setdefault(name, []).append(fact)
    for name in columns.keys() - kernels - {"public.alembic_version"}:
        described = [fact.removesuffix(" C").partition(" ") for fact in columns[name]]
        values = {column: WORDS.get(column) or FILLING[of_type] for column, _, of_type in described}
        names = ", ".join(f'"{column}"' for column in values)
        await run(owner, f"insert into {name} ({names}) values ({', '.join(values.values())})")


@pytest.mark.parametrize("service", WITHOUT_VERSIONS)
async def test_a_database_of_each_revision_becomes_as_one_that_is_made_from_nothing(
    owner: AsyncConnection,
    database: ServiceDatabase,
    from_nothing: dict[str, set[Fact]],
    kernel: set[Fact],
    service: str,
) -> None:
    for revision in revisions(service):
        await owner.run_sync(migrate, service, database.role, revision)
        async with undone(owner):
            await plant(owner, relations(kernel))
            if revision <= WITHOUT_VERSIONS[service]:
                await run(owner, "drop table kernel_version")
            await owner.run_sync(migrate, service, database.role)
            assert await facts(owner) ^ from_nothing[service] == set(), revision
            assert await kernel_version(owner) == kernel_versions.newest()
            kept = await owner.exec_driver_sql("select person, position from vault_key, log.event")
            assert kept.all() == [(UUID(FILLING["uuid"].strip("'")), 1)], revision


@pytest.mark.parametrize("service", WITHOUT_VERSIONS)
async def test_the_newest_revision_is_brought_on_from_each_version_of_the_kernels_tables(
    owner: AsyncConnection, database: ServiceDatabase, from_nothing: dict[str, set[Fact]], service: str
) -> None:
    await owner.run_sync(migrate, service, database.role, revisions(service)[-1])
    for version in range(await kernel_version(owner), kernel_versions.newest() + 1):
        async with undone(owner):
            await run(owner, kernel_versions.upgrading(await kernel_version(owner), version))
            await owner.run_sync(migrate, service, database.role)
            assert await facts(owner) ^ from_nothing[service] == set(), version


async def test_each_version_of_the_kernels_tables_becomes_the_newest(owner: AsyncConnection, kernel: set[Fact]) -> None:
    newest = kernel_versions.newest()
    await run(owner, kernel_versions.numbering())
    for version in range(1, newest + 1):
        await run(owner, kernel_versions.upgrading(version - 1, version))
        async with undone(owner):
            if version in KNOWN_BY_THEIR_TABLES:
                await run(owner, f"drop table kernel_version; {kernel_versions.numbering()}")
            assert await kernel_version(owner) == version
            await run(owner, kernel_versions.upgrading(version, newest))
            assert of_kinds(await facts(owner), *{kind for _, kind, _ in kernel}) ^ kernel == set(), version


@pytest.mark.parametrize("service", WITHOUT_VERSIONS)
async def test_a_migrated_database_has_what_tables_py_says_and_the_kernels_tables_and_nothing_else(
    owner: AsyncConnection, from_nothing: dict[str, set[Fact]], kernel: set[Fact], service: str
) -> None:
    made = from_nothing[service]
    async with undone(owner):
        for metadata in tables_of(service):
            await owner.run_sync(metadata.create_all)
        described = of_kinds(await facts(owner), *IN_TABLES_PY, "order")
    own = relations(described) - relations(kernel)
    assert relations(made) == own | relations(kernel) | {"public.alembic_version"}
    said = {fact for fact in described if fact[0] in own}
    assert of_kinds({fact for fact in made if fact[0] in own}, *IN_TABLES_PY) ^ of_kinds(said, *IN_TABLES_PY) == set()
    assert of_kinds(described - said, "column") - kernel == set()  # of a table of the kernel: what the service asks for
    assert kernel - made == set()
    assert {fact for fact in made - kernel if fact[0] in relations(kernel)} == of_kinds(
        {fact for fact in made if fact[0] in relations(kernel)}, "privileges"
    )


async def test_a_release_leaves_the_database_of_a_later_one_alone(
    owner: AsyncConnection, database: ServiceDatabase
) -> None:
    later = kernel_versions.newest() + 1
    await run(owner, f"{kernel_versions.numbering()}; update kernel_version set version = {later}")
    with pytest.raises(OfALaterRelease, match=f"of hub has version {later} .* this release knows {later - 1}"):
        await owner.run_sync(migrate, "hub", database.role)
    await run(owner, "drop table kernel_version; create table alembic_version (version_num text)")
    await run(owner, "insert into alembic_version values ('0999')")
    with pytest.raises(OfALaterRelease, match="a revision that this release does not know"):
        await owner.run_sync(migrate, "hub", database.role)


def test_a_region_knows_a_database_whose_kernels_tables_alone_are_behind(postgres_url: str) -> None:
    region = RegionConfig(f"m{uuid4().hex[:8]}", postgres_url, "", "test", "", "", {}, services=("hub",))
    asyncio.run(region.provision())
    assert asyncio.run(region.behind()) == ["hub"]
    region.migrate()
    assert asyncio.run(region.behind()) == []

    async def alter(by: int) -> None:
        owner = await asyncpg.connect(region.database("hub").owner_url)
        await owner.execute(f"update kernel_version set version = version + {by}")
        await owner.close()

    asyncio.run(alter(-1))
    assert asyncio.run(region.behind()) == ["hub"]
    asyncio.run(alter(1))
    assert asyncio.run(region.behind()) == []


def test_no_service_can_alter_which_version_its_database_has(
    database: ServiceDatabase, from_nothing: dict[str, set[Fact]]
) -> None:
    for made in from_nothing.values():
        [privileges] = [fact for name, _, fact in of_kinds(made, "privileges") if name == "public.kernel_version"]
        assert f"{database.role}=" not in privileges
