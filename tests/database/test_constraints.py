"""What the database refuses by itself, whoever writes."""

from __future__ import annotations

import asyncpg
import pytest

from rfq_service.db.engine import Databases
from rfq_service.domain.changes import Changes
from rfq_service.domain.history import Firm, QuoteEnd
from rfq_service.domain.identifiers import FillId
from rfq_service.domain.quote import Fill, QuoteEndReason, QuoteState
from rfq_service.domain.units import Side
from tests.database import samples
from tests.database.samples import NOW_NS

APPEND_ONLY = ("event", "quote", "quote_end", "evaluation", "decision", "fill", "fill_leg")
PARTITIONED = ("event", "quote", "evaluation", "decision")


@pytest.fixture
async def filled_database(databases: Databases, database_dsn: str, client: Firm, dealers: list[Firm]):
    """A database with a row in every append-only table; yields a connection to it, as the tables' owner."""
    opening = samples.opening_changes(client, dealers[:1])
    await samples.append(databases, samples.evaluation_changes(client), opening)
    rfq = opening.new_rfq
    quote = samples.quote(rfq, dealers[0])
    end = QuoteEnd(quote.quote_id, QuoteState.ACCEPTED, QuoteEndReason.HIT, NOW_NS)
    ids = (FillId(samples.new_id()), rfq.rfq_id, quote.quote_id, client.firm_id, dealers[0].firm_id)
    fill = Fill(*ids, Side.BUY, rfq.terms.quantity, quote.side_price(Side.BUY), NOW_NS)
    changes = Changes(client.firm_id, quotes=[quote], ends=[(quote, end)], fills=[(fill, rfq.terms)])
    await samples.store(databases, changes)
    connection = await asyncpg.connect(database_dsn)
    yield connection
    await connection.close()


async def test_append_only_tables_refuse_every_change(filled_database) -> None:
    for table in APPEND_ONLY:
        assert await filled_database.fetchval(f"SELECT count(*) FROM {table}") > 0
        column = {"quote_end": "quote_id", "fill_leg": "fill_id"}.get(table, "id")
        statements = (
            f"UPDATE {table} SET {column} = {column}",
            f"DELETE FROM {table}",
            f"TRUNCATE {table} CASCADE",
        )
        for statement in statements:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
                await filled_database.execute(statement)


@pytest.mark.parametrize("table", PARTITIONED)
async def test_partitions_refuse_too(filled_database, table: str) -> None:
    partition = f"{table}_p202701"
    assert await filled_database.fetchval(f"SELECT count(*) FROM {partition}") > 0
    for name in (partition, f"{table}_default"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await filled_database.execute(f"TRUNCATE {name} CASCADE")
    for statement in (f"UPDATE {partition} SET id = id", f"DELETE FROM {partition}"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await filled_database.execute(statement)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
async def test_no_numeric_column_takes_a_number_that_is_none(filled_database, number: str) -> None:
    columns = await filled_database.fetch(
        "SELECT c.relname AS table, a.attname AS column, format_type(a.atttypid, -1) AS type FROM pg_attribute a "
        "JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 "
        "AND c.relkind IN ('r', 'p') AND NOT c.relispartition "
        "AND format_type(a.atttypid, -1) IN ('numeric', 'numeric[]', 'double precision')"
    )
    assert len(columns) > 25
    for table, column, type_name in columns:
        # A check of this column alone must be false for the number, all else being as in a row of NULLs.
        checks = await filled_database.fetch(
            "SELECT pg_get_expr(conbin, conrelid) AS expression FROM pg_constraint "
            "WHERE conrelid = $1::text::regclass AND contype = 'c'",
            table,
        )
        value = f"ARRAY['{number}'::numeric]" if type_name.endswith("[]") else f"'{number}'::{type_name}"
        names = await filled_database.fetch(
            "SELECT attname, format_type(atttypid, -1) AS type FROM pg_attribute "
            "WHERE attrelid = $1::text::regclass AND attnum > 0",
            table,
        )
        # 'quantity' stands for any positive bound that a column is compared with
        row = ", ".join(
            f"{value} AS {name}" if name == column else f"{'1' if name == 'quantity' else 'NULL'}::{kind} AS {name}"
            for name, kind in names
        )
        verdicts = [
            await filled_database.fetchval(f"SELECT {check['expression']} FROM (SELECT {row}) AS one")
            for check in checks
        ]
        assert False in verdicts, f"{table}.{column} takes {number}"


async def test_checks_refuse_what_the_domain_would_never_write(filled_database) -> None:
    for statement in (
        "UPDATE rfq SET state = 'lost'",
        "UPDATE rfq SET filled_quantity = quantity + 1",
        "UPDATE rfq SET minimum_quantity = NULL",
        "UPDATE rfq SET client_reference = repeat('x', 201)",
        "UPDATE invitation SET state = ''",
        "UPDATE firm SET name = ''",
        "UPDATE instrument SET expires_at_ns = 1",
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await filled_database.execute(statement)
