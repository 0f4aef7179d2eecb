r"""F, what a competitive dealer has to charge for a request now (DESIGN §4.1, §6).

A dealer who holds a position ``w`` sheds it in two ways at once: he hedges in the lit market at a falling rate that
would take a duration ``T`` alone, and offsetting client flow takes it off him at rate ``1/H`` (``H``: his holding
time). The share still held is ``r(t) = (1 − t/T)·e^{−t/H}``; with ``x = T/H`` and the integrals of ``numerics``

- share hedged in the lit market      ``χ = ∫ e^{−t/H} dt/T = φ₁(x)``, the rest meets client flow
- own permanent impact on what is held ``∫ r(t)·I·e^{−t/H} dt/T = I·φ₂(2x)``, I/2 when nothing is internalised
- inventory risk                       ``γ/2·σ²·w²·∫ r² dt = γ/2·σ²·w²·T·φ₃(2x)``

Per unit of request, with ``v = |w|/z`` and a size law ``temporary ∝ size^β``, permanent ∝ size (Almgren 2005), the cost
of being rid of a position, and so the closed form of the dealer's value, is

``−V(v, T) = v·χ·(half-spread + dealer fee) + (v·χ)^{1+β}·temporary(T) + v²·[I·φ₂(2x) + γ/2·σ²·(z/volume)·T·φ₃(2x)]``

Before the trade he holds ``u·z``, signed so that the trade adds to it, and ``(u + 1)·z`` after. The client's information
``α = E[move] − own permanent``, arriving as ``1 − e^{−t/θ}``, hurts the share of the request not yet shed:
``AS(T) = α·(T/θ)·φ₂(T/H + T/θ)``. He picks ``T`` with AS in view, therefore

``F = processing + min_T [−V(|u + 1|, T) + AS(T)] − min_T [−V(|u|, T)] + TTL option + margin``

The half-spread and both impacts of hedging enter once, inside V; AS enters once, in the bracket; hedging and bearing
risk are substitutes through T. ``α`` is never below zero: where the forecast move is smaller than the impact model's own
permanent part, the two models cannot be told apart, and no reversion is read into their difference.
Future price noise is not in F. The option of a firm quote is ``exercised share × σ·√(TTL/2π)``, at the money.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from quote_eval.inputs import EvaluationParameters, Predictions
from quote_eval.numerics import Floats, phi_1, phi_2, phi_3, stratified_normals
from rfq_service.domain.units import S_PER_DAY

_STREAMS_PER_DEALER = 8
_STREAMS_PER_LEG = 4096
_HALF_SPREAD_STREAM = 7


@dataclass(frozen=True, slots=True, eq=False)
class DealerStates:
    """Unobserved states of P dealers in M draws, each (P, M): what one draw of F is about besides the parameters."""

    inventory_before: Floats
    inventory_after: Floats
    holding_time_s: Floats
    risk_aversion: Floats
    margin_multiple: Floats
    ttl_exercise: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """Integrals of the shedding path for K durations, (K, P, M): they know no market and are kept between calls."""

    hedged: Floats
    hedged_power: Floats
    permanent: Floats
    risk_days: Floats
    information: Floats


@dataclass(frozen=True, slots=True, eq=False)
class FairCharge:
    """F without the TTL option, bps of the leg's notional.

    Attributes:
        base_bps: (P, M) draws, dealer by dealer; the same column is the same parameter draw.
        margin_bps: (P, M) the margin inside them.
        bars_bps: (5,) means over the first dealer's draws: half-spread, temporary, own permanent, information, risk.
    """

    base_bps: Floats
    margin_bps: Floats
    bars_bps: Floats


def fair_charge(
    predictions: Predictions,
    notional: float,
    share: float,
    parameters: EvaluationParameters,
    seed: int,
    leg_index: int,
    dealers: int,
    taker_fee_bps: float,
) -> FairCharge:
    """Draws of F for ``share`` of a request of ``notional`` in one leg; the formulas are in the module's docstring.

    Args:
        notional: whole request in the leg, quote currency; the predictions are for this size.
        share: part of it that the quote is good for, in (0, 1].
        seed: seed of the dealers' states; ``leg_index`` keeps the legs' states apart.
        dealers: P, how many dealers to draw.
    """
    count = len(predictions.permanent_bps)
    states = dealer_states(parameters, seed, leg_index, dealers, count)
    shape = geometry(
        parameters, seed, leg_index, dealers, count, tuple(predictions.durations_s.tolist()), predictions.horizon_s
    )
    exponent = parameters.temporary_size_exponent
    half_spread = half_spread_draws(predictions, parameters, seed) + parameters.dealer_fee_share * taker_fee_bps
    size_in_volume = share * notional / predictions.volume_per_day_notional
    risk_rate = states.risk_aversion * (0.5 * predictions.volatility_bps_sqrt_day**2 * size_in_volume)

    parts = (
        shape.hedged * half_spread,
        shape.hedged_power * (predictions.temporary_bps * share**exponent)[:, None, :],
        shape.permanent * (predictions.permanent_bps * share),
        shape.risk_days * risk_rate,
    )
    information = shape.information * information_excess(predictions)
    quadratic = parts[2] + parts[3]
    after, before = states.inventory_after, states.inventory_before
    cost_after = after * parts[0] + after ** (1.0 + exponent) * parts[1] + after**2 * quadratic + information
    cost_before = before * parts[0] + before ** (1.0 + exponent) * parts[1] + before**2 * quadratic
    margin = states.margin_multiple * (
        parameters.margin_floor_bps + parameters.margin_half_spread_share * predictions.half_spread_bps
    )
    base = parameters.processing_bps + cost_after.min(axis=0) - cost_before.min(axis=0) + margin
    bars = _mean_bars(parts, information, states, cost_after, cost_before, exponent)
    return FairCharge(base, margin, bars)


def _mean_bars(
    parts: tuple[Floats, Floats, Floats, Floats],
    information: Floats,
    states: DealerStates,
    cost_after: Floats,
    cost_before: Floats,
    exponent: float,
) -> Floats:
    """Expected components of the first dealer's charge at the durations he picks, after less before the trade."""
    draws = np.arange(cost_after.shape[2])
    chosen_after, chosen_before = cost_after[:, 0].argmin(axis=0), cost_before[:, 0].argmin(axis=0)
    after, before = states.inventory_after[0], states.inventory_before[0]
    differences = [
        float(
            np.mean(after**power * part[chosen_after, 0, draws] - before**power * part[chosen_before, 0, draws])
        )
        for part, power in zip(parts, (1.0, 1.0 + exponent, 2.0, 2.0), strict=True)
    ]
    half_spread, temporary, permanent, risk = differences
    return np.array([half_spread, temporary, permanent, float(information[chosen_after, 0, draws].mean()), risk])


def information_excess(predictions: Predictions) -> Floats:
    """α, (M,): the forecast move beyond the request's own permanent impact, never negative."""
    return np.maximum(predictions.information_bps - predictions.permanent_bps, 0.0)


def information_is_separable(predictions: Predictions) -> bool:
    """Whether the forecast move exceeds the own permanent impact on average, so that it can be shown apart."""
    return bool(predictions.information_bps.mean() > predictions.permanent_bps.mean())


def half_spread_draws(predictions: Predictions, parameters: EvaluationParameters, seed: int) -> Floats:
    """Average half-spread paid, (M,), log-normal around the usual one; the same draws for dealer and client."""
    normals = stratified_normals(seed, _HALF_SPREAD_STREAM, len(predictions.permanent_bps))
    return predictions.half_spread_bps * np.exp(parameters.half_spread_log_sd * normals)


def option_value_bps(volatility_bps_sqrt_day: float, ttl_s: float) -> float:
    """At-the-money value of a firm quote over its life, ``σ·√(TTL/2π)`` bps (Bachelier)."""
    return volatility_bps_sqrt_day * math.sqrt(max(ttl_s, 0.0) / S_PER_DAY / (2.0 * math.pi))


@lru_cache(maxsize=64)
def dealer_states(
    parameters: EvaluationParameters, seed: int, leg_index: int, dealers: int, count: int
) -> DealerStates:
    """States of ``dealers`` dealers in ``count`` draws: stratified per dealer and dimension, fixed by the seed."""

    def normals(dimension: int) -> Floats:
        first = leg_index * _STREAMS_PER_LEG + _STREAMS_PER_DEALER + dimension
        return np.stack([stratified_normals(seed, first + d * _STREAMS_PER_DEALER, count) for d in range(dealers)])

    inventory = parameters.inventory_sd * normals(0)
    return DealerStates(
        inventory_before=np.abs(inventory),
        inventory_after=np.abs(inventory + 1.0),
        holding_time_s=parameters.holding_time_median_s * np.exp(parameters.holding_time_log_sd * normals(1)),
        risk_aversion=parameters.risk_aversion_median * np.exp(parameters.risk_aversion_log_sd * normals(2)),
        margin_multiple=np.exp(parameters.margin_log_sd * normals(3)),
        ttl_exercise=parameters.ttl_exercise_median * np.exp(parameters.ttl_exercise_log_sd * normals(4)),
    )


@lru_cache(maxsize=64)
def geometry(
    parameters: EvaluationParameters,
    seed: int,
    leg_index: int,
    dealers: int,
    count: int,
    durations_s: tuple[float, ...],
    horizon_s: float,
) -> Geometry:
    """The path integrals of the module's docstring for every duration, dealer and draw."""
    holding = dealer_states(parameters, seed, leg_index, dealers, count).holding_time_s
    durations = np.array(durations_s)[:, None, None]
    arrival_s = parameters.information_time_share * horizon_s
    shed = durations / holding
    hedged = phi_1(shed)
    return Geometry(
        hedged=hedged,
        hedged_power=hedged ** (1.0 + parameters.temporary_size_exponent),
        permanent=phi_2(2.0 * shed),
        risk_days=durations / S_PER_DAY * phi_3(2.0 * shed),
        information=durations / arrival_s * phi_2(shed + durations / arrival_s),
    )
