"""The schema: the way up and down, what code and migration agree on, and the whole catalogue as text.

``python -m tests.database.test_migrations`` writes ``catalogue.txt`` anew after a change of the schema.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.ext.asyncio import create_async_engine

from rfq_service.db import migrate
from rfq_service.db.embedded import EmbeddedPostgres
from rfq_service.db.engine import Database, Databases, asyncpg_url
from rfq_service.db.tables import Base
from rfq_service.domain.errors import RfqError
from rfq_service.domain.identifiers import uuid7_floor
from tests.support.postgres import DatabaseServer

HEAD = "0002"
CATALOGUE = Path(__file__).with_name("catalogue.txt")
CATALOGUE_QUERIES = {
    "tables": """
        SELECT c.relname || ' ' || c.relkind::text || coalesce(' ' || pg_get_partkeydef(c.oid), '')
               || CASE WHEN c.relrowsecurity THEN ' rls' ELSE '' END || coalesce(' ' || c.reloptions::text, '')
               || CASE WHEN c.relacl @> acldefault('r', c.relowner) AND c.relacl <@ acldefault('r', c.relowner) THEN ''
                       ELSE coalesce(' grants ' || c.relacl::text, '') END
        FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')""",
    "columns": """
        SELECT c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
               || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
               || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
          AND a.attnum > 0 AND NOT a.attisdropped""",
    "column grants": """
        SELECT c.relname || '.' || a.attname || ' ' || a.attacl::text
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relnamespace = 'public'::regnamespace AND a.attacl IS NOT NULL""",
    "constraints": """
        SELECT c.relname || ' ' || k.conname || ' ' || pg_get_constraintdef(k.oid)
        FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
        WHERE c.relnamespace = 'public'::regnamespace AND NOT c.relispartition AND k.contype <> 'n'
          AND k.conparentid = 0""",
    "indexes": """
        SELECT pg_get_indexdef(i.indexrelid) || CASE WHEN i.indisvalid THEN '' ELSE ' INVALID' END
        FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
        WHERE c.relnamespace = 'public'::regnamespace AND NOT c.relispartition""",
    "triggers": """
        SELECT c.relname || ': ' || pg_get_triggerdef(t.oid) || ' enabled ' || t.tgenabled::text
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = 'public'::regnamespace AND NOT t.tgisinternal""",
    "functions": """
        SELECT p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ') ' || md5(p.prosrc)
               || CASE WHEN p.prosecdef THEN ' security definer' ELSE '' END
               || coalesce(' with ' || array_to_string(p.proconfig, ' '), '')
               || CASE WHEN p.proacl @> acldefault('f', p.proowner) AND p.proacl <@ acldefault('f', p.proowner) THEN ''
                       ELSE coalesce(' grants ' || p.proacl::text, '') END
        FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace""",
    "partitions": """
        SELECT p.relname || ' of ' || c.relname || ' with ' ||
               (SELECT count(*) FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid) || ' indexes'
        FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid JOIN pg_class p ON p.oid = h.inhparent
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'""",
    "policies": """
        SELECT tablename || ' ' || policyname || ' for ' || cmd || ' to ' || array_to_string(roles, ',')
               || CASE permissive WHEN 'PERMISSIVE' THEN '' ELSE ' ' || permissive END
               || coalesce(' using ' || qual, '') || coalesce(' with check ' || with_check, '')
        FROM pg_policies WHERE schemaname = 'public'""",
    "views": "SELECT viewname || ' ' || definition FROM pg_views WHERE schemaname = 'public'",
    "schema": "SELECT 'public' || coalesce(' grants ' || nspacl::text, '') FROM pg_namespace WHERE nspname = 'public'",
}


async def read_catalogue(dsn: str) -> dict[str, list[str]]:
    """Every object of the schema as one line of text; months of partitions become M, so that time does not matter."""
    connection = await asyncpg.connect(dsn)
    try:
        found = {}
        for section, query in CATALOGUE_QUERIES.items():
            lines = {re.sub(r"_p\d{6}\b", "_pM", row[0]) for row in await connection.fetch(query)}
            found[section] = sorted(" ".join(line.split()) for line in lines)
        return found
    finally:
        await connection.close()


def as_text(catalogue: dict[str, list[str]]) -> str:
    return "".join(f"[{section}]\n" + "".join(f"{line}\n" for line in catalogue[section]) for section in catalogue)


def without_table(catalogue: dict[str, list[str]], *sections: str) -> dict[str, list[str]]:
    return {name: [line for line in catalogue[name] if "alembic_version" not in line] for name in sections}


async def test_upgrade_downgrade_upgrade(empty_database_dsn: str) -> None:
    empty = await read_catalogue(empty_database_dsn)
    assert migrate.current(empty_database_dsn) is None
    migrate.upgrade(empty_database_dsn)
    first = await read_catalogue(empty_database_dsn)
    assert migrate.current(empty_database_dsn) == HEAD
    migrate.downgrade(empty_database_dsn, "base")
    assert migrate.current(empty_database_dsn) is None
    down = await read_catalogue(empty_database_dsn)
    assert without_table(down, *CATALOGUE_QUERIES) == without_table(empty, *CATALOGUE_QUERIES)
    migrate.upgrade(empty_database_dsn)
    assert await read_catalogue(empty_database_dsn) == first


# At the first revision: a dealer's quote that is active, what a key's firm tells of its role, and an old event.
FIRST_ROWS = """
    INSERT INTO firm VALUES ('00000000-0000-0000-0000-00000000000c', 'Client', false),
                            ('00000000-0000-0000-0000-00000000000d', 'Dealer', true);
    INSERT INTO api_key SELECT id, id, decode(repeat('ab', 31) || right(id::text, 2), 'hex'), 'rfq_', '', 1 FROM firm;
    INSERT INTO rfq VALUES ('01000000-0000-7000-8000-000000000001', '00000000-0000-0000-0000-00000000000c', 'buy', 1,
        'any_part', NULL, 1, 1, 9, NULL, '', false, 'open', 0, '{00000000-0000-0000-0000-00000000000d}');
    INSERT INTO invitation VALUES ('01000000-0000-7000-8000-000000000002', '01000000-0000-7000-8000-000000000001',
        '00000000-0000-0000-0000-00000000000d', NULL, 'buy', 1, 'any_part', NULL, 1, 1, 9, '[]', '{}', 'open');
    INSERT INTO quote VALUES ('01000000-0000-7000-8000-000000000003', '01000000-0000-7000-8000-000000000001',
        '00000000-0000-0000-0000-00000000000c', '00000000-0000-0000-0000-00000000000d', 'Dealer', 1, NULL, NULL, NULL,
        1, 1, 9);
    INSERT INTO active_quote VALUES ('01000000-0000-7000-8000-000000000003', '01000000-0000-7000-8000-000000000001', 9);
    INSERT INTO event (id, kind, occurred_at_ns, payload_json)
    SELECT ('01000000-0000-7000-8000-00000000001' || n)::uuid, 'quote.posted', 1, '{}' FROM generate_series(0, 2) AS n;
"""


@pytest.fixture
async def empty_connection(empty_database_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(empty_database_dsn, statement_cache_size=0)  # tables change under it
    yield opened
    await opened.close()


async def test_what_was_there_before_the_second_step_stays(empty_database_dsn: str, empty_connection) -> None:
    connection = empty_connection
    migrate.upgrade(empty_database_dsn, "0001")
    first = await read_catalogue(empty_database_dsn)
    await connection.execute(FIRST_ROWS)
    migrate.upgrade(empty_database_dsn, "0002")
    keys = await connection.fetch("SELECT role, scopes FROM api_key ORDER BY role")
    assert [tuple(row) for row in keys] == [
        ("buy_side", ["rfq:read", "rfq:write"]),
        ("dealer", ["rfq:read", "quote:write", "price:read"]),
    ]
    owners = "SELECT client_firm_id FROM invitation UNION ALL SELECT client_firm_id FROM active_quote"
    assert [row[0].int for row in await connection.fetch(owners)] == [0xC, 0xC]
    # told to nobody, yet counted; what comes now goes on from there
    assert [row[0] for row in await connection.fetch("SELECT leaf_index FROM event_leaf ORDER BY event_id")] == [
        0,
        1,
        2,
    ]
    await connection.execute(
        "INSERT INTO event (id, kind, occurred_at_ns, payload_json, audience) SELECT gen_random_uuid(), kind, 1, '{}', "
        "'none' FROM unnest(ARRAY['key.rotated', 'grant.added', 'grant.revoked', 'key.added']) AS kind"
    )
    assert tuple(await connection.fetchrow("SELECT * FROM sequence_events(10, 1)")) == (4, False, 6, None)
    assert await connection.fetchval("SELECT count(*) FROM stream_entry") == 0
    migrate.downgrade(empty_database_dsn, "0001")
    assert await read_catalogue(empty_database_dsn) == first
    assert await connection.fetchval("SELECT count(*) FROM event") == 4
    migrate.upgrade(empty_database_dsn, "0002")
    assert await connection.fetchval("SELECT count(*) FROM event_leaf") == 4


async def test_catalogue_is_the_reviewed_one(database_dsn: str) -> None:
    expected = CATALOGUE.read_text()
    assert as_text(await read_catalogue(database_dsn)) == expected, "run python -m tests.database.test_migrations"


async def test_alembic_finds_no_difference(database_dsn: str) -> None:
    engine = create_async_engine(asyncpg_url(database_dsn))
    async with engine.connect() as connection:

        def compare(sync_connection) -> list[object]:
            options = {"include_object": migrate.is_compared, "compare_type": True}
            return compare_metadata(MigrationContext.configure(sync_connection, opts=options), Base.metadata)

        assert await connection.run_sync(compare) == []
    await engine.dispose()


async def test_tables_in_code_make_the_same_schema(database_dsn: str, empty_database_dsn: str) -> None:
    # what Alembic does not compare: checks, partition keys, the conditions of partial indexes
    engine = create_async_engine(asyncpg_url(empty_database_dsn))
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()
    sections = ("columns", "constraints", "indexes")
    from_code = without_table(await read_catalogue(empty_database_dsn), *sections)
    assert from_code == without_table(await read_catalogue(database_dsn), *sections)


def test_two_replicas_migrate_at_once(empty_database_dsn: str) -> None:
    with ThreadPoolExecutor(3) as executor:
        list(executor.map(migrate.upgrade, [empty_database_dsn] * 3))
    assert migrate.current(empty_database_dsn) == HEAD


@pytest.fixture
async def connection(database_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(database_dsn)
    yield opened
    await opened.close()


async def test_partitions_start_with_this_month_and_cover_a_year(connection) -> None:
    months = await connection.fetchval(
        "SELECT array_agg(right(relname, 6) ORDER BY relname) FROM pg_class WHERE relname ~ '^event_p[0-9]{6}$'"
    )
    assert months[0] == await connection.fetchval("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMM')")
    assert len(months) == migrate.PARTITION_MONTHS


def test_two_databases_of_one_server_are_migrated_at_once(database_server: DatabaseServer) -> None:
    # the roles are the same ones
    with (
        database_server.database(migrated=False) as one,
        database_server.database(migrated=False) as two,
        ThreadPoolExecutor(2) as executor,
    ):
        list(executor.map(migrate.upgrade, [one, two] * 3))
        assert {migrate.current(one), migrate.current(two)} == {HEAD}


async def test_ensure_partitions_adds_only_what_is_missing(databases: Databases) -> None:
    database = databases.operator  # not the owner: a function of his does it
    assert await migrate.ensure_partitions(database) == 0
    assert await migrate.ensure_partitions(database, migrate.PARTITION_MONTHS + 2) == 2 * 4
    assert await migrate.ensure_partitions(database, migrate.PARTITION_MONTHS + 2) == 0


async def test_ensure_partitions_gives_way_to_a_busy_table(database: Database, connection) -> None:
    async with connection.transaction():
        await connection.execute("LOCK TABLE quote IN ROW EXCLUSIVE MODE")
        await connection.execute("LOCK TABLE event_default IN ROW EXCLUSIVE MODE")
        with pytest.raises(RfqError, match="DATABASE_UNAVAILABLE"):
            await migrate.ensure_partitions(database, migrate.PARTITION_MONTHS + 1)
    assert await migrate.ensure_partitions(database, migrate.PARTITION_MONTHS + 1) == 4


async def test_a_role_that_owns_nothing_can_start_on_a_migrated_schema(database_dsn: str, connection) -> None:
    last = await connection.fetchval("SELECT max(relname) FROM pg_class WHERE relname ~ '^event_p[0-9]{6}$'")
    await connection.execute(f"DROP TABLE {last}")
    await connection.execute("CREATE ROLE owns_nothing LOGIN PASSWORD 'nothing'")
    await connection.execute("GRANT SELECT ON alembic_version TO owns_nothing")
    dsn = f"postgresql://owns_nothing:nothing@{database_dsn.rpartition('@')[2]}"
    try:
        migrate.upgrade(dsn)
        with pytest.raises(RfqError, match=r"permission denied|must be owner"):
            migrate.downgrade(dsn, "base")
    finally:
        await connection.execute("DROP OWNED BY owns_nothing")
        await connection.execute("DROP ROLE owns_nothing")
    migrate.upgrade(database_dsn)
    assert await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", last)


async def test_a_database_ahead_of_this_program_is_refused(database_dsn: str, connection) -> None:
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(RfqError, match="9999"):
        migrate.upgrade(database_dsn)


async def test_partition_bounds_are_those_of_uuid7_floor(connection) -> None:
    june_2027_ns = 1_811_808_000 * 10**9
    assert await connection.fetchval("SELECT uuid7_floor(DATE '2027-06-01')") == uuid7_floor(june_2027_ns)


async def test_a_month_whose_rows_fell_into_the_default_stays_there(connection) -> None:
    january_2020_ns = 1_577_836_800 * 10**9
    await connection.execute(
        "INSERT INTO event (id, kind, occurred_at_ns, payload_json, audience) "
        "VALUES ($1, 'firm.added', 1, '{}', 'none')",
        uuid7_floor(january_2020_ns),
    )
    assert await connection.fetchval("SELECT ensure_partitions(DATE '2020-01-01', 1)") == 3
    assert await connection.fetchval("SELECT count(*) FROM event") == 1


def update_catalogue() -> None:
    """Write ``catalogue.txt`` from a freshly migrated database."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        with EmbeddedPostgres(Path(directory) / "data", fsync=False) as server:
            migrate.upgrade(server.dsn)
            CATALOGUE.write_text(as_text(asyncio.run(read_catalogue(server.dsn))))


if __name__ == "__main__":
    update_catalogue()
