"""Lets RFQs and quotes expire on time, whichever replica gets to them first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from rfq_service.db.repositories.books import find_due
from rfq_service.desk import endings
from rfq_service.desk.ports import DeskContext, QuoteListener
from rfq_service.domain.changes import Changes, RfqBook
from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.history import QuoteEnd
from rfq_service.domain.identifiers import FirmId, RfqId
from rfq_service.domain.quote import QuoteEndReason, QuoteState
from rfq_service.domain.rfq import QUOTABLE_STATES, RfqEvent
from rfq_service.domain.units import NS_PER_S

_BATCH = 100
_PURGE_EVERY_NS = 60 * NS_PER_S
_PURGE_BATCH = 1_000
_DATABASE_ERRORS = frozenset({ErrorCode.DATABASE_UNAVAILABLE, ErrorCode.OVERLOADED})
_log = structlog.get_logger(__name__)


class Sweeper:
    """Ends what is due, one RFQ in one transaction; what somebody else works on, as an accept in flight, goes first."""

    def __init__(
        self, context: DeskContext, listener: QuoteListener, pause_ns: int, on_failure: Callable[[], None]
    ) -> None:
        self._context = context
        self._listener = listener
        self._pause_s = pause_ns / 1e9
        self._on_failure = on_failure
        self._purged_at_ns: int | None = None

    async def run(self) -> None:
        """Sweep for ever; a database that is away is tried again at the next sweep."""
        while True:
            await asyncio.sleep(self._pause_s)
            try:
                await self.sweep()
                await self._purge()
            except RfqError as error:
                self._on_failure()
                _log.warning("sweep_failed", code=error.code, detail=error.detail)

    async def sweep(self) -> int:
        """Expire everything that is due; return how many RFQs and quotes ended."""
        ended = 0
        while True:
            async with self._context.database.desk.connect() as connection:
                raw = (await connection.get_raw_connection()).driver_connection
                due = await find_due(raw, self._context.clock.now_ns(), _BATCH)
            counts = [await self._expire_alone(rfq_id, client_firm_id) for rfq_id, client_firm_id in due]
            ended += sum(counts)
            if len(due) < _BATCH or not any(counts):
                return ended

    async def _expire_alone(self, rfq_id: RfqId, client_firm_id: FirmId) -> int:
        """As ``_expire``; an RFQ that cannot be ended, by a bug of ours, must not keep everybody else's alive."""
        try:
            return await self._expire(rfq_id, client_firm_id)
        except Exception as error:
            if isinstance(error, RfqError) and error.code in _DATABASE_ERRORS:
                raise
            self._on_failure()
            _log.exception("rfq_not_swept", rfq_id=str(rfq_id))
            return 0

    async def _expire(self, rfq_id: RfqId, client_firm_id: FirmId) -> int:
        """End what is due of one RFQ, unless somebody else is changing it; return how much that was."""
        context = self._context
        async with context.database.desk.begin(firm=client_firm_id) as uow:
            if not await uow.rfqs.try_lock(rfq_id):
                return 0
            book = await uow.rfqs.book(client_firm_id, rfq_id)
            if book is None:
                return 0
            changes = self._due(book, context.clock.now_ns())
            if not changes.events:  # another replica was here between the question and the lock
                return 0
            await uow.store([changes])
            await uow.commit()
        context.on_commit()
        return len(changes.ends) + (changes.saved_rfq is not None)

    def _due(self, book: RfqBook, now_ns: int) -> Changes:
        rfq = book.rfq
        changes = Changes(rfq.client_firm_id)
        is_open = rfq.state in QUOTABLE_STATES
        if is_open and rfq.terms.expires_at_ns <= now_ns:
            endings.end_rfq(self._context, changes, book, rfq.apply(RfqEvent.EXPIRE), now_ns)
            return changes
        for quote in book.quotes:
            is_over = quote.valid_until_ns <= now_ns and quote.valid_until_ns < rfq.terms.expires_at_ns
            if quote.end_reason is None and quote.dealer_firm_id is not None and is_over:
                end = QuoteEnd(quote.quote_id, QuoteState.EXPIRED, QuoteEndReason.TTL_ELAPSED, now_ns)
                endings.end_quote(self._context, changes, quote, end)
        if changes.ends and is_open:
            self._listener.on_quotes_changed(changes, book, None, now_ns)
        return changes

    async def _purge(self) -> None:
        """Forget replies whose time is over: once a minute, and while there are many with every sweep."""
        clock = self._context.clock
        if self._purged_at_ns is not None and clock.monotonic_ns() - self._purged_at_ns < _PURGE_EVERY_NS:
            return
        async with self._context.database.operator.begin() as uow:
            purged = await uow.idempotency.purge(clock.now_ns(), _PURGE_BATCH)
            await uow.commit()
        if purged < _PURGE_BATCH:
            self._purged_at_ns = clock.monotonic_ns()
