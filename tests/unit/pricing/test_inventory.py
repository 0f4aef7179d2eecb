from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.inventory import QuadraticValue, RequestFlow, quadratic_value
from pricing.win_curve import WinCurve
from rfq_service.domain.units import Side

CURVE = WinCurve(-1.0, 0.5)
NOTIONAL = st.floats(-1e7, 1e7)
SIZE = st.floats(1.0, 1e7)


@given(st.sampled_from(Side), NOTIONAL, SIZE)
def test_charge_is_the_drop_of_the_value_per_unit(side, inventory, size):
    value = QuadraticValue(1e-6)
    after = inventory - side.sign * size
    expected = (value.value(inventory) - value.value(after)) / size
    assert value.charge_bps(side, inventory, size) == pytest.approx(expected, rel=1e-6, abs=1e-3)


@given(st.sampled_from(Side), NOTIONAL, SIZE)
def test_a_round_trip_is_worth_nothing(side, inventory, size):
    value = QuadraticValue(1e-6)
    there = value.charge_bps(side, inventory, size)
    back = value.charge_bps(side.opposite, inventory - side.sign * size, size)
    assert there + back == pytest.approx(0.0, abs=1e-9)


def test_curvature_is_the_formula():
    flow = (RequestFlow(2.0, 20.0, CURVE), RequestFlow(5.0, 10.0, CURVE, cost_bps=2.0))
    response = 40.0 * CURVE.value_curvature_per_bps(0.0) + 50.0 * CURVE.value_curvature_per_bps(2.0)
    expected = 80.0 / 2 * math.sqrt(0.001 / (2 * response))
    assert quadratic_value(flow, 0.001, 80.0).curvature_bps_per_notional == pytest.approx(expected)


def test_no_risk_or_no_aversion_is_no_charge():
    flow = (RequestFlow(2.0, 20.0, CURVE),)
    assert quadratic_value(flow, 0.0, 80.0).curvature_bps_per_notional == 0.0
    assert quadratic_value(flow, 0.001, 0.0).curvature_bps_per_notional == 0.0


def test_a_flow_that_no_price_attracts_makes_inventory_infinitely_dear():
    assert quadratic_value((RequestFlow(1.0, 1.0, CURVE, 1e6),), 0.001, 80.0).curvature_bps_per_notional == math.inf
