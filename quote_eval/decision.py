"""What the desk can do now, what each action costs, and which has the least expected cost plus risk.

All costs are bps of the whole request against the mid at the time of the score. Market uncertainty is in every CVaR;
an accepted firm price has none left.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_FLOOR, Decimal
from typing import Any

import msgspec
import numpy as np

from quote_eval.alternative import OUTCOME_STREAM, least_objective, objective, realised
from quote_eval.benchmark import limit_cost_bps, within_limit
from quote_eval.costs import PricedQuote
from quote_eval.counter import counter
from quote_eval.inputs import EvaluationInputs
from quote_eval.numerics import Floats, stratified_uniforms
from quote_eval.panel import information_drift_bps, move_sd_bps
from quote_eval.results import Action, ActionEstimate, ReasonCode
from quote_eval.situation import Situation, estimate, is_beyond_limit, missing_quote, refuse, worked_costs
from rfq_service.domain.rfq import SizeMode
from rfq_service.domain.units import NS_PER_S, Side, to_micro_bps

_SPLIT_SHARES = (Decimal("0.25"), Decimal("0.5"), Decimal("0.75"))


def decide(situation: Situation) -> tuple[tuple[ActionEstimate, ...], Action | None]:
    """Estimate every action and recommend the one with the least objective; ties go to the earlier in the list."""
    estimators: tuple[Callable[[Situation], ActionEstimate], ...] = (_accept, counter, _work, _split, _wait)
    actions = [estimator(situation) for estimator in estimators]
    possible = [
        (item.objective_micro_bps, index) for index, item in enumerate(actions) if item.objective_micro_bps is not None
    ]
    if not possible:
        return tuple(actions), None
    _, index = min(possible)
    best = actions[index]
    actions[index] = msgspec.structs.replace(best, reasons=(*best.reasons, ReasonCode.LOWEST_OBJECTIVE))
    return tuple(actions), best.action


def accept_only(
    candidates: tuple[PricedQuote, ...], inputs: EvaluationInputs, side: Side
) -> tuple[ActionEstimate, ...]:
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


def _accept(situation: Situation) -> ActionEstimate:
    """Take the best firm price for the whole request."""
    if not situation.full:
        return refuse(Action.ACCEPT, missing_quote(situation))
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


def _work(situation: Situation) -> ActionEstimate:
    """Work everything in the lit market over the best duration."""
    alternative = situation.alternative
    if alternative.best is None:
        return refuse(Action.WORK, ReasonCode.NO_TIME_LEFT)
    if is_beyond_limit(situation, alternative.expected_bps[alternative.best]):
        return refuse(Action.WORK, ReasonCode.LIMIT_PRICE)
    reasons = (ReasonCode.PARTICIPATION_EXCEEDED,) if alternative.participation_exceeded else ()
    return estimate(
        Action.WORK,
        alternative.objectives_bps[:, alternative.best],
        reasons,
        quantity=str(situation.inputs.request.quantity),
        **_schedule(situation),
    )


def _schedule(situation: Situation) -> dict[str, Any]:
    alternative, best = situation.alternative, situation.alternative.best or 0
    return {
        "duration_ns": round(float(alternative.durations_s[best]) * NS_PER_S),
        "slices": alternative.slices[best],
    }


def _split(situation: Situation) -> ActionEstimate:
    """Take part of the best quote and work the rest over the best duration."""
    inputs, alternative = situation.inputs, situation.alternative
    request = inputs.request
    if request.size_mode is SizeMode.ALL_OR_NONE:
        return refuse(Action.SPLIT, ReasonCode.QUANTITY_NOT_ALL)
    if not situation.admissible:
        return refuse(Action.SPLIT, ReasonCode.LIMIT_PRICE if situation.candidates else ReasonCode.NO_QUOTE)
    if alternative.best is None:
        return refuse(Action.SPLIT, ReasonCode.NO_TIME_LEFT)
    best = situation.admissible[0]
    quantities = _split_quantities(situation, best)
    if not quantities:
        return refuse(Action.SPLIT, ReasonCode.QUANTITY_TOO_SMALL)
    shares = np.array([float(quantity / request.quantity) for quantity in quantities])[:, None]
    exponent = inputs.parameters.temporary_size_exponent
    rests = alternative.expected_for_share(1.0 - shares, exponent, alternative.best)
    sd = float(alternative.timing_sd_bps[alternative.best])
    costs = shares * best.cost_bps + (1.0 - shares) * realised(rests, sd, inputs)
    weighed = objective(costs, inputs)
    chosen = least_objective(weighed[2], [not is_beyond_limit(situation, rest) for rest in rests])
    if chosen is None:
        return refuse(Action.SPLIT, ReasonCode.LIMIT_PRICE)
    return estimate(
        Action.SPLIT,
        weighed[:, chosen],
        quote_id=best.quote.quote_id,
        quantity=str(quantities[chosen]),
        **_schedule(situation),
    )


def _split_quantities(situation: Situation, best: PricedQuote) -> list[Decimal]:
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
        return refuse(Action.WAIT, ReasonCode.NO_PENDING_DEALERS)
    end_ns = inputs.now_ns + round(parameters.wait_s * NS_PER_S)
    if inputs.request.expires_at_ns <= end_ns:
        return refuse(Action.WAIT, ReasonCode.NO_TIME_LEFT)
    standing = [item.cost_bps for item in situation.full if item.quote.valid_until_ns > end_ns]
    if situation.alternative.best is None and not standing:
        return refuse(Action.WAIT, ReasonCode.NO_TIME_LEFT)
    new = _new_quotes(situation, pending)
    fallback = worked_costs(situation, parameters.wait_s) if situation.alternative.best is not None else new
    in_hand = np.full_like(new, standing[0]) if standing else fallback
    costs = np.where(np.isfinite(new), np.minimum(new, in_hand), in_hand)
    return estimate(Action.WAIT, objective(costs, inputs))


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
