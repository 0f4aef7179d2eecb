from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfq_service.domain.instrument import ContractType
from rfq_service.domain.measures import (
    client_cost_bps,
    microprice_offset_bps,
    price_at_cost,
    price_gap_bps,
    signed_move_bps,
    spread_bps,
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
