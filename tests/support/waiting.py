"""Waiting in tests: for a condition, never for a time; and a coroutine from code that is none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import asyncpg

T = TypeVar("T")
_POLL_S = 0.02


def until(condition: Callable[[], bool], what: str, within_s: float = 60.0) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: naming ``what``, when it does not come true.
    """
    deadline_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"not within {within_s:g} s: {what}")
        time.sleep(_POLL_S)


def blocking(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop of its own: ``asyncio.run`` would take away the one that pytest-asyncio has set."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


async def execute(dsn: str, *statements: str) -> None:
    """Run statements, each in a transaction of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def fetch_value(dsn: str, query: str, *arguments: object) -> Any:
    """The one value of a query."""
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query, *arguments)
    finally:
        await connection.close()
