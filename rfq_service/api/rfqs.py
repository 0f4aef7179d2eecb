"""Buy side: open, read, list and cancel RFQs, see their quotes ranked, trade."""

from __future__ import annotations

from msgspec import UNSET

from rfq_service.api.operation import Call, NoBody, NoQuery, operation
from rfq_service.api.schemas.quote import RankedQuotesOut, ranked_quotes_out
from rfq_service.api.schemas.rfq import (
    AcceptIn,
    FillOut,
    RfqIn,
    RfqListQuery,
    RfqPageOut,
    RfqViewOut,
    fill_out,
    rfq_page_out,
    rfq_view_out,
)
from rfq_service.domain.errors import ErrorCode
from rfq_service.domain.identifiers import RfqId
from rfq_service.domain.identity import Role, Scope

TAG = "Buy side"
# What is wrong with the terms of a trade; evaluations refuse the same.
TERMS_PROBLEMS = (
    ErrorCode.UNKNOWN_INSTRUMENT,
    ErrorCode.INSTRUMENT_EXPIRED,
    ErrorCode.PACKAGE_NOT_PRICEABLE,
    ErrorCode.QUANTITY_OFF_LOT,
    ErrorCode.QUANTITY_OUT_OF_RANGE,
    ErrorCode.PRICE_OFF_TICK,
    ErrorCode.PRICE_NOT_POSITIVE,
)


def _rfq_id(call: Call[AcceptIn, NoQuery] | Call[NoBody, NoQuery]) -> RfqId:
    return RfqId(call.path_id("rfq_id", ErrorCode.RFQ_NOT_FOUND))


@operation(
    "POST",
    "/v1/rfqs",
    tag=TAG,
    body=RfqIn,
    query=NoQuery,
    returns=RfqViewOut,
    status=201,
    problems=(
        *TERMS_PROBLEMS,
        ErrorCode.UNKNOWN_DEALER,
        ErrorCode.PANEL_TOO_SMALL,
        ErrorCode.EXPIRY_OUT_OF_RANGE,
    ),
    roles=(Role.BUY_SIDE,),
    scope=Scope.RFQ_WRITE,
    changes=True,
)
async def open_rfq(call: Call[RfqIn, NoQuery]) -> None:
    """Ask dealers for quotes.

    Opens an RFQ of 1 to 20 legs and invites its panel. Dealers see the terms, never the limit price, the panel or each
    other. Quotes are scored as they arrive: read them at `/v1/rfqs/{rfq_id}/quotes`.
    """
    await call.runtime.buy_side.open_rfq(call.caller, call.body.order(), call.once_as(rfq_view_out))


@operation(
    "GET",
    "/v1/rfqs",
    tag=TAG,
    body=NoBody,
    query=RfqListQuery,
    returns=RfqPageOut,
    roles=(Role.BUY_SIDE,),
    scope=Scope.RFQ_READ,
)
async def list_rfqs(call: Call[NoBody, RfqListQuery]) -> RfqPageOut:
    """List your RFQs, newest first.

    RFQs that were only evaluated are in the list too, in state `evaluated`.
    """
    query = call.query
    cursor, limit = call.page(query.cursor, query.limit)
    state = None if query.state is UNSET else query.state
    return rfq_page_out(await call.runtime.buy_side.rfqs(call.caller, state, cursor, limit))


@operation(
    "GET",
    "/v1/rfqs/{rfq_id}",
    tag=TAG,
    body=NoBody,
    query=NoQuery,
    returns=RfqViewOut,
    problems=(ErrorCode.RFQ_NOT_FOUND,),
    roles=(Role.BUY_SIDE,),
    scope=Scope.RFQ_READ,
)
async def get_rfq(call: Call[NoBody, NoQuery]) -> RfqViewOut:
    """Read one of your RFQs.

    With the dealers that were asked and what has traded.
    """
    return rfq_view_out(await call.runtime.buy_side.rfq(call.caller, _rfq_id(call)))


@operation(
    "POST",
    "/v1/rfqs/{rfq_id}/cancel",
    tag=TAG,
    body=NoBody,
    query=NoQuery,
    returns=RfqViewOut,
    problems=(ErrorCode.RFQ_NOT_FOUND, ErrorCode.RFQ_NOT_OPEN, ErrorCode.RFQ_EXPIRED),
    roles=(Role.BUY_SIDE,),
    scope=Scope.RFQ_WRITE,
    changes=True,
)
async def cancel_rfq(call: Call[NoBody, NoQuery]) -> None:
    """Cancel what has not traded.

    Every active quote ends with it, reason `rfq_cancelled`. What has traded stays traded.
    """
    await call.runtime.buy_side.cancel(call.caller, _rfq_id(call), call.once_as(rfq_view_out))


@operation(
    "GET",
    "/v1/rfqs/{rfq_id}/quotes",
    tag=TAG,
    body=NoBody,
    query=NoQuery,
    returns=RankedQuotesOut,
    problems=(ErrorCode.RFQ_NOT_FOUND,),
    roles=(Role.BUY_SIDE,),
    scope=Scope.RFQ_READ,
)
async def get_ranked_quotes(call: Call[NoBody, NoQuery]) -> RankedQuotesOut:
    """Read the quotes on your RFQ with their scores.

    Each quote is scored once, when it is stored, against the market of that moment; reading never scores again. Ended
    quotes are listed too. The decision weighs all quotes that were live; `is_current` tells whether it still stands.
    """
    return ranked_quotes_out(await call.runtime.buy_side.ranked_quotes(call.caller, _rfq_id(call)))


@operation(
    "POST",
    "/v1/rfqs/{rfq_id}/accept",
    tag=TAG,
    body=AcceptIn,
    query=NoQuery,
    returns=FillOut,
    problems=(
        *(ErrorCode.RFQ_NOT_FOUND, ErrorCode.RFQ_NOT_OPEN, ErrorCode.RFQ_EXPIRED),
        *(ErrorCode.QUOTE_NOT_FOUND, ErrorCode.QUOTE_NOT_ACTIVE, ErrorCode.QUOTE_EXPIRED),
        *(ErrorCode.QUOTE_SIDE_MISMATCH, ErrorCode.QUANTITY_EXCEEDS_REMAINING, ErrorCode.QUANTITY_EXCEEDS_QUOTE),
        *(ErrorCode.QUANTITY_BELOW_MINIMUM, ErrorCode.QUANTITY_NOT_ALL, ErrorCode.QUANTITY_OFF_LOT),
    ),
    roles=(Role.BUY_SIDE,),
    scope=Scope.RFQ_WRITE,
    changes=True,
)
async def accept_quote(call: Call[AcceptIn, NoQuery]) -> None:
    """Trade on a quote.

    It fills, or says why not, exactly once: of several accepts of one quote at the same time one gets the fill and the
    others a 409. The reply follows the commit.
    """
    once = call.once_as(fill_out)
    await call.runtime.buy_side.accept(call.caller, _rfq_id(call), *call.body.arguments(), once)
