"""What a dealer does: see what he is asked, ask what to quote, quote, pass, withdraw."""

from __future__ import annotations

from uuid import UUID

from rfq_service.client.call import Call, change, get, post, segment
from rfq_service.client.operations.buy_side import Number
from rfq_service.client.operations.sides import Prices, quote_body
from rfq_service.client.schemas.dealer import Invitation, InvitationPage, Price
from rfq_service.client.schemas.enums import InvitationState, QuoteState, RequestSide, Side
from rfq_service.client.schemas.quote import DealerQuoteHistory, Quote
from rfq_service.client.values import format_time, optional_decimal_text


def list_invitations(
    *, state: InvitationState | None = None, cursor: str | None = None, limit: int | None = None
) -> Call[InvitationPage]:
    """The RFQs that the dealer is invited to quote, newest first."""
    return get("list_invitations", "/v1/dealer/rfqs", InvitationPage, state=state, cursor=cursor, limit=limit)


def get_invitation(rfq_id: UUID | str) -> Call[Invitation]:
    """One RFQ as the dealer sees it; after its end, how it went for him."""
    return get("get_invitation", f"/v1/dealer/rfqs/{segment(rfq_id)}", Invitation)


def post_quote(
    rfq_id: UUID | str,
    *,
    bid: Prices | None = None,
    ask: Prices | None = None,
    quantity: Number | None = None,
    ttl_s: Number | None = None,
    idempotency_key: str | None = None,
) -> Call[Quote]:
    """Quote an RFQ; a new quote replaces the old one. ``bid`` and ``ask`` are a price, or prices leg by leg."""
    path = f"/v1/dealer/rfqs/{segment(rfq_id)}/quotes"
    return change("post_quote", path, Quote, idempotency_key, quote_body(bid, ask, quantity, ttl_s))


def pass_rfq(rfq_id: UUID | str, *, idempotency_key: str | None = None) -> Call[Quote]:
    """Decline to quote."""
    return change("pass_rfq", f"/v1/dealer/rfqs/{segment(rfq_id)}/pass", Quote, idempotency_key)


def withdraw_quote(quote_id: UUID | str, *, idempotency_key: str | None = None) -> Call[Quote]:
    """Withdraw an active quote."""
    return change("withdraw_quote", f"/v1/dealer/quotes/{segment(quote_id)}/withdraw", Quote, idempotency_key)


def list_dealer_quotes(
    *,
    rfq_id: UUID | str | None = None,
    instrument_id: str | None = None,
    from_ns: int | None = None,
    to_ns: int | None = None,
    state: QuoteState | None = None,
    cursor: str | None = None,
    limit: int | None = None,
) -> Call[DealerQuoteHistory]:
    """The quotes the dealer gave, newest first; UTC ns, ``from_ns`` inclusive, ``to_ns`` exclusive."""
    return get(
        "list_dealer_quotes",
        "/v1/dealer/quotes",
        DealerQuoteHistory,
        rfq_id=rfq_id,
        instrument_id=instrument_id,
        from_=None if from_ns is None else format_time(from_ns),
        to=None if to_ns is None else format_time(to_ns),
        state=state,
        cursor=cursor,
        limit=limit,
    )


def price_request(
    *,
    rfq_id: UUID | str | None = None,
    instrument_id: str | None = None,
    side: RequestSide | Side | str | None = None,
    quantity: Number | None = None,
) -> Call[Price]:
    """What the service would quote: an inbound RFQ by its id, or a hypothetical one by the other three."""
    body = {
        "rfq_id": None if rfq_id is None else str(rfq_id),
        "instrument_id": instrument_id,
        "side": side,
        "quantity": optional_decimal_text(quantity),
    }
    return post("price_request", "/v1/dealer/price", Price, body)
