"""What the calibration measures and reports: markouts by size, the check by time, the transfer to other instruments."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.artifacts.manifest import MarkoutRow, OutOfSampleRow, TransferRow
from models.labels import effective_half_spread_bps, immediate_bps, markout_bps, random_signs, size_deciles
from models.markout_fit import (
    MarkoutCurve,
    MarkoutFit,
    MarkoutSample,
    calibration_slope,
    fit_markout_curve,
    gain_interval_percent,
    gain_percent,
)
from models.recordings import MAJORS, Recording, load_recording

Floats = NDArray[np.float64]

SEED = 20_240_723
HORIZONS_S = (1.0, 10.0, 60.0, 300.0)
PIVOT_HORIZON_S = 10.0
BLOCK_S = 1_800
REPLICATIONS = 1_000
FIT_SHARE = 0.6
TRANSFER_HORIZON_S = 10.0


def stored(value: float) -> float:
    """Ten significant digits: finer than any error here, and the last bits of a host's libm stay out of the file."""
    return float(f"{value:.10g}")


def markout_sample(recording: Recording) -> MarkoutSample:
    """Every order of a recording with its size in daily volumes, its markouts and its block of time."""
    orders = recording.orders
    moves = np.column_stack([markout_bps(orders, recording.book, horizon) for horizon in HORIZONS_S])
    block = (orders.time_ms - int(recording.book.time_ms[0])) // (BLOCK_S * 1000)
    return MarkoutSample(orders.notional / recording.volume_per_day_notional, moves, block)


def fit_recording(sample: MarkoutSample, recording: Recording) -> MarkoutFit:
    """The curve of one recording, stated at its median size."""
    return fit_markout_curve(
        sample,
        np.array(HORIZONS_S),
        recording.volatility_bps_sqrt_day,
        pivot_size_ratio=stored(float(np.median(sample.size_ratio))),
        pivot_horizon_s=PIVOT_HORIZON_S,
        replications=REPLICATIONS,
        seed=SEED,
    )


def markout_rows(recording: Recording, sample: MarkoutSample) -> tuple[MarkoutRow, ...]:
    """Markouts by decile of size, with standard errors and a random-sign placebo."""
    orders = recording.orders
    decile = size_deciles(orders.notional)
    paid = effective_half_spread_bps(orders, recording.book)
    first_move = immediate_bps(orders, recording.book)
    placebo = sample.moves_bps * random_signs(len(orders), SEED)[:, None]

    def by_horizon(values: Floats) -> dict[str, float]:
        return {f"{horizon:g}": stored(float(value)) for horizon, value in zip(HORIZONS_S, values, strict=True)}

    rows = []
    for index in range(10):
        keep = decile == index
        moves = sample.moves_bps[keep]
        error = np.nanstd(moves, axis=0, ddof=1) / np.sqrt(np.isfinite(moves).sum(axis=0))
        rows.append(
            MarkoutRow(
                decile=index + 1,
                orders=int(keep.sum()),
                median_notional=stored(float(np.median(orders.notional[keep]))),
                effective_half_spread_bps=stored(float(paid[keep].mean())),
                immediate_bps=stored(float(np.nanmean(first_move[keep]))),
                mean_bps=by_horizon(np.nanmean(moves, axis=0)),
                standard_error_bps=by_horizon(error),
                placebo_bps=by_horizon(np.nanmean(placebo[keep], axis=0)),
            )
        )
    return tuple(rows)


def out_of_sample_rows(
    recording: Recording, sample: MarkoutSample
) -> tuple[tuple[float, float, float], tuple[OutOfSampleRow, ...]]:
    """Fit on the early part, report on the late one; orders whose moves would reach into the late part are purged.

    Volatility and volume are those of the whole recording; they only set units, which cancel on a single instrument.
    """
    time_ms = recording.orders.time_ms
    split_ms = float(time_ms[0]) + FIT_SHARE * float(time_ms[-1] - time_ms[0])
    early = sample.select(time_ms < split_ms - max(HORIZONS_S) * 1000)
    late = sample.select(time_ms >= split_ms)
    curve = fit_recording(early, recording).curve
    volatility = recording.volatility_bps_sqrt_day
    rows = []
    for index, horizon in enumerate(HORIZONS_S):
        known = np.isfinite(late.moves_bps[:, index])
        moves = late.moves_bps[known, index]
        predicted = curve.predict_bps(late.size_ratio[known], volatility, horizon)
        constant = float(np.nanmean(early.moves_bps[:, index]))
        low, high = gain_interval_percent(moves, predicted, constant, late.block[known], REPLICATIONS, SEED)
        noise = float(np.std(moves - predicted)) / (volatility * math.sqrt(horizon / 86_400.0))
        rows.append(
            OutOfSampleRow(
                horizon_s=horizon,
                orders=len(moves),
                gain_on_constant_percent=stored(gain_percent(moves, predicted, constant)),
                gain_on_constant_low=stored(low),
                gain_on_constant_high=stored(high),
                gain_on_zero_percent=stored(gain_percent(moves, predicted, 0.0)),
                calibration_slope=stored(calibration_slope(moves, predicted)),
                noise_over_sqrt_time_volatility=stored(noise),
            )
        )
    return (stored(curve.log_amplitude), curve.size_exponent, curve.horizon_exponent), tuple(rows)


def transfer_rows(data_dir: Path, curve: MarkoutCurve, fitted: Recording) -> tuple[TransferRow, ...]:
    """Judge three ways to carry the curve to another instrument; all three are the same curve on the fitted one."""
    volume_to_depth = fitted.volume_per_day_notional / fitted.depth_notional
    volatility_to_spread = fitted.volatility_bps_sqrt_day / fitted.half_spread_bps
    rows = []
    for source in MAJORS:
        other = load_recording(data_dir, source)
        moves = markout_bps(other.orders, other.book, TRANSFER_HORIZON_S)
        known = np.isfinite(moves)
        notional = other.orders.notional[known]
        scales = (
            (notional / other.volume_per_day_notional, other.volatility_bps_sqrt_day),
            (notional / (other.depth_notional * volume_to_depth), other.volatility_bps_sqrt_day),
            (notional / (other.depth_notional * volume_to_depth), other.half_spread_bps * volatility_to_spread),
        )
        slopes = [
            stored(calibration_slope(moves[known], curve.predict_bps(ratio, scale, TRANSFER_HORIZON_S)))
            for ratio, scale in scales
        ]
        rows.append(
            TransferRow(
                instrument_id=other.instrument_id,
                horizon_s=TRANSFER_HORIZON_S,
                orders=int(known.sum()),
                slope_volatility_volume=slopes[0],
                slope_volatility_depth=slopes[1],
                slope_half_spread_depth=slopes[2],
            )
        )
    return tuple(rows)
