"""The pool and the one translation of a failing database, against a server that is really stopped and killed."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from rfq_service.db import migrate
from rfq_service.db.embedded import EmbeddedPostgres
from rfq_service.db.engine import Database, asyncpg_url
from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.history import Firm
from rfq_service.domain.identifiers import FirmId
from tests.database import samples


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


async def test_a_used_up_pool_is_unavailable_within_its_time(database_dsn: str) -> None:
    database = Database(database_dsn, pool_size=2, acquire_timeout_s=0.2)
    async with database.connect() as first, database.connect() as second:
        await first.execute(text("SELECT 1"))
        await second.execute(text("SELECT 1"))
        started = time.monotonic()
        await unavailable(database)
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
    async with database.begin() as uow:
        with pytest.raises(IntegrityError):
            await uow.firms.add_key(samples.new_id(), samples.new_id(), bytes(32), "rfq_ab", "", 1)


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
