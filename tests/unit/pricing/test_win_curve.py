from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.win_curve import WinCurve, lambert_w_of_exp
from rfq_service.domain.errors import InvariantError


@pytest.mark.parametrize(
    "alpha, beta, markup, value",
    [(-0.3, 5.0, 0.269991, 0.069991), (-1.0, 0.5, 3.134287, 1.134287)],
)
def test_published_markups_without_inventory(alpha, beta, markup, value):
    curve = WinCurve(alpha, beta)
    assert curve.optimal_markup_bps(0.0) == pytest.approx(markup, abs=5e-7)
    assert curve.value_bps(0.0) == pytest.approx(value, abs=5e-7)


def test_a_cost_replaces_alpha_and_is_added():
    cost = 1.7
    shifted = WinCurve(-1.0 + 0.5 * cost, 0.5)
    assert WinCurve(-1.0, 0.5).optimal_markup_bps(cost) == pytest.approx(shifted.optimal_markup_bps(0.0) + cost)


@given(st.floats(-690, 1e9))
def test_lambert_solves_its_equation(exponent):
    root = lambert_w_of_exp(exponent)
    assert root > 0
    assert root + math.log(root) == pytest.approx(exponent, rel=1e-14, abs=1e-13)


def test_lambert_at_the_ends():
    assert lambert_w_of_exp(-1e6) == 0.0
    assert lambert_w_of_exp(1.0) == pytest.approx(1.0, abs=1e-15)
    assert lambert_w_of_exp(math.inf) == math.inf


@given(st.floats(-5, 5), st.floats(0.05, 50), st.floats(-20, 20), st.floats(-3, 3))
def test_no_other_markup_is_better(alpha, beta, scaled_cost, scaled_step):
    cost = scaled_cost / beta
    curve = WinCurve(alpha, beta)
    best = curve.optimal_markup_bps(cost)
    other = best + scaled_step / beta
    gain = curve.win_probability(best) * (best - cost)
    assert gain == pytest.approx(curve.value_bps(cost), rel=1e-9)
    assert curve.win_probability(other) * (other - cost) <= gain * (1 + 1e-12)


@given(st.floats(-3, 3), st.floats(0.1, 20), st.floats(-3, 3))
def test_derivatives_of_the_value(alpha, beta, scaled_cost):
    curve, cost, step = WinCurve(alpha, beta), scaled_cost / beta, 1e-3 / beta
    below, here, above = (curve.value_bps(cost + k * step) for k in (-1, 0, 1))
    slope = -curve.win_probability(curve.optimal_markup_bps(cost))
    assert (above - below) / (2 * step) == pytest.approx(slope, rel=1e-5)
    assert (above - 2 * here + below) / step**2 == pytest.approx(curve.value_curvature_per_bps(cost), rel=1e-4)


def test_extreme_markups_are_probabilities():
    curve = WinCurve(-1.0, 0.5)
    assert curve.win_probability(1e300) == 0.0
    assert curve.win_probability(-1e300) == 1.0


@pytest.mark.parametrize("alpha, beta", [(math.nan, 1.0), (0.0, 0.0), (0.0, -1.0), (0.0, math.inf)])
def test_a_curve_that_cannot_be_is_refused(alpha, beta):
    with pytest.raises(InvariantError):
        WinCurve(alpha, beta)
