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

Floats = NDArray[np.float64]

_PPM = 1_000_000
_SERIES_BELOW = 0.05
_GOLDEN_GAMMA = 0x9E3779B97F4A7C15
_MASK_64 = 0xFFFF_FFFF_FFFF_FFFF


def to_ppm(probability: float) -> int:
    """Fixed-point form of a probability (1e-6).

    Raises:
        InvariantError: unless it lies in [0, 1] up to rounding; NaN does not.
    """
    require(-1e-9 <= probability <= 1.0 + 1e-9, "a stored probability lies in [0, 1]")
    return round(min(1.0, max(0.0, probability)) * _PPM)


def normal_cdf(x: Floats) -> Floats:
    """Standard normal distribution function, any shape, absolute error below 1e-7.

    Abramowitz and Stegun 7.1.26 for erf; a vectorised ``math.erf`` needs scipy, which the server does not import.
    """
    scaled = np.abs(x) * math.sqrt(0.5)
    t = 1.0 / (1.0 + 0.3275911 * scaled)
    poly = t * (
        0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))
    )
    tail = 0.5 * poly * np.exp(-scaled * scaled)
    return np.where(x < 0.0, tail, 1.0 - tail)


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


def survival(sorted_draws: Floats, at: float) -> float:
    """P(draw ≥ at) of an ascending sample (M,), linear between plotting positions (i − ½)/M.

    It is ½ at the median, falls with ``at`` and never claims more than M draws can show: within [½/M, 1 − ½/M].
    """
    return float(np.interp(at, sorted_draws, _survival_positions(len(sorted_draws))))


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


def expected_shortfall(draws: Floats, level: float) -> float:
    """CVaR: mean of the worst ``1 − level`` of equally likely costs (M,), the boundary draw counted in part."""
    tail = (1.0 - level) * len(draws)
    whole = int(tail)
    worst = np.sort(draws)[::-1]
    return float((worst[:whole].sum() + (tail - whole) * worst[whole]) / tail)


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
