"""The closed-form predictor: its contract, its properties, its speed and what it may import."""

from __future__ import annotations

import math
import subprocess
import sys
import time

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from models import baselines
from models.artifacts.bundle import ArtifactError, Bundle, load_bundle, save_bundle
from models.artifacts.manifest import Draws
from models.predictors import ClosedFormPredictor, PredictionRequest
from models.quasi_random import standard_normal_draws
from rfq_service.domain.errors import InvariantError

DURATIONS = np.array([10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0])
REQUEST = PredictionRequest(
    notional=1_000.0,
    volatility_bps_sqrt_day=350.0,
    volume_per_day_notional=1_050_000.0,
    depth_notional=7_000.0,
    half_spread_bps=5.0,
    sweep_bps=math.inf,
    durations_s=DURATIONS,
    horizon_s=60.0,
    instrument_id="BINANCE.SPOT.NEXOUSDT",
)
PREDICTOR = ClosedFormPredictor.load()


def test_shapes_and_labels():
    prediction = PREDICTOR.predict(REQUEST)
    assert prediction.permanent_bps.shape == prediction.information_bps.shape == (128,)
    assert prediction.temporary_bps.shape == (6, 128)
    assert prediction.is_fallback
    assert prediction.model == "closed_forms 1"
    assert len(prediction.artifact_digest) == 64
    assert prediction.information_market_sd_bps == pytest.approx(350.0 * np.sqrt(60.0 / 86_400.0))


def test_draws_are_those_of_the_closed_forms():
    prediction, artifact = PREDICTOR.predict(REQUEST), PREDICTOR.artifact
    normal = standard_normal_draws(64, 10, artifact.draws.seed)
    ratio = REQUEST.notional / REQUEST.volume_per_day_notional
    gamma = 0.314 + 0.041 * normal[:, 0]
    turnover = 263.0 * 4.0 ** normal[:, 3]
    permanent = baselines.almgren_permanent_bps(ratio, 350.0, turnover, gamma)
    assert prediction.permanent_bps[:64] == pytest.approx(permanent, rel=1e-9)
    beta, eta = 0.6 + 0.038 * normal[:, 2], 0.142 + 0.0062 * normal[:, 1]
    temporary = baselines.almgren_temporary_bps(ratio, 350.0, 300.0 / 86_400.0, eta * 0.1 ** (0.6 - beta), beta)
    assert prediction.temporary_bps[3, :64] == pytest.approx(temporary, rel=1e-9)
    # the square-root half books two thirds of the peak as permanent, and the same cost at every duration
    assert prediction.temporary_bps[0, 64:] == pytest.approx(prediction.permanent_bps[64:] / 2.0)
    assert (prediction.temporary_bps[0, 64:] == prediction.temporary_bps[5, 64:]).all()
    other = standard_normal_draws(64, 10, artifact.draws.seed + 1)
    law, period_sd = artifact.square_root, artifact.amplitude_spread.other_period_log_sd
    log_prefactor = law.log_prefactor.value + law.log_prefactor.standard_error * other[:, 4] + period_sd * other[:, 9]
    peak = baselines.square_root_peak_bps(ratio, 350.0, np.exp(log_prefactor), 0.489 + 0.0015 * other[:, 5])
    assert prediction.permanent_bps[64:] == pytest.approx(baselines.square_root_permanent_bps(peak), rel=1e-9)


def test_median_information_is_the_fitted_curve():
    curve = PREDICTOR.artifact.markout
    expected = baselines.markout_curve_bps(
        REQUEST.notional / REQUEST.volume_per_day_notional,
        350.0,
        60.0,
        curve.log_amplitude,
        curve.size_exponent,
        curve.horizon_exponent,
        curve.pivot_size_ratio,
        curve.pivot_horizon_s,
    )
    assert np.median(PREDICTOR.predict(REQUEST).information_bps) == pytest.approx(float(expected), rel=0.02)


@pytest.mark.parametrize("name", ["permanent_bps", "information_bps"])
@pytest.mark.parametrize("size_ratio", [1e-5, 1e-3, 2e-2])
@pytest.mark.parametrize("instrument_id", ["BINANCE.SPOT.NEXOUSDT", "BINANCE.SPOT.BTCUSDT"])
def test_the_draws_are_enough_for_the_quantiles_that_scores_use(name, size_ratio, instrument_id):
    bundle = load_bundle()
    many = msgspec.structs.replace(bundle.artifact.draws, count=1_024)
    finer = ClosedFormPredictor(Bundle(msgspec.structs.replace(bundle.artifact, draws=many), bundle.digest))
    notional = size_ratio * REQUEST.volume_per_day_notional
    request = replace(REQUEST, notional=notional, instrument_id=instrument_id)
    few, low_to_high = (
        np.quantile(getattr(predictor.predict(request), name), (0.05, 0.5, 0.95)) for predictor in (PREDICTOR, finer)
    )
    assert np.abs(few - low_to_high).max() < 0.08 * (low_to_high[2] - low_to_high[0])


def test_same_request_same_bits():
    first, second = PREDICTOR.predict(REQUEST), ClosedFormPredictor.load().predict(REQUEST)
    for name in ("permanent_bps", "temporary_bps", "information_bps"):
        assert np.array_equal(getattr(first, name), getattr(second, name))


def test_nothing_asked_nothing_moved():
    prediction = PREDICTOR.predict(replace(REQUEST, notional=0.0))
    assert not prediction.permanent_bps.any()
    assert not prediction.temporary_bps.any()
    assert not prediction.information_bps.any()
    assert prediction.information_market_sd_bps > 0.0


@given(
    notional=st.floats(1e-6, 1e9),
    growth=st.floats(1.0, 1e3),
    volatility=st.floats(1.0, 5_000.0),
    volume=st.floats(1e4, 1e11),
    horizon=st.floats(0.1, 86_400.0),
)
def test_every_draw_is_positive_finite_and_grows_with_size(notional, growth, volatility, volume, horizon):
    small = replace(
        REQUEST,
        notional=notional,
        volatility_bps_sqrt_day=volatility,
        volume_per_day_notional=volume,
        horizon_s=horizon,
    )
    before, after = PREDICTOR.predict(small), PREDICTOR.predict(replace(small, notional=notional * growth))
    for name in ("permanent_bps", "temporary_bps", "information_bps"):
        less, more = getattr(before, name), getattr(after, name)
        assert (less > 0.0).all()
        assert np.isfinite(more).all()
        assert (less <= more * (1.0 + 1e-12)).all()


@given(sweep=st.floats(0.0, 1e4), growth=st.floats(1.0, 1e3), dearer=st.floats(1.0, 1e3))
def test_no_duration_costs_more_than_taking_the_book_at_once(sweep, growth, dearer):
    free, capped = PREDICTOR.predict(REQUEST), PREDICTOR.predict(replace(REQUEST, sweep_bps=sweep))
    assert np.array_equal(capped.temporary_bps, np.minimum(free.temporary_bps, sweep))
    # what stays, and what the request knows, no book tells
    assert np.array_equal(capped.permanent_bps, free.permanent_bps)
    assert np.array_equal(capped.information_bps, free.information_bps)
    larger = PREDICTOR.predict(replace(REQUEST, notional=REQUEST.notional * growth, sweep_bps=sweep * dearer))
    assert (capped.temporary_bps <= larger.temporary_bps * (1.0 + 1e-12)).all()


def test_what_the_touch_holds_has_no_temporary_cost():
    prediction = PREDICTOR.predict(replace(REQUEST, sweep_bps=0.0))
    assert not prediction.temporary_bps.any()
    assert (prediction.permanent_bps > 0.0).all()


def test_a_short_schedule_far_beyond_the_volume_costs_what_the_book_says():
    # 5,000 in a minute are seven times the market's usual volume: there Almgren's power law says 70 bps and more
    block = replace(REQUEST, notional=5_000.0)
    assert PREDICTOR.predict(block).temporary_bps[2].mean() > 70.0
    assert PREDICTOR.predict(replace(block, sweep_bps=20.0)).temporary_bps[2].max() == 20.0


def test_ten_times_the_largest_measured_size_stays_sane():
    # the largest order of the recording is 2.6 % of a day's volume
    prediction = PREDICTOR.predict(replace(REQUEST, notional=0.26 * REQUEST.volume_per_day_notional))
    assert 30.0 < np.median(prediction.information_bps) < 350.0
    assert prediction.permanent_bps.max() < 700.0
    # at a participation near 1 and below, working the order costs less than a day's volatility
    day = PREDICTOR.predict(replace(REQUEST, notional=0.26 * 1_050_000.0, durations_s=np.array([21_600.0, 86_400.0])))
    assert day.temporary_bps.max() < 350.0


def test_temporary_cost_never_rises_with_the_duration():
    assert (np.diff(PREDICTOR.predict(REQUEST).temporary_bps, axis=0) <= 1e-12).all()


def test_an_instrument_without_its_own_calibration_is_less_certain():
    known = np.log(PREDICTOR.predict(REQUEST).information_bps)
    unknown = np.log(PREDICTOR.predict(replace(REQUEST, instrument_id="BINANCE.SPOT.BTCUSDT")).information_bps)
    assert unknown.std() > 2.0 * known.std()
    assert np.median(unknown) == pytest.approx(np.median(known), abs=0.05)


def test_horizons_beyond_the_measured_ones_are_answered_as_the_nearest():
    day = PREDICTOR.predict(replace(REQUEST, horizon_s=86_400.0))
    longest = PREDICTOR.predict(replace(REQUEST, horizon_s=300.0))
    assert np.array_equal(day.information_bps, longest.information_bps)
    assert day.information_market_sd_bps == pytest.approx(350.0)


@pytest.mark.parametrize(
    "change",
    [
        {"notional": -1.0},
        {"notional": float("nan")},
        {"volatility_bps_sqrt_day": 0.0},
        {"volatility_bps_sqrt_day": float("inf")},
        {"volume_per_day_notional": 0.0},
        {"half_spread_bps": float("nan")},
        {"depth_notional": -1.0},
        {"sweep_bps": -1.0},
        {"sweep_bps": float("nan")},
        {"horizon_s": 0.0},
        {"durations_s": np.array([])},
        {"durations_s": np.array([0.0, 1.0])},
        {"durations_s": np.array([2.0, 1.0])},
        {"durations_s": np.array([1.0, float("nan"), 2.0])},
        {"durations_s": np.array([1.0, float("inf")])},
    ],
)
def test_figures_out_of_range_are_refused(change):
    with pytest.raises(InvariantError):
        PREDICTOR.predict(replace(REQUEST, **change))


def test_a_prediction_takes_less_than_a_hundred_microseconds():
    times = []
    for _ in range(500):
        start = time.perf_counter_ns()
        PREDICTOR.predict(REQUEST)
        times.append(time.perf_counter_ns() - start)
    # the quartile, not the mean: neighbours on a shared core are not our cost
    assert np.quantile(times, 0.25) < 100_000


@pytest.mark.parametrize(
    "change",
    [
        {"draws": Draws(count=3, seed=1, method="")},
        {"markout": msgspec.structs.replace(PREDICTOR.artifact.markout, covariance=((-1, 0, 0), (0, 1, 0), (0, 0, 1)))},
    ],
    ids=["odd number of draws", "no covariance"],
)
def test_an_artifact_that_cannot_be_drawn_from_is_refused_by_name(tmp_path, change):
    path = tmp_path / "closed_forms.json"
    save_bundle(msgspec.structs.replace(PREDICTOR.artifact, **change), path)
    with pytest.raises(ArtifactError, match=r"closed_forms\.json cannot be served"):
        ClosedFormPredictor.load(path)


def test_the_server_part_needs_nothing_but_numpy_and_msgspec():
    code = (
        "import sys, models.predictors; "
        "print(sorted({'polars', 'pyarrow', 'scipy', 'torch', 'jax', 'numpyro', 'lightning', 'pricing', 'quote_eval'}"
        " & {name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
