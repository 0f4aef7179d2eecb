"""The hot writes: complete, alone in their failure, exactly once, durable, and back by themselves."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal

import asyncpg
import msgspec
import pytest

from rfq_service.db import migrate
from rfq_service.db.append import inserted_columns
from rfq_service.db.embedded import EmbeddedPostgres
from rfq_service.db.engine import Databases
from rfq_service.db.group_commit import GroupCommitWriter, QuoteWrite, commit_appends, commit_quotes
from rfq_service.db.repositories import conversion
from rfq_service.db.repositories.idempotency import KeyUsedError
from rfq_service.db.tables import (
    ActiveQuoteRow,
    DecisionRow,
    EvaluationRow,
    EventRow,
    FillLegRow,
    FillRow,
    IdempotencyKeyRow,
    InvitationRow,
    QuoteEndRow,
    QuoteRow,
    RfqLegRow,
    RfqRow,
    table_of,
)
from rfq_service.domain.changes import Changes, RfqBook
from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.history import EventKind, Firm, QuoteEnd, QuoteFilter
from rfq_service.domain.identifiers import FillId, RfqId
from rfq_service.domain.quote import Fill, Quote, QuoteEndReason, QuoteState
from rfq_service.domain.units import Side
from tests.database import samples

SECONDS_ENOUGH_TO_HANG = 3_600.0


@pytest.fixture
async def writer(databases: Databases) -> AsyncIterator[GroupCommitWriter[Changes]]:
    started = GroupCommitWriter(databases.writer, commit_appends)
    await started.start()
    yield started
    await started.stop()


@pytest.fixture
async def quote_writer(databases: Databases) -> AsyncIterator[GroupCommitWriter[QuoteWrite]]:
    started = GroupCommitWriter(databases.writer, commit_quotes)
    await started.start()
    yield started
    await started.stop()


async def count_rows(database_dsn: str) -> dict[str, int]:
    connection = await asyncpg.connect(database_dsn)
    tables = ("rfq", "rfq_leg", "quote", "evaluation", "decision", "event", "idempotency_key")
    counts = {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in tables}
    await connection.close()
    return counts


async def assert_stored(databases: Databases, changes: Changes) -> None:
    request = changes.new_rfq
    client, rfq_id = request.client_firm_id, request.rfq_id
    async with databases.client.read(client) as uow:
        assert await uow.rfqs.get(client, rfq_id) == request
        assert await uow.rfqs.panel(rfq_id) == []
        assert await uow.quotes.for_rfq(client, rfq_id) == sorted(changes.quotes, key=lambda quote: quote.quote_id)
        found = await uow.quotes.evaluations(client, rfq_id)
        assert found == sorted(changes.evaluations, key=lambda item: item.evaluation_id)
        assert await uow.quotes.latest_decision(client, rfq_id) == changes.decisions[0]
        if changes.record is not None:
            key = changes.record
            assert await uow.idempotency.find(key.firm_id, key.operation, key.key_digest) == key


async def test_everything_comes_back_as_it_was(
    databases: Databases, client: Firm, dealers: list[Firm], writer: GroupCommitWriter[Changes]
) -> None:
    package = samples.evaluation_changes(client, quotes=3, legs=2)
    no_reasons = [msgspec.structs.replace(item, reasons=(), cost_micro_bps=None) for item in package.evaluations]
    one_sided = [replace(quote, bid=None) for quote in package.quotes]
    long_reply = samples.record(client, body=b"x" * 20_000)
    batch = [
        samples.evaluation_changes(client),
        replace(package, evaluations=no_reasons, quotes=one_sided, record=long_reply),
        replace(samples.evaluation_changes(client, quotes=1), evaluations=[], events=[], record=None),
    ]
    opening = samples.opening_changes(client, [dealers[1], dealers[0]], legs=2)
    await asyncio.gather(*(writer.write(changes) for changes in (*batch, opening)))
    assert writer.commits == 1
    for changes in batch:
        await assert_stored(databases, changes)
    async with databases.client.read(client.firm_id) as uow:
        assert await uow.rfqs.get(client.firm_id, opening.new_rfq.rfq_id) == opening.new_rfq
        assert await uow.rfqs.panel(opening.new_rfq.rfq_id) == ["Bert", "Anna"]
    async with databases.dealer.read(dealers[0].firm_id) as uow:
        assert await uow.rfqs.invitation(dealers[0].firm_id, opening.new_rfq.rfq_id) == opening.invitations[1]


async def test_two_hundred_of_two_firms_at_once_are_all_there(
    databases: Databases, database_dsn: str, client: Firm, dealers: list[Firm], writer: GroupCommitWriter[Changes]
) -> None:
    batch = [samples.evaluation_changes(firm) for firm in (client, dealers[0]) for _ in range(100)]
    await asyncio.gather(*(writer.write(changes) for changes in batch))
    assert await count_rows(database_dsn) == {
        **dict.fromkeys(("rfq", "rfq_leg", "decision", "event", "idempotency_key"), 200),
        **dict.fromkeys(("quote", "evaluation"), 1000),
    }
    assert writer.commits < 20
    await assert_stored(databases, batch[117])
    async with databases.client.read(client.firm_id) as uow:
        page = await uow.quotes.history(client.firm_id, QuoteFilter(dealer="Dealer 3"), limit=300)
    assert len(page.items) == 100


async def test_the_events_of_a_batch_keep_their_order(
    database_dsn: str, client: Firm, writer: GroupCommitWriter[Changes]
) -> None:
    batch = [samples.evaluation_changes(client) for _ in range(30)]
    await asyncio.gather(*(writer.write(changes) for changes in batch))
    connection = await asyncpg.connect(database_dsn)
    rows = await connection.fetch("SELECT id, position FROM event ORDER BY transaction_id, position")
    transactions = await connection.fetchval("SELECT count(DISTINCT transaction_id) FROM event")
    await connection.close()
    assert transactions == writer.commits == 1
    assert [row["position"] for row in rows] == list(range(30))
    assert [row["id"] for row in rows] == [changes.events[0].event_id for changes in batch]


def test_values_come_in_the_order_of_the_columns() -> None:
    client, dealer = samples.firm("Client"), samples.firm("Anna", is_dealer=True)
    changes = samples.evaluation_changes(client)
    request, quote = changes.new_rfq, samples.quote(changes.new_rfq, dealer)
    end = QuoteEnd(quote.quote_id, QuoteState.ACCEPTED, QuoteEndReason.HIT, samples.NOW_NS)
    ids = (FillId(samples.new_id()), request.rfq_id, quote.quote_id, client.firm_id, dealer.firm_id)
    fill = Fill(*ids, Side.BUY, Decimal(1), quote.side_price(Side.BUY), samples.NOW_NS)
    for row, values in {
        RfqRow: conversion.rfq_values(request, ()),
        RfqLegRow: conversion.leg_values(request)[0],
        InvitationRow: conversion.invitation_values(samples.invitation(request, dealer), client.firm_id),
        QuoteRow: conversion.quote_values(quote, client.firm_id),
        ActiveQuoteRow: conversion.active_quote_values(quote, client.firm_id),
        QuoteEndRow: conversion.end_values(quote, end, client.firm_id),
        FillRow: conversion.fill_values(fill),
        FillLegRow: conversion.fill_leg_values(fill, request.terms)[0],
        EvaluationRow: conversion.evaluation_values(changes.evaluations[0]),
        DecisionRow: conversion.decision_values(changes.decisions[0]),
        EventRow: conversion.event_values(changes.events[0], 0),
        IdempotencyKeyRow: conversion.record_values(changes.record),
    }.items():
        assert list(values) == inserted_columns(table_of(row))


def _refused_by_the_server(changes: Changes) -> Changes:
    return replace(changes, quotes=[*changes.quotes[:-1], replace(changes.quotes[-1], dealer_name="x" * 101)])


def _refused_by_the_driver(changes: Changes) -> Changes:
    evaluation = msgspec.structs.replace(changes.evaluations[0], cost_micro_bps=2**63)
    return replace(changes, evaluations=[evaluation])


def _of_another_firm(changes: Changes) -> Changes:
    return replace(changes, new_rfq=replace(changes.new_rfq, client_firm_id=samples.firm("Stranger").firm_id))


@pytest.mark.parametrize(
    "spoil, error",
    [
        (_refused_by_the_server, asyncpg.CheckViolationError),
        (_refused_by_the_driver, asyncpg.DataError),
        (_of_another_firm, asyncpg.InsufficientPrivilegeError),
    ],
)
async def test_one_bad_write_among_fifty_fails_alone(
    databases: Databases, database_dsn: str, client: Firm, writer: GroupCommitWriter[Changes], spoil, error
) -> None:
    batch = [samples.evaluation_changes(client) for _ in range(50)]
    batch[20] = spoil(batch[20])
    results = await asyncio.gather(*(writer.write(changes) for changes in batch), return_exceptions=True)
    assert isinstance(results[20], error)
    assert [result for index, result in enumerate(results) if index != 20] == [None] * 49
    assert (await count_rows(database_dsn))["rfq"] == 49
    async with databases.client.read(client.firm_id) as uow:
        assert await uow.rfqs.get(client.firm_id, batch[20].new_rfq.rfq_id) is None


async def test_a_used_key_is_told_and_its_write_left_out(
    database_dsn: str, client: Firm, dealers: list[Firm], writer: GroupCommitWriter[Changes]
) -> None:
    used = [replace(samples.evaluation_changes(client), record=samples.record(client, key=b"one")) for _ in range(20)]
    other_firm = replace(samples.evaluation_changes(dealers[0]), record=samples.record(dealers[0], key=b"one"))
    fresh = [samples.evaluation_changes(client) for _ in range(5)]
    results = await asyncio.gather(
        *(writer.write(changes) for changes in (*used, other_firm, *fresh)), return_exceptions=True
    )
    assert [result is None for result in results[:20]].count(True) == 1
    assert sum(isinstance(result, KeyUsedError) for result in results[:20]) == 19
    assert results[20:] == [None] * 6
    counts = await count_rows(database_dsn)
    assert (counts["rfq"], counts["idempotency_key"], counts["event"], counts["quote"]) == (7, 7, 7, 35)


async def test_batches_with_the_same_keys_do_not_deadlock(
    databases: Databases, database_dsn: str, client: Firm
) -> None:
    keys = [bytes([number]) for number in range(40)]

    async def commit(order: list[bytes]) -> int:
        writer = GroupCommitWriter(databases.writer, commit_appends)
        await writer.start()
        writes = [
            writer.write(replace(samples.evaluation_changes(client), record=samples.record(client, key=key)))
            for key in order
        ]
        results = await asyncio.gather(*writes, return_exceptions=True)
        await writer.stop()
        assert {type(result) for result in results} <= {type(None), KeyUsedError}
        return results.count(None)

    stored = await asyncio.gather(commit(keys), commit(keys[::-1]))
    assert sum(stored) == len(keys)
    assert (await count_rows(database_dsn))["rfq"] == len(keys)


async def test_a_full_queue_refuses_and_a_stopping_writer_finishes(
    databases: Databases, database_dsn: str, client: Firm
) -> None:
    writer = GroupCommitWriter(databases.writer, commit_appends, batch_max=2, queue_max=5)
    with pytest.raises(RfqError, match="shutting down"):
        await writer.write(samples.evaluation_changes(client))
    await writer.start()
    writes = [asyncio.create_task(writer.write(samples.evaluation_changes(client))) for _ in range(8)]
    await asyncio.sleep(0)
    await writer.stop()
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert results[:5] == [None] * 5
    assert {result.code for result in results[5:]} == {ErrorCode.OVERLOADED}
    assert (await count_rows(database_dsn))["rfq"] == 5
    with pytest.raises(RfqError, match="shutting down"):
        await writer.write(samples.evaluation_changes(client))


async def test_a_caller_that_gave_up_while_queued_is_not_stored(
    database_dsn: str, client: Firm, writer: GroupCommitWriter[Changes]
) -> None:
    gone = asyncio.create_task(writer.write(samples.evaluation_changes(client)))
    await asyncio.sleep(0)
    gone.cancel()
    await writer.write(samples.evaluation_changes(client))
    assert gone.cancelled()
    assert (await count_rows(database_dsn))["rfq"] == 1


async def test_works_without_a_statement_cache(database_dsn: str, dealers: list[Firm]) -> None:
    databases = Databases.open(database_dsn, statement_cache_size=0)
    writer = GroupCommitWriter(databases.writer, commit_appends)
    await writer.start()
    changes = samples.evaluation_changes(samples.firm("Client"))
    await writer.write(changes)
    await assert_stored(databases, changes)
    await writer.stop()
    await databases.close()


async def test_an_idle_writer_adds_no_delay_and_a_busy_one_commits_less_often(
    databases: Databases, client: Firm
) -> None:
    told: list[int] = []
    writer = GroupCommitWriter(
        databases.writer, commit_appends, spacing_s=SECONDS_ENOUGH_TO_HANG, on_commit=lambda: told.append(1)
    )
    await writer.start()
    for number in range(1, 6):  # one after the other: each is a commit of its own, and none waits for the spacing
        await writer.write(samples.evaluation_changes(client))
        assert writer.commits == len(told) == number
    await writer.stop()
    spaced = GroupCommitWriter(databases.writer, commit_appends, spacing_s=0.4)
    await spaced.start()
    loop = asyncio.get_running_loop()
    await asyncio.gather(*(spaced.write(samples.evaluation_changes(client)) for _ in range(5)))
    first_s = loop.time()
    await spaced.write(samples.evaluation_changes(client))
    assert loop.time() - first_s > 0.1  # after a batch with company the next one gathers more
    assert spaced.commits == 2
    await spaced.stop()


def _prepare(dealer: Firm, seen: list[RfqBook] | None = None, **values):
    """A quote that replaces the dealer's old one."""

    def prepare(book: RfqBook) -> Changes:
        if seen is not None:
            seen.append(book)
        quote = samples.quote(book.rfq, dealer, **values)
        old = [item for item in book.active_at(samples.NOW_NS) if item.dealer_firm_id == dealer.firm_id]
        reason = (QuoteState.REPLACED, QuoteEndReason.REPLACED_BY_DEALER, samples.NOW_NS)
        return Changes(
            book.rfq.client_firm_id,
            quotes=[quote],
            ends=[(item, QuoteEnd(item.quote_id, *reason)) for item in old],
            events=[samples.event(book.rfq, EventKind.QUOTE_POSTED)],
            decisions=[samples.decision(book.rfq, quote.quote_id, number=book.change_count + 1)],
            record=samples.record(dealer, operation="post_quote"),
        )

    return prepare


async def _quotes(databases: Databases, rfq_id: RfqId, client: Firm) -> list[Quote]:
    async with databases.client.read(client.firm_id) as uow:
        return list(await uow.quotes.for_rfq(client.firm_id, rfq_id))


async def test_quotes_of_one_batch_see_each_other_in_order(
    databases: Databases,
    database_dsn: str,
    client: Firm,
    dealers: list[Firm],
    quote_writer: GroupCommitWriter[QuoteWrite],
) -> None:
    opened = [samples.opening_changes(client, dealers[:2]) for _ in range(2)]
    await samples.append(databases, *opened)
    first, second = (changes.new_rfq.rfq_id for changes in opened)
    seen: list[RfqBook] = []
    writes = [(dealers[0], first), (dealers[1], first), (dealers[0], first), (dealers[0], second), (dealers[2], first)]
    results = await asyncio.gather(
        *(quote_writer.write(QuoteWrite(dealer.firm_id, rfq, _prepare(dealer, seen))) for dealer, rfq in writes),
        return_exceptions=True,
    )
    assert results[:4] == [None] * 4
    assert results[4].code is ErrorCode.RFQ_NOT_FOUND  # not invited
    assert quote_writer.commits == 1
    assert [len(book.quotes) for book in seen] == [0, 1, 2, 0]
    assert [book.change_count for book in seen] == [0, 1, 2, 0]
    stored = await _quotes(databases, first, client)
    assert [quote.state for quote in sorted(stored, key=lambda quote: quote.dealer_name)].count(QuoteState.ACTIVE) == 2
    assert sum(quote.end_reason is QuoteEndReason.REPLACED_BY_DEALER for quote in stored) == 1
    connection = await asyncpg.connect(database_dsn)
    active = await connection.fetchval("SELECT count(*) FROM active_quote")
    await connection.close()
    assert active == 3


async def test_a_refused_quote_fails_alone(
    databases: Databases, client: Firm, dealers: list[Firm], quote_writer: GroupCommitWriter[QuoteWrite]
) -> None:
    opening = samples.opening_changes(client, dealers)
    await samples.append(databases, opening)
    rfq_id = opening.new_rfq.rfq_id

    def refuse(_book: RfqBook) -> Changes:
        raise RfqError(ErrorCode.QUOTE_CROSSED, "crossed")

    def break_down(_book: RfqBook) -> Changes:
        raise ZeroDivisionError

    def spoil(book: RfqBook) -> Changes:
        changes = _prepare(dealers[1])(book)
        return replace(changes, quotes=[replace(changes.quotes[0], dealer_name="")])

    prepared = [_prepare(dealers[0]), refuse, break_down, spoil, _prepare(dealers[2])]
    results = await asyncio.gather(
        *(quote_writer.write(QuoteWrite(dealers[0].firm_id, rfq_id, prepare)) for prepare in prepared),
        return_exceptions=True,
    )
    assert results[0] is results[4] is None
    assert results[1].code is ErrorCode.QUOTE_CROSSED
    assert isinstance(results[2], ZeroDivisionError)
    assert "check constraint" in str(results[3])
    assert {quote.dealer_name for quote in await _quotes(databases, rfq_id, client)} == {"Anna", "Cleo"}


async def test_quotes_wait_for_the_lock_of_their_rfq(
    databases: Databases, client: Firm, dealers: list[Firm], quote_writer: GroupCommitWriter[QuoteWrite]
) -> None:
    opening = samples.opening_changes(client, dealers)
    await samples.append(databases, opening)
    rfq = opening.new_rfq
    seen: list[RfqBook] = []
    async with databases.desk.begin(firm=client.firm_id) as uow:
        await uow.rfqs.lock(rfq.rfq_id)
        write = QuoteWrite(dealers[0].firm_id, rfq.rfq_id, _prepare(dealers[0], seen))
        waiting = asyncio.create_task(quote_writer.write(write))
        await asyncio.sleep(0.2)
        assert not seen
        filled = replace(rfq, filled_quantity=Decimal(1))
        await uow.store([Changes(client.firm_id, saved_rfq=filled, events=[samples.event(rfq)])])
        await uow.commit()
    await waiting
    assert seen[0].rfq == filled  # what was committed before the lock was given


async def test_an_acknowledged_write_survives_kill_and_the_writer_comes_back(
    own_server: EmbeddedPostgres,
) -> None:
    migrate.upgrade(own_server.dsn)
    databases = Databases.open(own_server.dsn, pool_size=3)
    writer = GroupCommitWriter(databases.writer, commit_appends)
    await writer.start()
    client = samples.firm("Client")
    acknowledged: list[Changes] = []
    refused: list[RfqError] = []

    async def keep_writing() -> None:
        while not refused:
            changes = samples.evaluation_changes(client)
            try:
                await writer.write(changes)
            except RfqError as error:
                refused.append(error)
            else:
                acknowledged.append(changes)

    for _ in range(2):
        refused.clear()
        writing = [asyncio.create_task(keep_writing()) for _ in range(8)]
        await asyncio.sleep(0.7)
        os.kill(own_server.pid, signal.SIGKILL)
        await asyncio.gather(*writing)
        assert {error.code for error in refused} == {ErrorCode.DATABASE_UNAVAILABLE}
        with pytest.raises(RfqError):  # still away: told at once
            await asyncio.wait_for(writer.write(samples.evaluation_changes(client)), 5.0)
        await asyncio.to_thread(own_server.stop)
        own_server.start()
        changes = samples.evaluation_changes(client)
        await writer.write(changes)
        acknowledged.append(changes)

    assert len(acknowledged) > 100
    connection = await asyncpg.connect(own_server.dsn)
    stored = {row["id"] for row in await connection.fetch("SELECT id FROM rfq")}
    keys = {row["key_digest"] for row in await connection.fetch("SELECT key_digest FROM idempotency_key")}
    counts = await connection.fetchrow(
        "SELECT (SELECT count(*) FROM rfq) AS rfqs, (SELECT count(*) FROM quote) AS quotes, "
        "(SELECT count(*) FROM event) AS events, (SELECT count(*) FROM idempotency_key) AS keys"
    )
    await connection.close()
    assert {changes.new_rfq.rfq_id for changes in acknowledged} <= stored
    assert {changes.record.key_digest for changes in acknowledged} <= keys
    assert counts["quotes"] == 5 * counts["rfqs"]  # all or nothing
    assert counts["events"] == counts["keys"] == counts["rfqs"]
    await writer.stop()
    await databases.close()
