"""Sell side: inbound RFQs, prices, quotes and their history."""

from __future__ import annotations

from msgspec import UNSET

from rfq_service.api.operation import Call, NoBody, NoQuery, operation
from rfq_service.api.schemas.dealer import (
    InvitationListQuery,
    InvitationOut,
    InvitationPageOut,
    PriceIn,
    PriceOut,
    invitation_out,
    invitation_page_out,
    price_out,
)
from rfq_service.api.schemas.quote import (
    DealerQuoteHistoryOut,
    DealerQuoteHistoryQuery,
    QuoteIn,
    QuoteOut,
    dealer_quote_history_out,
    quote_out,
)
from rfq_service.domain.errors import ErrorCode
from rfq_service.domain.identifiers import QuoteId, RfqId
from rfq_service.domain.identity import Role, Scope

TAG = "Sell side"
_CLOSED = (ErrorCode.RFQ_NOT_FOUND, ErrorCode.RFQ_NOT_OPEN, ErrorCode.RFQ_EXPIRED)


def _rfq_id(call: Call[QuoteIn, NoQuery] | Call[NoBody, NoQuery]) -> RfqId:
    return RfqId(call.path_id("rfq_id", ErrorCode.RFQ_NOT_FOUND))


@operation(
    "GET",
    "/v1/dealer/rfqs",
    tag=TAG,
    body=NoBody,
    query=InvitationListQuery,
    returns=InvitationPageOut,
    roles=(Role.DEALER,),
    scope=Scope.RFQ_READ,
)
async def list_invitations(call: Call[NoBody, InvitationListQuery]) -> InvitationPageOut:
    """List the RFQs you are invited to quote, newest first.

    Poll with `state=open` for work. Rivals, their number and your rank are never shown.
    """
    query = call.query
    cursor, limit = call.page(query.cursor, query.limit)
    state = None if query.state is UNSET else query.state
    return invitation_page_out(await call.runtime.sell_side.inbound(call.caller, state, cursor, limit))


@operation(
    "GET",
    "/v1/dealer/rfqs/{rfq_id}",
    tag=TAG,
    body=NoBody,
    query=NoQuery,
    returns=InvitationOut,
    problems=(ErrorCode.RFQ_NOT_FOUND,),
    roles=(Role.DEALER,),
    scope=Scope.RFQ_READ,
)
async def get_invitation(call: Call[NoBody, NoQuery]) -> InvitationOut:
    """Read an RFQ you are invited to quote.

    After its end `outcome` says how it went for you: hit, cover with the distance to the winner, or done away.
    """
    return invitation_out(await call.runtime.sell_side.invitation(call.caller, _rfq_id(call)))


@operation(
    "POST",
    "/v1/dealer/rfqs/{rfq_id}/quotes",
    tag=TAG,
    body=QuoteIn,
    query=NoQuery,
    returns=QuoteOut,
    status=201,
    problems=(
        *_CLOSED,
        *(ErrorCode.QUOTE_CROSSED, ErrorCode.QUOTE_SIDE_MISMATCH, ErrorCode.QUOTE_LEGS_MISMATCH),
        *(ErrorCode.PRICE_OFF_TICK, ErrorCode.PRICE_NOT_POSITIVE, ErrorCode.TTL_OUT_OF_RANGE),
        *(ErrorCode.QUANTITY_OFF_LOT, ErrorCode.QUANTITY_OUT_OF_RANGE),
        *(ErrorCode.QUANTITY_BELOW_MINIMUM, ErrorCode.QUANTITY_NOT_ALL),
    ),
    roles=(Role.DEALER,),
    scope=Scope.QUOTE_WRITE,
    changes=True,
)
async def post_quote(call: Call[QuoteIn, NoQuery]) -> None:
    """Quote an RFQ.

    The quote is firm until it expires, is withdrawn or the RFQ ends. A new quote replaces your old one.
    """
    once = call.once_as(quote_out)
    await call.runtime.sell_side.post_quote(call.caller, _rfq_id(call), call.body.order(), once)


@operation(
    "POST",
    "/v1/dealer/rfqs/{rfq_id}/pass",
    tag=TAG,
    body=NoBody,
    query=NoQuery,
    returns=QuoteOut,
    problems=_CLOSED,
    roles=(Role.DEALER,),
    scope=Scope.QUOTE_WRITE,
    changes=True,
)
async def pass_rfq(call: Call[NoBody, NoQuery]) -> None:
    """Decline to quote.

    Your active quote on the RFQ ends with it. The reply is the empty quote that records the pass.
    """
    await call.runtime.sell_side.pass_rfq(call.caller, _rfq_id(call), call.once_as(quote_out))


@operation(
    "POST",
    "/v1/dealer/quotes/{quote_id}/withdraw",
    tag=TAG,
    body=NoBody,
    query=NoQuery,
    returns=QuoteOut,
    problems=(ErrorCode.QUOTE_NOT_FOUND, ErrorCode.QUOTE_NOT_ACTIVE),
    roles=(Role.DEALER,),
    scope=Scope.QUOTE_WRITE,
    changes=True,
)
async def withdraw_quote(call: Call[NoBody, NoQuery]) -> None:
    """Withdraw an active quote.

    A 409 says that it had ended before, by an accept for one.
    """
    quote_id = QuoteId(call.path_id("quote_id", ErrorCode.QUOTE_NOT_FOUND))
    await call.runtime.sell_side.withdraw(call.caller, quote_id, call.once_as(quote_out))


@operation(
    "GET",
    "/v1/dealer/quotes",
    tag=TAG,
    body=NoBody,
    query=DealerQuoteHistoryQuery,
    returns=DealerQuoteHistoryOut,
    roles=(Role.DEALER,),
    scope=Scope.RFQ_READ,
)
async def list_dealer_quotes(call: Call[NoBody, DealerQuoteHistoryQuery]) -> DealerQuoteHistoryOut:
    """Search the quotes you gave.

    Newest first, each with its end and reason. Filters combine: RFQ, instrument, time and state.
    """
    query = call.query
    cursor, limit = call.page(query.cursor, query.limit)
    page = await call.runtime.sell_side.quote_history(call.caller, query.filter(), cursor, limit)
    return dealer_quote_history_out(page)


@operation(
    "POST",
    "/v1/dealer/price",
    tag=TAG,
    body=PriceIn,
    query=NoQuery,
    returns=PriceOut,
    problems=(
        *_CLOSED,
        *(ErrorCode.UNKNOWN_INSTRUMENT, ErrorCode.INSTRUMENT_EXPIRED),
        *(ErrorCode.QUANTITY_OFF_LOT, ErrorCode.QUANTITY_OUT_OF_RANGE),
    ),
    roles=(Role.DEALER,),
    scope=Scope.PRICE_READ,
)
async def price_request(call: Call[PriceIn, NoQuery]) -> PriceOut:
    """Ask what to quote.

    Prices an inbound RFQ or a hypothetical request with your own inventory: price, markup and its parts, chance to win,
    expected gain. A refusal to quote, as in a stale market, is an answer with a `decline_code`, not an error. Nothing
    is sent to the client: post the quote yourself.
    """
    return price_out(await call.runtime.sell_side.price(call.caller, call.body.order()))
