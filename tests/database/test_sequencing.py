"""The numbers that events get after their commit: none is skipped, none is given twice, and causes precede effects."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest

from rfq_service.db import migrate
from rfq_service.db.embedded import EmbeddedPostgres
from tests.database.parties import ANNA, BERT, DORA, EMIL, RFQ, connected, enter, identifier, settle

INSERT = """
    INSERT INTO event (id, kind, occurred_at_ns, client_firm_id, dealer_firm_id, rfq_id, payload_json, audience,
                       position)
    VALUES ($1, 'quote.posted', $2, $3, $4, $5, '{"n":1}', $6, $7)
"""
STEP = "SELECT * FROM sequence_events($1, $2)"
IN_ORDER = "SELECT id FROM event ORDER BY transaction_id, position, id"
BY_LEAF = "SELECT event_id FROM event_leaf ORDER BY leaf_index"


async def post(
    connection: asyncpg.Connection,
    at_ns: int = 1,
    *,
    client: UUID | None = ANNA,
    dealer: UUID | None = None,
    audience: str = "client",
    position: int = 0,
    rfq_id: UUID | None = None,
) -> UUID:
    event_id = uuid4()  # random, so that its order says nothing
    await connection.execute(INSERT, event_id, at_ns, client, dealer, rfq_id, audience, position)
    return event_id


async def step(connection: asyncpg.Connection, most: int = 100) -> tuple[int, bool, int, int | None]:
    """(how many were numbered, whether more wait, the last leaf index, since when the oldest waits)."""
    return tuple(await connection.fetchrow(STEP, most, 5))


async def leaves(connection: asyncpg.Connection) -> list[UUID]:
    return [row[0] for row in await connection.fetch(BY_LEAF)]


async def assert_complete(connection: asyncpg.Connection) -> None:
    """Every event has its leaf, in order and without a gap, and so has every party's stream."""
    assert await leaves(connection) == [row[0] for row in await connection.fetch(IN_ORDER)]
    indexes = [row[0] for row in await connection.fetch("SELECT leaf_index FROM event_leaf ORDER BY 1")]
    assert indexes == list(range(len(indexes)))
    streams = defaultdict(list)
    for row in await connection.fetch("SELECT * FROM stream_entry ORDER BY leaf_index"):
        streams[row["firm_id"], row["party"]].append(row["number"])
    for numbers in streams.values():
        assert numbers == list(range(1, len(numbers) + 1))
    heads = await connection.fetch("SELECT firm_id, party, last_number FROM stream_head")
    assert {(row[0], row[1]): row[2] for row in heads} == {key: len(numbers) for key, numbers in streams.items()}


@pytest.fixture
async def owner(database_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    async with connected(database_dsn) as connection:
        yield connection


@pytest.fixture
async def sequencer(database_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    async with connected(database_dsn, "rfq_sequencer") as connection:
        yield connection


async def test_a_slow_transaction_is_waited_for(owner, sequencer, database_dsn: str) -> None:
    async with connected(database_dsn) as slow:
        transaction = slow.transaction()
        await transaction.start()
        first = await post(slow, 10)
        before = await post(owner, 20)
        assert await step(sequencer) == (0, True, -1, 20)  # the lag can be seen
        second = await post(slow, 30, position=1)
        after = await post(owner, 40)
        assert await step(sequencer) == (0, True, -1, 20)
        await transaction.commit()
    assert await step(sequencer) == (4, False, 3, None)
    assert await leaves(owner) == [first, second, before, after]
    await assert_complete(owner)


async def test_what_was_rolled_back_leaves_no_gap(owner, sequencer, database_dsn: str) -> None:
    async with connected(database_dsn) as slow:
        transaction = slow.transaction()
        await transaction.start()
        await post(slow)
        kept = await post(owner)
        await transaction.rollback()
    assert (await step(sequencer))[0] == 1
    assert await leaves(owner) == [kept]


async def test_a_transaction_that_only_began_holds_nobody_up(owner, sequencer, database_dsn: str) -> None:
    async with connected(database_dsn, "rfq_desk") as waiting, waiting.transaction():
        # locks first: a transaction that waits for an RFQ has written nothing and has no id yet
        await waiting.fetchval("SELECT lock_rfq($1)", identifier(RFQ, ANNA))
        await post(owner)
        assert await step(sequencer) == (1, False, 0, None)


async def test_on_one_rfq_the_numbers_follow_the_lock(owner, sequencer, database_dsn: str) -> None:
    await settle(owner)
    await step(sequencer)
    rfq_id = identifier(RFQ, ANNA)
    desk_order, batch_order = [], []
    async with connected(database_dsn, "rfq_desk") as desk, connected(database_dsn, "rfq_writer") as batch:
        for _ in range(5):
            deal, group = desk.transaction(), batch.transaction()
            await group.start()  # begins first, and other work of the batch's process goes on meanwhile
            await batch.fetch("SELECT 1 FROM rfq")
            await deal.start()
            await enter(desk, firm=ANNA)
            await desk.fetchval("SELECT lock_rfq($1)", rfq_id)
            waiting = asyncio.create_task(batch.fetch("SELECT * FROM lock_invited_rfqs($1, $2)", [DORA], [rfq_id]))
            await until_blocked(owner, batch)
            desk_order.append(await post(desk, dealer=DORA, audience="both", rfq_id=rfq_id))
            await post(owner, client=BERT)  # transaction ids go on elsewhere
            await deal.commit()
            await waiting
            batch_order.append(await post(batch, dealer=DORA, audience="both", rfq_id=rfq_id))
            await group.commit()
            await step(sequencer)
    wanted = [event_id for pair in zip(desk_order, batch_order, strict=True) for event_id in pair]
    for party, firm in (("client", ANNA), ("dealer", DORA)):
        told = await owner.fetch(
            "SELECT event_id FROM stream_entry WHERE party = $1 AND firm_id = $2 AND kind = 'quote.posted' "
            "ORDER BY number",
            party,
            firm,
        )
        assert [row[0] for row in told] == wanted
    await assert_complete(owner)


async def until_blocked(owner: asyncpg.Connection, blocked: asyncpg.Connection) -> None:
    question = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1"
    async with asyncio.timeout(10):
        while not await owner.fetchval(question, blocked.get_server_pid()):  # noqa: ASYNC110 - the server's state
            await asyncio.sleep(0.005)


async def test_many_writers_and_two_sequencers(owner, sequencer, database_dsn: str) -> None:
    async def write(number: int) -> None:
        async with connected(database_dsn) as connection:
            for _ in range(25):
                async with connection.transaction():
                    for position in range(number % 3 + 1):
                        names = {"client": (ANNA, BERT)[number % 2], "dealer": (DORA, EMIL)[position % 2]}
                        await post(
                            connection, audience=("client", "both", "none")[position], position=position, **names
                        )
                    await asyncio.sleep(0.001 * (number % 4))

    async def number_events(connection: asyncpg.Connection) -> int:
        total = 0
        while not writing.done() or (await step(connection))[1]:
            numbered, *_ = await step(connection, most=7)
            total += numbered
            await asyncio.sleep(0.001)
        return total

    async with connected(database_dsn, "rfq_sequencer") as other:
        writing = asyncio.gather(*(write(number) for number in range(6)))
        await asyncio.gather(number_events(sequencer), number_events(other), writing)
    while (await step(sequencer))[1]:
        pass
    assert await owner.fetchval("SELECT count(*) FROM event_leaf") == 6 * 25 * 2
    await assert_complete(owner)


async def test_a_sequencer_killed_in_the_middle_leaves_nothing_half_done(owner, sequencer, database_dsn: str) -> None:
    for _ in range(3):
        await post(owner)
    async with connected(database_dsn) as blocker, blocker.transaction():
        await blocker.execute("LOCK TABLE stream_head IN SHARE MODE")
        call = asyncio.create_task(step(sequencer))
        await until_blocked(owner, sequencer)
        assert await owner.fetchval("SELECT pg_terminate_backend($1, 5000)", sequencer.get_server_pid())
        with pytest.raises(asyncpg.PostgresError):
            await call
    for table in ("event_leaf", "stream_entry", "stream_head"):
        assert await owner.fetchval(f"SELECT count(*) FROM {table}") == 0
    async with connected(database_dsn, "rfq_sequencer") as successor:
        assert await step(successor) == (3, False, 2, None)
    await assert_complete(owner)


async def test_most_is_respected_and_no_transaction_is_cut(owner, sequencer) -> None:
    for size in (3, 3, 5, 1, 1):
        async with owner.transaction():
            for position in range(size):
                await post(owner, position=position)
    numbered = []
    for _ in range(10):
        count, is_pending, *_ = await step(sequencer, most=4)
        numbered.append(count)
        if not is_pending:
            break
    assert numbered == [3, 3, 5, 2]  # five belong together
    await assert_complete(owner)


async def test_nothing_to_do_costs_no_transaction(owner, sequencer) -> None:
    await post(owner)
    await step(sequencer)
    horizon = "SELECT pg_snapshot_xmax(pg_current_snapshot())"
    before = await owner.fetchval(horizon)
    for _ in range(3):
        assert await step(sequencer) == (0, False, 0, None)
    assert await owner.fetchval(horizon) == before


async def test_each_party_is_told_what_is_for_it(owner, sequencer) -> None:
    wanted: dict[tuple[UUID, str], list[UUID]] = defaultdict(list)
    for client, dealer, audience in (
        (ANNA, DORA, "both"),
        (ANNA, DORA, "dealer"),
        (ANNA, DORA, "client"),
        (ANNA, None, "none"),
        (DORA, EMIL, "both"),  # a dealer who asks, with a stream of its own for that
        (None, EMIL, "dealer"),
    ):
        event_id = await post(owner, client=client, dealer=dealer, audience=audience)
        if audience in ("client", "both"):
            wanted[client, "client"].append(event_id)
        if audience in ("dealer", "both"):
            wanted[dealer, "dealer"].append(event_id)
    await step(sequencer)
    told: dict[tuple[UUID, str], list[UUID]] = defaultdict(list)
    for row in await owner.fetch("SELECT * FROM stream_entry ORDER BY number"):
        told[row["firm_id"], row["party"]].append(row["event_id"])
        assert (row["sequenced_at_ns"], row["payload_json"], row["kind"]) == (5, '{"n":1}', "quote.posted")
    assert told == wanted
    await assert_complete(owner)
    for client, dealer, audience in ((None, DORA, "client"), (ANNA, None, "both")):
        with pytest.raises(asyncpg.CheckViolationError):
            await post(owner, client=client, dealer=dealer, audience=audience)


async def test_listeners_hear_of_what_was_numbered(owner, sequencer, database_dsn: str) -> None:
    async with connected(database_dsn, "rfq_streamer") as listener:
        heard: asyncio.Queue[str] = asyncio.Queue()
        await listener.add_listener("rfq_stream", lambda *arguments: heard.put_nowait(arguments[3]))
        await step(sequencer)
        await post(owner)
        await post(owner)
        await step(sequencer)
        async with asyncio.timeout(10):
            assert await heard.get() == "1"
        assert heard.empty()


async def test_a_journal_from_another_cluster_is_noticed(owner, sequencer) -> None:
    await owner.execute("UPDATE sequencer SET below = '999999999'")
    with pytest.raises(asyncpg.RaiseError, match="999999999"):
        await step(sequencer)


async def test_after_a_crash_the_same_events_have_the_same_numbers(own_server: EmbeddedPostgres) -> None:
    migrate.upgrade(own_server.dsn)
    async with connected(own_server.dsn) as owner, connected(own_server.dsn, "rfq_sequencer") as sequencer:
        for number in range(20):
            await post(owner, client=(ANNA, BERT)[number % 2])
            if number % 7 == 6:
                await step(sequencer)
        await step(sequencer)
        known = await leaves(owner)
        told = await owner.fetch("SELECT firm_id, number, event_id FROM stream_entry ORDER BY 1, 2")
        os.kill(own_server.pid, signal.SIGKILL)  # at once: the numbers were not flushed, the events were
    await asyncio.to_thread(own_server.stop)
    own_server.start()
    async with connected(own_server.dsn) as owner, connected(own_server.dsn, "rfq_sequencer") as sequencer:
        await step(sequencer)
        assert await leaves(owner) == known
        assert await owner.fetch("SELECT firm_id, number, event_id FROM stream_entry ORDER BY 1, 2") == told
        await assert_complete(owner)


async def test_numbering_goes_on_after_a_restore_into_another_cluster(owner, sequencer, database_dsn: str) -> None:
    numbered = [await post(owner), await post(owner)]
    assert (await step(sequencer))[0] == 2
    waiting = [await post(owner, position=1), await post(owner, position=0)]
    # what a dump brings along: the ids of the other cluster's transactions, which are far ahead or long past here
    await owner.execute("ALTER TABLE event DISABLE TRIGGER refuse_change")
    await owner.execute("UPDATE event SET transaction_id = (transaction_id::text::numeric + 1e9)::text::xid8")
    await owner.execute("ALTER TABLE event ENABLE TRIGGER refuse_change")
    await owner.execute("UPDATE sequencer SET below = (below::text::numeric + 1e9)::text::xid8")
    with pytest.raises(asyncpg.RaiseError):
        await step(sequencer)
    assert migrate.rebase_sequencer(database_dsn) == 2
    new = await post(owner)
    assert (await step(sequencer))[0] == 3
    assert await leaves(owner) == [*numbered, *waiting, new]
    numbers = await owner.fetch("SELECT number FROM stream_entry WHERE firm_id = $1 ORDER BY leaf_index", ANNA)
    assert [row[0] for row in numbers] == [1, 2, 3, 4, 5]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await owner.execute("DELETE FROM event")
