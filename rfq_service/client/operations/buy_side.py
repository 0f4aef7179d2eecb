"""What a buy-side desk does: ask for quotes, see them ranked, trade, have quotes from elsewhere scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from rfq_service.client.call import Call, change, get, segment
from rfq_service.client.operations.sides import Prices, quote_body
from rfq_service.client.schemas.enums import QuoteState, RequestSide, RfqState, Side, SizeMode, Verdict
from rfq_service.client.schemas.quote import QuoteHistory, RankedQuotes
from rfq_service.client.schemas.rfq import Fill, Leg, RfqPage, RfqView
from rfq_service.client.values import decimal_text, format_time, optional_decimal_text

Number = Decimal | int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalQuote:
    """A quote received on another platform. ``bid`` and ``ask`` are a price, or prices leg by leg."""

    dealer: str
    bid: Prices | None = None
    ask: Prices | None = None
    quantity: Number | None = None
    ttl_s: Number | None = None


def open_rfq(
    *,
    legs: Sequence[Leg],
    side: RequestSide | Side | str,
    quantity: Number,
    size_mode: SizeMode | None = None,
    minimum_quantity: Number | None = None,
    price_increment: Number | None = None,
    limit_price: Number | None = None,
    client_reference: str | None = None,
    anonymous: bool | None = None,
    panel: Sequence[str] | None = None,
    expires_in_s: Number | None = None,
    idempotency_key: str | None = None,
) -> Call[RfqView]:
    """Ask dealers for quotes; without a ``panel`` all of them. ``limit_price`` is the client's secret."""
    body = {
        **_terms(legs, side, quantity, size_mode, minimum_quantity, price_increment, limit_price, client_reference),
        "anonymous": anonymous,
        "panel": None if panel is None else list(panel),
        "expires_in_s": optional_decimal_text(expires_in_s),
    }
    return change("open_rfq", "/v1/rfqs", RfqView, idempotency_key, body)


def list_rfqs(*, state: RfqState | None = None, cursor: str | None = None, limit: int | None = None) -> Call[RfqPage]:
    """The client's RFQs, newest first."""
    return get("list_rfqs", "/v1/rfqs", RfqPage, state=state, cursor=cursor, limit=limit)


def get_rfq(rfq_id: UUID | str) -> Call[RfqView]:
    """One RFQ with the dealers asked and what has traded."""
    return get("get_rfq", f"/v1/rfqs/{segment(rfq_id)}", RfqView)


def cancel_rfq(rfq_id: UUID | str, *, idempotency_key: str | None = None) -> Call[RfqView]:
    """Cancel what has not traded; every active quote ends with it."""
    return change("cancel_rfq", f"/v1/rfqs/{segment(rfq_id)}/cancel", RfqView, idempotency_key)


def get_ranked_quotes(rfq_id: UUID | str) -> Call[RankedQuotes]:
    """The quotes on an RFQ with their scores, and the decision over them."""
    return get("get_ranked_quotes", f"/v1/rfqs/{segment(rfq_id)}/quotes", RankedQuotes)


def accept_quote(
    rfq_id: UUID | str,
    *,
    quote_id: UUID | str,
    side: Side | str | None = None,
    quantity: Number | None = None,
    idempotency_key: str | None = None,
) -> Call[Fill]:
    """Trade on a quote. ``side`` is needed on a two-way RFQ; ``quantity`` is by default all that can trade."""
    body = {"quote_id": str(quote_id), "side": side, "quantity": optional_decimal_text(quantity)}
    return change("accept_quote", f"/v1/rfqs/{segment(rfq_id)}/accept", Fill, idempotency_key, body)


def evaluate_quotes(
    *,
    legs: Sequence[Leg],
    side: RequestSide | Side | str,
    quantity: Number,
    quotes: Sequence[ExternalQuote],
    size_mode: SizeMode | None = None,
    minimum_quantity: Number | None = None,
    price_increment: Number | None = None,
    limit_price: Number | None = None,
    client_reference: str | None = None,
    idempotency_key: str | None = None,
) -> Call[RankedQuotes]:
    """Have quotes scored that were received on another platform."""
    body = {
        **_terms(legs, side, quantity, size_mode, minimum_quantity, price_increment, limit_price, client_reference),
        "quotes": [
            {"dealer": item.dealer, **quote_body(item.bid, item.ask, item.quantity, item.ttl_s)} for item in quotes
        ],
    }
    return change("evaluate_quotes", "/v1/evaluations", RankedQuotes, idempotency_key, body)


def list_quotes(
    *,
    rfq_id: UUID | str | None = None,
    dealer: str | None = None,
    instrument_id: str | None = None,
    from_ns: int | None = None,
    to_ns: int | None = None,
    state: QuoteState | None = None,
    verdict: Verdict | None = None,
    cursor: str | None = None,
    limit: int | None = None,
) -> Call[QuoteHistory]:
    """The quotes received, newest first, with terms and scores; UTC ns, ``from_ns`` inclusive, ``to_ns`` exclusive."""
    return get(
        "list_quotes",
        "/v1/quotes",
        QuoteHistory,
        rfq_id=rfq_id,
        dealer=dealer,
        instrument_id=instrument_id,
        from_=None if from_ns is None else format_time(from_ns),
        to=None if to_ns is None else format_time(to_ns),
        state=state,
        verdict=verdict,
        cursor=cursor,
        limit=limit,
    )


def _terms(
    legs: Sequence[Leg],
    side: str,
    quantity: Number,
    size_mode: SizeMode | None,
    minimum_quantity: Number | None,
    price_increment: Number | None,
    limit_price: Number | None,
    client_reference: str | None,
) -> dict[str, object]:
    return {
        "legs": [
            {"instrument_id": leg.instrument_id, "side": leg.side, "ratio": decimal_text(leg.ratio)} for leg in legs
        ],
        "side": side,
        "quantity": decimal_text(quantity),
        "size_mode": size_mode,
        "minimum_quantity": optional_decimal_text(minimum_quantity),
        "price_increment": optional_decimal_text(price_increment),
        "limit_price": optional_decimal_text(limit_price),
        "client_reference": client_reference,
    }
