"""Closed forms against published rows, and the properties that every impact law must have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import baselines
from rfq_service.domain.errors import InvariantError

SIZES = st.floats(1e-9, 10.0)
GROWTH = st.floats(1.0, 1e4)


def test_almgren_reproduces_the_published_ibm_row():
    durations = np.array([0.1, 0.2, 0.5])
    permanent = baselines.almgren_permanent_bps(0.1, 157.0, 263.0)
    temporary = baselines.almgren_temporary_bps(0.1, 157.0, durations)
    realised = baselines.almgren_realised_bps(permanent, temporary)
    # 0.015: the printed σ and Θ/V are themselves rounded
    assert float(permanent) == pytest.approx(19.85, abs=0.015)
    assert temporary == pytest.approx([22.29, 14.71, 8.49], abs=0.015)
    assert realised == pytest.approx([32.22, 24.63, 18.41], abs=0.015)


def test_i_star_reproduces_the_reference_rows():
    instantaneous, cost = baselines.i_star_bps(0.1, 0.25, np.array([0.1, 0.2]))
    assert float(instantaneous) == pytest.approx(74.57, abs=0.005)
    assert cost == pytest.approx([24.60, 34.17], abs=0.005)


def test_square_root_parts_add_up_to_the_average_cost():
    peak = baselines.square_root_peak_bps(0.01, 200.0, 1.0)
    permanent = baselines.square_root_permanent_bps(peak)
    temporary = baselines.square_root_temporary_bps(peak)
    assert float(peak) == pytest.approx(20.0)
    # along a square-root path the average fill pays the mean of √x over [0, 1], two thirds of the peak
    assert float(permanent / 2.0 + temporary) == pytest.approx(20.0 * 2.0 / 3.0)


def test_zero_size_costs_nothing():
    assert float(baselines.almgren_permanent_bps(0.0, 300.0, 263.0)) == 0.0
    assert float(baselines.almgren_temporary_bps(0.0, 300.0, 0.1)) == 0.0
    assert float(baselines.square_root_peak_bps(0.0, 300.0, 1.0)) == 0.0
    assert float(baselines.markout_curve_bps(0.0, 300.0, 10.0, -5.0, 0.5, 0.0, 4e-5, 10.0)) == 0.0


@given(size=SIZES, growth=GROWTH)
def test_impact_never_falls_with_size(size, growth):
    larger = size * growth
    for law in (
        lambda x: baselines.almgren_permanent_bps(x, 300.0, 263.0),
        lambda x: baselines.almgren_temporary_bps(x, 300.0, 0.01),
        lambda x: baselines.square_root_peak_bps(x, 300.0, 0.8, 0.489),
        lambda x: baselines.i_star_bps(x, 0.5, 0.1)[0],
        lambda x: baselines.markout_curve_bps(x, 300.0, 60.0, -5.4, 0.5, 0.01, 4e-5, 10.0),
    ):
        assert float(law(size)) <= float(law(larger)) < float("inf")


@given(size=SIZES, hours=st.floats(0.01, 24.0), factor=st.floats(1.0, 100.0))
def test_working_longer_lowers_the_temporary_part_only(size, hours, factor):
    fast = baselines.almgren_temporary_bps(size, 300.0, hours / 24.0)
    slow = baselines.almgren_temporary_bps(size, 300.0, hours / 24.0 * factor)
    assert float(slow) <= float(fast)


def test_laws_broadcast_over_draws_and_durations():
    draws = np.linspace(0.5, 0.7, 8)
    durations = np.array([[0.1], [0.2], [0.5]])
    table = baselines.almgren_temporary_bps(0.05, 300.0, durations, beta=draws)
    assert table.shape == (3, 8)
    assert float(table[1, 7]) == pytest.approx(0.142 * 300.0 * 0.25 ** draws[7])


def test_markout_curve_at_its_pivot_is_the_amplitude():
    at_pivot = baselines.markout_curve_bps(4e-5, 350.0, 10.0, np.log(0.005), 0.5, 0.1, 4e-5, 10.0)
    assert float(at_pivot) == pytest.approx(350.0 * 0.005)
    with pytest.raises(InvariantError):
        baselines.markout_curve_bps(4e-5, 350.0, 0.0, -5.0, 0.5, 0.1, 4e-5, 10.0)
