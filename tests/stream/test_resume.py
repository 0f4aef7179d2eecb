# No gap, no repeat: whoever goes away, whenever, goes on where he was; a slow one delays nobody.
from __future__ import annotations

import asyncio
import contextlib
import random
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from websockets.exceptions import ConnectionClosed

from rfq_service.domain.identifiers import FirmId
from rfq_service.domain.stream import CursorGoneError, Party, StreamKey
from tests.stream import journal
from tests.stream.journal import Told, churning, numbered_payload, write
from tests.stream.service import closed, eventually, hear, serving, subscribe

pytestmark = pytest.mark.asyncio(loop_scope="module")
QUEUE_MAX = 20


@pytest.fixture(scope="module")
def service_dsn(database_server):
    with database_server.database(migrated=True) as dsn:
        yield dsn


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(service_dsn):
    async with serving(service_dsn, heartbeat_s=0.3, queue_max=QUEUE_MAX, page_max=50, send_timeout_s=1.0) as served:
        yield served


@pytest_asyncio.fixture(loop_scope="module")
async def client(service):
    return await service.firm(f"Client {random.random()}")


@pytest.fixture
def owner(service):
    return service.owner


KILL = (
    "SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE usename IN ('rfq_streamer', 'rfq_sequencer') AND datname = current_database()) AS killed"
)


async def stored(owner: asyncpg.Connection, firm: UUID, after: int) -> list[tuple[int, str]]:
    return [(number, str(event)) for number, event in await journal.numbers_of(owner, firm) if number > after]


async def listen(
    service, token: str, after: int, seen: list[tuple[int, str]], many: int, began: asyncio.Event | None = None
) -> None:
    """Take events after a number until ``many`` more have come; ``began`` is set once they are asked for."""
    async with service.open(token, close_timeout=0.1) as connection:
        answer = await subscribe(connection, "quotes", "controls", after=after)
        while answer["type"] == "error":  # its database connection was just killed
            assert answer["code"] == "DATABASE_UNAVAILABLE"
            answer = await subscribe(connection, "quotes", "controls", after=after)
        assert answer["number"] == after
        if began is not None:
            began.set()
        for _ in range(many):
            event = await hear(connection, "event")
            seen.append((event["number"], event["event_id"]))


async def test_a_reader_who_is_cut_off_at_random_misses_and_repeats_nothing(service, service_dsn, client, owner):
    token = await service.token(client)
    draws, seen = random.Random(5), []
    async with churning(service_dsn, client.firm_id, 4):
        for round_number in range(25):
            began = asyncio.Event()
            reader = asyncio.create_task(listen(service, token, len(seen), seen, draws.randint(1, 120), began))
            if round_number % 2:  # else he leaves by himself in the middle
                await began.wait()
                await asyncio.sleep(draws.random() * 0.1)
                reader.cancel()
            if round_number % 5 == 4:
                await owner.fetchval(KILL)
            with contextlib.suppress(asyncio.CancelledError):
                await reader
    await service.settle()
    everything = await stored(owner, client.firm_id, 0)
    await listen(service, token, len(seen), seen, len(everything) - len(seen))
    assert seen == everything
    assert [number for number, _ in seen] == list(range(1, len(seen) + 1))
    assert len(seen) > 500


async def test_many_readers_of_one_stream_join_at_any_time(service, service_dsn, client, owner):
    token, other = await service.token(client), await service.token(client)
    seen: list[list[tuple[int, str]]] = [[] for _ in range(12)]
    async with churning(service_dsn, client.firm_id, 3):
        readers = []
        for index, events in enumerate(seen):
            await asyncio.sleep(0.05)
            readers.append(asyncio.create_task(listen(service, (token, other)[index % 2], index, events, 300)))
        await asyncio.gather(*readers)
    everything = await stored(owner, client.firm_id, 0)
    for index, events in enumerate(seen):
        assert events == everything[index : index + 300]


async def test_far_behind_is_read_in_pages_while_more_comes(service, service_dsn, client, owner):
    token = await service.token(client)
    await owner.execute(
        "INSERT INTO event (id, kind, occurred_at_ns, audience, client_firm_id, payload_json, position) "
        "SELECT gen_random_uuid(), 'quote.posted', 1, 'client', $1, '{}', n FROM generate_series(1, 20000) AS n",
        client.firm_id,
    )
    await service.settle()
    seen: list[tuple[int, str]] = []
    async with churning(service_dsn, client.firm_id, 1):
        await asyncio.wait_for(listen(service, token, 0, seen, 20_500), 60)
    assert seen == (await stored(owner, client.firm_id, 0))[:20_500]


async def test_a_slow_reader_is_cut_off_and_resumes_and_the_others_do_not_notice(service, client, owner):
    token = await service.token(client)
    start = len(await stored(owner, client.firm_id, 0))
    async with service.open(token) as quick, service.open(token, max_queue=1) as slow:
        for connection in (quick, slow):
            await subscribe(connection, "quotes", after=start)
        many = 0
        while service.runtime.sockets.open == 2:
            await write(owner, Told(client.firm_id, payload=numbered_payload(many, 100_000)))
            assert (await hear(quick, "event", timeout_s=5))["payload"]["index"] == many
            many += 1
        seen = 0
        with contextlib.suppress(ConnectionClosed):
            while True:
                assert (await hear(slow))["payload"]["index"] == seen
                seen += 1
        assert slow.close_code == 4408
    assert 0 < seen < many
    async with service.open(token) as again:
        await subscribe(again, "quotes", after=start + seen)
        for index in range(seen, many):
            assert (await hear(again, "event"))["payload"]["index"] == index


async def test_one_who_never_reads_is_let_go(service, client, owner):
    token = await service.token(client)
    async with service.open(token, max_queue=1, close_timeout=0.1) as deaf:
        await subscribe(deaf, "quotes")
        for index in range(120):
            await write(owner, Told(client.firm_id, payload=numbered_payload(index, 100_000)))
        await eventually(lambda: not service.runtime.sockets.open)
        await eventually(lambda: not service.server.server_state.connections, 15)
        assert await closed(deaf) in {4408, 1006}


async def test_what_was_purged_cannot_be_resumed(service, client, owner):
    token = await service.token(client)
    await write(owner, *[Told(client.firm_id)] * 10)
    await service.settle()
    last = (await stored(owner, client.firm_id, 0))[-1][0]
    async with service.open(token) as connection:
        await subscribe(connection, "quotes", after=last - 3)
        await owner.execute("SELECT set_config('app.purge', 'on', false)")
        await owner.execute("DELETE FROM stream_entry WHERE firm_id = $1 AND number <= $2", client.firm_id, last - 3)
        await owner.execute("SELECT set_config('app.purge', '', false)")
        for number in range(last - 2, last + 1):
            assert (await hear(connection, "event"))["number"] == number
        answer = await subscribe(connection, "quotes", after=last - 4)
        assert answer == {"type": "resync", "first": last - 2, "last": last}
        assert (await subscribe(connection, "quotes", after=last - 3))["number"] == last - 3
        assert (await hear(connection, "event"))["number"] == last - 2


async def test_a_reader_overtaken_by_the_purge_is_told_so(service, client, owner):
    await write(owner, *[Told(client.firm_id)] * 10)
    await service.settle()
    key = StreamKey(FirmId(client.firm_id), Party.CLIENT)
    reader = await service.runtime.stream.open(key, 2, lambda: None, lambda: None)
    await owner.execute("SELECT set_config('app.purge', 'on', false)")
    await owner.execute("DELETE FROM stream_entry WHERE firm_id = $1 AND number <= 5", client.firm_id)
    with pytest.raises(CursorGoneError) as gone:
        await reader.take()
    assert (gone.value.bounds.first, gone.value.bounds.last) == (6, 11)
    await owner.execute("DELETE FROM stream_entry WHERE firm_id = $1", client.firm_id)
    await owner.execute("SELECT set_config('app.purge', '', false)")
    with pytest.raises(CursorGoneError) as gone:
        await reader.take()
    assert (gone.value.bounds.first, gone.value.bounds.last) == (12, 11)
    service.runtime.stream.close(reader)
    # nothing is kept, and whoever has everything goes on
    reader = await service.runtime.stream.open(key, 11, lambda: None, lambda: None)
    assert await reader.take() == []
    service.runtime.stream.close(reader)
