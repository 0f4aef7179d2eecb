"""Writes events as the use cases do, with transactions that the test opens and commits as it likes."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from rfq_service.bootstrap import new_id

_INSERT = (
    "INSERT INTO event (id, kind, occurred_at_ns, audience, client_firm_id, dealer_firm_id, payload_json, position) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
)
_FIRM = "INSERT INTO firm (id, name, is_dealer) VALUES ($1, $2, $3)"


@dataclass(frozen=True)
class Told:
    """An event for one client, one dealer or both."""

    client: UUID | None = None
    dealer: UUID | None = None
    audience: str = "client"
    kind: str = "quote.posted"
    payload: str = "{}"


async def add_firm(connection: asyncpg.Connection, name: str, *, is_dealer: bool = False) -> UUID:
    firm_id = new_id(time.time_ns())
    await connection.execute(_FIRM, firm_id, name, is_dealer)
    return firm_id


async def write(connection: asyncpg.Connection, *events: Told) -> list[UUID]:
    """Insert events in the connection's transaction, or in one of their own; return their ids."""
    rows = []
    for position, event in enumerate(events):
        now_ns = time.time_ns()
        rows.append(
            (new_id(now_ns), event.kind, now_ns, event.audience, event.client, event.dealer, event.payload, position)
        )
    await connection.executemany(_INSERT, rows)
    return [row[0] for row in rows]


def numbered_payload(index: int, filling: int = 0) -> str:
    return json.dumps({"index": index, "filling": "x" * filling})


async def numbers_of(connection: asyncpg.Connection, firm: UUID, party: str = "client") -> list[tuple[int, UUID]]:
    """(number, event id) of a stream, in the order of the numbers."""
    rows = await connection.fetch(
        "SELECT number, event_id FROM stream_entry WHERE firm_id = $1 AND party = $2 ORDER BY number", firm, party
    )
    return [(row["number"], row["event_id"]) for row in rows]


@asynccontextmanager
async def churning(dsn: str, firm: UUID, writers: int) -> AsyncIterator[list[list[list[UUID]]]]:
    """Writers at work; afterwards the ids that each has committed, by transaction, in its order."""
    stop = asyncio.Event()
    committed: list[list[list[UUID]]] = [[] for _ in range(writers)]
    tasks = [asyncio.create_task(_churn(dsn, firm, seed, stop, done)) for seed, done in enumerate(committed)]
    try:
        yield committed
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def _churn(dsn: str, firm: UUID, seed: int, stop: asyncio.Event, committed: list[list[UUID]]) -> None:
    """Transactions of one writer: some slow, some rolled back."""
    draws = random.Random(seed)
    connection = await asyncpg.connect(dsn)
    while not stop.is_set():
        transaction = connection.transaction()
        await transaction.start()
        ids = await write(connection, *[Told(firm, payload=numbered_payload(seed))] * draws.randint(1, 3))
        await asyncio.sleep(draws.choice([0, 0, 0, 0.001, 0.01]))
        if draws.random() < 0.2:
            await transaction.rollback()
        else:
            await transaction.commit()
            committed.append(ids)
    await connection.close()
