"""Fit of the size-dependent markout curve, its uncertainty and its out-of-sample check.

Moves are divided by the instrument's volatility and sizes by its daily volume, which makes the curve dimensionless:
``M_h/σ = e^a·(x/x₀)^b·(h/h₀)^c`` with x = Q/V. All horizons are fitted together by weighted least squares on a grid of
(b, c); errors overlap in time, so their size comes from resampling blocks of time, never from the residuals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.baselines import markout_curve_bps
from models.labels import size_deciles
from rfq_service.domain.errors import require

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# The size exponent stays inside (0.2, 1), as the design demands of every size law.
SIZE_EXPONENTS = np.round(np.arange(0.205, 1.0, 0.005), 3)
HORIZON_EXPONENTS = np.round(np.arange(-0.5, 0.501, 0.01), 2)


@dataclass(frozen=True, slots=True)
class MarkoutSample:
    """Orders and their markouts: ``size_ratio`` (N,), ``moves_bps`` (N, H), ``block`` (N,) the time block of each."""

    size_ratio: Floats
    moves_bps: Floats
    block: Integers

    def select(self, keep: NDArray[np.bool_]) -> MarkoutSample:
        """The orders for which ``keep`` holds."""
        return MarkoutSample(self.size_ratio[keep], self.moves_bps[keep], self.block[keep])


@dataclass(frozen=True, slots=True)
class MarkoutCurve:
    """Point estimate of the curve and the pivots at which its amplitude is stated."""

    log_amplitude: float
    size_exponent: float
    horizon_exponent: float
    pivot_size_ratio: float
    pivot_horizon_s: float

    def predict_bps(self, size_ratio: Floats, volatility_bps: float, horizon_s: float) -> Floats:
        """Expected signed move in bps, (N,)."""
        return markout_curve_bps(
            size_ratio,
            volatility_bps,
            horizon_s,
            self.log_amplitude,
            self.size_exponent,
            self.horizon_exponent,
            self.pivot_size_ratio,
            self.pivot_horizon_s,
        )


@dataclass(frozen=True, slots=True)
class MarkoutFit:
    """The curve and the (3, 3) covariance of (log amplitude, size exponent, horizon exponent)."""

    curve: MarkoutCurve
    covariance: Floats


def fit_markout_curve(
    sample: MarkoutSample,
    horizons_s: Floats,
    volatility_bps: float,
    pivot_size_ratio: float,
    pivot_horizon_s: float,
    replications: int,
    seed: int,
) -> MarkoutFit:
    """Fit the curve and its covariance over ``replications`` resamples of the time blocks.

    Raises:
        InvariantError: if the sample has fewer than ten blocks, too few to resample.
    """
    cross, square = _block_sums(sample, volatility_bps, pivot_size_ratio)
    blocks = cross.shape[0]
    require(blocks >= 10, "a markout fit needs at least ten blocks of time")
    grid = np.exp(np.outer(HORIZON_EXPONENTS, np.log(horizons_s / pivot_horizon_s)))
    point = _best_on_grid(cross.sum(0), square.sum(0), grid)
    generator = np.random.default_rng(seed)
    resampled = np.empty((replications, 3))
    for index in range(replications):
        weight = np.bincount(generator.integers(0, blocks, blocks), minlength=blocks).astype(np.float64)
        resampled[index] = _best_on_grid(np.tensordot(weight, cross, 1), np.tensordot(weight, square, 1), grid)
    return MarkoutFit(MarkoutCurve(*point, pivot_size_ratio, pivot_horizon_s), np.cov(resampled, rowvar=False))


def _block_sums(sample: MarkoutSample, volatility_bps: float, pivot_size_ratio: float) -> tuple[Floats, Floats]:
    """Weighted sums of f·y and f² per block, size exponent and horizon: both (blocks, exponents, horizons).

    Weights are the inverse variance of the moves in the order's size decile, because large orders scatter more.
    """
    decile = size_deciles(sample.size_ratio)
    labels, block = np.unique(sample.block, return_inverse=True)
    shape = (len(labels), len(SIZE_EXPONENTS), sample.moves_bps.shape[1])
    cross, square = np.zeros(shape), np.zeros(shape)
    log_size = np.log(sample.size_ratio / pivot_size_ratio)
    for horizon in range(shape[2]):
        moves = sample.moves_bps[:, horizon] / volatility_bps
        known = np.isfinite(moves)
        variance = np.array([np.var(moves[known & (decile == k)]) for k in range(10)])
        weight = np.where(known, 1.0 / variance[decile], 0.0)
        target = np.where(known, moves, 0.0)
        for index, exponent in enumerate(SIZE_EXPONENTS):
            factor = np.exp(exponent * log_size)
            cross[:, index, horizon] = np.bincount(block, weight * factor * target, len(labels))
            square[:, index, horizon] = np.bincount(block, weight * factor**2, len(labels))
    return cross, square


def _best_on_grid(cross: Floats, square: Floats, grid: Floats) -> tuple[float, float, float]:
    """Least squares over the grid: the amplitude has a closed form for every pair of exponents."""
    numerator, denominator = cross @ grid.T, square @ (grid.T**2)
    gain = np.where(numerator > 0.0, numerator**2 / denominator, 0.0)
    row, column = np.unravel_index(int(np.argmax(gain)), gain.shape)
    amplitude = float(numerator[row, column] / denominator[row, column])
    require(amplitude > 0.0, "the fitted moves follow the orders' signs")
    return float(np.log(amplitude)), float(SIZE_EXPONENTS[row]), float(HORIZON_EXPONENTS[column])


def gain_percent(moves_bps: Floats, predicted_bps: Floats, reference_bps: Floats | float) -> float:
    """Reduction of the squared error against a reference prediction, in per cent."""
    error = np.sum((moves_bps - predicted_bps) ** 2)
    return float(100.0 * (1.0 - error / np.sum((moves_bps - reference_bps) ** 2)))


def gain_interval_percent(
    moves_bps: Floats, predicted_bps: Floats, reference_bps: float, block: Integers, replications: int, seed: int
) -> tuple[float, float]:
    """90 % interval of ``gain_percent`` by a paired bootstrap over blocks of time."""
    labels, index = np.unique(block, return_inverse=True)
    error = np.bincount(index, (moves_bps - predicted_bps) ** 2)
    reference = np.bincount(index, (moves_bps - reference_bps) ** 2)
    picks = np.random.default_rng(seed).integers(0, len(labels), (replications, len(labels)))
    gains = 100.0 * (1.0 - error[picks].sum(1) / reference[picks].sum(1))
    return float(np.quantile(gains, 0.05)), float(np.quantile(gains, 0.95))


def calibration_slope(moves_bps: Floats, predicted_bps: Floats) -> float:
    """Slope of realised on predicted moves through the origin; 1 where predictions have the right size."""
    return float(np.sum(predicted_bps * moves_bps) / np.sum(predicted_bps**2))
