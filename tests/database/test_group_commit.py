"""The hot write: complete, alone in its failure, durable, and back by itself."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import fields, replace

import asyncpg
import pytest

from rfq_service.db import migrate
from rfq_service.db.embedded import EmbeddedPostgres
from rfq_service.db.engine import Database
from rfq_service.db.group_commit import EvaluationWrite, GroupCommitWriter
from rfq_service.db.repositories import conversion
from rfq_service.db.tables import DecisionRow, EvaluationRow, EventRow, QuoteRow, RfqLegRow, RfqRow, table_of
from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.history import Firm, QuoteFilter
from rfq_service.settings import DatabaseSettings
from tests.database import samples


@pytest.fixture
async def writer(database: Database) -> AsyncIterator[GroupCommitWriter]:
    started = GroupCommitWriter(database)
    await started.start()
    yield started
    await started.stop()


async def count_rows(database_dsn: str) -> dict[str, int]:
    connection = await asyncpg.connect(database_dsn)
    tables = ("rfq", "rfq_leg", "quote", "evaluation", "decision", "event")
    counts = {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in tables}
    await connection.close()
    return counts


async def assert_stored(database: Database, write: EvaluationWrite) -> None:
    client, rfq_id = write.rfq.client_firm_id, write.rfq.rfq_id
    async with database.begin() as uow:
        assert await uow.rfqs.get(client, rfq_id) == write.rfq
        assert await uow.rfqs.panel(rfq_id) == []
        assert await uow.quotes.for_rfq(client, rfq_id) == sorted(write.quotes, key=lambda quote: quote.quote_id)
        found = await uow.quotes.evaluations(client, rfq_id)
        assert found == sorted(write.evaluations, key=lambda item: item.evaluation_id)
        assert await uow.quotes.latest_decision(client, rfq_id) == write.decision


async def test_everything_comes_back_as_it_was(database: Database, client: Firm, writer: GroupCommitWriter) -> None:
    package = samples.evaluation_write(client, quotes=3, legs=2)
    no_reasons = [replace(item, reasons=(), cost_micro_bps=None) for item in package.evaluations]
    one_sided = [replace(quote, bid=None) for quote in package.quotes]
    writes = [
        samples.evaluation_write(client),
        replace(package, evaluations=no_reasons, quotes=one_sided),
        replace(samples.evaluation_write(client, quotes=1), evaluations=[], events=[]),
    ]
    await asyncio.gather(*(writer.write(write) for write in writes))
    for write in writes:
        await assert_stored(database, write)


async def test_two_hundred_at_once_are_all_there(
    database: Database, database_dsn: str, client: Firm, writer: GroupCommitWriter
) -> None:
    writes = [samples.evaluation_write(client) for _ in range(200)]
    await asyncio.gather(*(writer.write(write) for write in writes))
    assert await count_rows(database_dsn) == {
        **dict.fromkeys(("rfq", "rfq_leg", "decision", "event"), 200),
        **dict.fromkeys(("quote", "evaluation"), 1000),
    }
    await assert_stored(database, writes[117])
    async with database.begin() as uow:
        page = await uow.quotes.history(client.firm_id, QuoteFilter(dealer="Dealer 3"), limit=300)
    assert len(page.items) == 200


def test_values_come_in_the_order_of_the_columns() -> None:
    write = samples.evaluation_write(samples.firm("Client"))
    for row, values in {
        RfqRow: conversion.rfq_values(write.rfq, ()),
        RfqLegRow: conversion.leg_values(write.rfq)[0],
        QuoteRow: conversion.quote_values(write.quotes[0]),
        EvaluationRow: conversion.evaluation_values(write.evaluations[0]),
        DecisionRow: conversion.decision_values(write.decision),
        EventRow: conversion.event_values(write.events[0]),
    }.items():
        assert list(values) == [column.name for column in table_of(row).columns]


def _refused_by_the_server(write: EvaluationWrite) -> EvaluationWrite:
    return replace(write, quotes=[*write.quotes[:-1], replace(write.quotes[-1], dealer_name="x" * 101)])


def _refused_by_the_driver(write: EvaluationWrite) -> EvaluationWrite:
    return replace(write, evaluations=[replace(write.evaluations[0], cost_micro_bps=2**63)])


@pytest.mark.parametrize(
    "spoil, error", [(_refused_by_the_server, asyncpg.CheckViolationError), (_refused_by_the_driver, asyncpg.DataError)]
)
async def test_one_bad_write_among_fifty_fails_alone(
    database: Database, database_dsn: str, client: Firm, writer: GroupCommitWriter, spoil, error
) -> None:
    writes = [samples.evaluation_write(client) for _ in range(50)]
    writes[20] = spoil(writes[20])
    results = await asyncio.gather(*(writer.write(write) for write in writes), return_exceptions=True)
    assert isinstance(results[20], error)
    assert [result for index, result in enumerate(results) if index != 20] == [None] * 49
    assert (await count_rows(database_dsn))["rfq"] == 49
    async with database.begin() as uow:
        assert await uow.rfqs.get(client.firm_id, writes[20].rfq.rfq_id) is None


async def test_a_full_queue_refuses_and_a_stopping_writer_finishes(
    database: Database, database_dsn: str, client: Firm
) -> None:
    writer = GroupCommitWriter(database, batch_max=2, queue_max=5)
    with pytest.raises(RfqError, match="shutting down"):
        await writer.write(samples.evaluation_write(client))
    await writer.start()
    writes = [asyncio.create_task(writer.write(samples.evaluation_write(client))) for _ in range(8)]
    await asyncio.sleep(0)
    await writer.stop()
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert results[:5] == [None] * 5
    assert {result.code for result in results[5:]} == {ErrorCode.OVERLOADED}
    assert (await count_rows(database_dsn))["rfq"] == 5
    with pytest.raises(RfqError, match="shutting down"):
        await writer.write(samples.evaluation_write(client))


async def test_a_caller_that_gave_up_while_queued_is_not_stored(
    database: Database, database_dsn: str, client: Firm, writer: GroupCommitWriter
) -> None:
    gone = asyncio.create_task(writer.write(samples.evaluation_write(client)))
    await asyncio.sleep(0)
    gone.cancel()
    await writer.write(samples.evaluation_write(client))
    assert gone.cancelled()
    assert (await count_rows(database_dsn))["rfq"] == 1


async def test_the_smallest_pool_serves_beside_the_writer(database_dsn: str) -> None:
    [smallest] = [item.metadata["minimum"] for item in fields(DatabaseSettings) if item.name == "pool_size"]
    database = Database(database_dsn, pool_size=smallest, acquire_timeout_s=0.5)
    writer = GroupCommitWriter(database)
    await writer.start()
    write = samples.evaluation_write(samples.firm("Client"))
    await writer.write(write)
    await assert_stored(database, write)
    await writer.stop()
    await database.close()


async def test_works_without_a_statement_cache(database_dsn: str) -> None:
    database = Database(database_dsn, statement_cache_size=0)
    writer = GroupCommitWriter(database)
    await writer.start()
    write = samples.evaluation_write(samples.firm("Client"))
    await writer.write(write)
    await assert_stored(database, write)
    await writer.stop()
    await database.close()


async def test_an_acknowledged_write_survives_kill_and_the_writer_comes_back(
    own_server: EmbeddedPostgres,
) -> None:
    migrate.upgrade(own_server.dsn)
    database = Database(own_server.dsn, pool_size=3)
    writer = GroupCommitWriter(database)
    await writer.start()
    client = samples.firm("Client")
    acknowledged: list[EvaluationWrite] = []
    refused: list[RfqError] = []

    async def keep_writing() -> None:
        while not refused:
            write = samples.evaluation_write(client)
            try:
                await writer.write(write)
            except RfqError as error:
                refused.append(error)
            else:
                acknowledged.append(write)

    for _ in range(2):
        refused.clear()
        writing = [asyncio.create_task(keep_writing()) for _ in range(8)]
        await asyncio.sleep(0.7)
        os.kill(own_server.pid, signal.SIGKILL)
        await asyncio.gather(*writing)
        assert {error.code for error in refused} == {ErrorCode.DATABASE_UNAVAILABLE}
        with pytest.raises(RfqError):  # still away: told at once
            await asyncio.wait_for(writer.write(samples.evaluation_write(client)), 5.0)
        await asyncio.to_thread(own_server.stop)
        own_server.start()
        write = samples.evaluation_write(client)
        await writer.write(write)
        acknowledged.append(write)

    assert len(acknowledged) > 100
    connection = await asyncpg.connect(own_server.dsn)
    stored = {row["id"] for row in await connection.fetch("SELECT id FROM rfq")}
    counts = await connection.fetchrow(
        "SELECT (SELECT count(*) FROM rfq) AS rfqs, (SELECT count(*) FROM quote) AS quotes, "
        "(SELECT count(*) FROM event) AS events"
    )
    await connection.close()
    assert {write.rfq.rfq_id for write in acknowledged} <= stored
    assert counts["quotes"] == 5 * counts["rfqs"]  # all or nothing
    assert counts["events"] == counts["rfqs"]
    await writer.stop()
    await database.close()


async def test_commits_keep_their_distance_and_an_idle_writer_does_not_wait(database: Database, client: Firm) -> None:
    spacing_s = 0.4
    writer = GroupCommitWriter(database, spacing_s=spacing_s)
    await writer.start()
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    await writer.write(samples.evaluation_write(client))
    first_s = loop.time()
    await asyncio.gather(*(writer.write(samples.evaluation_write(client)) for _ in range(5)))
    second_s = loop.time()
    await asyncio.sleep(spacing_s)
    idle_s = loop.time()
    await writer.write(samples.evaluation_write(client))
    third_s = loop.time()
    await writer.stop()
    assert second_s - began_s >= spacing_s
    assert first_s - began_s < spacing_s
    assert third_s - idle_s < spacing_s
