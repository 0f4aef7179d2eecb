"""The pool and the one translation of a failing database, against a server that is really stopped and killed."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from rfq_service.db import migrate
from rfq_service.db.embedded import EmbeddedPostgres
from rfq_service.db.engine import Database, Databases, asyncpg_url, scope_statement
from rfq_service.db.roles import ROLES, role_dsn, role_password
from rfq_service.db.unit_of_work import UnitOfWork
from rfq_service.domain.errors import ErrorCode, InvariantError, RfqError
from rfq_service.domain.history import Firm
from rfq_service.domain.identifiers import FirmId
from tests.database import samples
from tests.database.parties import ANNA, BERT, DORA, connected, settle


async def unavailable(database: Database) -> None:
    with pytest.raises(RfqError) as caught:
        await database.ping()
    assert caught.value.code is ErrorCode.DATABASE_UNAVAILABLE


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
async def test_every_spelling_of_the_address(database_dsn: str, scheme: str) -> None:
    database = Database(database_dsn.replace("postgresql", scheme, 1))
    await database.ping()
    await database.close()


def test_another_address_is_refused() -> None:
    with pytest.raises(ValueError, match="postgresql://"):
        asyncpg_url("mysql://localhost/rfq")


async def test_a_used_up_pool_is_overloaded_within_its_time(database_dsn: str) -> None:
    database = Database(database_dsn, pool_size=2, acquire_timeout_s=0.2)
    async with database.connect() as first, database.connect() as second:
        await first.execute(text("SELECT 1"))
        await second.execute(text("SELECT 1"))
        started = time.monotonic()
        with pytest.raises(RfqError) as caught:
            await database.ping()
        assert caught.value.code is ErrorCode.OVERLOADED
        assert time.monotonic() - started < 2.0
    await database.ping()
    await database.close()


async def test_a_slow_statement_is_cut_off(database_dsn: str) -> None:
    database = Database(database_dsn, pool_size=1, command_timeout_s=0.2)
    for _ in range(3):
        with pytest.raises(RfqError) as caught:
            async with database.connect() as connection:
                await connection.execute(text("SELECT pg_sleep(20)"))
        assert caught.value.code is ErrorCode.DATABASE_UNAVAILABLE
    await database.ping()
    await database.close()


async def test_a_cancelled_request_gives_its_connection_back(database_dsn: str) -> None:
    database = Database(database_dsn, pool_size=1, acquire_timeout_s=5.0)

    async def request() -> None:
        async with database.connect() as connection:
            await connection.execute(text("SELECT pg_sleep(20)"))

    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await request()
        await database.ping()
    await database.close()


async def test_a_deadlock_is_unavailable_and_not_a_bug(database: Database, client: Firm) -> None:
    firms = [samples.firm("One"), samples.firm("Two")]
    async with database.begin() as uow:
        for firm in firms:
            await uow.firms.add(firm)
        await uow.commit()
    both_hold_one = asyncio.Barrier(2)

    async def lock_in_order(first: Firm, second: Firm) -> str:
        try:
            async with database.connect() as connection:
                lock = text("SELECT 1 FROM firm WHERE id = :id FOR UPDATE")
                await connection.execute(lock, {"id": first.firm_id})
                await both_hold_one.wait()
                await connection.execute(lock, {"id": second.firm_id})
        except RfqError as error:
            return error.code
        return "done"

    results = await asyncio.gather(lock_in_order(*firms), lock_in_order(*reversed(firms)))
    assert ErrorCode.DATABASE_UNAVAILABLE in results


async def test_our_own_bugs_are_not_hidden(database: Database, client: Firm) -> None:
    async with database.begin() as uow:
        with pytest.raises(IntegrityError):
            await uow.firms.add(samples.firm(""))
    grant = text("INSERT INTO audit_grant VALUES (:id, :id, NULL, NULL, 1)")
    async with database.begin() as uow:
        with pytest.raises(IntegrityError):
            await uow._connection.execute(grant, {"id": samples.new_id()})


async def test_a_failing_statement_keeps_its_values_to_itself(database: Database) -> None:
    with pytest.raises(DBAPIError) as caught:
        async with database.begin() as uow:
            await uow.firms.add(samples.firm("secret" * 20))
    assert "firm_name_check" in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_without_a_statement_cache(database_dsn: str) -> None:
    database = Database(database_dsn, statement_cache_size=0)
    firm = samples.firm("Behind a pooler")
    for _ in range(3):
        async with database.begin() as uow:
            await uow.firms.add(firm)
            await uow.commit()
            assert await uow.firms.list() == [firm]
    await database.close()


async def test_the_pool_recovers_when_the_server_returns(own_server: EmbeddedPostgres) -> None:
    migrate.upgrade(own_server.dsn)
    database = Database(own_server.dsn, pool_size=3)
    async with database.connect() as first, database.connect() as second:  # two connections that will be dead
        await first.execute(text("SELECT 1"))
        await second.execute(text("SELECT 1"))
    for _ in range(2):
        own_server.stop()
        started = time.monotonic()
        await unavailable(database)
        await unavailable(database)
        assert time.monotonic() - started < 5.0
        own_server.start()
        for _ in range(4):  # not one request fails after the return
            await database.ping()
    await database.close()


async def test_a_restart_that_nobody_noticed_costs_no_request(own_server: EmbeddedPostgres) -> None:
    database = Database(own_server.dsn, pool_size=3)
    async with database.connect() as first, database.connect() as second:
        await first.execute(text("SELECT 1"))
        await second.execute(text("SELECT 1"))
    await asyncio.to_thread(own_server.stop)
    own_server.start()
    async with database.connect() as first, database.connect() as second:
        await first.execute(text("SELECT 1"))
        await second.execute(text("SELECT 1"))
    await database.close()


async def test_a_killed_server_is_unavailable_in_the_middle_of_a_transaction(own_server: EmbeddedPostgres) -> None:
    migrate.upgrade(own_server.dsn)
    database = Database(own_server.dsn, pool_size=3, command_timeout_s=10.0)
    firm = samples.firm("Never committed")

    async def in_flight() -> None:
        async with database.begin() as uow:
            await uow.firms.add(firm)
            await asyncio.sleep(0.5)
            await uow.firms.list()
            await uow.commit()

    async def in_a_statement() -> None:
        async with database.connect() as connection:
            await connection.execute(text("SELECT pg_sleep(5)"))

    requests = [asyncio.create_task(in_flight()), asyncio.create_task(in_a_statement())]
    await asyncio.sleep(0.3)
    os.kill(own_server.pid, signal.SIGKILL)
    for result in await asyncio.gather(*requests, return_exceptions=True):
        assert isinstance(result, RfqError), repr(result)
        assert result.code is ErrorCode.DATABASE_UNAVAILABLE
    await asyncio.to_thread(own_server.stop)
    own_server.start()
    async with database.begin() as uow:
        assert await uow.firms.list() == []
    await database.close()


async def test_reader_sees_one_moment_and_cannot_write(database: Database) -> None:
    name = "Seen by the second query only"
    async with database.read() as reader:
        before = await reader.firms.list()
        async with database.begin() as writer:
            await writer.firms.add(Firm(FirmId(samples.new_id()), name, is_dealer=False))
            await writer.commit()
        assert await reader.firms.list() == before
        with pytest.raises(DBAPIError, match="read-only"):
            await reader.firms.add(Firm(FirmId(samples.new_id()), "Never", is_dealer=False))
    async with database.begin() as uow:
        assert name in {firm.name for firm in await uow.firms.list()}
        # the pool's connection has forgotten that it was a reader's
        assert await uow.firms.add(Firm(FirmId(samples.new_id()), "Written after it", is_dealer=False))


async def ask(uow: UnitOfWork, question: str) -> object:
    return (await uow._connection.execute(text(question))).scalar_one()


SETTINGS = (
    "SELECT concat_ws(' ', current_user, nullif(current_setting('app.firm', true), ''), "
    "nullif(current_setting('app.principal', true), ''), nullif(current_setting('app.firms', true), ''))"
)


@pytest.mark.parametrize("statement_cache_size", [256, 0])
async def test_the_firm_comes_with_begin_and_goes_with_the_connection(
    database_dsn: str, statement_cache_size: int
) -> None:
    databases = Databases.open(database_dsn, pool_size=1, statement_cache_size=statement_cache_size)
    queries: list[str] = []
    async with databases.desk.connect() as connection:  # the one connection of the pool
        raw = (await connection.get_raw_connection()).driver_connection
        raw.add_query_logger(lambda record: queries.append(record.query))
    async with databases.desk.begin(firm=ANNA, principal=BERT) as uow:
        assert await ask(uow, SETTINGS) == f"rfq_desk {ANNA} {BERT}"
        await uow.commit()
        # the next transaction of the same use is the same firm's
        assert await ask(uow, SETTINGS) == f"rfq_desk {ANNA} {BERT}"
    begins = [query for query in queries if query.startswith("BEGIN")]
    assert len(begins) == 2
    assert not [query for query in queries if "set_config" in query and query not in begins]  # no round trip more
    async with databases.desk.read(DORA) as uow:
        assert await ask(uow, SETTINGS) == f"rfq_desk {DORA}"
        assert await ask(uow, "SHOW transaction_isolation") == "repeatable read"
        assert await ask(uow, "SHOW transaction_read_only") == "on"
    async with databases.desk.begin(firms=(ANNA, DORA)) as uow:
        assert await ask(uow, SETTINGS) == f"rfq_desk {ANNA},{DORA}"
    async with databases.desk.begin() as uow:
        assert await ask(uow, SETTINGS) == "rfq_desk"
    async with databases.desk.begin(firm=ANNA):
        pass  # nothing asked, so nothing begun
    async with databases.desk.connect() as connection:
        assert (await connection.execute(text(SETTINGS))).scalar_one() == "rfq_desk"
    await databases.close()


async def test_each_pool_is_its_own_role_and_shows_its_own_rows(database_dsn: str) -> None:
    async with connected(database_dsn) as owner:
        await settle(owner)
    databases = Databases.open(database_dsn)
    await databases.ping()
    for role in ROLES:
        async with getattr(databases, role.removeprefix("rfq_")).begin() as uow:
            assert await ask(uow, "SELECT current_user") == role
    for firm, count in ((ANNA, 1), (BERT, 1), (DORA, 0)):
        async with databases.client.read(firm) as uow:
            assert await ask(uow, "SELECT count(*) FROM rfq") == count
    async with databases.client.read() as uow:
        assert await ask(uow, "SELECT count(*) FROM rfq") == 0
    await databases.close()


def test_only_ids_name_a_firm() -> None:
    assert scope_statement() == ""
    assert scope_statement(ANNA) == f"SELECT set_config('app.firm', '{ANNA}', true);"
    for wrong in ("x', true); DROP TABLE rfq; --", str(ANNA)):
        with pytest.raises(InvariantError):
            scope_statement(wrong)  # type: ignore[arg-type]
        with pytest.raises(InvariantError):
            scope_statement(firms=[ANNA, wrong])  # type: ignore[list-item]


async def test_a_busy_pool_is_reached_and_a_refused_role_is_not(database_dsn: str) -> None:
    databases = Databases.open(database_dsn, acquire_timeout_s=0.2)
    async with databases.auditor.connect(), databases.auditor.connect():
        await databases.ping()
    await databases.close()
    strangers = Databases.open(database_dsn, "another secret")
    with pytest.raises(RfqError) as caught:
        await strangers.ping()
    assert caught.value.code is ErrorCode.DATABASE_UNAVAILABLE
    await strangers.close()


def test_the_address_of_a_role() -> None:
    password = role_password("rfq_desk", "s/e:c@r%t")
    assert len(password) == 64
    assert password != role_password("rfq_client", "s/e:c@r%t")
    for given in (
        "postgresql://owner:s%2Fe%3Ac%40r%25t@one:1,two:2/rfq?sslmode=verify-full",
        "postgresql://owner@one:1,two:2/rfq?sslmode=verify-full&password=s%2Fe%3Ac%40r%25t",
        "postgresql://one:1,two:2/rfq?user=owner&password=s%2Fe%3Ac%40r%25t&sslmode=verify-full",
    ):
        assert role_dsn(given, "rfq_desk") == f"postgresql://rfq_desk:{password}@one:1,two:2/rfq?sslmode=verify-full"
    assert role_dsn("postgres://owner:other@h/d", "rfq_desk", "s/e:c@r%t") == f"postgres://rfq_desk:{password}@h/d"
    with pytest.raises(RfqError, match="RFQ_DATABASE_ROLE_SECRET"):
        role_dsn("postgresql://owner@localhost/rfq", "rfq_desk")


async def test_a_new_secret_is_a_new_password(own_server: EmbeddedPostgres) -> None:
    migrate.upgrade(own_server.dsn)
    first = Databases.open(own_server.dsn)
    await first.ping()
    migrate.upgrade(own_server.dsn, secret="a new secret")
    second = Databases.open(own_server.dsn, "a new secret")
    await second.ping()
    await first.ping()  # who is in stays in
    await first.close()
    with pytest.raises(RfqError):
        await first.ping()
    await second.close()


async def test_roles_that_may_too_much_or_are_missing_are_refused(own_server: EmbeddedPostgres) -> None:
    async with connected(own_server.dsn) as owner:
        await owner.execute("CREATE ROLE plain LOGIN PASSWORD 'plain'")
        plain_dsn = own_server.dsn.replace(own_server.dsn.split("://")[1].split("@")[0], "plain:plain")
        with pytest.raises(RfqError, match="may not make the missing roles rfq_auditor"):
            migrate.upgrade(plain_dsn)
        migrate.upgrade(own_server.dsn)
        await owner.execute("ALTER ROLE rfq_client BYPASSRLS")
        with pytest.raises(RfqError, match="rfq_client: more than LOGIN"):
            migrate.upgrade(own_server.dsn)
        await owner.execute("ALTER ROLE rfq_client NOBYPASSRLS")
        migrate.upgrade(own_server.dsn)
        # the passwords are not in any log: what was sent is their verifier
        stored = await owner.fetchval("SELECT rolpassword FROM pg_authid WHERE rolname = 'rfq_client'")
        assert stored.startswith("SCRAM-SHA-256$4096:")
        await owner.execute("CREATE ROLE keeper LOGIN CREATEROLE PASSWORD 'keeper'")
    keeper_dsn = own_server.dsn.replace(own_server.dsn.split("://")[1].split("@")[0], "keeper:keeper")
    # may make roles, but not touch those that somebody else made: the passwords stay
    with pytest.raises(RfqError, match="permission denied"):  # for the schema, not for the roles
        migrate.upgrade(keeper_dsn)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(role_dsn(own_server.dsn, "rfq_client", "keeper"))
