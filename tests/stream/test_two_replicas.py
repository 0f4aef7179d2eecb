# Two processes on one database are one stream; and when one of them dies, the other goes on.
from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time

import asyncpg
import httpx
import pytest
from websockets.asyncio.client import connect

from rfq_service import administration
from rfq_service.domain.identity import Role
from rfq_service.settings import Settings
from tests.stream.journal import Told, churning, numbers_of, write
from tests.stream.service import eventually, hear, subscribe
from tests.support.processes import our_service

pytestmark = pytest.mark.timeout(180)


def make_key(dsn: str) -> tuple[str, str, str]:
    """Firm id, client id and secret."""

    async def work(uow):
        firm = await administration.store_firm(uow, "Alder", is_dealer=False)
        key_id, secret = await administration.store_key(uow, "Alder", "test", role=Role.BUY_SIDE)
        return str(firm.firm_id), str(key_id), secret

    return administration.in_transaction(Settings(), work, dsn)


@pytest.fixture
def replicas(database_dsn, tmp_path):
    firm_id, *key = make_key(database_dsn)
    environment = {"RFQ_MARKET_SOURCE": "simulated"}
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(our_service(database_dsn, environment, tmp_path / f"{index}.log")) for index in range(2)
        ]
        yield firm_id, tuple(key), [process for process, _ in started], [port for _, port in started]


def open_socket(port: int, key: tuple[str, str]):
    answer = httpx.post(
        f"http://127.0.0.1:{port}/v1/oauth/token", auth=key, data={"grant_type": "client_credentials"}
    ).raise_for_status()
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    return connect(f"ws://127.0.0.1:{port}/v1/stream", additional_headers=headers, close_timeout=0.1)


async def listen(port: int, key: tuple[str, str], seen: list[tuple[int, str]], stop: asyncio.Event) -> None:
    """Take events, going on where it was when the replica dies, on whichever port is left."""
    async with open_socket(port, key) as connection:
        await subscribe(connection, "quotes", after=seen[-1][0])
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                event = await hear(connection, "event", timeout_s=0.2)
                seen.append((event["number"], event["event_id"]))


async def test_readers_on_both_hear_the_same_at_once(replicas, database_dsn):
    firm_id, key, _, ports = replicas
    owner = await asyncpg.connect(database_dsn)
    async with open_socket(ports[0], key) as here, open_socket(ports[1], key) as there:
        for connection in (here, there):
            await subscribe(connection, "quotes")
        for _ in range(20):
            started_s = time.monotonic()
            await write(owner, Told(firm_id))
            events = await asyncio.gather(hear(here, "event"), hear(there, "event"))
            assert events[0] == events[1]
            assert time.monotonic() - started_s < 1.0
    await owner.close()


async def test_one_replica_is_killed_and_nothing_is_lost_or_doubled(replicas, database_dsn):
    firm_id, key, processes, ports = replicas
    owner = await asyncpg.connect(database_dsn)
    async with open_socket(ports[1], key) as connection:
        start = (await subscribe(connection, "quotes"))["number"]
    stop = asyncio.Event()
    left: list[tuple[int, str]] = [(start, "")]
    moved: list[tuple[int, str]] = [(start, "")]
    async with churning(database_dsn, firm_id, 3) as committed:
        staying = asyncio.create_task(listen(ports[1], key, left, stop))
        leaving = asyncio.create_task(listen(ports[0], key, moved, stop))
        await asyncio.sleep(1.5)
        os.kill(processes[0].pid, signal.SIGKILL)
        with pytest.raises(Exception):  # noqa: B017, PT011 - however a dead peer shows
            await leaving
        moving = asyncio.create_task(listen(ports[1], key, moved, stop))
        await asyncio.sleep(1.5)
    total = sum(len(ids) for done in committed for ids in done)
    await eventually(lambda: min(len(left), len(moved)) > total, 20)
    stop.set()
    await asyncio.gather(staying, moving)
    expected = [(number, str(event)) for number, event in await numbers_of(owner, firm_id) if number > start]
    await owner.close()
    assert len(expected) == total
    assert left[1:] == moved[1:] == expected
