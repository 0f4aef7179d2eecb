"""Sides, exact prices and the named crossings between Decimal, integer ticks and float analytics."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Context, Decimal, Inexact, InvalidOperation
from enum import StrEnum
from fractions import Fraction

from rfq_service.domain.errors import ErrorCode, RfqError, require

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
S_PER_DAY = 86_400
NS_PER_DAY = S_PER_DAY * NS_PER_S
BPS = 10_000

DECIMAL_PLACES_MAX = 18
DECIMAL_DIGITS_MAX = 36
# Sums and products of admitted numbers stay exact: an operation that would round raises instead.
# 120 digits hold the widest of them, a sum over 20 legs of quantity × multiplier × price (3 × 36 digits and a carry).
EXACT = Context(prec=120, traps=[Inexact, InvalidOperation])
_ROUNDING = Context(prec=120)
_FINEST = Decimal(1).scaleb(-DECIMAL_PLACES_MAX)
_MICRO_BPS_PER_BPS = 1_000_000
# What the history's 64-bit columns hold: 9e12 bps. A price that far off is nonsense, but no reason to fail.
# (A float64, so that vectors saturate at the same number.)
MICRO_BPS_MAX = 2**63 - 1024
_MICRO_BPS_LIMIT = float(MICRO_BPS_MAX)
# Relative noise of float arithmetic: a price this close to the grid is meant to be on it.
_FLOAT_NOISE = Fraction(1, 10**12)


class Side(StrEnum):
    """Direction of a trade, seen from the client on RFQs, quotes and their fills.

    Attributes:
        sign: +1 for buy, -1 for sell.
    """

    sign: int

    BUY = "buy"
    SELL = "sell"

    def __init__(self, value: str) -> None:
        self.sign = 1 if value == "buy" else -1

    @property
    def opposite(self) -> Side:
        """The counterparty's side."""
        return Side.SELL if self is Side.BUY else Side.BUY


class RequestSide(StrEnum):
    """What a client discloses of his direction."""

    BUY = "buy"
    SELL = "sell"
    TWO_WAY = "two_way"

    @property
    def sides(self) -> tuple[Side, ...]:
        """The sides a quote must answer: one, or sell (the bid) then buy (the ask)."""
        return _SIDES[self]


_SIDES = {
    RequestSide.BUY: (Side.BUY,),
    RequestSide.SELL: (Side.SELL,),
    RequestSide.TWO_WAY: (Side.SELL, Side.BUY),
}


def check_decimal(value: Decimal, field: str) -> Decimal:
    """Return ``value`` if it is finite and within the exactly storable range.

    Raises:
        RfqError: ``NOT_FINITE`` for NaN and infinities, ``OUT_OF_RANGE`` beyond 18 decimals or 36 digits.
    """
    if not value.is_finite():
        raise RfqError(ErrorCode.NOT_FINITE, "must be a finite number", field)
    if len(str(value)) <= DECIMAL_PLACES_MAX and -6 <= value.adjusted() < DECIMAL_DIGITS_MAX - DECIMAL_PLACES_MAX:
        # Written out, not in exponents, and short: in range without taking it to pieces, which costs ten times more.
        return value
    _, digits, exponent = value.as_tuple()
    too_fine = int(exponent) < -DECIMAL_PLACES_MAX
    too_large = value.adjusted() >= DECIMAL_DIGITS_MAX - DECIMAL_PLACES_MAX
    if too_fine or too_large or len(digits) > DECIMAL_DIGITS_MAX:
        raise RfqError(
            ErrorCode.OUT_OF_RANGE, f"at most {DECIMAL_PLACES_MAX} decimals and less than 1e18 in size", field
        )
    return value


def drop_zeros(value: Decimal) -> Decimal:
    """The same number without the zeros after its 18th decimal, which products of padded numbers have."""
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -DECIMAL_PLACES_MAX:
        short = value.quantize(_FINEST, context=_ROUNDING)
        return short if short == value else value
    return value


def is_multiple(value: Decimal, step: Decimal) -> bool:
    """Whether ``value`` is an exact whole number of ``step``."""
    return EXACT.remainder(value, step) == 0


def to_ticks(price: Decimal, tick_size: Decimal) -> int:
    """Convert an exact price to whole ticks.

    Raises:
        RfqError: ``PRICE_OFF_TICK`` if the price is not on the tick; nothing is rounded in silence.
    """
    quotient, remainder = EXACT.divmod(price, tick_size)
    if remainder != 0:
        raise RfqError(ErrorCode.PRICE_OFF_TICK, f"must be a multiple of the tick {tick_size}", "price")
    return int(quotient)


def from_ticks(ticks: int, tick_size: Decimal) -> Decimal:
    """Exact price of a whole number of ticks."""
    return EXACT.multiply(Decimal(ticks), tick_size)


def round_bid(price: float, tick_size: Decimal) -> Decimal:
    """Largest multiple of the tick at or below a float price: bids round down.

    A price within 1e-12 of itself from the grid is on the grid: 0.1 + 0.2 is 0.3, not a tick less.
    """
    return _round_to_step(price, tick_size, math.floor)


def round_ask(price: float, tick_size: Decimal) -> Decimal:
    """Smallest multiple of the tick at or above a float price: asks round up; near the grid as ``round_bid``."""
    return _round_to_step(price, tick_size, math.ceil)


def _round_to_step(price: float, step: Decimal, rounding: Callable[[Fraction], int]) -> Decimal:
    require(math.isfinite(price), "only finite prices are rounded")
    ticks = Fraction(price) / Fraction(step)
    nearest = round(ticks)
    is_on_grid = abs(ticks - nearest) <= abs(ticks) * _FLOAT_NOISE
    return from_ticks(nearest if is_on_grid else rounding(ticks), step)


def to_micro_bps(value_bps: float) -> int:
    """Fixed-point form of a result in bps (1e-6 bps), so that it is the same on every host.

    Beyond ``MICRO_BPS_MAX`` it stays there: a quote 1e12 % away must not make a fill impossible to store.

    Raises:
        InvariantError: on NaN or infinity, which never get into a stored result.
    """
    scaled = value_bps * _MICRO_BPS_PER_BPS
    if abs(scaled) < _MICRO_BPS_LIMIT:
        return round(scaled)
    require(math.isfinite(value_bps), "a stored result in bps is finite")
    return MICRO_BPS_MAX if scaled > 0.0 else -MICRO_BPS_MAX


def from_micro_bps(value: int) -> float:
    """Float bps of a fixed-point result."""
    return value / _MICRO_BPS_PER_BPS
