"""The calibration, run again on the recordings: the published table, the committed artifact, and what it claims."""

from __future__ import annotations

import math

import msgspec
import pytest

from models.artifacts.bundle import load_bundle
from models.calibration import calibrate
from tests.support.data import require_recordings

pytestmark = pytest.mark.data

# data/README.md of the data set: effective half-spread, first book after, 1 s, 10 s, 60 s, standard error at 60 s
PUBLISHED_DECILES = (
    (5.50, 0.60, 0.83, 1.00, 1.27, 0.76),
    (5.05, 0.46, 0.95, 1.38, 2.40, 0.77),
    (5.15, 0.85, 1.09, 1.32, 0.96, 0.60),
    (4.87, 0.59, 1.49, 1.50, 1.15, 0.99),
    (4.05, 1.35, 1.82, 1.52, 0.43, 0.90),
    (5.88, 1.80, 1.98, 2.16, -0.96, 0.89),
    (6.07, 1.78, 2.39, 2.52, 3.39, 0.76),
    (4.97, 1.11, 1.96, 2.48, 1.76, 1.04),
    (5.78, 1.61, 2.59, 2.98, 2.20, 0.75),
    (8.30, 5.09, 6.07, 6.14, 6.20, 1.35),
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    steps = []
    result = calibrate(require_recordings(), tmp_path_factory.mktemp("artifact"), steps.append)
    assert len(steps) >= 5
    return result


def leaves(value, path=""):
    """Every leaf of nested containers with its path."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}[{index}]")
    else:
        yield path, value


def test_published_decile_table_is_reproduced(bundle):
    rows = bundle.artifact.report.markouts
    assert sum(row.orders for row in rows) == 6_062
    for row, published in zip(rows, PUBLISHED_DECILES, strict=True):
        found = (
            row.effective_half_spread_bps,
            row.immediate_bps,
            *(row.mean_bps[horizon] for horizon in ("1", "10", "60")),
            row.standard_error_bps["60"],
        )
        # the table prints two digits
        assert found == pytest.approx(published, abs=0.0051)


def test_placebo_rows_are_noise_and_the_real_ones_are_not(bundle):
    rows = bundle.artifact.report.markouts
    for row in rows:
        for horizon, mean in row.placebo_bps.items():
            # a random sign scatters by the root mean square of the moves, not by their sd
            error = math.hypot(row.standard_error_bps[horizon], row.mean_bps[horizon] / math.sqrt(row.orders))
            assert abs(mean) < 4.0 * error
    assert all(row.mean_bps["10"] > 3.0 * row.standard_error_bps["10"] for row in rows)


def test_the_committed_artifact_is_what_the_recordings_give(bundle):
    committed = dict(leaves(msgspec.to_builtins(load_bundle().artifact)))
    again = dict(leaves(msgspec.to_builtins(bundle.artifact)))
    assert committed.keys() == again.keys()
    for path, value in committed.items():
        # numbers are stored to ten digits; libm and summation order differ between hosts in the last ones
        expected = pytest.approx(value, rel=1e-8, abs=1e-9) if isinstance(value, float) else value
        assert again[path] == expected, path


def test_size_helps_out_of_sample_where_the_card_says_so(bundle):
    for row in bundle.artifact.report.out_of_sample:
        if row.horizon_s <= 60.0:
            assert row.gain_on_constant_low > 0.0
        else:
            assert row.gain_on_constant_low < 0.0 < row.gain_on_constant_high


def test_volatility_and_volume_carry_the_curve_and_the_other_units_do_not(bundle):
    for row in bundle.artifact.report.transfer:
        assert abs(math.log(row.slope_volatility_volume)) < math.log(2.4)
        assert abs(math.log(row.slope_volatility_depth)) > math.log(4.0)
        assert abs(math.log(row.slope_half_spread_depth)) > math.log(10.0)


def test_fitted_microprice_beats_the_mid_and_the_textbook_one_does_not(bundle):
    report = bundle.artifact.microprice
    assert report.weight.value > 5.0 * report.weight.standard_error
    assert report.gain_on_mid_percent > 0.0 > report.gain_of_unit_weight_percent
