"""What the desk can do now, what each action costs, and which has the least expected cost plus risk.

All costs are bps of the whole request against the mid at the time of the score. Market uncertainty is in every CVaR;
an accepted firm price has none left.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import ROUND_FLOOR, Decimal
from typing import Any

import numpy as np

from quote_eval.alternative import (
    OUTCOME_STREAM,
    Alternative,
    LegOutlook,
    objective,
    realised,
    slice_count,
)
from quote_eval.benchmark import leg_cost_bps, limit_cost_bps, within_limit
from quote_eval.inputs import EvaluationInputs, QuoteInputs
from quote_eval.numerics import Floats, mean, stratified_uniforms, to_micro_bps_list
from quote_eval.panel import PanelCharge, information_drift_bps, move_sd_bps
from quote_eval.results import Action, ActionEstimate, ReasonCode
from rfq_service.domain.measures import price_at_cost
from rfq_service.domain.rfq import SizeMode
from rfq_service.domain.units import EXACT, NS_PER_S, Side, to_micro_bps

_COUNTER_LEVELS = 6
_SPLIT_SHARES = (Decimal("0.25"), Decimal("0.5"), Decimal("0.75"))


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A live quote on the side in question."""

    quote: QuoteInputs
    leg_prices: tuple[Decimal, ...]
    cost_bps: float


@dataclass(frozen=True, slots=True, eq=False)
class Situation:
    """All that the actions are weighed on; ``candidates`` by ascending cost."""

    inputs: EvaluationInputs
    side: Side
    legs: tuple[LegOutlook, ...]
    charge: PanelCharge
    alternative: Alternative
    candidates: tuple[Candidate, ...]

    @property
    def admissible(self) -> tuple[Candidate, ...]:
        """Candidates that honour the client's limit."""
        request = self.inputs.request
        return tuple(item for item in self.candidates if within_limit(request, self.side, item.leg_prices))

    @property
    def full(self) -> tuple[Candidate, ...]:
        """Those of them that are good for the whole request."""
        return tuple(item for item in self.admissible if item.quote.quantity >= self.inputs.request.quantity)


def decide(situation: Situation) -> tuple[tuple[ActionEstimate, ...], Action | None]:
    """Estimate every action and recommend the one with the least objective; ties go to the earlier in the list."""
    estimators: tuple[Callable[[Situation], ActionEstimate], ...] = (_accept, _counter, _work, _split, _wait)
    actions = [estimate(situation) for estimate in estimators]
    possible = [
        (item.objective_micro_bps, index) for index, item in enumerate(actions) if item.objective_micro_bps is not None
    ]
    if not possible:
        return tuple(actions), None
    best = min(possible)[1]
    actions[best] = replace(actions[best], reasons=(*actions[best].reasons, ReasonCode.LOWEST_OBJECTIVE))
    return tuple(actions), actions[best].action


def accept_only(candidates: tuple[Candidate, ...], inputs: EvaluationInputs, side: Side) -> tuple[ActionEstimate, ...]:
    """Without predictions only the price of accepting is known; nothing can be recommended against it."""
    request = inputs.request
    for item in candidates:
        if item.quote.quantity >= request.quantity and within_limit(request, side, item.leg_prices):
            cost = to_micro_bps(item.cost_bps)
            reasons = (ReasonCode.PRICE_LOCKED, ReasonCode.INSUFFICIENT_STATISTICS)
            return (
                ActionEstimate(
                    Action.ACCEPT,
                    admissible=True,
                    reasons=reasons,
                    expected_micro_bps=cost,
                    cvar_micro_bps=cost,
                    quote_id=item.quote.quote_id,
                    quantity=str(request.quantity),
                ),
            )
    return ()


def _refuse(action: Action, *reasons: ReasonCode) -> ActionEstimate:
    return ActionEstimate(action, admissible=False, reasons=reasons)


def _estimate(
    action: Action, costs: Floats, situation: Situation, reasons: tuple[ReasonCode, ...] = (), **details: Any
) -> ActionEstimate:
    """The estimate for equally likely costs (M,) of the whole request."""
    expected, tail, weighed = to_micro_bps_list(np.array(objective(costs, situation.inputs)))
    return ActionEstimate(
        action,
        admissible=True,
        reasons=reasons,
        expected_micro_bps=expected,
        cvar_micro_bps=tail,
        objective_micro_bps=weighed,
        **details,
    )


def _missing_quote(situation: Situation) -> ReasonCode:
    """Why no quote can be taken whole."""
    if not situation.candidates:
        return ReasonCode.NO_QUOTE
    return ReasonCode.QUANTITY_PARTIAL if situation.admissible else ReasonCode.LIMIT_PRICE


def _accept(situation: Situation) -> ActionEstimate:
    """Take the best firm price for the whole request."""
    if not situation.full:
        return _refuse(Action.ACCEPT, _missing_quote(situation))
    best = situation.full[0]
    cost = to_micro_bps(best.cost_bps)
    return ActionEstimate(
        Action.ACCEPT,
        admissible=True,
        reasons=(ReasonCode.PRICE_LOCKED,),
        expected_micro_bps=cost,
        cvar_micro_bps=cost,
        objective_micro_bps=cost,
        quote_id=best.quote.quote_id,
        price=str(best.leg_prices[0]) if len(best.leg_prices) == 1 else None,
        quantity=str(situation.inputs.request.quantity),
    )


def _counter(situation: Situation) -> ActionEstimate:
    """Ask the best dealer for a better price.

    He quoted ``c``, so his break-even ``B`` (F less margin) is below it; he concedes ``x`` with chance
    ``concession × P(x ≥ B | B ≤ c)``. Refused, his quote stands, or fades and the order is worked.
    """
    inputs, parameters = situation.inputs, situation.inputs.parameters
    if len(situation.legs) > 1:
        return _refuse(Action.COUNTER, ReasonCode.PACKAGE)
    if not situation.full:
        return _refuse(Action.COUNTER, _missing_quote(situation))
    best = situation.full[0]
    left_ns = min(best.quote.valid_until_ns, inputs.request.expires_at_ns) - inputs.now_ns
    if left_ns <= parameters.counter_delay_s * NS_PER_S or situation.alternative.best is None:
        return _refuse(Action.COUNTER, ReasonCode.NO_TIME_LEFT)
    proposal = _counter_price(situation, best)
    if proposal is None:
        return _refuse(Action.COUNTER, ReasonCode.NO_BETTER_PRICE)
    price, concede = proposal
    cost = leg_cost_bps(situation.legs[0].reference, situation.legs[0].side, price)
    outcome = stratified_uniforms(inputs.seed, OUTCOME_STREAM, len(situation.charge.break_even_bps))
    faded = concede + (1.0 - concede) * parameters.counter_fade
    worked = _worked(situation, parameters.counter_delay_s)
    costs = np.where(outcome < concede, cost, np.where(outcome < faded, worked, best.cost_bps))
    return _estimate(
        Action.COUNTER,
        costs,
        situation,
        quote_id=best.quote.quote_id,
        price=str(price),
        quantity=str(inputs.request.quantity),
    )


def _counter_price(situation: Situation, best: Candidate) -> tuple[Decimal, float] | None:
    """The price on the increment, better than the quote, that gains most on average; and the chance to get it."""
    inputs, reference, side = situation.inputs, situation.legs[0].reference, situation.legs[0].side
    break_even = situation.charge.break_even_bps
    below = np.sort(break_even[break_even <= best.cost_bps])
    if not len(below):
        return None
    mid = float(reference.market.mid)
    lowest = float(below[int(inputs.parameters.counter_affordable_min * len(below))])
    levels = np.linspace(lowest, best.cost_bps, _COUNTER_LEVELS)
    targets = [price_at_cost(side, level, mid, reference.leg.contract_type) for level in levels.tolist()]
    prices = sorted({round_in_favour(side, target, inputs.request.price_increment) for target in targets})
    gains = []
    for price in prices:
        if price <= 0 or side.sign * (best.leg_prices[0] - price) <= 0:
            continue
        cost = leg_cost_bps(reference, side, price)
        chance = float(np.searchsorted(below, cost, side="right")) / len(below) * inputs.parameters.counter_concession
        gains.append((chance * (best.cost_bps - cost), price, chance))
    best_gain = max(gains, default=None)
    return None if best_gain is None or best_gain[0] <= 0.0 else best_gain[1:]


def round_in_favour(side: Side, price: float, increment: Decimal) -> Decimal:
    """The nearest price on the increment that is no worse for the client: he buys lower, he sells higher."""
    ticks = round(price / float(increment), 6)  # a price on the grid stays where it is, whatever its binary noise
    return EXACT.multiply(Decimal(math.floor(ticks) if side is Side.BUY else math.ceil(ticks)), increment)


def _worked(situation: Situation, delay_s: float) -> Floats:
    """(M,) realised cost of working everything after a delay."""
    alternative, best = situation.alternative, situation.alternative.best or 0
    drift = information_drift_bps(situation.legs, delay_s, situation.inputs.parameters)
    noise = np.hypot(alternative.timing_sd_bps[best], move_sd_bps(situation.charge.volatility_bps_sqrt_day, delay_s))
    return realised(alternative.expected_bps[best] + drift, float(noise), situation.inputs)


def _beyond_limit(situation: Situation, expected_bps: float) -> bool:
    """Whether an average fill at that cost is beyond the client's limit."""
    references = tuple(leg.reference for leg in situation.legs)
    limit = limit_cost_bps(situation.inputs.request, references, situation.side)
    return limit is not None and expected_bps > limit


def _work(situation: Situation) -> ActionEstimate:
    """Work everything in the lit market over the best duration."""
    alternative = situation.alternative
    if alternative.best is None:
        return _refuse(Action.WORK, ReasonCode.NO_TIME_LEFT)
    expected = alternative.expected_bps[alternative.best]
    if _beyond_limit(situation, float(expected.mean())):
        return _refuse(Action.WORK, ReasonCode.LIMIT_PRICE)
    costs = realised(expected, float(alternative.timing_sd_bps[alternative.best]), situation.inputs)
    reasons = (ReasonCode.PARTICIPATION_EXCEEDED,) if alternative.participation_exceeded else ()
    return _estimate(
        Action.WORK,
        costs,
        situation,
        reasons,
        quantity=str(situation.inputs.request.quantity),
        **_schedule(situation),
    )


def _schedule(situation: Situation) -> dict[str, Any]:
    duration_s = float(situation.alternative.durations_s[situation.alternative.best or 0])
    return {
        "duration_ns": round(duration_s * NS_PER_S),
        "slices": slice_count(duration_s, situation.inputs.parameters),
    }


def _split(situation: Situation) -> ActionEstimate:
    """Take part of the best quote and work the rest over the best duration."""
    inputs, alternative = situation.inputs, situation.alternative
    request = inputs.request
    if request.size_mode is SizeMode.ALL_OR_NONE:
        return _refuse(Action.SPLIT, ReasonCode.QUANTITY_NOT_ALL)
    if not situation.admissible:
        return _refuse(Action.SPLIT, ReasonCode.LIMIT_PRICE if situation.candidates else ReasonCode.NO_QUOTE)
    if alternative.best is None:
        return _refuse(Action.SPLIT, ReasonCode.NO_TIME_LEFT)
    best = situation.admissible[0]
    quantities = _split_quantities(situation, best)
    if not quantities:
        return _refuse(Action.SPLIT, ReasonCode.QUANTITY_TOO_SMALL)
    shares = np.array([float(quantity / request.quantity) for quantity in quantities])[:, None]
    exponent = inputs.parameters.temporary_size_exponent
    rests = alternative.expected_for_share(1.0 - shares, exponent, alternative.best)
    sd = float(alternative.timing_sd_bps[alternative.best])
    costs = shares * best.cost_bps + (1.0 - shares) * realised(rests, sd, inputs)
    weighed = np.rint(objective(costs, inputs)[2] * 1e6)
    allowed = np.array([not _beyond_limit(situation, float(rest)) for rest in mean(rests)])
    if not allowed.any():
        return _refuse(Action.SPLIT, ReasonCode.LIMIT_PRICE)
    chosen = int(np.where(allowed, weighed, np.inf).argmin())
    return _estimate(
        Action.SPLIT,
        costs[chosen],
        situation,
        quote_id=best.quote.quote_id,
        quantity=str(quantities[chosen]),
        **_schedule(situation),
    )


def _split_quantities(situation: Situation, best: Candidate) -> list[Decimal]:
    """Parts of the quote on the quantity grid that the size mode admits, less than the whole request."""
    request = situation.inputs.request
    available = min(best.quote.quantity, request.quantity)
    wanted = {available * share for share in _SPLIT_SHARES} | {available}
    steps = {(part / request.quantity_step).to_integral_value(rounding=ROUND_FLOOR) for part in wanted}
    least = min(request.minimum_quantity or Decimal(0), request.quantity)
    quantities = sorted(step * request.quantity_step for step in steps)
    return [
        quantity for quantity in quantities if max(least, Decimal(0)) <= quantity < request.quantity and quantity > 0
    ]


def _wait(situation: Situation) -> ActionEstimate:
    """Wait for the dealers who have not answered; what stands in hand is kept if it stays firm as long."""
    inputs, parameters, charge = situation.inputs, situation.inputs.parameters, situation.charge
    pending = min(inputs.request.pending_dealers, len(charge.whole.base_bps) - 1)
    if pending < 1:
        return _refuse(Action.WAIT, ReasonCode.NO_PENDING_DEALERS)
    end_ns = inputs.now_ns + round(parameters.wait_s * NS_PER_S)
    if inputs.request.expires_at_ns <= end_ns:
        return _refuse(Action.WAIT, ReasonCode.NO_TIME_LEFT)
    standing = [item.cost_bps for item in situation.full if item.quote.valid_until_ns > end_ns]
    if situation.alternative.best is None and not standing:
        return _refuse(Action.WAIT, ReasonCode.NO_TIME_LEFT)
    new = _new_quotes(situation, pending)
    fallback = _worked(situation, parameters.wait_s) if situation.alternative.best is not None else new
    in_hand = np.full_like(new, standing[0]) if standing else fallback
    costs = np.where(np.isfinite(new), np.minimum(new, in_hand), in_hand)
    return _estimate(Action.WAIT, costs, situation)


def _new_quotes(situation: Situation, pending: int) -> Floats:
    """(M,) best cost among pending dealers who answer, the market's move included; infinite where nobody does."""
    inputs, parameters, charge = situation.inputs, situation.inputs.parameters, situation.charge
    count = charge.whole.base_bps.shape[1]
    draws = charge.draws(parameters.reference_ttl_s)[1 : pending + 1]
    answers = np.stack(
        [stratified_uniforms(inputs.seed, OUTCOME_STREAM + 1024 * (1 + d), count) for d in range(pending)]
    )
    best = np.where(answers < parameters.pending_response, draws, np.inf).min(axis=0)
    drift = information_drift_bps(situation.legs, parameters.wait_s, parameters)
    sd = move_sd_bps(charge.volatility_bps_sqrt_day, parameters.wait_s)
    moved = best + realised(drift, sd, inputs)
    references = tuple(leg.reference for leg in situation.legs)
    limit = limit_cost_bps(inputs.request, references, situation.side)
    return moved if limit is None else np.where(moved <= limit, moved, np.inf)
