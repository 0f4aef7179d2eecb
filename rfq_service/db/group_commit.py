"""The hot write: evaluations that wait at the same time are committed together, each answered after its commit.

Whatever has queued while the last batch was being committed becomes the next one, and commits start a few milliseconds
apart at the least: an idle service adds no delay, a busy one commits less often. A batch is one statement on a
connection of its own: each table is one branch of it, ``INSERT … SELECT … FROM unnest(…)``, and the statement commits
by itself, all or nothing, in one round trip.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import asyncpg
from sqlalchemy import ARRAY, Table
from sqlalchemy.dialects import postgresql

from rfq_service.db.engine import Database, unavailable_as_rfq_error
from rfq_service.db.repositories.conversion import (
    decision_values,
    evaluation_values,
    event_values,
    leg_values,
    quote_values,
    rfq_values,
)
from rfq_service.db.tables import DecisionRow, EvaluationRow, EventRow, QuoteRow, RfqLegRow, RfqRow, table_of
from rfq_service.domain.errors import ErrorCode, RfqError, require
from rfq_service.domain.history import Decision, Evaluation, Event
from rfq_service.domain.quote import Quote
from rfq_service.domain.rfq import Rfq

_TABLES = tuple(table_of(row) for row in (RfqRow, RfqLegRow, QuoteRow, EvaluationRow, DecisionRow, EventRow))
# An array of arrays is flattened by unnest, so the elements of an array column travel as one text.
_SEPARATOR = "\x1f"


@dataclass(frozen=True, slots=True)
class EvaluationWrite:
    """Everything one evaluation stores, in one transaction. The RFQ has no panel: its quotes came from elsewhere."""

    rfq: Rfq
    quotes: Sequence[Quote]
    evaluations: Sequence[Evaluation]
    decision: Decision
    events: Sequence[Event]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A write and the caller who waits for its commit."""

    write: EvaluationWrite
    done: asyncio.Future[None]


class GroupCommitWriter:
    """Commits evaluations in batches on one connection of the pool.

    Args:
        batch_max: most writes in one transaction.
        queue_max: most writes waiting; beyond it the caller is refused at once.
        spacing_s: least time between the starts of two commits. It delays nobody on an idle service; on a busy one it
            gathers larger batches, which cost less CPU each than they add waiting.
    """

    def __init__(
        self, database: Database, batch_max: int = 64, queue_max: int = 1_024, spacing_s: float = 0.003
    ) -> None:
        self._database = database
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._spacing_s = spacing_s
        self._queue: deque[_Waiting] = deque()
        self._has_work = asyncio.Event()
        self._is_stopping = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the writer; it connects with the first write."""
        require(self._task is None, "the writer starts once")
        self._task = asyncio.create_task(self._run(), name="group-commit")

    async def stop(self) -> None:
        """Commit what is waiting, then let go of the connection; later writes are refused."""
        self._is_stopping = True
        self._has_work.set()
        if self._task is not None:
            await self._task

    @property
    def waiting(self) -> int:
        """How many writes wait for their batch."""
        return len(self._queue)

    async def write(self, write: EvaluationWrite) -> None:
        """Store an evaluation; returns only when it is durable.

        Raises:
            RfqError: ``OVERLOADED`` when too many wait already, ``DATABASE_UNAVAILABLE`` when the database is away or
                the writer is stopping. Then nothing was stored, unless the connection broke during the commit.
        """
        if self._task is None or self._is_stopping:
            raise RfqError(ErrorCode.DATABASE_UNAVAILABLE, "the service is shutting down")
        if len(self._queue) >= self._queue_max:
            raise RfqError(ErrorCode.OVERLOADED, "too many evaluations are waiting; try again")
        waiting = _Waiting(write, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._has_work.set()
        await waiting.done

    async def _run(self) -> None:
        while await self._wait_for_work():
            try:
                async with self._database.connect() as connection:
                    raw = (await connection.get_raw_connection()).driver_connection
                    try:
                        await self._serve(raw)
                    finally:
                        # Closed and not given back: its settings are the writer's own.
                        await connection.invalidate()
            except Exception as error:  # noqa: BLE001 - told to everybody who waits; the writer outlives every failure
                self._fail(self._take(len(self._queue)), error)

    async def _serve(self, connection: asyncpg.Connection) -> None:
        """Commit batch after batch until told to stop or the connection is found closed."""
        if self._database.has_sessions:
            # The plan does not depend on the values, and planning anew costs more than a small batch.
            await connection.execute("SET plan_cache_mode = force_generic_plan")
        loop = asyncio.get_running_loop()
        next_commit_s = 0.0
        while await self._wait_for_work() and not connection.is_closed():
            early_s = next_commit_s - loop.time()
            if early_s > 0:
                await asyncio.sleep(early_s)
            next_commit_s = loop.time() + self._spacing_s
            batch = self._take(self._batch_max)
            if not batch:
                continue
            try:
                await self._commit(connection, batch)
            except RfqError as unavailable:
                self._fail(batch, unavailable)
                raise

    async def _commit(self, connection: asyncpg.Connection, batch: Sequence[_Waiting]) -> None:
        """Commit a batch; when one of its writes is bad, commit each alone, so that only the bad one fails."""
        try:
            with unavailable_as_rfq_error():
                await connection.execute(_STATEMENT, *_arguments([waiting.write for waiting in batch]))
        except RfqError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the caller of the bad write
            if len(batch) == 1:
                self._fail(batch, error)
                return
            for waiting in batch:
                await self._commit(connection, [waiting])
            return
        for waiting in batch:
            if not waiting.done.done():
                waiting.done.set_result(None)

    async def _wait_for_work(self) -> bool:
        """Whether there is something to write; ``False`` when stopping and all is written."""
        while not self._queue:
            if self._is_stopping:
                return False
            self._has_work.clear()
            await self._has_work.wait()
        return True

    def _take(self, count: int) -> list[_Waiting]:
        """The next writes whose callers still wait."""
        taken = [self._queue.popleft() for _ in range(min(count, len(self._queue)))]
        return [waiting for waiting in taken if not waiting.done.done()]

    def _fail(self, batch: Iterable[_Waiting], error: Exception) -> None:
        for waiting in batch:
            if not waiting.done.done():
                waiting.done.set_exception(error)


def _insert(table: Table, first: int) -> str:
    """One branch of the statement; its arguments are numbered from ``first``."""
    arrays, values = [], []
    for number, column in enumerate(table.columns, first):
        type_name = column.type.compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]
        if isinstance(column.type, ARRAY):
            arrays.append(f"${number}::text[]")
            values.append(f"string_to_array({column.name}, E'\\x1f')::{type_name}")
        else:
            arrays.append(f"${number}::{type_name}[]")
            values.append(column.name)
    names = ", ".join(column.name for column in table.columns)
    source = f"unnest({', '.join(arrays)}) AS given({names})"
    return f"INSERT INTO {table.name} ({names}) SELECT {', '.join(values)} FROM {source}"  # noqa: S608 - our own names


def _build_statement() -> str:
    first, branches = 1, []
    for table in _TABLES:
        branches.append(_insert(table, first))
        first += len(table.columns)
    ahead = ", ".join(f"w{number} AS ({branch})" for number, branch in enumerate(branches[:-1]))
    return f"WITH {ahead} {branches[-1]}"


def _arguments(writes: Sequence[EvaluationWrite]) -> list[list[Any] | tuple[Any, ...]]:
    """The columns of all six tables, one array each, in the order of the statement."""
    tables = (
        [rfq_values(write.rfq, ()) for write in writes],
        [row for write in writes for row in leg_values(write.rfq)],
        [quote_values(quote) for write in writes for quote in write.quotes],
        [evaluation_values(evaluation) for write in writes for evaluation in write.evaluations],
        [decision_values(write.decision) for write in writes],
        [event_values(event) for write in writes for event in write.events],
    )
    return list(chain.from_iterable(map(_columns, _TABLES, tables)))


def _columns(table: Table, rows: Sequence[dict[str, object]]) -> list[list[Any] | tuple[Any, ...]]:
    if not rows:
        return [()] * len(table.columns)
    columns: list[list[Any] | tuple[Any, ...]] = list(zip(*(row.values() for row in rows), strict=True))
    for index in _ARRAY_COLUMNS[table.name]:
        columns[index] = [None if value is None else _SEPARATOR.join(map(str, value)) for value in columns[index]]
    return columns


_STATEMENT = _build_statement()
_ARRAY_COLUMNS = {
    table.name: [index for index, column in enumerate(table.columns) if isinstance(column.type, ARRAY)]
    for table in _TABLES
}
