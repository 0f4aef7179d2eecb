# Numbers follow commits: none is skipped, doubled or out of order, whoever steps and whatever is killed meanwhile.
from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time

import asyncpg
import pytest

from rfq_service.bootstrap import SystemClock
from rfq_service.db.engine import Databases
from rfq_service.desk.sequencer import Sequencer, SequencerPace
from tests.stream.journal import Told, churning, numbers_of, write
from tests.stream.service import eventually
from tests.support.data import PROJECT_ROOT

PACE = SequencerPace(poll_s=0.02, spacing_s=0.0, batch_max=50, keep_s=3_600.0)
KILL = (
    "SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE usename = 'rfq_sequencer' AND datname = current_database()) AS killed"
)


@contextlib.asynccontextmanager
async def running(databases: Databases, pace: SequencerPace = PACE):
    steps: list[int] = []
    failures: list[str] = []
    sequencer = Sequencer(databases.sequencer, SystemClock(), pace, steps.append, failures.append)
    task = asyncio.create_task(sequencer.run())
    try:
        yield sequencer, steps, failures
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def count(owner) -> int:
    return await owner.fetchval("SELECT count(*) FROM stream_entry")


async def has_numbered(owner, at_least: int, timeout_s: float = 10.0):
    deadline = time.monotonic() + timeout_s
    while await count(owner) < at_least:
        assert time.monotonic() < deadline, f"{await count(owner)} of {at_least} numbered"
        await asyncio.sleep(0.01)


async def test_an_event_waits_for_older_transactions_and_none_is_skipped(databases, owner, second, firm):
    async with running(databases) as (sequencer, _, _):
        older = second.transaction()
        await older.start()
        (first_id,) = await write(second, Told(firm))
        (later_id,) = await write(owner, Told(firm))
        sequencer.wake()
        await asyncio.sleep(0.3)
        assert await numbers_of(owner, firm) == []
        assert 0.25 < sequencer.lag_s < 5
        await older.commit()
        await has_numbered(owner, 2)
        assert await numbers_of(owner, firm) == [(1, first_id), (2, later_id)]
        await asyncio.sleep(0.1)
        assert sequencer.lag_s < 0.1
        assert sequencer.numbered == 2


async def test_a_local_commit_is_numbered_without_waiting_for_the_poll(databases, owner, firm):
    lazy = SequencerPace(poll_s=30.0, spacing_s=0.0, batch_max=50, keep_s=3_600.0)
    async with running(databases, lazy) as (sequencer, steps, _):
        await eventually(lambda: len(steps) > 0)
        await write(owner, Told(firm))
        started_s = time.monotonic()
        for _ in range(100):
            sequencer.wake()
        await has_numbered(owner, 1)
        assert time.monotonic() - started_s < 1
        assert len(steps) <= 4  # a hundred calls are one step, or two when one was under way


async def test_full_batches_follow_at_once(databases, owner, firm):
    lazy = SequencerPace(poll_s=30.0, spacing_s=0.0, batch_max=10, keep_s=3_600.0)
    for _ in range(100):
        await write(owner, Told(firm))
    async with running(databases, lazy):
        await has_numbered(owner, 100)
    assert [number for number, _ in await numbers_of(owner, firm)] == list(range(1, 101))


async def test_a_rivals_activity_does_not_show_in_the_numbers(databases, owner, firm, rival):
    async with running(databases):
        for _ in range(3):
            await write(owner, Told(firm), Told(rival), Told(rival, firm, "both"))
        await has_numbered(owner, 12)
    assert [number for number, _ in await numbers_of(owner, firm)] == [1, 2, 3]
    assert [number for number, _ in await numbers_of(owner, firm, "dealer")] == [1, 2, 3]
    assert [number for number, _ in await numbers_of(owner, rival)] == [1, 2, 3, 4, 5, 6]


def check_stream(numbers, writers) -> None:
    """Every committed event once, without gaps, each writer's own in his order and his transactions whole."""
    assert [number for number, _ in numbers] == list(range(1, len(numbers) + 1))
    place = {event_id: number for number, event_id in numbers}
    written = [event_id for committed in writers for ids in committed for event_id in ids]
    assert sorted(place) == sorted(written)
    for committed in writers:
        places = [place[event_id] for ids in committed for event_id in ids]
        assert places == sorted(places)
        for ids in committed:
            assert place[ids[-1]] - place[ids[0]] == len(ids) - 1


async def test_two_sequencers_and_their_connections_killed_at_random(database_dsn, databases, owner, firm):
    others = Databases.open(database_dsn)
    async with running(databases) as (_, _, failures), running(others) as (_, _, other_failures):
        async with churning(database_dsn, firm, 4) as committed:
            for _ in range(12):
                await asyncio.sleep(0.15)
                await owner.fetchval(KILL)
        total = sum(len(ids) for done in committed for ids in done)
        await has_numbered(owner, total)
        assert failures
        assert other_failures
    await others.close()
    check_stream(await numbers_of(owner, firm), committed)


SEQUENCER_PROCESS = """
    import asyncio, sys
    from rfq_service.bootstrap import SystemClock
    from rfq_service.db.engine import Databases
    from rfq_service.desk.sequencer import Sequencer, SequencerPace

    async def main():
        pace = SequencerPace(poll_s=0.001, spacing_s=0.0, batch_max=3, keep_s=3600.0)
        databases = Databases.open(sys.argv[1])
        await Sequencer(databases.sequencer, SystemClock(), pace, print, print).run()

    asyncio.run(main())
"""


def spawn(dsn: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SEQUENCER_PROCESS), dsn], cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL
    )


async def test_a_killed_process_is_taken_over(database_dsn, databases, owner, firm):
    async with contextlib.AsyncExitStack() as stack:
        async with churning(database_dsn, firm, 3) as committed:
            for _ in range(2):
                before = await count(owner)
                process = spawn(database_dsn)
                await has_numbered(owner, before + 20, 30)
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
            await stack.enter_async_context(running(databases))
            await asyncio.sleep(0.2)
        await has_numbered(owner, sum(len(ids) for done in committed for ids in done))
    check_stream(await numbers_of(owner, firm), committed)


async def test_lag_grows_while_the_database_refuses_and_falls_afterwards(databases, owner, firm):
    async with running(databases) as (sequencer, steps, failures):
        await eventually(lambda: len(steps) > 0)
        await owner.execute("REVOKE EXECUTE ON FUNCTION sequence_events FROM rfq_sequencer")
        await owner.fetchval(KILL)
        await write(owner, Told(firm))
        await asyncio.sleep(0.5)
        assert sequencer.lag_s > 0.4
        assert len(failures) >= 2
        await owner.execute("GRANT EXECUTE ON FUNCTION sequence_events TO rfq_sequencer")
        await has_numbered(owner, 1)
        await asyncio.sleep(0.1)
        assert sequencer.lag_s < 0.1


async def test_purge_removes_what_is_old_and_keeps_the_numbers(databases, owner, firm):
    young = SequencerPace(poll_s=0.02, spacing_s=0.0, batch_max=50, keep_s=0.5)
    async with running(databases, young) as (sequencer, _, _):
        for _ in range(5):
            await write(owner, Told(firm))
        await has_numbered(owner, 5)
        assert await sequencer.purge() == 0
        await asyncio.sleep(0.6)
        await write(owner, Told(firm))
        await has_numbered(owner, 6)
        assert await sequencer.purge() == 5
        assert [number for number, _ in await numbers_of(owner, firm)] == [6]


async def test_nobody_else_may_number_or_purge(databases, owner, firm):
    for database in (databases.client, databases.dealer, databases.desk, databases.writer, databases.streamer):
        async with database.connect() as connection:
            raw = (await connection.get_raw_connection()).driver_connection
            for call in ("sequence_events(10, 1)", "purge_stream(1, 10)"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await raw.fetch(f"SELECT * FROM {call}")
