"""A, the alternative: work the same quantity in the lit market at an even pace (DESIGN §4.2).

Expected cost over a duration T: ``fee + half-spread + temporary(T) + I/2 + α·(T/θ)·φ₂(T/θ) − s·funding·T/2``: own
permanent impact is paid on half the size on average, and the information ``α`` in F's forecast reaches the part not yet
filled. Realised cost adds timing risk, ``σ·√(T/3)`` for an even pace.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from quote_eval.benchmark import Reference
from quote_eval.fair_charge import half_spread_draws
from quote_eval.inputs import EvaluationInputs, EvaluationParameters, Predictions
from quote_eval.numerics import Floats, expected_shortfall, mean, normal_cdf, phi_2, stratified_normals
from rfq_service.domain.errors import require
from rfq_service.domain.units import NS_PER_S, S_PER_DAY, Side

MARKET_STREAM = 5
OUTCOME_STREAM = 6
_SD_MIN_BPS = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class LegOutlook:
    """One leg ready for scoring on one side: reference, the client's side of it, predictions.

    Attributes:
        excess_bps: (M,) ``information_excess`` of the predictions.
    """

    reference: Reference
    side: Side
    predictions: Predictions
    excess_bps: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Alternative:
    """Costs of working the whole request, bps of gross notional, by duration (K) and parameter draw (M).

    Attributes:
        parts_bps: (5, K) means: fees, half-spread, temporary, permanent, drift (with funding).
        expected_bps: (K, M) expected cost given the parameters.
        timing_sd_bps: (K,) sd of the realised cost around it.
        objectives_bps: (3, K) expected cost, CVaR and objective of the realised cost.
        admissible: (K,) within the time left, and gentle enough for the volume or the book.
        best: index of the duration of least objective among the admissible ones.
        participation_exceeded: no duration was gentle enough; the slowest in time is used.
    """

    durations_s: Floats
    parts_bps: Floats
    fixed_bps: Floats
    temporary_bps: Floats
    permanent_bps: Floats
    expected_bps: Floats
    timing_sd_bps: Floats
    objectives_bps: Floats
    admissible: tuple[bool, ...]
    best: int | None
    participation_exceeded: bool

    def expected_for_share(self, share: Floats | float, exponent: float, index: int) -> Floats:
        """(…, M) expected cost of working ``share`` of the request over duration ``index``, bps of that share.

        Temporary ∝ share^exponent, permanent ∝ share; ``share`` is a number or (…, 1).
        """
        temporary = self.temporary_bps[index] * share**exponent
        expected: Floats = self.fixed_bps[index] + temporary + self.permanent_bps * (0.5 * share)
        return expected


def correlated_sd_bps(legs: tuple[LegOutlook, ...], sds: list[float], correlation: float) -> float:
    """Sd of a package in bps of gross notional from its legs' own, equally correlated, signs respected."""
    if len(legs) == 1:
        return sds[0]
    terms = [(leg.reference.weight * sd, leg.side.sign) for leg, sd in zip(legs, sds, strict=True)]
    common = sum(sign * size for size, sign in terms) ** 2
    own = sum(size * size for size, _ in terms)
    return math.sqrt(correlation * common + (1.0 - correlation) * own)


def build_alternative(inputs: EvaluationInputs, legs: tuple[LegOutlook, ...], volatility: float) -> Alternative:
    """Price every candidate duration and pick the best admissible one."""
    parameters = inputs.parameters
    durations = legs[0].predictions.durations_s
    require(
        all(np.array_equal(leg.predictions.durations_s, durations) for leg in legs[1:]), "legs share their durations"
    )
    fees = sum(leg.reference.weight * leg.reference.market.taker_fee_bps for leg in legs)
    spread = weighted_sum(legs, [half_spread_draws(leg.predictions, parameters, inputs.seed) for leg in legs])
    temporary = weighted_sum(legs, [leg.predictions.temporary_bps for leg in legs])
    permanent = weighted_sum(legs, [leg.predictions.permanent_bps for leg in legs])
    drift = weighted_sum(legs, [_drift(leg, durations, parameters) for leg in legs])
    fixed = fees + spread + drift
    expected = fixed + temporary + 0.5 * permanent
    timing_sd = volatility * np.sqrt(durations / (3.0 * S_PER_DAY))
    objectives = objective(realised(expected, timing_sd[:, None], inputs), inputs)
    admissible, exceeded = _admissible(inputs, legs, durations.tolist())
    parts = np.empty((5, len(durations)))
    parts[0] = fees
    parts[1] = mean(spread)
    parts[2] = mean(temporary)
    parts[3] = 0.5 * mean(permanent)
    parts[4] = mean(drift)
    return Alternative(
        durations_s=durations,
        parts_bps=parts,
        fixed_bps=fixed,
        temporary_bps=temporary,
        permanent_bps=permanent,
        expected_bps=expected,
        timing_sd_bps=timing_sd,
        objectives_bps=objectives,
        admissible=admissible,
        best=least_objective(objectives[2], admissible),
        participation_exceeded=exceeded,
    )


def least_objective(objectives_bps: Floats, allowed: Sequence[bool]) -> int | None:
    """Index of the allowed choice with the least objective (N,) in fixed point, the first of equals, or ``None``."""
    weighed = objectives_bps.tolist()
    choices = [(round(weighed[index] * 1e6), index) for index, is_allowed in enumerate(allowed) if is_allowed]
    return min(choices)[1] if choices else None


def realised(expected: Floats, market_sd: Floats | float, inputs: EvaluationInputs) -> Floats:
    """Equally likely realised costs, (…, M): parameter draws paired with stratified market noise."""
    return expected + market_sd * stratified_normals(inputs.seed, MARKET_STREAM, expected.shape[-1])


def objective(costs: Floats, inputs: EvaluationInputs) -> Floats:
    """(3, …): expected cost, CVaR and ``(1 − λ)·expected + λ·CVaR`` of equally likely costs (…, M)."""
    weight = inputs.parameters.risk_weight
    expected, tail = mean(costs), expected_shortfall(costs, inputs.parameters.cvar_level)
    return np.array((expected, tail, (1.0 - weight) * expected + weight * tail))


def realised_survival(expected: Floats, market_sd: Floats | float, at: Floats) -> Floats:
    """P(realised cost > at), (…, N), for normal market noise around draws (…, M) of the expected cost.

    ``market_sd`` is a number, or one per leading index of ``expected``.
    """
    distance = expected[..., None, :] - at[:, None]
    distance *= 1.0 / np.maximum(market_sd, _SD_MIN_BPS)[..., None, None]
    return mean(normal_cdf(distance))


def slice_count(duration_s: float, parameters: EvaluationParameters) -> int:
    """Number of child orders of a schedule."""
    return max(1, math.ceil(duration_s / parameters.slice_interval_s))


def weighted_sum(legs: tuple[LegOutlook, ...], values: list[Floats]) -> Floats:
    """Sum of the legs' values by share of gross notional, which is 1 for a single leg."""
    if len(legs) == 1:
        return values[0]
    total = legs[0].reference.weight * values[0]
    for leg, value in zip(legs[1:], values[1:], strict=True):
        total = total + leg.reference.weight * value
    return total


def _drift(leg: LegOutlook, durations: Floats, parameters: EvaluationParameters) -> Floats:
    """(K, M): information reaching the unfilled part, less the funding that a later position does not pay."""
    arrival_s = parameters.information_time_share * leg.predictions.horizon_s
    drift: Floats = _information_share(tuple(durations.tolist()), arrival_s) * leg.excess_bps
    funding_bps_per_day = leg.side.sign * leg.reference.market.funding_bps_per_day
    if funding_bps_per_day != 0.0:
        drift -= (funding_bps_per_day * durations / (2.0 * S_PER_DAY))[:, None]
    return drift


@lru_cache(maxsize=64)
def _information_share(durations_s: tuple[float, ...], arrival_s: float) -> Floats:
    """(K, 1) share of the information that reaches the unfilled part of an even schedule."""
    pace = np.array(durations_s)[:, None] / arrival_s
    share: Floats = pace * phi_2(pace)
    share.setflags(write=False)
    return share


def _admissible(
    inputs: EvaluationInputs, legs: tuple[LegOutlook, ...], durations_s: list[float]
) -> tuple[tuple[bool, ...], bool]:
    """(K,) flags: ends in time and gentle enough; and whether none is gentle, so that the slowest in time is used."""
    end_ns = inputs.request.complete_by_ns
    left_s = math.inf if end_ns is None else (end_ns - inputs.now_ns) / NS_PER_S
    in_time = [duration_s <= left_s for duration_s in durations_s]
    allowed = in_time
    for leg in legs:
        law, notional = leg.predictions, float(leg.reference.notional)
        allowed = [
            is_allowed and _is_gentle(law, notional, duration_s, inputs.parameters)
            for is_allowed, duration_s in zip(allowed, durations_s, strict=True)
        ]
    if any(allowed) or not any(in_time):
        return tuple(allowed), False
    slowest = sum(in_time) - 1  # durations ascend
    return tuple([index == slowest for index in range(len(durations_s))]), True


def _is_gentle(law: Predictions, notional: float, duration_s: float, parameters: EvaluationParameters) -> bool:
    """By share of the volume traded meanwhile, or by child size against the resting depth."""
    volume = law.volume_per_day_notional * duration_s / S_PER_DAY
    if notional <= parameters.participation_max * volume:
        return True
    return notional / slice_count(duration_s, parameters) <= parameters.depth_share_max * law.depth_notional
