from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quote_eval.numerics import (
    normal_cdf,
    phi_1,
    phi_2,
    phi_3,
    quantile,
    shortfall_weights,
    stratified_normals,
    stratified_uniforms,
    survival,
    to_micro_bps_array,
    to_ppm_array,
)
from rfq_service.domain.errors import InvariantError
from rfq_service.domain.units import to_micro_bps


def test_normal_cdf_agrees_with_erfc_everywhere():
    x = np.concatenate([np.linspace(-12.0, 12.0, 100_001), [-1e300, 1e300, 0.0]])
    exact = np.array([0.5 * math.erfc(-value / math.sqrt(2.0)) for value in x.tolist()])
    assert np.abs(normal_cdf(x) - exact).max() < 2e-7
    assert normal_cdf(np.zeros((2, 3))).tolist() == [[0.5] * 3] * 2


@pytest.mark.parametrize("integral, power", [(phi_1, 0), (phi_2, 1), (phi_3, 2)])
def test_hedging_integrals_agree_with_quadrature(integral, power):
    points, weights = np.polynomial.legendre.leggauss(200)
    y = 0.5 * (points + 1.0)
    x = np.array([0.0, 1e-9, 1e-4, 0.03, 0.0499999, 0.05, 0.0500001, 0.3, 1.0, 7.0, 80.0])
    exact = [0.5 * float(weights @ ((1.0 - y) ** power * np.exp(-value * y))) for value in x.tolist()]
    assert integral(x) == pytest.approx(exact, rel=1e-10)


def test_draws_are_stratified_fixed_by_seed_and_different_by_stream():
    draws = stratified_normals(5, 1, 256)
    assert sorted(stratified_uniforms(5, 1, 256).tolist()) == [(i + 0.5) / 256 for i in range(256)]
    assert abs(draws.mean()) < 1e-12
    assert abs(draws.std() - 1.0) < 0.01
    assert draws is stratified_normals(5, 1, 256)
    others = [stratified_normals(5, 2, 256), stratified_normals(6, 1, 256), stratified_normals(5, 4097, 256)]
    assert all(abs(np.corrcoef(draws, other)[0, 1]) < 0.2 for other in others)
    with pytest.raises(ValueError, match="read-only"):
        draws[0] = 0.0


def test_the_order_of_the_draws_is_the_same_in_every_release():
    # stored scores are recomputed from their seed
    assert stratified_uniforms(7, 6, 8).tolist() == [0.9375, 0.1875, 0.4375, 0.8125, 0.3125, 0.5625, 0.0625, 0.6875]


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50), st.floats(0.0, 1.0))
def test_survival_falls_and_is_the_inverse_of_quantile(values, level):
    draws = np.sort(np.array(values))
    at = np.linspace(draws[0] - 1.0, draws[-1] + 1.0, 101)
    chances = survival(draws, at)
    assert (np.diff(chances) <= 0.0).all()
    assert chances[[0, -1]] == pytest.approx([1.0 - 0.5 / len(draws), 0.5 / len(draws)])
    assert draws[0] - 1e-9 <= quantile(draws, level) <= draws[-1] + 1e-9
    assert quantile(draws, 0.5) == pytest.approx(float(np.median(draws)), rel=1e-12, abs=1e-9)


def test_survival_is_one_half_at_the_median_and_inverts_quantile():
    draws = np.sort(stratified_normals(1, 1, 256))
    levels = np.linspace(0.01, 0.99, 99)
    at = np.array([quantile(draws, level) for level in levels.tolist()])
    assert survival(draws, at) == pytest.approx(1.0 - levels, abs=1e-12)


def expected_shortfall(draws, level):
    return np.sort(draws) @ shortfall_weights(len(draws), level)


def test_expected_shortfall_counts_the_boundary_draw_in_part():
    draws = np.arange(1.0, 31.0)[::-1]  # 5 % of 30 is one draw and a half
    assert expected_shortfall(draws, 0.95) == pytest.approx((30.0 + 0.5 * 29.0) / 1.5)
    assert shortfall_weights(30, 0.95).sum() == pytest.approx(1.0)
    assert shortfall_weights(8, 0.95).tolist() == [0.0] * 7 + [pytest.approx(1.0)]
    # CVaR of a normal is φ(z)/(1 − level) standard deviations
    assert expected_shortfall(stratified_normals(1, 1, 4096), 0.95) == pytest.approx(2.0627, abs=2e-3)


ANY_FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)  # 1e38 bps are far beyond what is stored


@given(st.lists(st.floats(-1e6, 1e6) | ANY_FINITE, min_size=1, max_size=9))
def test_vectors_round_and_saturate_as_single_values_do(values):
    exact = [to_micro_bps(value) for value in values]
    assert to_micro_bps_array(np.array(values)).tolist() == exact
    assert to_micro_bps_array(np.array([values, values])).tolist() == [exact, exact]


def test_halves_round_to_even_and_nothing_gives_nothing():
    assert to_micro_bps_array(np.array([0.5e-6, 1.5e-6, -2.5e-6])).tolist() == [0, 2, -2]
    assert to_micro_bps_array(np.array([])).tolist() == to_ppm_array(np.array([])).tolist() == []


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_is_never_stored(bad):
    with pytest.raises(InvariantError):
        to_micro_bps_array(np.array([0.0, bad])).tolist()
    with pytest.raises(InvariantError):
        to_ppm_array(np.array([0.5, bad])).tolist()


def test_probabilities_are_checked_and_rounded():
    assert to_ppm_array(np.array([0.0, 0.1234567, 1.0])).tolist() == [0, 123457, 1_000_000]
    with pytest.raises(InvariantError):
        to_ppm_array(np.array([1.001])).tolist()
