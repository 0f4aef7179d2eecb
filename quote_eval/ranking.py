"""``evaluate_quotes``: score and rank every quote of a request and say what to do. The entry point of the package."""

from __future__ import annotations

import math
from decimal import Decimal

import msgspec

from quote_eval.alternative import (
    LegOutlook,
    build_alternative,
    correlated_sd_bps,
    weighted_sum,
)
from quote_eval.benchmark import Reference, build_references, missing_reference
from quote_eval.costs import PricedQuote, SidedLegs, on_side, price_quotes
from quote_eval.decision import accept_only, decide
from quote_eval.fair_charge import DealerDraws, draw_panel, information_excess
from quote_eval.inputs import EvaluationInputs, EvaluationParameters, QuoteInputs
from quote_eval.numerics import mean
from quote_eval.odds import lit_odds
from quote_eval.panel import PanelCharge, VerdictBounds, build_panel_charge, build_standard
from quote_eval.results import (
    EvaluationResult,
    QuoteScore,
    ReasonCode,
    SideScore,
    SideSummary,
    Verdict,
)
from quote_eval.scoring import Judge, cost_only_scores, schedule_costs
from quote_eval.situation import Situation
from rfq_service.domain.units import RequestSide, Side, to_micro_bps

VERSION = "quote_eval-1"


class _SideAnswer(msgspec.Struct, frozen=True, eq=False, gc=False):
    scores: dict[str, SideScore]
    costs_bps: dict[str, float]
    summary: SideSummary
    models: tuple[str, ...]
    reasons: tuple[ReasonCode, ...]


def evaluate_quotes(inputs: EvaluationInputs) -> EvaluationResult:
    """Score every quote: cost, fairness against a competitive charge, edge over working the order; then decide.

    Pure: the same inputs give the same result, in fixed point, on any host (``numerics`` says how far). A request
    without a fresh market gets verdicts and reasons but no numbers; one without predictions gets its costs alone.
    """
    missing = missing_reference(inputs.request)
    if missing is not None:
        return _without_reference(inputs, missing)
    references = build_references(inputs.request, inputs.parameters)
    answers = {side: _evaluate_side(inputs, references, side) for side in inputs.request.side.sides}
    return EvaluationResult(
        version=VERSION,
        rfq_id=inputs.request.rfq_id,
        evaluated_at_ns=inputs.now_ns,
        reasons=tuple(dict.fromkeys(reason for answer in answers.values() for reason in answer.reasons)),
        quotes=tuple([_quote_score(quote, inputs.request.side, answers) for quote in inputs.quotes]),
        sides=tuple([answer.summary for answer in answers.values()]),
        models=tuple(dict.fromkeys(model for answer in answers.values() for model in answer.models)),
    )


def warm_up(
    parameters: EvaluationParameters, seed: int, draws: int, durations_s: tuple[float, ...], horizon_s: float
) -> None:
    """Draw the dealers of every panel of a single leg now, so that no request has to wait for them.

    They are kept for the predictions that have these ``draws`` (M), ``durations_s`` and ``horizon_s``.
    """
    drawn = DealerDraws(parameters, seed, 0, draws)
    for dealers in range(1, parameters.rival_draws_max + 1):
        draw_panel(drawn, durations_s, horizon_s, dealers)


def _without_reference(inputs: EvaluationInputs, reason: ReasonCode) -> EvaluationResult:
    """Every quote listed with the reason why it has no number."""
    verdict = Verdict.STALE if reason is ReasonCode.STALE_MARKET else Verdict.UNRELIABLE
    quotes = []
    for quote in inputs.quotes:
        is_live = inputs.now_ns < quote.valid_until_ns
        sides = tuple(SideScore(side, verdict, (reason,), is_live=is_live) for side in inputs.request.side.sides)
        quotes.append(QuoteScore(quote.quote_id, quote.dealer, sides))
    return EvaluationResult(VERSION, inputs.request.rfq_id, inputs.now_ns, (reason,), tuple(quotes), (), ())


def _quote_score(quote: QuoteInputs, request_side: RequestSide, answers: dict[Side, _SideAnswer]) -> QuoteScore:
    """Put the sides of one quote together, with width and skew when it has both."""
    sides = []
    for side, answer in answers.items():
        score = answer.scores.get(quote.quote_id)
        if score is None:
            score = SideScore(side, Verdict.UNRELIABLE, (ReasonCode.NO_QUOTE,), is_live=False)
        sides.append(score)
    if request_side is RequestSide.TWO_WAY:
        bid = answers[Side.SELL].costs_bps.get(quote.quote_id)
        ask = answers[Side.BUY].costs_bps.get(quote.quote_id)
        if bid is not None and ask is not None:
            # Costs are distances from the mid: the width is their sum, the quote's centre lies half the difference up.
            width, skew = to_micro_bps(ask + bid), to_micro_bps((ask - bid) / 2.0)
            return QuoteScore(quote.quote_id, quote.dealer, tuple(sides), width, skew)
    return QuoteScore(quote.quote_id, quote.dealer, tuple(sides))


def _evaluate_side(inputs: EvaluationInputs, references: tuple[Reference, ...], side: Side) -> _SideAnswer:
    """Price, judge and decide one side of the request."""
    sided = on_side(references, side)
    priced = price_quotes(inputs, sided, side)
    costs_bps = {item.quote.quote_id: item.cost_bps for item in priced}
    gross = str(sum((reference.notional for reference in references), Decimal(0)))
    candidates = tuple([item for item in priced if item.is_live])
    legs = _outlooks(sided, side)
    if legs is None:
        actions = accept_only(candidates, inputs, side)
        return _SideAnswer(
            scores=cost_only_scores(sided, side, priced),
            costs_bps=costs_bps,
            summary=SideSummary(side=side, gross_notional=gross, actions=actions),
            models=(),
            reasons=(ReasonCode.INSUFFICIENT_STATISTICS,),
        )
    judge = _build_judge(inputs, sided, side, legs, priced)
    situation = Situation.of(inputs, side, legs, judge.charges[1.0], judge.alternative, candidates)
    return _SideAnswer(
        scores=judge.scores(priced),
        costs_bps=costs_bps,
        summary=_summarise(judge, situation, gross),
        models=tuple([f"{leg.predictions.model}@{leg.predictions.artifact_digest}" for leg in legs]),
        reasons=judge.common,
    )


def _outlooks(sided: SidedLegs, side: Side) -> tuple[LegOutlook, ...] | None:
    """The legs with their predictions, or ``None`` if any has none yet."""
    legs = []
    for reference, leg_side in sided:
        predictions = reference.leg.predictions(side)
        if predictions is None:
            return None
        legs.append(LegOutlook(reference, leg_side, predictions, information_excess(predictions)))
    return tuple(legs)


def _build_judge(
    inputs: EvaluationInputs,
    sided: SidedLegs,
    side: Side,
    legs: tuple[LegOutlook, ...],
    priced: tuple[PricedQuote, ...],
) -> Judge:
    """Draw the charge for every size that was quoted, and price the lit alternative."""
    parameters = inputs.parameters
    volatility = correlated_sd_bps(
        legs, [leg.predictions.volatility_bps_sqrt_day for leg in legs], parameters.leg_correlation
    )
    most = parameters.rival_draws_max
    rivals = min(max(1, len([item for item in priced if item.is_live])), most)
    dealers = min(max(rivals, 1 + inputs.request.pending_dealers), most)
    shares = dict.fromkeys([1.0, *(item.share for item in priced)])
    charges = {share: build_panel_charge(inputs, legs, volatility, share, dealers) for share in shares}
    alternative = build_alternative(inputs, legs, volatility)
    return Judge(
        inputs=inputs,
        side=side,
        legs=legs,
        sided=sided,
        charges=charges,
        alternative=alternative,
        odds=lit_odds(alternative, parameters.thresholds_bps, [item.cost_bps for item in priced]),
        rivals=rivals,
        common=_common_reasons(legs, charges[1.0]),
        standard=build_standard(charges[1.0], parameters.reference_ttl_s, rivals),
        bounds=VerdictBounds.of(parameters),
    )


def _common_reasons(legs: tuple[LegOutlook, ...], charge: PanelCharge) -> tuple[ReasonCode, ...]:
    """Reasons that hold for every quote of the side."""
    fallback = any(leg.predictions.is_fallback for leg in legs)
    return (
        *((ReasonCode.PREDICTOR_FALLBACK,) if fallback else ()),
        *(() if charge.separable else (ReasonCode.INFORMATION_NOT_SEPARABLE,)),
    )


def _summarise(judge: Judge, situation: Situation, gross_notional: str) -> SideSummary:
    """What holds for the side whatever the quotes say, and the decision."""
    parameters, legs, standard = judge.inputs.parameters, judge.legs, judge.standard
    moves = weighted_sum(legs, [leg.predictions.information_bps for leg in legs])
    expected_move = float(mean(moves))
    deviations = moves - expected_move
    market_sd = correlated_sd_bps(
        legs, [leg.predictions.information_market_sd_bps for leg in legs], parameters.leg_correlation
    )
    move_sd = math.sqrt(float(deviations @ deviations) / len(moves))
    numbers = (*standard.quantiles_bps, float(mean(standard.best_of_n)), expected_move, move_sd, market_sd)
    low, median, high, best, move, parameter_sd, noise = [to_micro_bps(number) for number in numbers]
    actions, recommended = decide(situation)
    return SideSummary(
        side=judge.side,
        gross_notional=gross_notional,
        fair_low_micro_bps=low,
        fair_median_micro_bps=median,
        fair_high_micro_bps=high,
        expected_best_micro_bps=best,
        markout_micro_bps=move,
        markout_parameter_sd_micro_bps=parameter_sd,
        markout_market_sd_micro_bps=noise,
        schedules=schedule_costs(judge.alternative, judge.odds),
        best_schedule=judge.alternative.best,
        actions=actions,
        recommended=recommended,
    )
