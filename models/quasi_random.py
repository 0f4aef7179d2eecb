"""Low-discrepancy normal draws: parameter uncertainty with little sampling noise, the same on every run."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from rfq_service.domain.errors import require

_SHIFT_PRIME = 0x9E3779B97F4A7C15  # spreads seeds over [0, 1); any odd 64-bit number would do


def standard_normal_draws(count: int, dimensions: int, seed: int) -> NDArray[np.float64]:
    """Return ``(count, dimensions)`` standard normal draws: an additive recurrence on the generalised golden ratio.

    Point i is ``frac(shift + i·α)`` with ``α_j = g^-(j+1)`` and g the root of ``g^(d+1) = g + 1``; the seed moves the
    shift. No random generator is involved, so that no library version changes a draw.

    Raises:
        InvariantError: unless count and dimensions are positive and the seed is not negative.
    """
    require(count > 0 and dimensions > 0, "draws need a positive count and number of dimensions")
    require(seed >= 0, "a seed is not negative")
    root = 1.5
    for _ in range(64):
        root = (1.0 + root) ** (1.0 / (dimensions + 1))
    inverse_cdf = NormalDist().inv_cdf
    draws = np.empty((count, dimensions))
    for column in range(dimensions):
        step = root ** -(column + 1)
        shift = ((seed * dimensions + column + 1) * _SHIFT_PRIME % 2**64) / 2**64
        for row in range(count):
            # Kept off 0 and 1, where the normal quantile is infinite.
            uniform = min(max((shift + (row + 1) * step) % 1.0, 1e-9), 1.0 - 1e-9)
            draws[row, column] = inverse_cdf(uniform)
    return draws
