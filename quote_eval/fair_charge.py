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

Before the trade he holds ``u·z``, signed so that the trade adds to it, and ``(u + 1)·z`` after. The client's
information ``α = E[move] − own permanent``, arriving as ``1 − e^{−t/θ}``, hurts the share of the request not yet shed:
``AS(T) = α·(T/θ)·φ₂(T/H + T/θ)``. He picks ``T`` with AS in view, therefore

``F = processing + min_T [−V(|u + 1|, T) + AS(T)] − min_T [−V(|u|, T)] + TTL option + margin``

The half-spread and both impacts of hedging enter once, inside V; AS enters once, in the bracket; hedging and bearing
risk are substitutes through T. ``α`` is never below zero: where the forecast move is smaller than the impact model's
own permanent part, the two models cannot be told apart, and no reversion is read into their difference.
Future price noise is not in F. The option of a firm quote is ``exercised share × σ·√(TTL/2π)``, at the money.
"""

from __future__ import annotations

import math
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from quote_eval.inputs import EvaluationParameters, Predictions
from quote_eval.numerics import Floats, mean, phi_1, phi_2, phi_3, stratified_normals
from rfq_service.domain.units import S_PER_DAY

_STREAMS_PER_DEALER = 16
_SECOND_HALF_STREAM = 8
_STREAMS_PER_LEG = 4096
_HALF_SPREAD_STREAM = 7


class DealerStates(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Unobserved states of P dealers in M draws, each (P, M): what one draw of F is about besides the parameters.

    ``inventory`` is in units of the request and signed so that the trade adds to it.
    """

    inventory: Floats
    holding_time_s: Floats
    risk_aversion: Floats
    margin_multiple: Floats
    ttl_exercise: Floats


class FairCharge(msgspec.Struct, frozen=True, eq=False, gc=False):
    """F without the TTL option, bps of the leg's notional.

    Attributes:
        base_bps: (P, M) draws, dealer by dealer; the same column is the same parameter draw.
        margin_bps: (P, M) the margin inside them.
        bars_bps: (5,) means over the first dealer's draws: half-spread, temporary, own permanent, risk, information.
        ttl_exercise: (P, M) share of the option of a firm quote that the client realises.
        ttl_exercise_mean: of the first dealer.
    """

    base_bps: Floats
    margin_bps: Floats
    bars_bps: Floats
    ttl_exercise: Floats
    ttl_exercise_mean: float

    def draws(self, volatility_bps_sqrt_day: float, ttl_s: float) -> Floats:
        """(P, M) draws of F for a quote that is firm for ``ttl_s``."""
        return self.base_bps + self.ttl_exercise * option_value_bps(volatility_bps_sqrt_day, ttl_s)


class DealerDraws(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """Which dealers to draw for M parameter draws, fixed by the seed; every leg has its own.

    There are always ``parameters.rival_draws_max`` of them, and a smaller panel is the first of these: what takes long
    to compute does not depend on how many dealers quote.
    """

    parameters: EvaluationParameters
    seed: int
    leg_index: int
    count: int


def fair_charge(
    predictions: Predictions, notional: float, share: float, taker_fee_bps: float, drawn: DealerDraws, dealers: int
) -> FairCharge:
    """Draws of F for part of a request in one leg; the formulas are in the module's docstring.

    Args:
        predictions: of the whole request in this leg.
        notional: the whole request in this leg, quote currency.
        share: part of it that the quote is good for, in (0, 1].
        taker_fee_bps: the client's lit fee, of which a dealer pays a share.
        drawn: the dealers.
        dealers: P, how many of them are asked for.
    """
    parameters, count = drawn.parameters, len(predictions.permanent_bps)
    panel = draw_panel(drawn, tuple(predictions.durations_s.tolist()), predictions.horizon_s, dealers)
    size_in_volume = share * notional / predictions.volume_per_day_notional
    rates = np.empty((5, len(predictions.durations_s), count))
    rates[0] = half_spread_draws(predictions, parameters, drawn.seed) + parameters.dealer_fee_share * taker_fee_bps
    rates[1] = predictions.temporary_bps * share**parameters.temporary_size_exponent
    rates[2] = predictions.permanent_bps * share
    rates[3] = 0.5 * predictions.volatility_bps_sqrt_day**2 * size_in_volume
    rates[4] = information_excess(predictions)
    costs = np.einsum("cbpkm,ckm->bpkm", panel.weights, rates)
    least = np.minimum.reduce(costs, axis=2)
    margin = panel.margin_multiple * (
        parameters.margin_floor_bps + parameters.margin_half_spread_share * predictions.half_spread_bps
    )
    return FairCharge(
        base_bps=(parameters.processing_bps + margin) + (least[0] - least[1]),
        margin_bps=margin,
        bars_bps=_mean_bars(panel.first_weights, rates, costs[:, 0].argmin(axis=1)),
        ttl_exercise=panel.ttl_exercise,
        ttl_exercise_mean=panel.ttl_exercise_mean,
    )


def _mean_bars(weights: Floats, rates: Floats, chosen: NDArray[np.int64]) -> Floats:
    """(5,) expected components of the first dealer's charge at the durations he picks, after less before the trade.

    Args:
        weights: (5, 2·K·M), the first dealer's path weights after and then before the trade.
        rates: (5, K, M), what they multiply.
        chosen: (2, M), index of the duration after and before the trade.
    """
    _, durations, draws = rates.shape
    place = chosen * draws + np.arange(draws)
    rate = rates.reshape(5, -1).take(place, axis=1)
    place[1] += durations * draws
    totals = np.einsum("cbm,cbm->cb", weights.take(place, axis=1), rate)
    bars: Floats = (totals[:, 0] - totals[:, 1]) / draws
    return bars


def information_excess(predictions: Predictions) -> Floats:
    """α, (M,): the forecast move beyond the request's own permanent impact, never negative."""
    return np.maximum(predictions.information_bps - predictions.permanent_bps, 0.0)


def information_is_separable(predictions: Predictions) -> bool:
    """Whether the forecast move exceeds the own permanent impact on average, so that it can be shown apart."""
    return bool(mean(predictions.information_bps - predictions.permanent_bps) > 0.0)


def half_spread_draws(predictions: Predictions, parameters: EvaluationParameters, seed: int) -> Floats:
    """Average half-spread paid, (M,), log-normal around the usual one; the same draws for dealer and client."""
    multiples = _half_spread_multiples(parameters.half_spread_log_sd, seed, len(predictions.permanent_bps))
    return predictions.half_spread_bps * multiples


@lru_cache(maxsize=16)
def _half_spread_multiples(log_sd: float, seed: int, count: int) -> Floats:
    multiples: Floats = np.exp(log_sd * stratified_normals(seed, _HALF_SPREAD_STREAM, count))
    multiples.setflags(write=False)
    return multiples


def option_value_bps(volatility_bps_sqrt_day: float, ttl_s: float) -> float:
    """At-the-money value of a firm quote over its life, ``σ·√(TTL/2π)`` bps (Bachelier)."""
    return volatility_bps_sqrt_day * math.sqrt(max(ttl_s, 0.0) / S_PER_DAY / (2.0 * math.pi))


def dealer_states(drawn: DealerDraws) -> DealerStates:
    """States of the dealers: stratified per dealer and dimension, fixed by the seed.

    Each half of the draws is stratified by itself: the impact laws of a forecast change in the middle of its parameter
    draws, and so every law meets all kinds of dealers.
    """
    parameters, first = drawn.parameters, drawn.leg_index * _STREAMS_PER_LEG + _STREAMS_PER_DEALER
    half = drawn.count // 2

    def normals(dimension: int) -> Floats:
        streams = [first + dimension + dealer * _STREAMS_PER_DEALER for dealer in range(parameters.rival_draws_max)]
        one = [stratified_normals(drawn.seed, stream, half) for stream in streams]
        other = [stratified_normals(drawn.seed, stream + _SECOND_HALF_STREAM, drawn.count - half) for stream in streams]
        return np.concatenate((one, other), axis=1)

    return DealerStates(
        inventory=parameters.inventory_sd * normals(0),
        holding_time_s=parameters.holding_time_median_s * np.exp(parameters.holding_time_log_sd * normals(1)),
        risk_aversion=parameters.risk_aversion_median * np.exp(parameters.risk_aversion_log_sd * normals(2)),
        margin_multiple=np.exp(parameters.margin_log_sd * normals(3)),
        ttl_exercise=parameters.ttl_exercise_median * np.exp(parameters.ttl_exercise_log_sd * normals(4)),
    )


class PanelDraws(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The first P dealers of a leg, laid out for fast use; they know no market.

    Attributes:
        weights: (5, 2, P, K, M) their path weights.
        first_weights: (5, 2·K·M) those of the first dealer, after and then before the trade.
        margin_multiple, ttl_exercise: (P, M) of their states.
        ttl_exercise_mean: of the first dealer.
    """

    weights: Floats
    first_weights: Floats
    margin_multiple: Floats
    ttl_exercise: Floats
    ttl_exercise_mean: float


@lru_cache(maxsize=64)  # each up to 2 MB
def draw_panel(drawn: DealerDraws, durations_s: tuple[float, ...], horizon_s: float, dealers: int) -> PanelDraws:
    """A panel of P dealers; drawn once and kept."""
    states, all_weights = _dealers_and_paths(drawn, durations_s, horizon_s)
    weights = np.ascontiguousarray(all_weights[:, :, :dealers])
    weights.setflags(write=False)
    return PanelDraws(
        weights=weights,
        first_weights=weights[:, :, 0].reshape(5, -1),
        margin_multiple=states.margin_multiple[:dealers],
        ttl_exercise=states.ttl_exercise[:dealers],
        ttl_exercise_mean=float(mean(states.ttl_exercise[0])),
    )


@lru_cache(maxsize=8)
def _dealers_and_paths(
    drawn: DealerDraws, durations_s: tuple[float, ...], horizon_s: float
) -> tuple[DealerStates, Floats]:
    """All dealers of a leg and their path weights."""
    states = dealer_states(drawn)
    return states, path_weights(states, drawn.parameters, np.array(durations_s), horizon_s)


def path_weights(
    states: DealerStates, parameters: EvaluationParameters, durations_s: Floats, horizon_s: float
) -> Floats:
    """Weights (5, 2, P, K, M) of half-spread, temporary, permanent, risk and information, after and before the trade.

    They are the path integrals of the module's docstring times the powers of the inventory. Information counts for
    the request alone, so it has no weight before the trade.
    """
    power, durations = 1.0 + parameters.temporary_size_exponent, durations_s[:, None]
    shed = durations / states.holding_time_s[:, None]
    arrived = durations / (parameters.information_time_share * horizon_s)
    hedged, held_twice = phi_1(shed), 2.0 * shed
    weights = np.zeros((5, 2, *shed.shape))
    inventory = states.inventory[:, None]
    for index, held in enumerate((np.abs(inventory + 1.0), np.abs(inventory))):
        weights[0, index] = held * hedged
        weights[1, index] = (held * hedged) ** power
        weights[2, index] = held**2 * phi_2(held_twice)
        weights[3, index] = held**2 * states.risk_aversion[:, None] * durations / S_PER_DAY * phi_3(held_twice)
    weights[4, 0] = arrived * phi_2(shed + arrived)
    weights.setflags(write=False)
    return weights
