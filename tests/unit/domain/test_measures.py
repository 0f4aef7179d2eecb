from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfq_service.domain.identifiers import InstrumentId
from rfq_service.domain.instrument import ContractType
from rfq_service.domain.market import ClockSource, Level, MarketSnapshot, MarketStatistics
from rfq_service.domain.measures import (
    client_cost_bps,
    microprice_offset_bps,
    price_at_cost,
    price_gap_bps,
    signed_move_bps,
    spread_bps,
    sweep_cost_bps,
)
from rfq_service.domain.units import MICRO_BPS_MAX, Side, to_micro_bps
from tests.unit.domain.builders import ADMITTED_POSITIVE, decimals

LINEAR, INVERSE = ContractType.LINEAR, ContractType.INVERSE
SIDES = st.sampled_from(Side)
KINDS = st.sampled_from(ContractType)
PRICES = decimals("0.01", "100000", 8)


@pytest.mark.parametrize(
    "side, price, contract_type, cost_bps",
    [
        (Side.BUY, "100.10", LINEAR, 10.0),  # paid more than the mid
        (Side.SELL, "99.90", LINEAR, 10.0),  # got less
        (Side.BUY, "99.90", LINEAR, -10.0),  # price improvement
        (Side.SELL, "100.10", LINEAR, -10.0),
        # P&L in coin: 1/m - 1/p coins per unit of quote currency, relative to 1/m
        (Side.BUY, "125", INVERSE, 2000.0),
        (Side.SELL, "80", INVERSE, 2500.0),
        (Side.BUY, "80", INVERSE, -2500.0),
        (Side.BUY, "100", INVERSE, 0.0),
    ],
)
def test_cost_to_the_client(side, price, contract_type, cost_bps):
    assert client_cost_bps(side, Decimal(price), Decimal(100), contract_type) == pytest.approx(cost_bps, abs=1e-9)


@given(SIDES, PRICES, PRICES, st.integers(1, 1000))
def test_an_inverse_cost_is_the_coin_loss_over_the_coins_at_the_mid(side, price, mid, notional):
    coins_at_mid, coins_at_price = notional / float(mid), notional / float(price)
    loss = side.sign * (coins_at_mid - coins_at_price)  # a buyer of the contract wants many coins' worth of it
    assert client_cost_bps(side, price, mid, INVERSE) == pytest.approx(loss / coins_at_mid * 1e4, rel=1e-6, abs=1e-6)


@given(PRICES, PRICES, KINDS)
def test_what_costs_the_buyer_gains_the_seller(price, mid, contract_type):
    buyer = client_cost_bps(Side.BUY, price, mid, contract_type)
    assert buyer == -client_cost_bps(Side.SELL, price, mid, contract_type)
    assert (buyer > 0) == (price > mid)


@given(SIDES, PRICES, st.floats(-5000, 5000), KINDS)
def test_price_at_cost_is_the_inverse(side, mid, cost_bps, contract_type):
    price = price_at_cost(side, cost_bps, float(mid), contract_type)
    assert client_cost_bps(side, Decimal(price), mid, contract_type) == pytest.approx(cost_bps, rel=1e-9, abs=1e-8)


@given(SIDES, ADMITTED_POSITIVE, ADMITTED_POSITIVE, KINDS)
def test_no_admitted_price_is_too_absurd_to_store(side, price, mid, contract_type):
    assert abs(to_micro_bps(client_cost_bps(side, price, mid, contract_type))) <= MICRO_BPS_MAX
    assert abs(to_micro_bps(price_gap_bps(side, price, mid, price))) <= MICRO_BPS_MAX


def test_spread():
    assert spread_bps(Decimal("99.95"), Decimal("100.05")) == pytest.approx(10.0)


@given(SIDES, st.floats(0.01, 1e6), st.floats(0.01, 1e6))
def test_a_move_against_the_dealer_is_positive(side, before, after):
    move = signed_move_bps(side, before, after)
    assert move == -signed_move_bps(side.opposite, before, after)
    assert move == pytest.approx(side.sign * (after - before) / before * 1e4, rel=1e-6, abs=1e-6)


@given(st.floats(-1, 1), st.floats(-10, 10), st.floats(0, 100))
def test_the_microprice_stays_within_half_the_half_spread(imbalance, weight, half_spread_bps):
    offset = microprice_offset_bps(imbalance, weight, half_spread_bps)
    assert abs(offset) <= 0.5 * half_spread_bps
    assert offset * imbalance * weight >= 0
    if abs(weight * imbalance) <= 0.5:
        assert offset == weight * imbalance * half_spread_bps


@pytest.mark.parametrize(
    "side, winner, loser, gross, gap_bps",
    [
        (Side.BUY, "100", "100.10", "100", 10.0),  # the cover asked more
        (Side.SELL, "100", "99.90", "100", 10.0),  # the cover bid less
        (Side.BUY, "100.10", "100", "100", -10.0),  # the client did not take the best
        (Side.BUY, "-0.05", "0.05", "200", 5.0),  # a spread whose net price is near zero
    ],
)
def test_cover_distance(side, winner, loser, gross, gap_bps):
    assert price_gap_bps(side, Decimal(winner), Decimal(loser), Decimal(gross)) == pytest.approx(gap_bps)


def book(bids: Sequence[tuple[str, str]], asks: Sequence[tuple[str, str]]) -> MarketSnapshot:
    return MarketSnapshot(
        instrument_id=InstrumentId("V.SPOT.ABC"),
        ts_event_ns=0,
        ts_init_ns=0,
        recorded_ts_ns=None,
        clock_source=ClockSource.EXCHANGE,
        source_count=1,
        sequence=1,
        bids=tuple(Level(Decimal(price), Decimal(quantity)) for price, quantity in bids),
        asks=tuple(Level(Decimal(price), Decimal(quantity)) for price, quantity in asks),
        statistics=MarketStatistics(None, None, None, None, None, 0.0),
    )


# mid 100; 60 units on either side, the bids thinner near the touch
HAND_MADE = book(
    bids=[("99.9", "10"), ("99.8", "20"), ("99.5", "30")],
    asks=[("100.1", "30"), ("100.3", "20"), ("100.4", "10")],
)


def walk(side: Side, quantity: int, snapshot: MarketSnapshot, kind: ContractType) -> Fraction:
    """Brute force in exact arithmetic, unit by unit: mean cost of the units taken, less that of the touch."""
    levels = snapshot.asks if side is Side.BUY else snapshot.bids
    mid = Fraction(snapshot.mid)

    def cost(level: Level) -> Fraction:
        price = Fraction(level.price)
        return side.sign * (price - mid) / (price if kind is INVERSE else mid) * 10_000

    units = [cost(level) for level in levels for _ in range(int(level.quantity))]
    return sum(units[:quantity], Fraction(0)) / quantity - units[0]


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("kind", ContractType)
def test_a_sweep_within_the_visible_book_is_exact(side, kind):
    for quantity in range(1, 61):
        expected = float(walk(side, quantity, HAND_MADE, kind))
        assert sweep_cost_bps(side, Decimal(quantity), HAND_MADE, kind) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    "side, quantity, cost_bps",
    [
        (Side.BUY, "30", 0.0),
        (Side.BUY, "50", 8.0),  # 20 units 20 bps behind the touch
        (Side.BUY, "60", 70.0 / 6.0),
        (Side.SELL, "10", 0.0),
        (Side.SELL, "60", 140.0 / 6.0),
        # 60 units within 40 bps of the mid, 60 more within the next 40: 50 bps behind the touch on average
        (Side.BUY, "120", (60.0 * 70.0 / 6.0 + 60.0 * 50.0) / 120.0),
    ],
)
def test_a_sweep_counted_by_hand(side, quantity, cost_bps):
    assert sweep_cost_bps(side, Decimal(quantity), HAND_MADE, LINEAR) == pytest.approx(cost_bps, rel=1e-9)


def test_a_book_of_one_level_goes_on_at_its_distance_from_the_mid():
    thin = book(bids=[("99.9", "5")], asks=[("100.1", "5")])
    # 5 units at 10 bps from the mid, the next 5 between 10 and 20
    assert sweep_cost_bps(Side.BUY, Decimal(10), thin, LINEAR) == pytest.approx(2.5)


@st.composite
def books(draw: st.DrawFn) -> MarketSnapshot:
    mid = draw(st.integers(1_000, 10**7))
    steps = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 10**9)), min_size=1, max_size=20)

    def levels(sign: int) -> list[tuple[str, str]]:
        price, found = mid, []
        for step, quantity in draw(steps):
            price += sign * step
            if price > 0:
                found.append((f"{price}e-3", f"{quantity}e-4"))
        return found or [(f"{mid + sign}e-3", "1")]

    return book(levels(-1), levels(1))


@given(books(), SIDES, KINDS, decimals("0.0001", "10000000", 4), st.integers(1, 10**6))
def test_a_larger_sweep_costs_more_a_unit(snapshot, side, kind, quantity, growth_ppm):
    larger = quantity * (1 + Decimal(growth_ppm) / 10**6)
    cost, more = (sweep_cost_bps(side, size, snapshot, kind) for size in (quantity, larger))
    assert 0.0 <= cost <= more * (1.0 + 1e-9)


@given(books(), SIDES, KINDS, st.fractions(0, 1))
def test_a_size_within_the_touch_costs_the_half_spread_and_no_more(snapshot, side, kind, share):
    touch = (snapshot.asks if side is Side.BUY else snapshot.bids)[0].quantity
    quantity = touch * Decimal(share.numerator) / Decimal(share.denominator)
    assert sweep_cost_bps(side, quantity, snapshot, kind) == 0.0


@given(books(), SIDES, KINDS, st.integers(1, 1_000))
def test_beyond_the_visible_levels_no_unit_is_cheaper_than_the_last(snapshot, side, kind, times):
    levels = snapshot.asks if side is Side.BUY else snapshot.bids
    visible = sum((level.quantity for level in levels), Decimal(0))
    last = client_cost_bps(side, levels[-1].price, snapshot.mid, kind)
    last -= client_cost_bps(side, levels[0].price, snapshot.mid, kind)
    within, beyond = (sweep_cost_bps(side, size, snapshot, kind) for size in (visible, visible * (1 + times)))
    marginal = (beyond * (1 + times) - within) / times
    assert marginal > last * (1.0 + 1e-9)
