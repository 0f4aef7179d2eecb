"""Buy side: the history of quotes received."""

from __future__ import annotations

from rfq_service.api.operation import Call, NoBody, operation
from rfq_service.api.rfqs import TAG
from rfq_service.api.schemas.quote import QuoteHistoryOut, QuoteHistoryQuery, quote_history_out
from rfq_service.domain.identity import Role, Scope


@operation(
    "GET",
    "/v1/quotes",
    tag=TAG,
    body=NoBody,
    query=QuoteHistoryQuery,
    returns=QuoteHistoryOut,
    roles=(Role.BUY_SIDE,),
    scope=Scope.RFQ_READ,
)
async def list_quotes(call: Call[NoBody, QuoteHistoryQuery]) -> QuoteHistoryOut:
    """Search the quotes you received.

    Newest first, with terms and scores, winning or not. Filters combine: RFQ, dealer, instrument, time of receipt,
    state and verdict.
    """
    query = call.query
    cursor, limit = call.page(query.cursor, query.limit)
    page = await call.runtime.buy_side.quote_history(call.caller, query.client_filter(), cursor, limit)
    return quote_history_out(page)
