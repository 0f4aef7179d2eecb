"""Orders into domain values: defaults filled in, everything checked, nothing rounded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from uuid import UUID

import msgspec

from rfq_service.desk.orders import QuoteOrder, RfqOrder, SideOrder
from rfq_service.domain.errors import ErrorCode, RfqError, require
from rfq_service.domain.history import Audience, Event, EventKind
from rfq_service.domain.identifiers import EventId, FirmId, InstrumentId, QuoteId, RfqId
from rfq_service.domain.instrument import Instrument
from rfq_service.domain.quote import Quote, SidePrice
from rfq_service.domain.rfq import ExpiryBounds, Rfq, RfqState, RfqTerms, check_terms
from rfq_service.domain.units import NS_PER_S, RequestSide, check_decimal, is_multiple

_encoder = msgspec.json.Encoder(uuid_format="canonical", order="sorted")
_SEQUENCES = (list, tuple)


def canonical_json(value: object) -> str:
    """Canonical JSON text, one for equal values: sorted keys, no spaces, decimals as text without needless zeros.

    A struct is taken as it is: it declares what it holds, and holds no decimal.

    Raises:
        InvariantError: for NaN and infinities, which JSON does not know.
    """
    return _encoder.encode(_canonical(value)).decode()


def _canonical(value: object) -> object:
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, dict):
        return {name: _canonical(item) for name, item in value.items()}
    if isinstance(value, _SEQUENCES):
        return [_canonical(item) for item in value]
    require(not isinstance(value, float) or math.isfinite(value), "a number that is written down is finite")
    return value


def decimal_text(value: Decimal) -> str:
    """Plain digits, the same for equal numbers: 1.50 is ``1.5``, -0 is ``0``; raises ``InvariantError`` for NaN."""
    require(value.is_finite(), "a number that is written down is finite")
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def build_terms(
    order: RfqOrder, instruments: Mapping[InstrumentId, Instrument], life: ExpiryBounds, now_ns: int
) -> RfqTerms:
    """Terms of a new RFQ.

    Raises:
        RfqError: for anything that cannot be traded; the field at fault is named.
    """
    known = [instruments[leg.instrument_id] for leg in order.legs if leg.instrument_id in instruments]
    increment = order.price_increment
    if increment is None:
        increment = min((instrument.tick_size for instrument in known), default=Decimal(1))
    life_ns = bounded_life_ns(order.expires_in_ns, life, ErrorCode.EXPIRY_OUT_OF_RANGE, "expires_in_s")
    terms = RfqTerms(
        legs=order.legs,
        side=order.side,
        quantity=order.quantity,
        size_mode=order.size_mode,
        minimum_quantity=order.minimum_quantity,
        price_increment=increment,
        created_at_ns=now_ns,
        expires_at_ns=now_ns + life_ns,
    )
    check_terms(terms, instruments)
    return terms


def build_rfq(order: RfqOrder, terms: RfqTerms, rfq_id: RfqId, client: FirmId, state: RfqState) -> Rfq:
    """A new RFQ of ``client``.

    Raises:
        RfqError: when the limit price is not a price of this RFQ. It steers the decision and binds nobody: the client
            may accept beyond it.
    """
    if order.limit_price is not None:
        check_decimal(order.limit_price, "limit_price")
        if terms.side is RequestSide.TWO_WAY:
            raise RfqError(ErrorCode.INVALID_FIELD, "a two-way request has no side to limit", "limit_price")
        if not is_multiple(order.limit_price, terms.price_increment):
            detail = f"must be a multiple of the increment {terms.price_increment}"
            raise RfqError(ErrorCode.PRICE_OFF_TICK, detail, "limit_price")
        if len(terms.legs) == 1 and order.limit_price <= 0:
            raise RfqError(ErrorCode.PRICE_NOT_POSITIVE, "must be positive", "limit_price")
    return Rfq(
        rfq_id=rfq_id,
        client_firm_id=client,
        terms=terms,
        limit_price=order.limit_price,
        client_reference=order.client_reference,
        anonymous=order.anonymous,
        state=state,
        filled_quantity=Decimal(0),
    )


def build_side_price(terms: RfqTerms, side: SideOrder | None, field: str) -> SidePrice | None:
    """Price of one quoted side; the net price of a package follows from its leg prices.

    Raises:
        RfqError: ``QUOTE_LEGS_MISMATCH`` when there is not one price per leg, ``NOT_FINITE`` and the like.
    """
    if side is None:
        return None
    leg_prices = side.leg_prices
    if not leg_prices and side.price is not None and len(terms.legs) == 1:
        leg_prices = (side.price,)
    if len(leg_prices) != len(terms.legs):
        path = f"{field}.price" if len(terms.legs) == 1 and not leg_prices else f"{field}.leg_prices"
        raise RfqError(ErrorCode.QUOTE_LEGS_MISMATCH, "one price per leg", path)
    for index, leg_price in enumerate(leg_prices):
        check_decimal(leg_price, f"{field}.leg_prices[{index}]" if side.leg_prices else f"{field}.price")
    net_price = terms.package_price(leg_prices) if side.price is None else side.price
    return SidePrice(price=net_price, leg_prices=leg_prices)


def build_quote(
    rfq: Rfq, order: QuoteOrder, quote_id: QuoteId, dealer: FirmId | None, dealer_name: str, now_ns: int, ttl_ns: int
) -> Quote:
    """An active quote on ``rfq``, not yet checked against its terms."""
    return Quote(
        quote_id=quote_id,
        rfq_id=rfq.rfq_id,
        dealer_firm_id=dealer,
        dealer_name=dealer_name,
        bid=build_side_price(rfq.terms, order.bid, "bid"),
        ask=build_side_price(rfq.terms, order.ask, "ask"),
        # not what remains: that would tell the dealer what has traded with his rivals
        quantity=rfq.terms.quantity if order.quantity is None else order.quantity,
        received_at_ns=now_ns,
        valid_until_ns=min(now_ns + ttl_ns, rfq.terms.expires_at_ns),
    )


def bounded_life_ns(asked_ns: int | None, life: ExpiryBounds, code: ErrorCode, field: str) -> int:
    """The asked life, or the default.

    Raises:
        RfqError: with ``code`` when it is outside the bounds.
    """
    if asked_ns is None:
        return life.default_ns
    if not life.min_ns <= asked_ns <= life.max_ns:
        detail = f"must be between {life.min_ns / NS_PER_S:g} and {life.max_ns / NS_PER_S:g} seconds"
        raise RfqError(code, detail, field)
    return asked_ns


def build_event(
    kind: EventKind,
    event_id: UUID,
    now_ns: int,
    payload: object,
    audience: Audience,
    *,
    client: FirmId | None = None,
    dealer: FirmId | None = None,
    rfq_id: RfqId | None = None,
    quote_id: QuoteId | None = None,
) -> Event:
    """One event row; ``payload`` is told to those of the named firms that are its ``audience``."""
    return Event(
        event_id=EventId(event_id),
        kind=kind,
        occurred_at_ns=now_ns,
        audience=audience,
        client_firm_id=client,
        dealer_firm_id=dealer,
        rfq_id=rfq_id,
        quote_id=quote_id,
        payload_json=canonical_json(payload),
    )


def quote_payload(quote: Quote) -> dict[str, object]:
    """What client and dealer both know of a quote."""
    return {
        "ask": None if quote.ask is None else quote.ask.price,
        "bid": None if quote.bid is None else quote.bid.price,
        "dealer": quote.dealer_name,
        "quantity": quote.quantity,
        "valid_until_ns": quote.valid_until_ns,
    }
