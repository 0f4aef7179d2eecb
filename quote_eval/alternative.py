"""A, the alternative: work the same quantity in the lit market at an even pace (DESIGN §4.2).

Expected cost over a duration T: ``fee + half-spread + temporary(T) + I/2 + α·(T/θ)·φ₂(T/θ) − s·funding·T/2``: own
permanent impact is paid on half the size on average, and the information ``α`` in F's forecast reaches the part not yet
filled. Realised cost adds timing risk, ``σ·√(T/3)`` for an even pace.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import msgspec
import numpy as np

from quote_eval.benchmark import Reference
from quote_eval.fair_charge import half_spread_draws
from quote_eval.inputs import EvaluationInputs, EvaluationParameters, Predictions
from quote_eval.numerics import Floats, ascending, mean, normal_cdf, phi_2, shortfall_weights, stratified_normals
from rfq_service.domain.errors import require
from rfq_service.domain.units import NS_PER_S, S_PER_DAY, Side

MARKET_STREAM = 5
OUTCOME_STREAM = 6
_SD_MIN_BPS = 1e-9


class LegOutlook(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One leg ready for scoring on one side: reference, the client's side of it, predictions.

    Attributes:
        excess_bps: (M,) ``information_excess`` of the predictions.
    """

    reference: Reference
    side: Side
    predictions: Predictions
    excess_bps: Floats


class Alternative(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Costs of working the whole request, bps of gross notional, by duration (K) and parameter draw (M).

    Attributes:
        parts_bps: (5, K) means: fees, half-spread, temporary, permanent, drift (with funding).
        temporary_bps, permanent_bps: (K, M) and (M,) what is paid of them on average over the fill.
        expected_bps: (K, M) expected cost given the parameters.
        timing_sd_bps: (K,) sd of the realised cost around it.
        objectives_bps: (3, K) expected cost, CVaR and objective of the realised cost.
        slices: (K,) numbers of child orders.
        admissible: (K,) within the time left, and gentle enough for the volume or the book.
        best: index of the duration of least objective among the admissible ones.
        participation_exceeded: no duration was gentle enough; the slowest in time is used.
    """

    durations_s: Floats
    parts_bps: Floats
    temporary_bps: Floats
    permanent_bps: Floats
    expected_bps: Floats
    timing_sd_bps: Floats
    objectives_bps: Floats
    slices: tuple[int, ...]
    admissible: tuple[bool, ...]
    best: int | None
    participation_exceeded: bool

    @property
    def best_bps(self) -> float:
        """Expected cost of the best schedule; zero when there is none."""
        return 0.0 if self.best is None else sum(self.parts_bps[:, self.best].tolist())

    def expected_for_share(self, share: Floats | float, exponent: float, index: int) -> Floats:
        """(…, M) expected cost of working ``share`` of the request over duration ``index``, bps of that share.

        Temporary ∝ share^exponent, permanent ∝ share; ``share`` is a number or (…, 1).
        """
        temporary = self.temporary_bps[index]
        fixed = self.expected_bps[index] - temporary - self.permanent_bps
        expected: Floats = fixed + temporary * share**exponent + self.permanent_bps * share
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
    durations = legs[0].predictions.durations_s
    require(
        all(np.array_equal(leg.predictions.durations_s, durations) for leg in legs[1:]), "legs share their durations"
    )
    parts = weighted_sum(legs, [_schedule_parts(leg, inputs) for leg in legs])
    expected: Floats = np.add.reduce(parts, axis=0)
    timing_sd = volatility * np.sqrt(durations / (3.0 * S_PER_DAY))
    objectives = objective(realised(expected, timing_sd[:, None], inputs), inputs)
    slices = tuple([slice_count(duration_s, inputs.parameters) for duration_s in durations.tolist()])
    admissible, exceeded = _admissible(inputs, legs, slices)
    return Alternative(
        durations_s=durations,
        parts_bps=mean(parts),
        temporary_bps=parts[2],
        permanent_bps=parts[3, 0],
        expected_bps=expected,
        timing_sd_bps=timing_sd,
        objectives_bps=objectives,
        slices=slices,
        admissible=admissible,
        best=least_objective(objectives[2], admissible),
        participation_exceeded=exceeded,
    )


def _schedule_parts(leg: LegOutlook, inputs: EvaluationInputs) -> Floats:
    """(5, K, M): fees, half-spread, temporary, permanent and drift of working one leg, bps of its notional."""
    law, parameters = leg.predictions, inputs.parameters
    parts = np.empty((5, *law.temporary_bps.shape))
    parts[0] = leg.reference.market.taker_fee_bps
    parts[1] = half_spread_draws(law, parameters, inputs.seed)
    parts[2] = law.temporary_bps
    parts[3] = 0.5 * law.permanent_bps
    parts[4] = _drift(leg, law.durations_s, parameters)
    return parts


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
    parameters = inputs.parameters
    weights = _order_weights(costs.shape[-1], parameters.cvar_level, parameters.risk_weight)
    weighed: Floats = np.dot(ascending(costs), weights).T
    return weighed


@lru_cache(maxsize=16)
def _order_weights(count: int, cvar_level: float, risk_weight: float) -> Floats:
    """(count, 3) weights of ascending costs in their mean, their CVaR and the objective: each is linear in them."""
    average = np.full(count, 1.0 / count)
    tail = shortfall_weights(count, cvar_level)
    weights = np.stack([average, tail, (1.0 - risk_weight) * average + risk_weight * tail], axis=1)
    weights.setflags(write=False)
    return weights


def realised_survival(expected: Floats, market_sd: Floats, at: Floats) -> Floats:
    """P(realised cost > at), (R, N), for normal market noise (R,) around draws (R, M) of the expected cost."""
    return mean(normal_cdf(expected[:, None, :] - at[:, None], per_sd(market_sd)[:, None, None]))


def per_sd(market_sd: Floats) -> Floats:
    """Inverse sds of market noise, bounded where there is none."""
    inverse: Floats = 1.0 / np.maximum(market_sd, _SD_MIN_BPS)
    return inverse


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
    inputs: EvaluationInputs, legs: tuple[LegOutlook, ...], slices: tuple[int, ...]
) -> tuple[tuple[bool, ...], bool]:
    """(K,) flags: ends in time and gentle enough; and whether none is gentle, so that the slowest in time is used."""
    end_ns, durations_s = inputs.request.complete_by_ns, legs[0].predictions.durations_s.tolist()
    left_s = math.inf if end_ns is None else (end_ns - inputs.now_ns) / NS_PER_S
    in_time = [duration_s <= left_s for duration_s in durations_s]
    allowed = in_time
    for leg in legs:
        gentle = _gentle(leg.predictions, float(leg.reference.notional), slices, inputs.parameters)
        allowed = [is_allowed and is_gentle for is_allowed, is_gentle in zip(allowed, gentle, strict=True)]
    if any(allowed) or not any(in_time):
        return tuple(allowed), False
    slowest = sum(in_time) - 1  # durations ascend
    return tuple([index == slowest for index in range(len(durations_s))]), True


def _gentle(law: Predictions, notional: float, slices: tuple[int, ...], parameters: EvaluationParameters) -> list[bool]:
    """(K,) flags: by share of the volume traded meanwhile, or by child size against the resting depth."""
    volume_per_s = parameters.participation_max * law.volume_per_day_notional / S_PER_DAY
    depth = parameters.depth_share_max * law.depth_notional
    return [
        notional <= volume_per_s * duration_s or notional <= depth * count
        for duration_s, count in zip(law.durations_s.tolist(), slices, strict=True)
    ]
