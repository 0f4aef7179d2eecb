"""Small numerical tools of the scorer, in numpy alone: fixed point, normal law, stratified draws, hedging integrals.

All floats that leave the package are rounded to 1e-6 (bps or probability) first. ``exp`` and ``power`` may differ in
the last bit between CPUs, which is 1e-16 of the value: a stored result then differs only if it lies that close to a
rounding boundary, with probability about 1e-9 per value.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from rfq_service.domain.errors import require
from rfq_service.domain.units import MICRO_BPS_MAX, to_micro_bps

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

_MICRO = 1_000_000
_PLAIN_BPS = MICRO_BPS_MAX / _MICRO / 2.0
_CDF_RANGE, _CDF_STEPS = 8.0, 512.0
_CDF_GRID = np.linspace(-_CDF_RANGE, _CDF_RANGE, int(2.0 * _CDF_RANGE * _CDF_STEPS) + 1)
_CDF_TABLE: Floats = np.array([0.0, *(0.5 * math.erfc(-x * math.sqrt(0.5)) for x in _CDF_GRID[1:-1].tolist()), 1.0])
_CDF_SLOPES: Floats = np.append(np.diff(_CDF_TABLE), 0.0)
_CDF_INTERCEPTS: Floats = _CDF_TABLE - _CDF_SLOPES * np.arange(len(_CDF_TABLE))
_SERIES_BELOW = 0.05
_GOLDEN_GAMMA = 0x9E3779B97F4A7C15
_MASK_64 = 0xFFFF_FFFF_FFFF_FFFF


def mean(values: Floats | NDArray[np.bool_]) -> Floats:
    """Mean over the last axis; numpy's own spends more on bookkeeping than on 256 numbers."""
    total: Floats = np.add.reduce(values, axis=-1)
    average: Floats = total / values.shape[-1]
    return average


def ascending(values: Floats) -> Floats:
    """A sorted copy, along the last axis."""
    ordered = values.copy()
    ordered.sort()
    return ordered


def to_micro_bps_array(values_bps: Floats) -> Whole:
    """Fixed-point forms (1e-6 bps), any shape; ``units.to_micro_bps`` of each value, saturated and checked as there."""
    if np.vdot(values_bps, values_bps) < _PLAIN_BPS**2:  # so is each of them; not so for NaN
        return np.rint(values_bps * _MICRO).astype(np.int64)
    odd = [to_micro_bps(value) for value in values_bps.ravel().tolist()]
    return np.array(odd, dtype=np.int64).reshape(values_bps.shape)


def to_ppm_array(probabilities: Floats) -> Whole:
    """Fixed-point forms (1e-6) of probabilities, any shape.

    Raises:
        InvariantError: unless all lie in [0, 1] up to rounding; NaN does not.
    """
    peak = np.maximum.reduce(np.abs(probabilities - 0.5), axis=None, initial=0.0)
    require(bool(peak <= 0.5 + 1e-9), "stored probabilities lie in [0, 1]")
    return np.rint(probabilities * _MICRO).astype(np.int64)


def normal_cdf(x: Floats, per_sd: Floats | float = 1.0) -> Floats:
    """Normal distribution function of ``x × per_sd``, any shape, absolute error below 2e-7.

    Linear between 1/512 apart values of ``math.erfc`` on ±8: a vectorised erf needs scipy, which the server does not
    import, and a table is faster than a rational approximation with its exponential. Beyond ±8 it is exactly 0 or 1.
    """
    place = x * (_CDF_STEPS * per_sd)
    place += _CDF_RANGE * _CDF_STEPS
    place.clip(0.0, 2.0 * _CDF_RANGE * _CDF_STEPS, out=place)
    index = place.astype(np.int64)
    place *= _CDF_SLOPES.take(index)
    place += _CDF_INTERCEPTS.take(index)
    return place


@lru_cache(maxsize=8)
def _normal_strata(count: int) -> Floats:
    law = NormalDist()
    return _frozen(np.array([law.inv_cdf((i + 0.5) / count) for i in range(count)]))


@lru_cache(maxsize=4096)
def stratified_normals(seed: int, stream: int, count: int) -> Floats:
    """``count`` standard normals, one per equally likely stratum, in an order fixed by seed and stream. Read-only."""
    return _frozen(_normal_strata(count)[_permutation(seed, stream, count)])


@lru_cache(maxsize=64)
def stratified_uniforms(seed: int, stream: int, count: int) -> Floats:
    """``count`` uniforms on (0, 1), one per stratum, in an order fixed by seed and stream. Read-only."""
    return _frozen((_permutation(seed, stream, count) + 0.5) / count)


@lru_cache(maxsize=64)
def uniforms_in_order(seed: int, stream: int, count: int) -> tuple[Floats, NDArray[np.int64]]:
    """The uniforms of ``stratified_uniforms`` ascending, and at which draw each of them stands. Read-only."""
    uniforms = stratified_uniforms(seed, stream, count)
    order = np.argsort(uniforms)
    order.setflags(write=False)
    return _frozen(uniforms[order]), order


def _permutation(seed: int, stream: int, count: int) -> NDArray[np.int64]:
    """Order of splitmix64 hashes: unlike numpy's generators, the same in every version of every library."""
    start = (seed * 0xD1342543DE82EF95 + stream * 0xBF58476D1CE4E5B9 + 1) & _MASK_64
    state = np.uint64(start) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN_GAMMA)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    return np.argsort(state, kind="stable")


def _frozen(values: Floats) -> Floats:
    values.setflags(write=False)
    return values


def survival(sorted_draws: Floats, at: Floats) -> Floats:
    """P(draw ≥ at), (N,), of an ascending sample (M,), linear between plotting positions (i − ½)/M.

    It is ½ at the median, falls with ``at`` and never claims more than M draws can show: within [½/M, 1 − ½/M].
    """
    return np.interp(at, sorted_draws, _survival_positions(len(sorted_draws)))


@lru_cache(maxsize=8)
def _survival_positions(count: int) -> Floats:
    return _frozen(1.0 - (np.arange(count) + 0.5) / count)


def quantile(sorted_draws: Floats, probability: float) -> float:
    """Quantile of an ascending sample (M,) on the same plotting positions as ``survival``: its inverse."""
    count = len(sorted_draws)
    place = min(max(probability * count - 0.5, 0.0), count - 1.0)
    low = min(int(place), count - 2)
    weight = place - low
    return float(sorted_draws[low]) * (1.0 - weight) + float(sorted_draws[low + 1]) * weight


def shortfall_weights(count: int, level: float) -> Floats:
    """Weights (count,) of ascending, equally likely costs in their CVaR: the mean of the worst ``1 − level`` of them.

    The draw on the boundary counts in part.
    """
    tail = (1.0 - level) * count
    return np.clip(np.arange(1.0, count + 1.0) - (count - tail), 0.0, 1.0) / tail


def phi_1(x: Floats) -> Floats:
    """``∫₀¹ e^{−xy} dy = (1 − e^{−x})/x`` for x ≥ 0: the mean of an exponential decay."""
    safe = np.maximum(x, _SERIES_BELOW)
    return np.where(x < _SERIES_BELOW, _series(x, 1.0, 1), -np.expm1(-safe) / safe)


def phi_2(x: Floats) -> Floats:
    """``∫₀¹ (1 − y) e^{−xy} dy = (e^{−x} − 1 + x)/x²`` for x ≥ 0; ½ at zero."""
    safe = np.maximum(x, _SERIES_BELOW)
    return np.where(x < _SERIES_BELOW, _series(x, 1.0, 2), (np.expm1(-safe) + safe) / safe**2)


def phi_3(x: Floats) -> Floats:
    """``∫₀¹ (1 − y)² e^{−xy} dy`` for x ≥ 0; ⅓ at zero."""
    safe = np.maximum(x, _SERIES_BELOW)
    closed = (safe * safe - 2.0 * safe - 2.0 * np.expm1(-safe)) / safe**3
    return np.where(x < _SERIES_BELOW, _series(x, 2.0, 3), closed)


def _series(x: Floats, scale: float, shift: int) -> Floats:
    """``scale · Σ (−x)^n/(n + shift)!``: the closed forms cancel near zero, six terms are exact to 1e-12 there."""
    small = np.minimum(x, _SERIES_BELOW)
    total = np.zeros_like(small)
    for n in range(5, -1, -1):
        total = total * -small + scale / math.factorial(n + shift)
    return total
