"""Auditors: the quotes and events of firms they were granted, through a database role and a pool of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from msgspec import UNSET

from rfq_service.api.operation import Call, NoBody, operation
from rfq_service.api.schemas.audit import AuditEventsQuery, AuditQuotesQuery, ToldEventPageOut, told_event_page_out
from rfq_service.api.schemas.quote import QuoteHistoryOut, quote_history_out
from rfq_service.db.unit_of_work import UnitOfWork
from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.history import Firm
from rfq_service.domain.identity import Role, Scope

TAG = "Audit"


@asynccontextmanager
async def _reading(call: Call[Any, Any], name: str) -> AsyncIterator[tuple[UnitOfWork, Firm]]:
    """A transaction that may read the named firm.

    Raises:
        RfqError: ``FIRM_NOT_FOUND`` when there is no such firm, or the auditor was not granted it.
    """
    async with call.runtime.databases.auditor.read() as uow:
        granted = await uow.audit.enter(call.caller.firm_id)
        firm = (await uow.firms.by_name([name])).get(name)
        if firm is None or firm.firm_id not in granted:
            raise RfqError(ErrorCode.FIRM_NOT_FOUND, "no such firm among those you were granted", "firm")
        yield uow, firm


@operation(
    "GET",
    "/v1/audit/quotes",
    tag=TAG,
    body=NoBody,
    query=AuditQuotesQuery,
    returns=QuoteHistoryOut,
    problems=(ErrorCode.FIRM_NOT_FOUND,),
    roles=(Role.AUDITOR,),
    scope=Scope.AUDIT_READ,
)
async def audit_quotes(call: Call[NoBody, AuditQuotesQuery]) -> QuoteHistoryOut:
    """Search the quotes a firm received.

    With terms and scores, as the firm reads them itself: newest first, winning or not.
    """
    query = call.query
    cursor, limit = call.page(query.cursor, query.limit)
    wanted = query.client_filter()
    async with _reading(call, query.firm) as (uow, firm):
        page = await uow.quotes.history(firm.firm_id, wanted, cursor=cursor, limit=limit)
    return quote_history_out(page)


@operation(
    "GET",
    "/v1/audit/events",
    tag=TAG,
    body=NoBody,
    query=AuditEventsQuery,
    returns=ToldEventPageOut,
    problems=(ErrorCode.FIRM_NOT_FOUND,),
    roles=(Role.AUDITOR,),
    scope=Scope.AUDIT_READ,
)
async def audit_events(call: Call[NoBody, AuditEventsQuery]) -> ToldEventPageOut:
    """Read what a firm was told, and when.

    The numbered stream of one of its desks: 1, 2, 3 … without gaps, as far back as it is kept.
    """
    query = call.query
    _, limit = call.page(UNSET, query.limit)
    after = 0 if query.after is UNSET else query.after
    async with _reading(call, query.firm) as (uow, firm):
        events = await uow.audit.events(firm.firm_id, query.party, after, limit + 1)
    return told_event_page_out(events, limit)
