"""Lets RFQs and quotes expire on time, whichever replica gets to them first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from rfq_service.desk import endings
from rfq_service.desk.ports import DeskContext
from rfq_service.domain.errors import RfqError
from rfq_service.domain.history import QuoteEnd
from rfq_service.domain.quote import QuoteEndReason, QuoteState
from rfq_service.domain.rfq import RfqEvent

_BATCH = 100
_log = structlog.get_logger(__name__)


class Sweeper:
    """Claims what has expired with SKIP LOCKED, so that replicas share the work and an accept in flight goes first."""

    def __init__(self, context: DeskContext, pause_ns: int, on_failure: Callable[[], None]) -> None:
        self._context = context
        self._pause_s = pause_ns / 1e9
        self._on_failure = on_failure

    async def run(self) -> None:
        """Sweep for ever; a database that is away is tried again at the next sweep."""
        while True:
            await asyncio.sleep(self._pause_s)
            try:
                await self.sweep()
            except RfqError as error:
                self._on_failure()
                _log.warning("sweep_failed", code=error.code, detail=error.detail)

    async def sweep(self) -> int:
        """Expire everything that is due; return how many RFQs and quotes ended."""
        context = self._context
        async with context.database.begin() as uow:
            due = await uow.rfqs.is_due(context.clock.now_ns())
        ended = 0
        # RFQs first: their end says more than the end of their quotes' time
        for is_due, expire in zip(due, (self._expire_rfqs, self._expire_quotes), strict=True):
            while is_due:
                count = await expire()
                ended += count
                if count < _BATCH:
                    break
        return ended

    async def _expire_rfqs(self) -> int:
        context = self._context
        async with context.database.begin() as uow:
            now_ns = context.clock.now_ns()
            rfqs = await uow.rfqs.claim_expired(now_ns, _BATCH)
            for rfq in rfqs:
                await endings.end_rfq(context, uow, rfq.apply(RfqEvent.EXPIRE), now_ns)
            await uow.commit()
        return len(rfqs)

    async def _expire_quotes(self) -> int:
        context = self._context
        async with context.database.begin() as uow:
            now_ns = context.clock.now_ns()
            quotes = await uow.quotes.claim_expired(now_ns, _BATCH)
            for quote in quotes:
                end = QuoteEnd(quote.quote_id, QuoteState.EXPIRED, QuoteEndReason.TTL_ELAPSED, now_ns)
                await endings.end_quote(context, uow, quote, end, may_have_ended=True)
            await uow.commit()
        return len(quotes)
