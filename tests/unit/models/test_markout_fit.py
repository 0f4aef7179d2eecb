"""The markout fit recovers a known curve, with an honest error, and finds nothing where nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from models import markout_fit
from rfq_service.domain.errors import InvariantError

HORIZONS = np.array([1.0, 10.0, 60.0])
VOLATILITY = 350.0
PIVOT = 4e-5


def sample(seed, amplitude=0.005, exponent=0.5, horizon_exponent=0.1, blocks=48, count=6_000):
    generator = np.random.default_rng(seed)
    size = PIVOT * generator.lognormal(0.0, 1.4, count)
    truth = VOLATILITY * amplitude * (size / PIVOT)[:, None] ** exponent * (HORIZONS / 10.0) ** horizon_exponent
    noise = generator.normal(0.0, 1.0, (count, 3)) * np.sqrt(HORIZONS) * 2.0
    moves = truth + noise
    moves[-5:, 2] = np.nan
    return markout_fit.MarkoutSample(size, moves, np.arange(count) * blocks // count)


def fit(data, seed=1):
    return markout_fit.fit_markout_curve(data, HORIZONS, VOLATILITY, PIVOT, 10.0, 200, seed)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_known_curve_is_recovered_within_its_stated_error(seed):
    result = fit(sample(seed))
    error = np.sqrt(np.diag(result.covariance))
    found = np.array([result.curve.log_amplitude, result.curve.size_exponent, result.curve.horizon_exponent])
    assert (np.abs(found - [np.log(0.005), 0.5, 0.1]) < 4.0 * error + [0.0, 0.005, 0.01]).all()
    assert (error < [0.15, 0.06, 0.12]).all()


def test_same_seed_same_fit():
    first, second = fit(sample(4)), fit(sample(4))
    assert first.curve == second.curve
    assert np.array_equal(first.covariance, second.covariance)


def test_out_of_sample_gain_is_found_only_where_there_is_one():
    curve = fit(sample(5)).curve
    other = sample(6)
    moves, predicted = other.moves_bps[:, 0], curve.predict_bps(other.size_ratio, VOLATILITY, 1.0)
    low, high = markout_fit.gain_interval_percent(moves, predicted, float(moves.mean()), other.block, 500, 1)
    gain = markout_fit.gain_percent(moves, predicted, float(moves.mean()))
    assert 0.0 < low < gain < high
    assert markout_fit.calibration_slope(moves, predicted) == pytest.approx(1.0, abs=0.1)
    # the same prediction for moves whose sign is a coin's is worse than knowing nothing
    placebo = moves * (np.random.default_rng(7).integers(0, 2, len(moves)) * 2.0 - 1.0)
    assert markout_fit.gain_percent(placebo, predicted, 0.0) < 0.0
    assert abs(markout_fit.calibration_slope(placebo, predicted)) < 0.1


def test_too_few_blocks_are_refused():
    with pytest.raises(InvariantError):
        fit(sample(8, blocks=9))


def test_moves_against_the_signs_are_refused():
    data = sample(9)
    with pytest.raises(InvariantError):
        fit(markout_fit.MarkoutSample(data.size_ratio, -data.moves_bps, data.block))
