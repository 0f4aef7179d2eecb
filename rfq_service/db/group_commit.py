"""The hot writes: what waits at the same time is committed together, each caller answered after the commit.

Whatever has queued while the last batch was being committed becomes the next one. After a batch that held more than one
write the next commit starts a few milliseconds later at the least: an idle service adds no delay, a busy one commits
less often. Two queues share this: appends, which are one statement, and quotes, which lock and read their RFQs first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection

from rfq_service.db.append import build_append, refuses_key
from rfq_service.db.engine import Database, unavailable_as_rfq_error
from rfq_service.db.repositories.books import lock_invited
from rfq_service.db.repositories.idempotency import KeyUsedError
from rfq_service.domain.changes import Changes, RfqBook
from rfq_service.domain.errors import ErrorCode, RfqError, require
from rfq_service.domain.identifiers import FirmId, RfqId

W = TypeVar("W")
# Commits a batch and says of each write why it was refused, or ``None``.
Commit = Callable[[AsyncConnection, Sequence[W]], Awaitable[Sequence[Exception | None]]]


@dataclass(frozen=True, slots=True)
class QuoteWrite:
    """A dealer's quote on its way: ``prepare`` makes its rows of the RFQ as it stands under its lock.

    ``prepare`` is called once for each try and may raise ``RfqError``: then this quote is refused and nothing of it
    stored.
    """

    dealer_firm_id: FirmId
    rfq_id: RfqId
    prepare: Callable[[RfqBook], Changes]


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[W]):
    """A write and the caller who waits for its commit."""

    write: W
    done: asyncio.Future[None]


class GroupCommitWriter(Generic[W]):
    """Commits writes in batches on one connection of the pool, which it keeps.

    Args:
        commit: stores a batch, all or nothing but for the writes it refuses.
        on_commit: called after every commit.
        batch_max: most writes in one transaction.
        queue_max: most writes waiting; beyond it the caller is refused at once.
        spacing_s: least time between the starts of two commits when the first of them held several writes. It gathers
            larger batches, which cost less CPU each than they add waiting.

    Attributes:
        commits: how many batches were committed.
    """

    def __init__(
        self,
        database: Database,
        commit: Commit[W],
        *,
        on_commit: Callable[[], None] = lambda: None,
        batch_max: int = 64,
        queue_max: int = 1_024,
        spacing_s: float = 0.003,
    ) -> None:
        self._database = database
        self._commit_batch = commit
        self._on_commit = on_commit
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._spacing_s = spacing_s
        self._queue: deque[_Waiting[W]] = deque()
        self._has_work = asyncio.Event()
        self._is_stopping = False
        self._task: asyncio.Task[None] | None = None
        self.commits = 0

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

    async def write(self, write: W) -> None:
        """Store a write; returns only when it is durable.

        Raises:
            RfqError: ``OVERLOADED`` when too many wait already, ``DATABASE_UNAVAILABLE`` when the database is away or
                the writer is stopping. Then nothing was stored, unless the connection broke during the commit. And
                whatever the write itself was refused for.
            KeyUsedError: when its ``Idempotency-Key`` was used before.
        """
        if self._task is None or self._is_stopping:
            raise RfqError(ErrorCode.DATABASE_UNAVAILABLE, "the service is shutting down")
        if len(self._queue) >= self._queue_max:
            raise RfqError(ErrorCode.OVERLOADED, "too many requests are waiting for their commit; try again")
        waiting = _Waiting(write, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._has_work.set()
        await waiting.done

    async def _run(self) -> None:
        while await self._wait_for_work():
            try:
                async with self._database.connect() as connection:
                    try:
                        await self._serve(connection)
                    finally:
                        # Closed and not given back: its settings are the writer's own.
                        await connection.invalidate()
            except Exception as error:  # noqa: BLE001 - told to everybody who waits; the writer outlives every failure
                self._fail(self._take(len(self._queue)), error)

    async def _serve(self, connection: AsyncConnection) -> None:
        """Commit batch after batch until told to stop or the connection is found closed."""
        raw = await _driver(connection)
        loop = asyncio.get_running_loop()
        next_commit_s = 0.0
        while await self._wait_for_work() and not raw.is_closed():
            early_s = next_commit_s - loop.time()
            if early_s > 0:
                await asyncio.sleep(early_s)
            started_s = loop.time()
            batch = self._take(self._batch_max)
            next_commit_s = started_s + self._spacing_s if len(batch) > 1 else 0.0
            try:
                await self._commit(connection, batch)
            except RfqError as unavailable:
                self._fail(batch, unavailable)
                raise

    async def _commit(self, connection: AsyncConnection, batch: Sequence[_Waiting[W]]) -> None:
        """Commit a batch; when one of its writes is bad, commit each alone, so that only the bad one fails."""
        if not batch:
            return
        try:
            with unavailable_as_rfq_error():
                results = await self._commit_batch(connection, [waiting.write for waiting in batch])
        except RfqError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the caller of the bad write
            if len(batch) == 1:
                self._fail(batch, error)
                return
            for waiting in batch:
                await self._commit(connection, [waiting])
            return
        self.commits += 1
        self._on_commit()
        for waiting, refusal in zip(batch, results, strict=True):
            if refusal is not None:
                self._fail([waiting], refusal)
            elif not waiting.done.done():
                waiting.done.set_result(None)

    async def _wait_for_work(self) -> bool:
        """Whether there is something to write; ``False`` when stopping and all is written."""
        while not self._queue:
            if self._is_stopping:
                return False
            self._has_work.clear()
            await self._has_work.wait()
        return True

    def _take(self, most: int) -> list[_Waiting[W]]:
        """The next writes whose callers still wait."""
        taken = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
        return [waiting for waiting in taken if not waiting.done.done()]

    def _fail(self, batch: Iterable[_Waiting[W]], error: Exception) -> None:
        for waiting in batch:
            if not waiting.done.done():
                waiting.done.set_exception(error)


async def commit_appends(connection: AsyncConnection, batch: Sequence[Changes]) -> Sequence[Exception | None]:
    """Store new RFQs and evaluations: one statement, which commits by itself, in one round trip.

    Raises:
        KeyUsedError: when the ``Idempotency-Key`` of one of them was used before.
    """
    await _append(await _driver(connection), batch)
    return [None] * len(batch)


async def commit_quotes(connection: AsyncConnection, batch: Sequence[QuoteWrite]) -> Sequence[Exception | None]:
    """Store quotes: lock and read their RFQs, prepare one quote after the other, store all, commit.

    Quotes for one RFQ see each other in the order in which they came. Raises as ``commit_appends``.
    """
    refusals: list[Exception | None] = []
    stored: list[Changes] = []
    raw = await _driver(connection)
    async with raw.transaction():
        invited = await lock_invited(raw, list({(write.dealer_firm_id, write.rfq_id): None for write in batch}))
        books = {book.rfq.rfq_id: book for book in invited.values()}
        for write in batch:
            try:
                if (write.dealer_firm_id, write.rfq_id) not in invited:
                    raise RfqError(ErrorCode.RFQ_NOT_FOUND, "no such RFQ")
                changes = write.prepare(books[write.rfq_id])
            except Exception as error:  # noqa: BLE001 - nothing of this quote has been written; the others go on
                refusals.append(error)
                continue
            books[write.rfq_id] = books[write.rfq_id].after(changes)
            stored.append(changes)
            refusals.append(None)
        if stored:
            await _append(raw, stored)
    return refusals


async def _append(connection: asyncpg.Connection, batch: Sequence[Changes]) -> None:
    statement, arguments = build_append(batch, names_firms=True)
    try:
        await connection.execute(statement, *arguments)
    except asyncpg.UniqueViolationError as error:
        if refuses_key(error):
            raise KeyUsedError from None
        raise


async def _driver(connection: AsyncConnection) -> asyncpg.Connection:
    return (await connection.get_raw_connection()).driver_connection
