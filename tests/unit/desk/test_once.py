# The memory of replies: bounded, and never older than what is stored. The rest needs a database: tests/api.
from __future__ import annotations

import asyncio
from typing import Any, cast
from uuid import UUID

import pytest

from rfq_service.db.engine import Databases
from rfq_service.desk.once import Once, OnceAnswer, OnceDesk
from rfq_service.domain.clock import SimClock
from rfq_service.domain.errors import ErrorCode, InvariantError, RfqError
from rfq_service.domain.identifiers import FirmId
from rfq_service.domain.identity import Role

# No test here gets as far as the database.
NO_DATABASE = cast("Databases", None)
FIRM = FirmId(UUID(int=1))


def once(key: bytes = b"k", request: bytes = b"r", reply: bytes = b"reply") -> Once:
    return Once(FIRM, "open_rfq", key, request, 201, 10, lambda _: reply)


async def effect(given: Once) -> None:
    given.record(None, 5)


async def test_a_repetition_is_answered_without_work() -> None:
    desk = OnceDesk(NO_DATABASE, SimClock(5))
    done: list[Once] = []

    async def work(given: Once) -> None:
        done.append(given)
        given.record(None, 5)

    assert await desk.run(Role.BUY_SIDE, once(), work) == OnceAnswer(201, b"reply", is_replay=False)
    assert await desk.run(Role.BUY_SIDE, once(reply=b"new"), work) == OnceAnswer(201, b"reply", is_replay=True)
    with pytest.raises(RfqError) as refused:
        await desk.run(Role.BUY_SIDE, once(request=b"other"), work)
    assert refused.value.code is ErrorCode.IDEMPOTENCY_KEY_REUSED
    assert len(done) == 1
    assert done[0].stored is not None
    assert done[0].stored.expires_at_ns == 15


async def test_of_two_at_once_one_is_told_to_wait() -> None:
    desk, go = OnceDesk(NO_DATABASE, SimClock(5)), asyncio.Event()

    async def work(given: Once) -> None:
        await go.wait()
        given.record(None, 5)

    first = asyncio.create_task(desk.run(Role.BUY_SIDE, once(), work))
    await asyncio.sleep(0)
    with pytest.raises(RfqError) as refused:
        await desk.run(Role.BUY_SIDE, once(), work)
    assert refused.value.code is ErrorCode.IDEMPOTENCY_IN_FLIGHT
    go.set()
    assert not (await first).is_replay


async def test_only_so_many_bytes_are_remembered() -> None:
    desk = OnceDesk(NO_DATABASE, SimClock(5), remembered_bytes=100)
    for number in range(50):
        await desk.run(Role.BUY_SIDE, once(key=bytes([number]), reply=b"x" * 30), effect)
    assert [key for _, _, key in desk._remembered] == [bytes([number]) for number in (47, 48, 49)]
    await desk.run(Role.BUY_SIDE, once(key=b"huge", reply=b"x" * 101), effect)
    assert desk._room == 100 - sum(len(record.body) for record in desk._remembered.values()) >= 0
    await desk.run(Role.BUY_SIDE, once(key=b"small"), effect)
    assert (FIRM, "open_rfq", b"small") in desk._remembered


async def test_a_change_that_stores_no_reply_is_a_bug() -> None:
    async def forgets(_given: Once) -> Any:
        return None

    with pytest.raises(InvariantError):
        await OnceDesk(NO_DATABASE, SimClock(5)).run(Role.BUY_SIDE, once(), forgets)


async def test_what_has_expired_is_forgotten_here_too() -> None:
    clock = SimClock(5)
    desk = OnceDesk(NO_DATABASE, clock)
    assert not (await desk.run(Role.BUY_SIDE, once(), effect)).is_replay
    clock.advance(9)
    assert (await desk.run(Role.BUY_SIDE, once(reply=b"new"), effect)).is_replay
    clock.advance(1)
    assert await desk.run(Role.BUY_SIDE, once(reply=b"new"), effect) == OnceAnswer(201, b"new", is_replay=False)
