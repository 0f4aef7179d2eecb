"""A dealer's quote: what it must look like, how it ends, and the fill it may become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from rfq_service.domain.errors import ErrorCode, RfqError, require
from rfq_service.domain.identifiers import FillId, FirmId, InstrumentId, QuoteId, RfqId
from rfq_service.domain.instrument import Instrument
from rfq_service.domain.rfq import Rfq, RfqTerms, SizeMode
from rfq_service.domain.units import RequestSide, Side, check_decimal, is_multiple


class QuoteState(StrEnum):
    """A quote is active or has ended, once and for good."""

    ACTIVE = "active"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    REPLACED = "replaced"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    PASSED = "passed"


class QuoteEvent(StrEnum):
    """What can happen to a quote. A pass ends an empty quote at birth."""

    ACCEPT = "accept"
    REJECT = "reject"
    REPLACE = "replace"
    CANCEL = "cancel"
    EXPIRE = "expire"
    PASS = "pass"


class QuoteEndReason(StrEnum):
    """Why a quote ended; stored with its end and shown to client and dealer."""

    HIT = "hit"
    COVER = "cover"
    DONE_AWAY = "done_away"
    RFQ_CANCELLED = "rfq_cancelled"
    RFQ_EXPIRED = "rfq_expired"
    REPLACED_BY_DEALER = "replaced_by_dealer"
    WITHDRAWN_BY_DEALER = "withdrawn_by_dealer"
    TTL_ELAPSED = "ttl_elapsed"
    DEALER_PASSED = "dealer_passed"


QUOTE_TRANSITIONS: Mapping[tuple[QuoteState, QuoteEvent], QuoteState] = {
    (QuoteState.ACTIVE, QuoteEvent.ACCEPT): QuoteState.ACCEPTED,
    (QuoteState.ACTIVE, QuoteEvent.REJECT): QuoteState.REJECTED,
    (QuoteState.ACTIVE, QuoteEvent.REPLACE): QuoteState.REPLACED,
    (QuoteState.ACTIVE, QuoteEvent.CANCEL): QuoteState.CANCELLED,
    (QuoteState.ACTIVE, QuoteEvent.EXPIRE): QuoteState.EXPIRED,
    (QuoteState.ACTIVE, QuoteEvent.PASS): QuoteState.PASSED,
}


def next_quote_state(state: QuoteState, event: QuoteEvent) -> QuoteState:
    """The state after ``event``.

    Raises:
        RfqError: ``QUOTE_NOT_ACTIVE`` when the quote has already ended.
    """
    after = QUOTE_TRANSITIONS.get((state, event))
    if after is None:
        raise RfqError(ErrorCode.QUOTE_NOT_ACTIVE, f"the quote is {state}")
    return after


@dataclass(frozen=True, slots=True)
class SidePrice:
    """One side of a quote: net package price and the leg prices it follows from (one, equal, for a single leg)."""

    price: Decimal
    leg_prices: tuple[Decimal, ...]


@dataclass(frozen=True, slots=True)
class Quote:
    """A quote. ``bid`` is where the dealer buys (the client sells), ``ask`` where he sells.

    It does not name the client, who may be anonymous to its dealer: the RFQ does.

    A quote received on another platform has no dealer firm here, only the ``dealer_name`` its client gave.
    ``quantity`` is how many packages it is good for. ``end_reason`` is set exactly when the state is not active.
    """

    quote_id: QuoteId
    rfq_id: RfqId
    dealer_firm_id: FirmId | None
    dealer_name: str
    bid: SidePrice | None
    ask: SidePrice | None
    quantity: Decimal
    received_at_ns: int
    valid_until_ns: int
    state: QuoteState = QuoteState.ACTIVE
    end_reason: QuoteEndReason | None = None

    def side_price(self, side: Side) -> SidePrice:
        """The price at which the client trades on ``side``.

        Raises:
            RfqError: ``QUOTE_SIDE_MISMATCH`` if that side was not quoted.
        """
        price = self.ask if side is Side.BUY else self.bid
        if price is None:
            raise RfqError(ErrorCode.QUOTE_SIDE_MISMATCH, f"the quote has no price to {side} at", "side")
        return price


@dataclass(frozen=True, slots=True)
class Fill:
    """A trade between client and dealer; ``side`` is the client's."""

    fill_id: FillId
    rfq_id: RfqId
    quote_id: QuoteId
    client_firm_id: FirmId
    dealer_firm_id: FirmId
    side: Side
    quantity: Decimal
    price: SidePrice
    filled_at_ns: int


def check_quote(
    terms: RfqTerms,
    instruments: Mapping[InstrumentId, Instrument],
    bid: SidePrice | None,
    ask: SidePrice | None,
    quantity: Decimal,
) -> None:
    """Refuse a quote that does not answer its RFQ.

    Raises:
        RfqError: wrong sides, wrong number of legs, off the increment, not positive, crossed, or a size that the
            RFQ's size mode cannot trade; the field at fault is named.
    """
    _check_sides(terms.side, bid, ask)
    if bid is not None:
        _check_side_price(terms, bid, "bid")
    if ask is not None:
        _check_side_price(terms, ask, "ask")
    if bid is not None and ask is not None and bid.price >= ask.price:
        raise RfqError(ErrorCode.QUOTE_CROSSED, "the bid must be below the ask", "bid")
    _check_quote_quantity(terms, instruments, quantity)


def _check_sides(side: RequestSide, bid: SidePrice | None, ask: SidePrice | None) -> None:
    sides = side.sides
    for wanted, price, field in ((Side.SELL, bid, "bid"), (Side.BUY, ask, "ask")):
        if (wanted in sides) != (price is not None):
            verb = "needs" if wanted in sides else "takes no"
            raise RfqError(ErrorCode.QUOTE_SIDE_MISMATCH, f"a {side} request {verb} {field}", field)


def _check_side_price(terms: RfqTerms, side_price: SidePrice, field: str) -> None:
    if len(side_price.leg_prices) != len(terms.legs):
        raise RfqError(ErrorCode.QUOTE_LEGS_MISMATCH, "one price per leg", f"{field}.leg_prices")
    for index, price in enumerate(side_price.leg_prices):
        path = f"{field}.leg_prices[{index}]" if len(terms.legs) > 1 else f"{field}.price"
        check_decimal(price, path)
        if price <= 0:
            raise RfqError(ErrorCode.PRICE_NOT_POSITIVE, "must be positive", path)
        if not is_multiple(price, terms.price_increment):
            raise RfqError(
                ErrorCode.PRICE_OFF_TICK, f"must be a multiple of the RFQ's increment {terms.price_increment}", path
            )
    check_decimal(side_price.price, f"{field}.price")
    if side_price.price != terms.package_price(side_price.leg_prices):
        raise RfqError(ErrorCode.QUOTE_LEGS_MISMATCH, "must be the net of the leg prices", f"{field}.price")


def _check_quote_quantity(terms: RfqTerms, instruments: Mapping[InstrumentId, Instrument], quantity: Decimal) -> None:
    if quantity == terms.quantity:  # all of it, which was checked with the terms
        return
    check_decimal(quantity, "quantity")
    if not 0 < quantity <= terms.quantity:
        raise RfqError(ErrorCode.QUANTITY_OUT_OF_RANGE, f"must be positive, at most {terms.quantity}", "quantity")
    if terms.size_mode is SizeMode.ALL_OR_NONE and quantity != terms.quantity:
        raise RfqError(ErrorCode.QUANTITY_NOT_ALL, f"all of {terms.quantity} trades or nothing", "quantity")
    if terms.minimum_quantity is not None and quantity < terms.minimum_quantity:
        raise RfqError(ErrorCode.QUANTITY_BELOW_MINIMUM, f"at least {terms.minimum_quantity} must trade", "quantity")
    for leg in terms.legs:
        instruments[leg.instrument_id].check_quantity(terms.leg_quantity(leg, quantity), "quantity")


def check_accept(
    rfq: Rfq,
    quote: Quote,
    side: Side,
    quantity: Decimal,
    instruments: Mapping[InstrumentId, Instrument],
    now_ns: int,
) -> SidePrice:
    """Decide whether the client may trade ``quantity`` on ``quote`` now; return the price he trades at.

    Raises:
        RfqError: the first reason against it, RFQ before quote before quantity.
    """
    require(quote.rfq_id == rfq.rfq_id, "a quote is accepted on its own RFQ")
    rfq.check_quotable(now_ns)
    for leg in rfq.terms.legs:  # a contract may expire while the RFQ is open
        instruments[leg.instrument_id].check_tradable(now_ns, "")
    next_quote_state(quote.state, QuoteEvent.ACCEPT)
    if now_ns >= quote.valid_until_ns:
        raise RfqError(ErrorCode.QUOTE_EXPIRED, "the quote has expired")
    if side not in rfq.terms.side.sides:
        raise RfqError(ErrorCode.QUOTE_SIDE_MISMATCH, f"the RFQ is a {rfq.terms.side} request", "side")
    check_decimal(quantity, "quantity")
    if quantity > quote.quantity:
        raise RfqError(ErrorCode.QUANTITY_EXCEEDS_QUOTE, f"the quote is good for {quote.quantity}", "quantity")
    rfq.check_accept_quantity(quantity, instruments)
    return quote.side_price(side)
