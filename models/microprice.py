"""Weight of the fitted microprice: how far touch imbalance moves the mid, in half-spreads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.labels import BookPath

Floats = NDArray[np.float64]
_AVERAGING_MS = 1_000
_HORIZON_MS = 10_000


@dataclass(frozen=True, slots=True)
class MicropriceFit:
    """Weight w with its standard error, and out-of-sample error reductions in per cent against the plain mid."""

    weight: float
    standard_error: float
    gain_on_mid_percent: float
    gain_of_unit_weight_percent: float
    samples: int


def fit_microprice_weight(
    book: BookPath, imbalance: Floats, half_spread_bps: Floats, fit_share: float
) -> MicropriceFit:
    """Regress the mid move over the next 10 s on ``imbalance × half-spread``, samples 10 s apart, without overlap.

    Imbalance is averaged over the last second by time. Fitted on the first ``fit_share`` of the recording and judged on
    the rest. A weight of 1 is the textbook microprice.
    """
    start, end = int(book.time_ms[0]), int(book.time_ms[-1])
    times = np.arange(start + _AVERAGING_MS, end - _HORIZON_MS, _HORIZON_MS)
    now = np.searchsorted(book.time_ms, times, "right") - 1
    signal = _time_weighted(book, imbalance, times) * half_spread_bps[now]
    move = (book.mid_at(times + _HORIZON_MS) / book.mid[now] - 1.0) * 1e4
    cut = int(fit_share * len(times))
    # One step is left out between the parts, so that no move reaches from one into the other.
    fit, test = slice(0, cut - 1), slice(cut, None)
    power = float(np.sum(signal[fit] ** 2))
    weight = float(np.sum(signal[fit] * move[fit]) / power)
    residual = move[fit] - weight * signal[fit]
    error = float(np.sqrt(np.sum((signal[fit] * residual) ** 2))) / power
    base = float(np.sum(move[test] ** 2))
    gains = [100.0 * (1.0 - float(np.sum((move[test] - w * signal[test]) ** 2)) / base) for w in (weight, 1.0)]
    return MicropriceFit(weight, error, gains[0], gains[1], len(times))


def _time_weighted(book: BookPath, values: Floats, times: NDArray[np.int64]) -> Floats:
    """Mean of a step function over the averaging window that ends at each time."""
    area = np.r_[0.0, np.cumsum(values[:-1] * np.diff(book.time_ms))]

    def integral(at: NDArray[np.int64]) -> Floats:
        index = np.searchsorted(book.time_ms, at, "right") - 1
        return np.asarray(area[index] + values[index] * (at - book.time_ms[index]), np.float64)

    return np.asarray((integral(times) - integral(times - _AVERAGING_MS)) / _AVERAGING_MS, np.float64)
