# What needs a service with settings of its own: bounds, tokens that end, the board, the end of the service.
from __future__ import annotations

import asyncio
import contextlib
import time

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from rfq_service.api.board_feed import BoardFeed
from rfq_service.api.sockets import CloseCode, Sockets
from rfq_service.domain.clock import SimClock
from rfq_service.domain.market import ClockSource
from rfq_service.market_data.board import IDENTITY, Board
from rfq_service.settings import StreamSettings
from tests.market_data.messages import START_MS, diff, instrument, new_ingest, snapshot
from tests.stream.journal import Told, numbered_payload, write
from tests.stream.service import closed, eventually, hear, say, serving, subscribe


async def test_one_who_says_nothing_is_not_waited_for(database_dsn):
    async with serving(database_dsn, auth_timeout_s=0.3) as service, service.open() as connection:
        assert await closed(connection, timeout_s=3) == 4401


async def test_pages_of_browsers_are_refused_unless_named(database_dsn):
    async with serving(database_dsn, origins="https://desk.example, https://other.example") as service:
        token = await service.token(await service.firm("Alder"))
        async with service.open(token, origin="https://other.example") as connection:
            assert (await subscribe(connection, "quotes"))["type"] == "subscribed"
        for origin in ("https://evil.example", "http://desk.example", "null"):
            with pytest.raises(InvalidStatus) as refused:
                await service.open(token, origin=origin)
            assert refused.value.response.status_code == 403


async def test_an_ended_token_cuts_off_and_a_renewed_one_does_not(database_dsn):
    async with serving(database_dsn, token_s=5) as service:
        firm = await service.firm("Alder")
        key, other_key = await service.key(firm), await service.key(firm)
        first = await service.token_of(*key)
        async with service.open(first) as left, service.open(first) as same, service.open(first) as successor:
            for connection in (left, same, successor):
                await subscribe(connection, "quotes")
            await asyncio.sleep(2.5)
            await say(same, op="auth", token=await service.token_of(*key))
            await say(successor, op="auth", token=await service.token_of(*other_key))
            assert await closed(left, timeout_s=5) == 4401
            for connection in (same, successor):
                await say(connection, op="ping")
                assert await hear(connection, "pong")


async def test_sockets_are_bounded_per_key_and_per_replica(database_dsn):
    async with serving(database_dsn, sockets_per_key=2, sockets_max=3) as service:
        firm = await service.firm("Alder")
        token, other = await service.token(firm), await service.token(firm)
        async with service.open(token) as first, service.open(token) as second:
            for connection in (first, second):
                assert (await subscribe(connection, "quotes"))["type"] == "subscribed"
            async with service.open(token) as one_more:
                assert await closed(one_more) == 4409
            async with service.open(other) as third:
                assert (await subscribe(third, "quotes"))["type"] == "subscribed"
                async with service.open(other) as one_more:
                    assert await closed(one_more) == 4409
        await eventually(lambda: not service.runtime.sockets.open)
        async with service.open(token) as again:
            assert (await subscribe(again, "quotes"))["type"] == "subscribed"


async def test_the_board_is_conflated(database_dsn):
    async with serving(database_dsn, market_speed=50.0, board_ms=200) as service:
        token = await service.token(await service.firm("Alder"))
        await service.runtime.player.ready.wait()
        async with service.open(token) as connection:
            await say(connection, op="subscribe", topics=["board"])
            assert (await hear(connection))["type"] == "subscribed"
            snapshot = await hear(connection, "board")
            assert snapshot["is_snapshot"]
            (instrument,) = [item["instrument_id"] for item in snapshot["items"] if item["status"] == "live"]
            sequences, times = [snapshot["items"][0]["sequence"]], []
            for _ in range(8):
                message = await hear(connection, "board")
                times.append(time.monotonic())
                assert not message["is_snapshot"]
                assert [item["instrument_id"] for item in message["items"]] == [instrument]
                sequences.append(message["items"][0]["sequence"])
            assert sequences == sorted(set(sequences))
            assert sequences[-1] - sequences[0] > 16  # the book changed oftener than it was told
            assert times[-1] - times[0] > 7 * 0.2 * 0.8
            async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as http:
                rows = (await http.get(f"http://127.0.0.1:{service.port}/v1/board")).json()["items"]
            assert set(rows[0]) == set(snapshot["items"][0])


class Listener:
    """A socket that counts how often it is woken."""

    wants_board = True

    def __init__(self):
        self.woken = 0

    def look(self):
        pass

    def wake(self):
        self.woken += 1

    def cut(self, code: CloseCode):
        pass


async def test_a_change_that_a_newcomer_saw_first_is_told_to_the_others():
    now_ns = START_MS * 1_000_000
    clock, ingest = SimClock(now_ns), new_ingest()
    board = Board(clock)
    board.install(ingest, IDENTITY, ClockSource.EXCHANGE)
    ingest.process(snapshot(100, [("1.20", "1.5")], [("1.22", "1")]), now_ns)
    sockets = Sockets(StreamSettings(board_ms=10), BoardFeed(board, clock, lambda: (instrument(),)))
    listener = Listener()
    with sockets.place(listener):
        looking = asyncio.create_task(sockets.run())
        await eventually(lambda: listener.woken)
        woken = listener.woken
        ingest.process(diff(101, 101, [("1.21", "1")], []), now_ns + 1)
        assert sockets.board.refresh()  # as for the first message to a newcomer
        await eventually(lambda: listener.woken > woken)
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking


async def test_going_down_ends_every_socket_and_waits_for_none(database_dsn, owner):
    async with serving(database_dsn, auth_timeout_s=60.0) as service:
        firm = await service.firm("Alder")
        token = await service.token(firm)
        async with (
            service.open(token) as reading,
            service.open(token, max_queue=1, close_timeout=0.1) as deaf,
            service.open() as unknown,
        ):
            await subscribe(reading, "quotes")
            await subscribe(deaf, "quotes")
            for index in range(100):  # more than the operating system holds for one who does not read
                await write(owner, Told(firm.firm_id, payload=numbered_payload(index, 100_000)))
                await hear(reading, "event")
            service.server.should_exit = True
            assert await closed(reading) == 1012
            assert await closed(unknown) == 1012
            await eventually(lambda: not service.server.server_state.connections, 6)
