"""A request for quote: its terms, its life cycle and the arithmetic of filling it.

The life cycle is one table, ``TRANSITIONS``; whatever is not in it cannot happen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from rfq_service.domain.errors import ErrorCode, RfqError, require
from rfq_service.domain.identifiers import FirmId, InstrumentId, RfqId
from rfq_service.domain.instrument import Instrument
from rfq_service.domain.units import EXACT, RequestSide, Side, check_decimal, drop_zeros

LEGS_MAX = 20
ANONYMOUS_PANEL_MIN = 5


class SizeMode(StrEnum):
    """Which part of the quantity may trade."""

    ALL_OR_NONE = "all_or_none"
    ANY_PART = "any_part"
    MINIMUM = "minimum"


class RfqState(StrEnum):
    """Where an RFQ stands. ``EVALUATED`` is the whole life of one negotiated elsewhere and only scored here."""

    OPEN = "open"
    PARTIALLY_FILLED = "partially_filled"
    PENDING_LAST_LOOK = "pending_last_look"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    FAILED = "failed"
    TRADED_AWAY = "traded_away"
    EVALUATED = "evaluated"


class RfqEvent(StrEnum):
    """What can happen to an RFQ."""

    FILL_PART = "fill_part"
    FILL_ALL = "fill_all"
    HOLD = "hold"
    RELEASE_UNFILLED = "release_unfilled"
    RELEASE_PART_FILLED = "release_part_filled"
    CANCEL = "cancel"
    EXPIRE = "expire"
    FAIL = "fail"
    TRADE_AWAY = "trade_away"


TRANSITIONS: Mapping[tuple[RfqState, RfqEvent], RfqState] = {
    (RfqState.OPEN, RfqEvent.FILL_PART): RfqState.PARTIALLY_FILLED,
    (RfqState.OPEN, RfqEvent.FILL_ALL): RfqState.FILLED,
    (RfqState.OPEN, RfqEvent.HOLD): RfqState.PENDING_LAST_LOOK,
    (RfqState.OPEN, RfqEvent.CANCEL): RfqState.CANCELLED,
    (RfqState.OPEN, RfqEvent.EXPIRE): RfqState.EXPIRED,
    (RfqState.OPEN, RfqEvent.FAIL): RfqState.FAILED,
    (RfqState.OPEN, RfqEvent.TRADE_AWAY): RfqState.TRADED_AWAY,
    (RfqState.PARTIALLY_FILLED, RfqEvent.FILL_PART): RfqState.PARTIALLY_FILLED,
    (RfqState.PARTIALLY_FILLED, RfqEvent.FILL_ALL): RfqState.FILLED,
    (RfqState.PARTIALLY_FILLED, RfqEvent.HOLD): RfqState.PENDING_LAST_LOOK,
    (RfqState.PARTIALLY_FILLED, RfqEvent.CANCEL): RfqState.CANCELLED,
    (RfqState.PARTIALLY_FILLED, RfqEvent.EXPIRE): RfqState.EXPIRED,
    (RfqState.PARTIALLY_FILLED, RfqEvent.FAIL): RfqState.FAILED,
    (RfqState.PARTIALLY_FILLED, RfqEvent.TRADE_AWAY): RfqState.TRADED_AWAY,
    # While a dealer holds the last look the client can neither cancel nor let the RFQ expire under him.
    (RfqState.PENDING_LAST_LOOK, RfqEvent.FILL_PART): RfqState.PARTIALLY_FILLED,
    (RfqState.PENDING_LAST_LOOK, RfqEvent.FILL_ALL): RfqState.FILLED,
    (RfqState.PENDING_LAST_LOOK, RfqEvent.RELEASE_UNFILLED): RfqState.OPEN,
    (RfqState.PENDING_LAST_LOOK, RfqEvent.RELEASE_PART_FILLED): RfqState.PARTIALLY_FILLED,
    (RfqState.PENDING_LAST_LOOK, RfqEvent.FAIL): RfqState.FAILED,
}
QUOTABLE_STATES = frozenset({RfqState.OPEN, RfqState.PARTIALLY_FILLED})
FINAL_STATES = frozenset(RfqState) - {state for state, _ in TRANSITIONS}
# What has traded decides which of these it is, never the caller.
_QUANTITY_EVENTS = frozenset(
    {RfqEvent.FILL_PART, RfqEvent.FILL_ALL, RfqEvent.RELEASE_UNFILLED, RfqEvent.RELEASE_PART_FILLED}
)


def next_state(state: RfqState, event: RfqEvent) -> RfqState:
    """The state after ``event``.

    Raises:
        RfqError: ``RFQ_NOT_OPEN`` when the table has no such transition.
    """
    after = TRANSITIONS.get((state, event))
    if after is None:
        raise RfqError(ErrorCode.RFQ_NOT_OPEN, f"the RFQ is {state}")
    return after


@dataclass(frozen=True, slots=True)
class Leg:
    """One leg of a package; ``side`` is the leg's direction when the package is bought, ``ratio`` is positive."""

    instrument_id: InstrumentId
    side: Side
    ratio: Decimal


@dataclass(frozen=True, slots=True)
class RfqTerms:
    """What every invited dealer is told; nothing here is the client's secret.

    Attributes:
        side: the client's direction on the package, or two-way when he does not disclose it.
        quantity: package quantity; ``quantity × leg.ratio`` is a leg's size in its instrument's units.
        minimum_quantity: smallest part that may trade, with ``SizeMode.MINIMUM`` only.
        price_increment: grid of every quoted leg price; the RFQ's own, not the book's tick.
    """

    legs: tuple[Leg, ...]
    side: RequestSide
    quantity: Decimal
    size_mode: SizeMode
    minimum_quantity: Decimal | None
    price_increment: Decimal
    created_at_ns: int
    expires_at_ns: int

    def leg_quantity(self, leg: Leg, quantity: Decimal | None = None) -> Decimal:
        """Exact size of a leg for ``quantity`` packages (the whole RFQ by default)."""
        return EXACT.multiply(self.quantity if quantity is None else quantity, leg.ratio)

    def package_price(self, leg_prices: tuple[Decimal, ...]) -> Decimal:
        """Net price of one package: ``Σ leg sign × ratio × leg price``; a single leg's own price."""
        if len(leg_prices) == len(self.legs) == 1 and self.legs[0].side is Side.BUY and self.legs[0].ratio == 1:
            return leg_prices[0]
        net = Decimal(0)
        for leg, price in zip(self.legs, leg_prices, strict=True):
            net = EXACT.add(net, EXACT.multiply(EXACT.multiply(leg.side.sign, leg.ratio), price))
        return drop_zeros(net)


@dataclass(frozen=True, slots=True)
class Rfq:
    """An RFQ as its client sees it: the terms, his secrets and how far it has come."""

    rfq_id: RfqId
    client_firm_id: FirmId
    terms: RfqTerms
    limit_price: Decimal | None
    client_reference: str
    anonymous: bool
    state: RfqState
    filled_quantity: Decimal

    @property
    def remaining_quantity(self) -> Decimal:
        """What has not traded yet."""
        return EXACT.subtract(self.terms.quantity, self.filled_quantity)

    def apply(self, event: RfqEvent) -> Rfq:
        """The RFQ after an event that moves no quantity; see ``next_state`` for what it raises."""
        require(event not in _QUANTITY_EVENTS, "fills go through Rfq.fill, the end of a hold through Rfq.release")
        return replace(self, state=next_state(self.state, event))

    def release(self) -> Rfq:
        """The RFQ after a dealer's last look ended without a trade: open as it was; raises ``RFQ_NOT_OPEN``."""
        event = RfqEvent.RELEASE_PART_FILLED if self.filled_quantity > 0 else RfqEvent.RELEASE_UNFILLED
        return replace(self, state=next_state(self.state, event))

    def fill(self, quantity: Decimal) -> Rfq:
        """The RFQ after ``quantity`` traded; never more than remains.

        Raises:
            RfqError: ``RFQ_NOT_OPEN``, ``QUANTITY_OUT_OF_RANGE`` or ``QUANTITY_EXCEEDS_REMAINING``.
        """
        event = RfqEvent.FILL_ALL if quantity == self.remaining_quantity else RfqEvent.FILL_PART
        state = next_state(self.state, event)
        if quantity <= 0:
            raise RfqError(ErrorCode.QUANTITY_OUT_OF_RANGE, "must be positive", "quantity")
        if quantity > self.remaining_quantity:
            raise RfqError(
                ErrorCode.QUANTITY_EXCEEDS_REMAINING, f"only {self.remaining_quantity} remains to trade", "quantity"
            )
        return replace(self, state=state, filled_quantity=EXACT.add(self.filled_quantity, quantity))

    def check_quotable(self, now_ns: int) -> None:
        """Raise ``RFQ_EXPIRED`` or ``RFQ_NOT_OPEN`` unless quotes may still arrive and be accepted."""
        check_open(self.state, self.terms.expires_at_ns, now_ns)

    def check_accept_quantity(self, quantity: Decimal, instruments: Mapping[InstrumentId, Instrument]) -> None:
        """Raise unless the size mode, the lots and what remains allow ``quantity`` to trade."""
        terms = self.terms
        if quantity > self.remaining_quantity:
            raise RfqError(
                ErrorCode.QUANTITY_EXCEEDS_REMAINING, f"only {self.remaining_quantity} remains to trade", "quantity"
            )
        if terms.size_mode is SizeMode.ALL_OR_NONE and quantity != terms.quantity:
            raise RfqError(ErrorCode.QUANTITY_NOT_ALL, f"all of {terms.quantity} trades or nothing", "quantity")
        if terms.size_mode is SizeMode.MINIMUM:
            floor = min(terms.minimum_quantity or terms.quantity, self.remaining_quantity)
            if quantity < floor:
                raise RfqError(ErrorCode.QUANTITY_BELOW_MINIMUM, f"at least {floor} must trade", "quantity")
        for leg in terms.legs:
            instruments[leg.instrument_id].check_quantity(terms.leg_quantity(leg, quantity), "quantity")


def check_open(state: RfqState, expires_at_ns: int, now_ns: int) -> None:
    """Raise ``RFQ_EXPIRED`` or ``RFQ_NOT_OPEN`` unless an RFQ in ``state`` is open at ``now_ns``."""
    if state is RfqState.EXPIRED or (state in QUOTABLE_STATES and now_ns >= expires_at_ns):
        raise RfqError(ErrorCode.RFQ_EXPIRED, "the RFQ has expired")
    if state not in QUOTABLE_STATES:
        raise RfqError(ErrorCode.RFQ_NOT_OPEN, f"the RFQ is {state}")


@dataclass(frozen=True, slots=True)
class ExpiryBounds:
    """Admissible life of an RFQ or a quote, nanoseconds."""

    default_ns: int
    min_ns: int
    max_ns: int


def check_terms(terms: RfqTerms, instruments: Mapping[InstrumentId, Instrument]) -> None:
    """Refuse terms that cannot be traded; every error names its field.

    Raises:
        RfqError: see the codes below; unknown instruments, off-lot sizes, expired contracts, unpriceable packages.
    """
    if not 1 <= len(terms.legs) <= LEGS_MAX:
        raise RfqError(ErrorCode.OUT_OF_RANGE, f"1 to {LEGS_MAX} legs", "legs")
    _check_positive(terms.quantity, "quantity")
    _check_positive(terms.price_increment, "price_increment")
    for index, leg in enumerate(terms.legs):
        _check_leg(terms, leg, instruments, f"legs[{index}]")
    _check_minimum(terms)
    if len(terms.legs) > 1:
        _check_package(terms, instruments)
    elif terms.legs[0].side is not Side.BUY or terms.legs[0].ratio != 1:
        # the RFQ's own side and quantity say it all; a second way to say it could contradict the first
        raise RfqError(ErrorCode.INVALID_FIELD, "a single leg has side buy and ratio 1", "legs[0]")


def _check_positive(value: Decimal, field: str) -> None:
    check_decimal(value, field)
    if value <= 0:
        raise RfqError(ErrorCode.OUT_OF_RANGE, "must be positive", field)


def _check_leg(terms: RfqTerms, leg: Leg, instruments: Mapping[InstrumentId, Instrument], field: str) -> None:
    instrument = instruments.get(leg.instrument_id)
    if instrument is None:
        raise RfqError(ErrorCode.UNKNOWN_INSTRUMENT, "no such instrument", f"{field}.instrument_id")
    _check_positive(leg.ratio, f"{field}.ratio")
    instrument.check_tradable(terms.created_at_ns, f"{field}.instrument_id")
    quantity_field = "quantity" if len(terms.legs) == 1 else f"{field}.ratio"
    instrument.check_quantity(terms.leg_quantity(leg), quantity_field)


def _check_minimum(terms: RfqTerms) -> None:
    field = "minimum_quantity"
    if (terms.minimum_quantity is not None) != (terms.size_mode is SizeMode.MINIMUM):
        raise RfqError(ErrorCode.INVALID_FIELD, "given exactly with size_mode minimum", field)
    if terms.minimum_quantity is not None:
        _check_positive(terms.minimum_quantity, field)
        if terms.minimum_quantity > terms.quantity:
            raise RfqError(ErrorCode.OUT_OF_RANGE, "must not exceed the quantity", field)


def _check_package(terms: RfqTerms, instruments: Mapping[InstrumentId, Instrument]) -> None:
    members = [instruments[leg.instrument_id] for leg in terms.legs]
    if len({leg.instrument_id for leg in terms.legs}) != len(terms.legs):
        raise RfqError(ErrorCode.PACKAGE_NOT_PRICEABLE, "an instrument may appear in one leg only", "legs")
    if any(member.is_inverse for member in members) or len({member.quote_currency for member in members}) != 1:
        raise RfqError(
            ErrorCode.PACKAGE_NOT_PRICEABLE, "the legs of a package are linear and share one quote currency", "legs"
        )
    for index, leg in enumerate(terms.legs):
        try:
            check_decimal(drop_zeros(EXACT.multiply(leg.ratio, terms.price_increment)), "")
        except RfqError:
            detail = "ratio × price_increment, the grid of the package's price, must itself be an exact decimal"
            raise RfqError(ErrorCode.PACKAGE_NOT_PRICEABLE, detail, f"legs[{index}].ratio") from None
