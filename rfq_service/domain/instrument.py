"""What can be traded: grid, contract arithmetic and the age beyond which its market is stale."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from rfq_service.domain.errors import ErrorCode, RfqError, require
from rfq_service.domain.identifiers import InstrumentId
from rfq_service.domain.units import EXACT, check_decimal, is_multiple


class InstrumentKind(StrEnum):
    """How the instrument settles in time."""

    SPOT = "spot"
    PERPETUAL = "perpetual"
    DATED_FUTURE = "dated_future"


class ContractType(StrEnum):
    """Linear: P&L in quote currency. Inverse: a contract is a fixed quote-currency amount, P&L in base currency."""

    LINEAR = "linear"
    INVERSE = "inverse"


@dataclass(frozen=True, slots=True)
class Instrument:
    """A tradable instrument.

    Attributes:
        instrument_id: unique name, ``VENUE.KIND.SYMBOL``, as ``BINANCE.SPOT.NEXOUSDT``.
        tick_size: price grid of the lit book, quote currency per base unit. An RFQ has its own increment.
        lot_size: quantity grid; ``quantity_min`` and ``quantity_max`` bound one leg, all in instrument units.
        multiplier: base units per contract (linear), quote-currency units per contract (inverse).
        expires_at_ns: UTC expiry of a dated future, else ``None``.
        staleness_limit_ns: a market older than this gives no score and no quote.
        taker_fee_bps: lit taker fee, bps of notional, the processing floor of the alternative.
    """

    instrument_id: InstrumentId
    venue: str
    symbol: str
    kind: InstrumentKind
    contract_type: ContractType
    base_currency: str
    quote_currency: str
    settlement_currency: str
    tick_size: Decimal
    lot_size: Decimal
    multiplier: Decimal
    quantity_min: Decimal
    quantity_max: Decimal
    staleness_limit_ns: int
    taker_fee_bps: Decimal
    expires_at_ns: int | None = None

    def __post_init__(self) -> None:
        for value in (self.tick_size, self.lot_size, self.multiplier, self.quantity_min, self.quantity_max):
            require(value.is_finite() and value > 0, f"{self.instrument_id}: grid values are positive and finite")
            check_decimal(value, self.instrument_id)  # or products with it would not be exact
        require(self.taker_fee_bps.is_finite(), f"{self.instrument_id}: taker_fee_bps is finite")
        require(self.quantity_min <= self.quantity_max, f"{self.instrument_id}: quantity_min is above quantity_max")
        require(self.staleness_limit_ns > 0, f"{self.instrument_id}: staleness_limit_ns is positive")
        require(not (self.is_inverse and self.kind is InstrumentKind.SPOT), f"{self.instrument_id}: no spot is inverse")
        require(
            (self.expires_at_ns is not None) == (self.kind is InstrumentKind.DATED_FUTURE),
            f"{self.instrument_id}: exactly the dated futures have an expiry",
        )

    @property
    def is_inverse(self) -> bool:
        """Whether sizes are counted in quote currency and P&L in base currency."""
        return self.contract_type is ContractType.INVERSE

    def notional(self, quantity: Decimal, price: Decimal) -> Decimal:
        """Exact notional in quote currency of ``quantity`` at ``price``."""
        per_contract = self.multiplier if self.is_inverse else EXACT.multiply(self.multiplier, price)
        return EXACT.multiply(quantity, per_contract)

    def check_quantity(self, quantity: Decimal, field: str) -> None:
        """Raise ``QUANTITY_OFF_LOT`` or ``QUANTITY_OUT_OF_RANGE`` unless the quantity can be traded."""
        if not self.quantity_min <= quantity <= self.quantity_max:
            raise RfqError(
                ErrorCode.QUANTITY_OUT_OF_RANGE,
                f"must be between {self.quantity_min} and {self.quantity_max}",
                field,
            )
        if not is_multiple(quantity, self.lot_size):
            raise RfqError(ErrorCode.QUANTITY_OFF_LOT, f"must be a multiple of the lot {self.lot_size}", field)

    def check_tradable(self, now_ns: int, field: str) -> None:
        """Raise ``INSTRUMENT_EXPIRED`` once a dated future has expired."""
        if self.expires_at_ns is not None and now_ns >= self.expires_at_ns:
            raise RfqError(ErrorCode.INSTRUMENT_EXPIRED, "the contract has expired", field)
