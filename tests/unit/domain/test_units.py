# Money is exact or an operation raises; floats become prices on the grid, never in the client's or dealer's disfavour.
from __future__ import annotations

import math
from decimal import Decimal, Inexact
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rfq_service.domain.errors import ErrorCode, InvariantError, RfqError
from rfq_service.domain.units import (
    EXACT,
    MICRO_BPS_MAX,
    RequestSide,
    Side,
    check_decimal,
    drop_zeros,
    from_micro_bps,
    from_ticks,
    is_multiple,
    round_ask,
    round_bid,
    to_micro_bps,
    to_ticks,
)
from tests.unit.domain.builders import ADMITTED_POSITIVE

LARGEST = Decimal("999999999999999999.999999999999999999")
FINEST = Decimal("1E-18")
TICKS = st.sampled_from(
    [Decimal(text) for text in ("0.00000001", "0.0001", "0.001", "0.01", "0.05", "0.1", "0.25", "1", "3")]
)


def test_sides():
    assert (Side.BUY.sign, Side.SELL.sign) == (1, -1)
    assert Side.BUY.opposite is Side.SELL
    assert Side.SELL.opposite is Side.BUY
    assert RequestSide.BUY.sides == (Side.BUY,)
    assert RequestSide.SELL.sides == (Side.SELL,)
    assert RequestSide.TWO_WAY.sides == (Side.SELL, Side.BUY)


@given(ADMITTED_POSITIVE)
def test_admitted_decimals_come_back_unchanged(value):
    assert check_decimal(value, "x") is value
    assert check_decimal(value.copy_negate(), "x") == value.copy_negate()


@pytest.mark.parametrize("text", ["NaN", "sNaN", "-NaN", "Infinity", "-Infinity"])
def test_not_finite(text):
    with pytest.raises(RfqError) as raised:
        check_decimal(Decimal(text), "legs[3].ratio")
    assert (raised.value.code, raised.value.field) == (ErrorCode.NOT_FINITE, "legs[3].ratio")


@pytest.mark.parametrize(
    "text",
    ["1e400", "-1e400", "1e18", "1e-19", "0.1234567890123456789", "1e-400", "0e400", "0e-400", "1" + "0" * 40 + "e-30"],
)
def test_beyond_the_storable_range(text):
    with pytest.raises(RfqError) as raised:
        check_decimal(Decimal(text), "quantity")
    assert (raised.value.code, raised.value.field) == (ErrorCode.OUT_OF_RANGE, "quantity")


@given(ADMITTED_POSITIVE, ADMITTED_POSITIVE)
def test_is_multiple_is_exact_whatever_the_sizes(value, step):
    assert is_multiple(value, step) == ((Fraction(value) / Fraction(step)).denominator == 1)


@given(st.lists(st.tuples(ADMITTED_POSITIVE, ADMITTED_POSITIVE, ADMITTED_POSITIVE), min_size=20, max_size=20))
def test_sums_of_products_of_admitted_numbers_never_round(factors):
    total = Decimal(0)
    for first, second, third in factors:
        total = EXACT.add(total, EXACT.multiply(EXACT.multiply(first, second), third))
    assert Fraction(total) == sum(Fraction(a) * Fraction(b) * Fraction(c) for a, b, c in factors)


def test_the_extremes_stay_exact():
    assert is_multiple(LARGEST, FINEST)
    assert not is_multiple(LARGEST, Decimal("999999999999999999.999999999999999998"))
    assert to_ticks(LARGEST, FINEST) == 10**36 - 1
    total = Decimal(0)
    for _ in range(20):
        total = EXACT.add(total, EXACT.multiply(EXACT.multiply(LARGEST, LARGEST), LARGEST))
    assert Fraction(total) == 20 * Fraction(LARGEST) ** 3


def test_what_would_round_raises():
    with pytest.raises(Inexact):
        EXACT.divide(Decimal(1), Decimal(3))
    with pytest.raises(Inexact):
        EXACT.add(Decimal("1e100"), Decimal("1e-100"))


@given(st.integers(-(10**18), 10**18), ADMITTED_POSITIVE)
def test_ticks_round_trip(ticks, tick_size):
    assert to_ticks(from_ticks(ticks, tick_size), tick_size) == ticks


@given(st.integers(1, 10**12), st.integers(1, 99))
def test_a_price_between_ticks_is_refused(ticks, hundredths):
    price = from_ticks(ticks, Decimal("0.01")) + Decimal(hundredths).scaleb(-4)
    with pytest.raises(RfqError) as raised:
        to_ticks(price, Decimal("0.01"))
    assert raised.value.code is ErrorCode.PRICE_OFF_TICK


@given(st.floats(1e-8, 1e9), TICKS)
def test_bids_round_down_and_asks_up_to_the_nearest_tick(price, tick_size):
    bid, ask = round_bid(price, tick_size), round_ask(price, tick_size)
    noise, exact, step = Fraction(price) / 10**12, Fraction(price), Fraction(tick_size)
    assert is_multiple(bid, tick_size)
    assert is_multiple(ask, tick_size)
    assert exact - step < Fraction(bid) <= exact + noise
    assert exact - noise <= Fraction(ask) < exact + step
    assert bid <= ask <= bid + tick_size


@given(st.integers(1, 10**13), TICKS, st.integers(-5, 5))
def test_a_price_on_the_grid_stays_there_through_binary_noise(ticks, tick_size, ulps):
    on_grid = from_ticks(ticks, tick_size)
    price = float(on_grid)
    assume(float(tick_size) > price * 1e-13)  # otherwise the noise is more than a tick
    for _ in range(abs(ulps)):
        price = math.nextafter(price, math.copysign(math.inf, ulps))
    assert round_bid(price, tick_size) == on_grid
    assert round_ask(price, tick_size) == on_grid


@pytest.mark.parametrize(
    "price, tick_size, bid, ask",
    [
        (0.1 + 0.2, "0.1", "0.3", "0.3"),
        (1.1 * 3, "0.1", "3.3", "3.3"),
        (100_000.1 + 0.2, "0.1", "100000.3", "100000.3"),
        (100_000.35, "0.1", "100000.3", "100000.4"),
        # fourteen significant digits: the grid is finer than twelve
        (100_000.12345678, "0.00000001", "100000.12345678", "100000.12345678"),
        (-0.35, "0.1", "-0.4", "-0.3"),
        (0.0, "0.1", "0", "0"),
        # more digits than the default decimal context carries
        (1_234_567.5, "1.000000000000000001", "1234567.000000000001234567", "1234568.000000000001234568"),
    ],
)
def test_rounding_by_example(price, tick_size, bid, ask):
    step = Decimal(tick_size)
    assert (round_bid(price, step), round_ask(price, step)) == (Decimal(bid), Decimal(ask))


@given(st.floats(1e-12, 1e17), ADMITTED_POSITIVE)
def test_rounded_prices_are_on_any_grid(price, step):
    assert is_multiple(round_bid(price, step), step)
    assert is_multiple(round_ask(price, step), step)


@pytest.mark.parametrize("price", [math.nan, math.inf, -math.inf])
def test_only_finite_prices_are_rounded(price):
    for function in (round_bid, round_ask):
        with pytest.raises(InvariantError):
            function(price, Decimal("0.01"))


@given(st.integers(-(2**50), 2**50))
def test_micro_bps_round_trip(value):
    assert to_micro_bps(from_micro_bps(value)) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_micro_bps_fit_the_history(value_bps):
    stored = to_micro_bps(value_bps)
    assert -MICRO_BPS_MAX <= stored <= MICRO_BPS_MAX < 2**63
    assert stored == pytest.approx(max(-MICRO_BPS_MAX, min(MICRO_BPS_MAX, value_bps * 1e6)), abs=0.51)
    assert to_micro_bps(-value_bps) == -stored


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_micro_bps_are_finite(value):
    with pytest.raises(InvariantError):
        to_micro_bps(value)


@given(ADMITTED_POSITIVE, st.integers(0, 18))
def test_zeros_are_dropped_and_nothing_else(value, zeros):
    padded = EXACT.multiply(value, Decimal("1." + "0" * zeros))
    assert check_decimal(drop_zeros(padded), "x") == value
    off_grid = EXACT.add(value, Decimal("1E-19"))
    assert drop_zeros(off_grid) == off_grid
