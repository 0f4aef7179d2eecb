"""What a closed-form artifact says: parameters with their uncertainty, where they come from, and how well they did.

Written by ``models.calibration``, read by ``models.predictors``. Unknown fields are refused.
"""

from __future__ import annotations

import msgspec


class Estimate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A parameter with its standard error and where it comes from."""

    value: float
    standard_error: float
    source: str


class AlmgrenParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Almgren et al. 2005. ``eta`` and ``beta`` vary independently about ``pivot_participation``."""

    gamma: Estimate
    eta: Estimate
    beta: Estimate
    pivot_participation: float
    log_turnover_ratio: Estimate


class SquareRootParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Peak impact ``exp(log_prefactor)·σ·(Q/V)^exponent``."""

    log_prefactor: Estimate
    exponent: Estimate


class MarkoutParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``E[M_h] = σ·exp(a)·(x/pivot)^b·(h/pivot)^c``.

    Attributes:
        covariance: 3×3, of (a, b, c), block bootstrap.
        horizon_min_s: shorter horizons are treated as this one; likewise the longest.
    """

    log_amplitude: float
    size_exponent: float
    horizon_exponent: float
    covariance: tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
    pivot_size_ratio: float
    pivot_horizon_s: float
    horizon_min_s: float
    horizon_max_s: float


class AmplitudeSpread(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an amplitude may be off by outside its fit (sd of its log); moves square-root law and markouts together.

    Attributes:
        calibrated_instruments: ids of the instruments that the fit is of; for them ``other_period_log_sd`` holds.
        other_period_log_sd: root mean square log slope on the later part of the same recording.
        other_instrument_log_sd: root mean square log slope on instruments never fitted. It includes their mean, because
            that mean is not corrected.
    """

    calibrated_instruments: tuple[str, ...]
    other_period_log_sd: float
    other_instrument_log_sd: float


class Draws(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How parameter draws are made: stratified; the first half by Almgren's law, the rest by the square-root law."""

    count: int
    seed: int
    method: str


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the fit comes from: data digests and the scales of the recording."""

    code_version: str
    data_sha256: dict[str, str]
    orders: int
    volatility_bps_sqrt_day: float
    volume_per_day_notional: float
    depth_notional: float
    half_spread_bps: float
    bootstrap_block_s: int
    bootstrap_replications: int


class MarkoutRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One decile of order size: mean signed move by horizon with standard errors, and the same with random signs."""

    decile: int
    orders: int
    median_notional: float
    effective_half_spread_bps: float
    immediate_bps: float
    mean_bps: dict[str, float]
    standard_error_bps: dict[str, float]
    placebo_bps: dict[str, float]


class OutOfSampleRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Later part of the recording, one horizon: reduction of squared error in per cent, with a 90 % interval."""

    horizon_s: float
    orders: int
    gain_on_constant_percent: float
    gain_on_constant_low: float
    gain_on_constant_high: float
    gain_on_zero_percent: float
    calibration_slope: float
    noise_over_sqrt_time_volatility: float


class TransferRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Another instrument, never fitted: slope of realised on predicted moves by the scale that sizes are put in."""

    instrument_id: str
    horizon_s: float
    orders: int
    slope_volatility_volume: float
    slope_volatility_depth: float
    slope_half_spread_depth: float


class MicropriceReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Weight of the touch imbalance: fitted on the first part, its gain on the rest against the mid (w = 0)."""

    weight: Estimate
    gain_on_mid_percent: float
    gain_of_unit_weight_percent: float
    samples: int


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything measured, as published in the model card."""

    markouts: tuple[MarkoutRow, ...]
    out_of_sample: tuple[OutOfSampleRow, ...]
    out_of_sample_curve: tuple[float, float, float]
    transfer: tuple[TransferRow, ...]
    square_root_prefactors: dict[str, float]


class ClosedFormArtifact(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole artifact; ``model_card`` names its limits in sentences."""

    name: str
    version: str
    almgren: AlmgrenParameters
    square_root: SquareRootParameters
    markout: MarkoutParameters
    amplitude_spread: AmplitudeSpread
    microprice: MicropriceReport
    draws: Draws
    calibration: Calibration
    report: Report
    model_card: tuple[str, ...]
