"""What each login role may see and do: the whole catalogue against one written list, and every known way round it.

All through real connections of the roles themselves. The owner of the tables is bound by none of it, so nothing here is
asked of him except what there is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from asyncpg import (
    FeatureNotSupportedError,
    InsufficientPrivilegeError,
    UniqueViolationError,
)

from rfq_service.api.routes import OPERATIONS
from rfq_service.db import migrate
from rfq_service.db.engine import Database
from rfq_service.db.roles import ROLES
from rfq_service.domain.stream import PARTY_OF_ROLE
from tests.database.parties import (
    ANNA,
    AUDITOR,
    BERT,
    CLIENTS,
    DEALERS,
    DORA,
    EMIL,
    EVENT,
    INVITATION,
    OPERATOR,
    QUOTE,
    RFQ,
    connected,
    enter,
    identifier,
    settle,
)

# Every table with its columns; one that is not here has no business in the database.
COLUMNS = {
    "firm": "id name is_dealer",
    "api_key": "id firm_id digest prefix label created_at_ns revoked_at_ns role scopes expires_at_ns replaced_by "
    "created_by",
    "token_key": "id public_key private_key created_at_ns retired_at_ns",
    "audit_grant": "id auditor_firm_id firm_id granted_by granted_at_ns revoked_at_ns",
    "instrument": "id venue symbol kind contract_type base_currency quote_currency settlement_currency tick_size "
    "lot_size multiplier quantity_min quantity_max staleness_limit_ns taker_fee_bps expires_at_ns",
    "market_bar": "instrument_id start_ns open_mid high_mid low_mid close_mid volume trade_count spread_bps "
    "depth_notional",
    "rfq": "id client_firm_id side quantity size_mode minimum_quantity price_increment created_at_ns expires_at_ns "
    "limit_price client_reference anonymous state filled_quantity panel_firm_ids",
    "rfq_leg": "rfq_id position client_firm_id instrument_id side ratio",
    "invitation": "id rfq_id dealer_firm_id client_name side quantity size_mode minimum_quantity price_increment "
    "created_at_ns expires_at_ns legs_json instrument_ids state outcome cover_distance_micro_bps client_firm_id",
    "quote": "id rfq_id client_firm_id dealer_firm_id dealer_name bid_price bid_leg_prices ask_price ask_leg_prices "
    "quantity received_at_ns valid_until_ns",
    "active_quote": "quote_id rfq_id valid_until_ns client_firm_id",
    "quote_end": "quote_id client_firm_id dealer_firm_id state reason ended_at_ns",
    "evaluation": "id decision_id rfq_id quote_id client_firm_id side verdict reasons cost_micro_bps fairness_ppm "
    "excess_micro_bps result_json",
    "decision": "id rfq_id client_firm_id decided_at_ns action quote_id model is_fallback inputs_json result_json "
    "number",
    "fill": "id rfq_id quote_id client_firm_id dealer_firm_id side quantity price filled_at_ns",
    "fill_leg": "fill_id position client_firm_id dealer_firm_id instrument_id side quantity price",
    "event": "id kind occurred_at_ns client_firm_id dealer_firm_id rfq_id quote_id payload_json audience position "
    "transaction_id",
    "event_leaf": "leaf_index event_id client_firm_id",
    "stream_entry": "firm_id party number leaf_index event_id kind occurred_at_ns rfq_id quote_id payload_json "
    "sequenced_at_ns",
    "stream_head": "firm_id party last_number",
    "idempotency_key": "firm_id operation key_digest request_digest status body created_at_ns expires_at_ns",
    "sequencer": "id next_leaf_index below",
    "alembic_version": "version_num",
}
# Without a firm in it and without a secret: no policy.
PUBLIC_TABLES = {"alembic_version"}
PARTITIONED = {"quote", "evaluation", "decision", "event"}


def columns(table: str, *but: str) -> frozenset[str]:
    return frozenset(COLUMNS[table].split()) - set(but)


def every(*tables: str, but: str = "") -> dict[str, frozenset[str]]:
    return {table: columns(table, but) for table in tables}


DIRECTORY = every("firm", "instrument", "market_bar")
CLIENT_TABLES = ("rfq", "rfq_leg", "quote", "quote_end", "active_quote", "evaluation", "decision", "fill", "fill_leg")
BOTH_SIDES = ("invitation", "quote", "quote_end", "fill", "fill_leg")
READS = {
    "rfq_client": {
        **DIRECTORY,
        **every(*CLIENT_TABLES, "idempotency_key", "stream_head"),
        **every("stream_entry", but="leaf_index"),
    },
    "rfq_dealer": {
        **DIRECTORY,
        **every(*BOTH_SIDES, but="client_firm_id"),
        **every("idempotency_key", "stream_head"),
        **every("stream_entry", but="leaf_index"),
    },
    "rfq_desk": {**DIRECTORY, **every(*CLIENT_TABLES, "invitation", "idempotency_key")},
    "rfq_writer": {**DIRECTORY, **every("rfq", "rfq_leg", "quote", "active_quote")},
    "rfq_auditor": {
        **DIRECTORY,
        **every(*CLIENT_TABLES, "invitation", "event", "event_leaf", "stream_entry", "audit_grant"),
    },
    "rfq_sequencer": DIRECTORY,
    "rfq_streamer": {**DIRECTORY, **every("stream_entry", "stream_head")},
    "rfq_operator": {**DIRECTORY, **every("api_key", "token_key", "audit_grant", "idempotency_key")},
}
EVENT_INSERT = every("event", but="transaction_id")
INSERTS: dict[str, dict[str, frozenset[str]]] = {
    "rfq_desk": {
        **every("quote", "active_quote", "quote_end", "evaluation", "decision", "fill", "fill_leg", "idempotency_key"),
        **EVENT_INSERT,
    },
    "rfq_writer": {
        **every("rfq", "rfq_leg", "invitation", "quote", "active_quote", "quote_end", "evaluation", "decision"),
        **every("idempotency_key"),
        **EVENT_INSERT,
    },
    "rfq_operator": {
        **every("firm", "api_key", "token_key", "audit_grant", "instrument", "market_bar", "idempotency_key"),
        **EVENT_INSERT,
    },
}
UPDATES: dict[str, dict[str, frozenset[str]]] = {
    "rfq_desk": {
        "rfq": frozenset({"state", "filled_quantity"}),
        "invitation": frozenset({"state", "outcome", "cover_distance_micro_bps"}),
    },
    "rfq_operator": {
        "api_key": frozenset({"revoked_at_ns", "expires_at_ns", "replaced_by"}),
        "token_key": frozenset({"private_key", "retired_at_ns"}),
        "audit_grant": frozenset({"revoked_at_ns"}),
        **every("instrument", "market_bar"),
    },
}
# Function with its arguments, and who may call it.
CALLS = {
    "lock_rfq(uuid)": {"rfq_desk", "rfq_writer"},
    "lock_invited_rfqs(uuid[],uuid[])": {"rfq_writer"},
    "enter_as_invited(uuid,uuid)": {"rfq_desk"},
    "enter_audit(uuid)": {"rfq_auditor"},
    "due_rfqs(bigint,integer)": {"rfq_desk"},
    "due_quotes(bigint,integer)": {"rfq_desk"},
    "end_active_quote()": set(),
    "sequence_events(integer,bigint)": {"rfq_sequencer"},
    "purge_stream(bigint,integer)": {"rfq_sequencer"},
    "purge_idempotency_keys(bigint,integer)": {"rfq_operator"},
    "ensure_partitions(date,integer)": {"rfq_operator"},
    "add_partitions(date,integer)": set(),
    "uuid7_floor(date)": set(),
    "refuse_change()": set(),
}
NOT_DEFINER = {"lock_rfq(uuid)", "add_partitions(date,integer)", "uuid7_floor(date)", "refuse_change()"}


@pytest.fixture
async def owner(database_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    async with connected(database_dsn) as connection:
        await settle(connection)
        yield connection


# ------------------------------------------------------------------------------------------------------- the catalogue


async def test_everything_that_holds_rows_is_listed_and_has_row_security(owner, database_dsn: str) -> None:
    operator = Database(database_dsn)
    assert await migrate.ensure_partitions(operator, migrate.PARTITION_MONTHS + 1) == len(PARTITIONED)
    await operator.close()
    relations = await owner.fetch(
        "SELECT c.relname, c.relkind::text AS kind, c.relrowsecurity, c.relispartition, i.inhparent::regclass::text AS "
        "parent, n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND c.relkind IN ('r', 'p') "
        "WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND c.relkind NOT IN ('i', 'I', 't')"
    )
    # no view, materialised view, sequence, foreign table or composite type, and no other schema
    assert {row["kind"] for row in relations} == {"r", "p"}
    assert {row["nspname"] for row in relations} == {"public"}
    assert {row["relname"] for row in relations if not row["relispartition"]} == set(COLUMNS)
    assert {row["parent"] for row in relations if row["relispartition"]} == PARTITIONED
    without = {row["relname"] for row in relations if not row["relrowsecurity"]}
    assert without == PUBLIC_TABLES
    for table in COLUMNS:
        found = await owner.fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped",
            table,
        )
        assert {row["attname"] for row in found} == columns(table), table


async def test_every_privilege_of_every_role_is_listed(owner) -> None:
    wanted = {"SELECT": READS, "INSERT": INSERTS, "UPDATE": UPDATES, "REFERENCES": {}}
    for privilege, listed in wanted.items():
        for role in ROLES:
            rows = await owner.fetch(
                "SELECT c.oid::regclass::text AS name, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = "
                "c.oid WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f') "
                "AND a.attnum > 0 AND NOT a.attisdropped AND has_column_privilege($1, c.oid, a.attnum, $2)",
                role,
                privilege,
            )
            found: dict[str, set[str]] = {}
            for row in rows:
                found.setdefault(row["name"], set()).add(row["attname"])
            assert found == listed.get(role, {}), (role, privilege)
    others = await owner.fetch(
        "SELECT r.rolname, c.relname, p.name FROM pg_roles r, pg_class c, "
        "unnest(ARRAY['DELETE', 'TRUNCATE', 'TRIGGER', 'MAINTAIN']) AS p (name) WHERE r.rolname LIKE 'rfq\\_%' "
        "AND c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') "
        "AND has_table_privilege(r.oid, c.oid, p.name)"
    )
    assert others == []


async def test_functions_are_closed_and_cannot_be_led_astray(owner) -> None:
    functions = await owner.fetch(
        "SELECT p.oid::regprocedure::text AS name, p.oid, p.prosecdef, p.proconfig FROM pg_proc p "
        "JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')"
    )
    assert {row["name"] for row in functions} == set(CALLS)
    for name, oid, is_definer, settings in functions:
        assert is_definer == (name not in NOT_DEFINER), name
        assert not is_definer or "search_path=public, pg_temp" in settings, name
        assert not await owner.fetchval("SELECT has_function_privilege('public', $1::oid, 'EXECUTE')", oid), name
        can_call = "SELECT has_function_privilege($1, $2::oid, 'EXECUTE')"
        callers = {role for role in ROLES if await owner.fetchval(can_call, role, oid)}
        assert callers == CALLS[name], name


async def test_roles_are_nobody_beyond_their_grants(owner) -> None:
    mighty = await owner.fetch(
        "SELECT rolname FROM pg_roles WHERE rolname = ANY ($1) AND (rolsuper OR rolbypassrls OR rolcreaterole OR "
        "rolcreatedb OR rolreplication OR NOT rolcanlogin)",
        list(ROLES),
    )
    assert mighty == []
    memberships = "SELECT FROM pg_auth_members m JOIN pg_roles r ON r.oid IN (m.member, m.roleid)"
    # a user with CREATEROLE becomes a member of what he makes, as its administrator; nobody else is one
    assert await owner.fetch(f"{memberships} WHERE r.rolname = ANY ($1) AND NOT m.admin_option", list(ROLES)) == []
    owned = await owner.fetch(
        "SELECT d.classid::regclass, d.objid FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid "
        "WHERE d.refclassid = 'pg_authid'::regclass AND d.deptype = 'o' AND r.rolname = ANY ($1)",
        list(ROLES),
    )
    assert owned == []
    for role in ROLES:
        assert not await owner.fetchval("SELECT has_schema_privilege($1, 'public', 'CREATE')", role)


async def test_every_policy_is_for_one_role_and_asks_once_per_statement(owner) -> None:
    policies = await owner.fetch("SELECT tablename, cmd, roles::text[], qual, with_check FROM pg_policies")
    assert {role for row in policies for role in row["roles"]} == set(ROLES)
    granted = {
        (table, command, role)
        for command, listed in (("SELECT", READS), ("INSERT", INSERTS), ("UPDATE", UPDATES))
        for role, tables in listed.items()
        for table in tables
    }
    assert {(row["tablename"], row["cmd"], row["roles"][0]) for row in policies} == granted
    for row in policies:
        condition = row["with_check"] if row["cmd"] == "INSERT" else row["qual"]
        assert len(row["roles"]) == 1
        assert " OR " not in condition
        # inside a scalar subquery, which is an InitPlan
        assert condition.count("current_setting") == condition.count("( SELECT "), condition


# ---------------------------------------------------------------------------------------------- every way that is shut


@pytest.mark.parametrize("role", ROLES)
async def test_what_is_not_granted_is_refused(owner, database_dsn: str, role: str) -> None:
    names = [
        row["name"]
        for row in await owner.fetch(
            "SELECT oid::regclass::text AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace "
            "AND relkind IN ('r', 'p')"
        )
    ]
    assert sum(name not in COLUMNS for name in names) == len(PARTITIONED) * (migrate.PARTITION_MONTHS + 1)
    async with connected(database_dsn, role) as connection:
        for name in names:
            # a partition is refused whatever its parent grants
            statements = [f"DELETE FROM {name}", f"TRUNCATE {name}"]
            if name not in READS[role]:
                statements += [f"SELECT 1 FROM {name}", f"SELECT * FROM {name}", f"COPY {name} TO STDOUT"]
            if name not in UPDATES.get(role, {}):
                column = min(columns(name)) if name in COLUMNS else "id"
                statements.append(f"UPDATE {name} SET {column} = NULL")
            if name not in INSERTS.get(role, {}):
                statements.append(f"INSERT INTO {name} DEFAULT VALUES")
            for statement in statements:
                with pytest.raises(InsufficientPrivilegeError, match="permission denied"):
                    await connection.execute(statement)
        for statement in (
            "CREATE TABLE public.mine ()",
            "CREATE SCHEMA mine",
            "CREATE ROLE mine",
            "CREATE DATABASE mine",
        ):
            with pytest.raises(InsufficientPrivilegeError, match="permission denied"):
                await connection.execute(statement)


@pytest.mark.parametrize("role", ROLES)
async def test_nobody_becomes_somebody_else(owner, database_dsn: str, role: str) -> None:
    superuser = await owner.fetchval("SELECT current_user")
    async with connected(database_dsn, role) as connection:
        assert await connection.fetchval("SELECT current_user") == role
        for other in (superuser, *ROLES):
            if other != role:
                for command in ("SET ROLE", "SET SESSION AUTHORIZATION"):
                    with pytest.raises(InsufficientPrivilegeError, match="permission denied"):
                        await connection.execute(f"{command} {other}")
        for statement in (f"ALTER ROLE {role} BYPASSRLS", f"GRANT {superuser} TO {role}"):
            with pytest.raises(InsufficientPrivilegeError):
                await connection.execute(statement)
        # switched off, row security refuses instead of filtering
        await connection.execute("SET row_security = off")
        for table in {*READS[role]} - {*DIRECTORY, "api_key", "token_key"}:
            with pytest.raises(InsufficientPrivilegeError, match="row-level security"):
                await connection.fetch(f"SELECT 1 FROM {table}")


@pytest.mark.parametrize("role", ROLES)
async def test_functions_of_others_are_refused(owner, database_dsn: str, role: str) -> None:
    async with connected(database_dsn, role) as connection:
        for name, callers in CALLS.items():
            if role not in callers:
                function, _, types = name.rstrip(")").partition("(")
                arguments = ", ".join(f"NULL::{one}" for one in types.split(",") if one)
                with pytest.raises(InsufficientPrivilegeError, match="permission denied for function"):
                    await connection.execute(f"SELECT {function}({arguments})")


@pytest.mark.parametrize("role", sorted(INSERTS))
async def test_copying_in_is_refused(owner, database_dsn: str, role: str) -> None:
    async with connected(database_dsn, role) as connection:
        for table, given in INSERTS[role].items():
            with pytest.raises(FeatureNotSupportedError, match="row-level security"):
                await connection.copy_records_to_table(table, records=[], columns=sorted(given))


# ---------------------------------------------------------------------------------------------------------- whose rows

# Role, the setting that opens its rows, whose they are then, and the column that says whose a row is.
OWN_ROWS: list[tuple[str, dict[str, Any], tuple[UUID, ...]]] = [
    ("rfq_client", {"firm": ANNA}, (ANNA,)),
    ("rfq_client", {"firm": BERT}, (BERT,)),
    ("rfq_dealer", {"firm": DORA}, (DORA,)),
    ("rfq_dealer", {"firm": EMIL}, (EMIL,)),
    ("rfq_desk", {"firm": ANNA, "principal": ANNA}, (ANNA,)),
    ("rfq_desk", {"firm": BERT, "principal": BERT}, (BERT,)),
    ("rfq_writer", {"firms": (ANNA,)}, (ANNA,)),
    ("rfq_writer", {"firms": (ANNA, BERT)}, (ANNA, BERT)),
    ("rfq_auditor", {"firms": (BERT,), "firm": AUDITOR}, (BERT,)),
    ("rfq_streamer", {"firms": (ANNA, EMIL)}, (ANNA, EMIL)),
]


def owner_column(role: str, table: str) -> str:
    if table in ("idempotency_key", "stream_entry", "stream_head"):
        return "firm_id"
    if table == "audit_grant":
        return "auditor_firm_id"
    return "dealer_firm_id" if role == "rfq_dealer" else "client_firm_id"


@pytest.mark.parametrize("role,settings,firms", OWN_ROWS)
async def test_a_role_sees_the_rows_of_its_firms_and_no_other(
    owner, database_dsn: str, role: str, settings: dict[str, Any], firms: tuple[UUID, ...]
) -> None:
    await owner.execute("INSERT INTO audit_grant VALUES ($1, $2, $3, NULL, 1)", identifier(99, ANNA), AUDITOR, ANNA)
    party = {"rfq_client": " AND party = 'client'", "rfq_dealer": " AND party = 'dealer'"}.get(role, "")
    async with connected(database_dsn, role) as connection, connection.transaction():
        await enter(connection, **settings)
        for table in set(READS[role]) - set(DIRECTORY):
            column = owner_column(role, table)
            whose = [AUDITOR] if table == "audit_grant" else list(firms)
            desk = party if table.startswith("stream") else ""
            expected = await owner.fetchval(f"SELECT count(*) FROM {table} WHERE {column} = ANY ($1){desk}", whose)
            everybody = await owner.fetchval(f"SELECT count(*) FROM {table}")
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == expected, table
            # so that the comparison means something
            assert everybody > expected or table == "audit_grant" or len(firms) > 1 or firms == (EMIL,), table
        # the way that a page is copied out
        if role == "rfq_client":
            rows = await connection.fetch("SELECT client_firm_id FROM rfq")
            assert {row[0] for row in rows} == set(firms)


@pytest.mark.parametrize("role", sorted(set(ROLES) - {"rfq_operator"}))
async def test_without_a_firm_there_is_no_row(owner, database_dsn: str, role: str) -> None:
    async with connected(database_dsn, role) as connection:
        for settle_setting in ("", "SELECT set_config('app.firm', $1, true), set_config('app.firms', $1, true)"):
            if settle_setting:  # outside a transaction it ends with its own statement and leaves '', not NULL
                await connection.execute(settle_setting, str(ANNA))
                assert await connection.fetchval("SELECT current_setting('app.firm')") == ""
            for table in set(READS[role]) - set(DIRECTORY):
                assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0, table
            for table in DIRECTORY:
                assert await connection.fetchval(f"SELECT count(*) FROM {table}") > 0, table


async def test_a_dealer_never_learns_who_asks_and_what_others_quote(owner, database_dsn: str) -> None:
    async with connected(database_dsn, "rfq_dealer") as connection:
        for table in BOTH_SIDES:
            for statement in (
                f"SELECT client_firm_id FROM {table}",
                f"SELECT * FROM {table}",
                f"SELECT {table} FROM {table}",
                f"SELECT 1 FROM {table} WHERE client_firm_id = '{ANNA}'",
                f"SELECT 1 FROM {table} ORDER BY client_firm_id",
                f"SELECT to_json({table}) FROM {table}",
                f"SELECT count(client_firm_id) FROM {table}",
            ):
                with pytest.raises(InsufficientPrivilegeError, match="permission denied"):
                    await connection.fetch(statement)
        async with connection.transaction():
            await enter(connection, firm=DORA)
            # neither the rival's quote on the RFQ she knows, nor anything of the RFQ she does not know
            rows = await connection.fetch("SELECT id, dealer_firm_id FROM quote")
            assert [tuple(row) for row in rows] == [(identifier(QUOTE, ANNA, 1), DORA)]
            assert [row[0] for row in await connection.fetch("SELECT rfq_id FROM invitation")] == [
                identifier(RFQ, ANNA)
            ]


async def test_a_condition_that_fails_is_not_tried_on_rows_of_others(owner, database_dsn: str) -> None:
    await owner.execute("UPDATE rfq SET client_reference = '7' WHERE client_firm_id = $1", BERT)
    async with connected(database_dsn, "rfq_client") as connection, connection.transaction():
        await enter(connection, firm=BERT)
        # on Anna's row the cast would fail and show her reference
        assert await connection.fetchval("SELECT count(*) FROM rfq WHERE client_reference::integer > 6") == 1


async def test_statistics_show_no_values(owner, database_dsn: str) -> None:
    await owner.execute("ANALYZE")
    question = "SELECT count(*) FROM pg_stats WHERE schemaname = 'public'"
    assert await owner.fetchval(question) > 0
    for role in ROLES:
        async with connected(database_dsn, role) as connection:
            assert await connection.fetchval(question) == 0
            with pytest.raises(InsufficientPrivilegeError):
                await connection.execute("SELECT 1 FROM pg_statistic")


async def test_the_leaf_index_is_not_for_the_parties(owner, database_dsn: str) -> None:
    for role in ("rfq_client", "rfq_dealer"):
        async with connected(database_dsn, role) as connection:
            with pytest.raises(InsufficientPrivilegeError, match="permission denied"):
                await connection.fetch("SELECT leaf_index FROM stream_entry")


# -------------------------------------------------------------------------------------------------- writing for others


async def stored_row(owner: asyncpg.Connection, table: str, firm: UUID) -> str:
    column = "firm_id" if table == "idempotency_key" else "client_firm_id"
    row: str = await owner.fetchval(f"SELECT to_json(t) FROM {table} t WHERE {column} = $1 LIMIT 1", firm)
    return row


async def insert(connection: asyncpg.Connection, table: str, given: frozenset[str], row: str, **entered: UUID) -> None:
    """Store a row in a transaction of its own, with the firms entered first."""
    names = ", ".join(sorted(given))
    statement = f"INSERT INTO {table} ({names}) SELECT {names} FROM json_populate_record(NULL::{table}, $1)"
    async with connection.transaction():
        await enter(connection, **entered)
        await connection.execute(statement, row)


@pytest.mark.parametrize(
    "role,setting,table",
    [
        *(("rfq_writer", "firms", table) for table in INSERTS["rfq_writer"]),
        *(("rfq_desk", "firm", table) for table in INSERTS["rfq_desk"] if table != "idempotency_key"),
        ("rfq_desk", "principal", "idempotency_key"),
    ],
)
async def test_a_row_of_another_firm_is_not_written(
    owner, database_dsn: str, role: str, setting: str, table: str
) -> None:
    row = await stored_row(owner, table, BERT)
    given = INSERTS[role][table]
    async with connected(database_dsn, role) as connection:
        with pytest.raises(InsufficientPrivilegeError, match="row-level security"):
            await insert(connection, table, given, row)
        for entered in (ANNA, DORA, EMIL):
            with pytest.raises(InsufficientPrivilegeError, match="row-level security"):
                await insert(connection, table, given, row, **{setting: entered})
        # With his firm entered the policy lets it through and only the key refuses, without showing what is there.
        with pytest.raises(UniqueViolationError) as caught:
            await insert(connection, table, given, row, **{setting: BERT})
        assert caught.value.detail is None


async def test_the_operator_writes_no_event_of_the_trade(owner, database_dsn: str) -> None:
    row = await stored_row(owner, "event", BERT)
    async with connected(database_dsn, "rfq_operator") as connection:
        with pytest.raises(InsufficientPrivilegeError, match="row-level security"):
            await insert(connection, "event", columns("event", "transaction_id"), row)
        own = "INSERT INTO event (id, kind, occurred_at_ns, client_firm_id, payload_json, audience) "
        own += "VALUES ($1, 'key.added', 1, $2, '{}', 'client')"
        await connection.execute(own, identifier(EVENT, OPERATOR), BERT)


async def test_the_transaction_id_of_an_event_cannot_be_chosen(owner, database_dsn: str) -> None:
    for role in INSERTS:
        async with connected(database_dsn, role) as connection:
            with pytest.raises(InsufficientPrivilegeError, match="permission denied"):
                await connection.execute("INSERT INTO event (id, transaction_id) VALUES (gen_random_uuid(), '1')")


async def test_the_desk_changes_only_the_client_it_entered(owner, database_dsn: str) -> None:
    changes = ("UPDATE rfq SET state = 'cancelled'", "UPDATE invitation SET state = 'cancelled'")
    async with connected(database_dsn, "rfq_desk") as connection:
        for change in changes:
            assert await connection.execute(change) == "UPDATE 0"
            async with connection.transaction():
                await enter(connection, firm=ANNA)
                # a locked row is a changed row: what cannot be changed cannot be locked
                locked = await connection.fetch("SELECT client_firm_id FROM rfq FOR NO KEY UPDATE")
                assert {row[0] for row in locked} == {ANNA}
                await connection.execute(change)
        for table in ("rfq", "invitation"):
            states = await owner.fetch(f"SELECT DISTINCT client_firm_id, state FROM {table}")
            assert {tuple(row) for row in states} == {(ANNA, "cancelled"), (BERT, "open")}
            with pytest.raises(InsufficientPrivilegeError, match="permission denied"):
                await connection.execute(f"UPDATE {table} SET client_firm_id = '{BERT}'")


async def test_a_key_of_the_same_name_is_nobody_elses(owner, database_dsn: str) -> None:
    """Two firms that use the same Idempotency-Key do not notice each other."""
    digest = ANNA.bytes * 2
    record = "INSERT INTO idempotency_key VALUES ($1, 'accept_quote', $2, $2, 200, 'reply', 1, 9)"
    async with connected(database_dsn, "rfq_desk") as connection, connection.transaction():
        await enter(connection, firm=ANNA, principal=BERT)
        await connection.execute(record, BERT, digest)
        rows = await connection.fetch("SELECT firm_id FROM idempotency_key")
        assert {row[0] for row in rows} == {BERT}


@pytest.mark.parametrize(
    "role,setting,party",
    [("rfq_client", "firm", "client"), ("rfq_dealer", "firm", "dealer"), ("rfq_operator", "principal", "")],
)
async def test_stored_replies_are_for_the_role_whose_operations_they_answer(
    owner, database_dsn: str, role: str, setting: str, party: str
) -> None:
    """Whatever firm is named, a dealer's role finds no reply to a client: limit prices and scores are in them."""
    changing = {item.name: item.roles for item in OPERATIONS if item.changes}
    own = {name for name, roles in changing.items() if {PARTY_OF_ROLE.get(item, "") for item in roles} == {party}}
    record = "INSERT INTO idempotency_key VALUES ($1, $2, $3, $3, 200, 'reply', 1, 9)"
    await owner.executemany(record, [(ANNA, name, bytes(32)) for name in changing])
    async with connected(database_dsn, role) as connection, connection.transaction():
        await enter(connection, **{setting: ANNA})
        rows = await connection.fetch("SELECT operation FROM idempotency_key")
        assert {row[0] for row in rows} == own != set()


@pytest.mark.parametrize("firm,operation", [(ANNA, "add_key"), (OPERATOR, "accept_quote")])
async def test_the_operator_stores_replies_to_himself_alone(
    owner, database_dsn: str, firm: UUID, operation: str
) -> None:
    record = "INSERT INTO idempotency_key VALUES ($1, $2, $3, $3, 200, 'reply', 1, 9)"
    async with connected(database_dsn, "rfq_operator") as connection, connection.transaction():
        await enter(connection, principal=OPERATOR)
        with pytest.raises(InsufficientPrivilegeError, match="row-level security"):
            await connection.execute(record, firm, operation, bytes(32))


# ----------------------------------------------------------------------------------------------------------- the doors


async def test_an_auditor_reads_what_he_was_granted_while_he_is(owner, database_dsn: str) -> None:
    tables = sorted(set(READS["rfq_auditor"]) - {*DIRECTORY, "audit_grant"})

    async def seen() -> set[UUID]:
        async with connected(database_dsn, "rfq_auditor") as connection:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                named = await connection.fetchval("SELECT enter_audit($1)", AUDITOR)
                firms = set()
                for table in tables:
                    column = owner_column("rfq_auditor", table)
                    found = {row[0] for row in await connection.fetch(f"SELECT DISTINCT {column} FROM {table}")}
                    assert found == set(named) & set(CLIENTS) or table == "stream_entry", table
                    firms |= found
                assert firms <= set(named)
            assert await connection.fetchval("SELECT count(*) FROM rfq") == 0
        return firms

    grant = "INSERT INTO audit_grant VALUES (gen_random_uuid(), $1, $2, NULL, 1)"
    assert await seen() == set()
    await owner.execute(grant, OPERATOR, BERT)  # somebody else's
    assert await seen() == set()
    await owner.execute(grant, AUDITOR, ANNA)
    assert await seen() == {ANNA}
    await owner.execute("UPDATE audit_grant SET revoked_at_ns = 2")
    assert await seen() == set()
    await owner.execute(grant, AUDITOR, None)
    assert await seen() == {*CLIENTS, EMIL}
    with pytest.raises(UniqueViolationError):
        await owner.execute(grant, AUDITOR, None)  # one live grant per pair, for every firm too


async def test_a_batch_gets_only_the_rfqs_its_dealers_are_invited_to(owner, database_dsn: str) -> None:
    anna, bert = identifier(RFQ, ANNA), identifier(RFQ, BERT)
    call = "SELECT * FROM lock_invited_rfqs($1, $2)"
    async with connected(database_dsn, "rfq_writer") as connection, connected(database_dsn, "rfq_writer") as other:
        async with connection.transaction():
            assert await connection.fetch(call, [DORA], [bert]) == []
            assert await connection.fetch(call, [], []) == []
            assert await connection.fetchval("SELECT current_setting('app.firms', true)") == ""
            assert await connection.fetchval("SELECT count(*) FROM rfq") == 0
            # nothing was locked for him either
            assert await other.fetchval("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))", str(bert))
        async with connection.transaction():
            await enter(connection, firms=(OPERATOR,))
            found = await connection.fetch(call, [DORA, DORA, EMIL, EMIL], [anna, bert, anna, bert])
            assert {tuple(row) for row in found} == {(DORA, anna, ANNA), (EMIL, anna, ANNA), (EMIL, bert, BERT)}
            firms = await connection.fetchval("SELECT current_setting('app.firms')")
            assert set(firms.split(",")) == {str(firm) for firm in (*CLIENTS, *DEALERS, OPERATOR)}
            assert await connection.fetchval("SELECT count(*) FROM rfq") == 2
            for rfq_id in (anna, bert):
                free = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))"
                assert not await other.fetchval(free, str(rfq_id))
        assert await connection.fetchval("SELECT count(*) FROM rfq") == 0


async def test_nobody_enters_uninvited(owner, database_dsn: str) -> None:
    call = "SELECT enter_as_invited($1, $2)"
    async with connected(database_dsn, "rfq_desk") as connection:
        async with connection.transaction():
            assert await connection.fetchval(call, DORA, identifier(RFQ, BERT)) is None
            assert await connection.fetchval(call, DORA, identifier(INVITATION, ANNA)) is None
            assert await connection.fetchval("SELECT count(*) FROM rfq") == 0
        async with connection.transaction():
            assert await connection.fetchval(call, DORA, identifier(RFQ, ANNA)) == ANNA
            assert [row[0] for row in await connection.fetch("SELECT client_firm_id FROM rfq")] == [ANNA]


async def test_the_sweeper_learns_whose_time_has_come(owner, database_dsn: str) -> None:
    async with connected(database_dsn, "rfq_desk") as connection:
        both = {(identifier(RFQ, client), client) for client in CLIENTS}
        for function, due_ns in (("due_rfqs", 9), ("due_quotes", 8)):
            assert await connection.fetch(f"SELECT * FROM {function}($1, 10)", due_ns - 1) == []
            rows = await connection.fetch(f"SELECT * FROM {function}($1, 10)", due_ns)
            assert {tuple(row) for row in rows} == both
            assert len(await connection.fetch(f"SELECT * FROM {function}($1, 1)", due_ns)) == 1


# ----------------------------------------------------------------------------------------------------- what is written


async def test_an_ended_quote_is_no_longer_active(owner, database_dsn: str) -> None:
    quote_id = identifier(QUOTE, ANNA, 1)
    end = "INSERT INTO quote_end VALUES ($1, $2, $3, 'cancelled', 'withdrawn_by_dealer', 2)"
    async with connected(database_dsn, "rfq_desk") as connection, connection.transaction():
        await enter(connection, firm=ANNA)
        assert await connection.fetchval("SELECT quote_id FROM active_quote") == quote_id
        await connection.execute(end, quote_id, ANNA, DORA)
        assert await connection.fetchval("SELECT count(*) FROM active_quote") == 0
    assert [row[0] for row in await owner.fetch("SELECT client_firm_id FROM active_quote")] == [BERT]


async def test_the_new_journals_refuse_change_except_their_purge(owner, database_dsn: str) -> None:
    for table in ("event_leaf", "stream_entry", "idempotency_key"):
        column = min(columns(table))
        for statement in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}", f"TRUNCATE {table}"):
            with pytest.raises(InsufficientPrivilegeError, match="append-only"):
                await owner.execute(statement)
    async with connected(database_dsn, "rfq_operator") as connection:
        assert await connection.fetchval("SELECT purge_idempotency_keys(8, 10)") == 0
        assert await connection.fetchval("SELECT purge_idempotency_keys(9, 3)") == 3
        assert await connection.fetchval("SELECT purge_idempotency_keys(9, 3)") == 1
    async with connected(database_dsn, "rfq_sequencer") as connection:
        assert await connection.fetchval("SELECT purge_stream(3, 10)") == 0
        assert await connection.fetchval("SELECT purge_stream(4, 3)") == 3
    rest = await owner.fetch("SELECT leaf_index FROM stream_entry")
    assert [row[0] for row in rest] == [1]  # the oldest went first
    # the leave to delete ended with the functions
    with pytest.raises(InsufficientPrivilegeError, match="append-only"):
        await owner.execute("DELETE FROM stream_entry")
