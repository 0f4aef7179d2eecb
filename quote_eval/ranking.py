"""``evaluate_quotes``: score and rank every quote of a request and say what to do. The entry point of the package."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from quote_eval.alternative import (
    Alternative,
    LegOutlook,
    build_alternative,
    package_volatility_bps,
    realised_survival,
    slice_count,
)
from quote_eval.benchmark import (
    Reference,
    against_microprice,
    build_references,
    leg_cost_bps,
    leg_cost_micro_currency,
    missing_reference,
)
from quote_eval.decision import Candidate, Situation, accept_only, decide
from quote_eval.inputs import EvaluationInputs, EvaluationParameters, QuoteInputs
from quote_eval.numerics import Floats, survival, to_ppm
from quote_eval.panel import PanelCharge, Standard, build_panel_charge, build_standard, build_waterfall
from quote_eval.results import (
    EvaluationResult,
    Exceedances,
    LegScore,
    QuoteScore,
    ReasonCode,
    ScheduleCost,
    SideScore,
    SideSummary,
    Verdict,
)
from rfq_service.domain.units import NS_PER_S, RequestSide, Side, to_micro_bps

VERSION = "quote_eval-1"


@dataclass(frozen=True, slots=True, eq=False)
class _Priced:
    """One side of one quote against the references; ``rank`` 1 is best, live quotes before expired ones."""

    quote: QuoteInputs
    leg_prices: tuple[Decimal, ...]
    leg_costs_bps: tuple[float, ...]
    cost_bps: float
    second_cost_bps: float
    is_live: bool
    rank: int = 0

    @property
    def ttl_s(self) -> float:
        """Life of the firm quote from its arrival on."""
        return (self.quote.valid_until_ns - self.quote.received_at_ns) / NS_PER_S


@dataclass(frozen=True, slots=True, eq=False)
class _SideAnswer:
    scores: dict[str, SideScore]
    costs_bps: dict[str, float]
    summary: SideSummary | None
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
        quotes=tuple(_quote_score(quote, inputs.request.side, answers) for quote in inputs.quotes),
        sides=tuple(answer.summary for answer in answers.values() if answer.summary is not None),
        models=tuple(dict.fromkeys(model for answer in answers.values() for model in answer.models)),
    )


def _without_reference(inputs: EvaluationInputs, reason: ReasonCode) -> EvaluationResult:
    """Every quote listed with the reason why it has no number."""
    verdict = Verdict.STALE if reason is ReasonCode.STALE_MARKET else Verdict.UNRELIABLE
    quotes = tuple(
        QuoteScore(
            quote.quote_id,
            quote.dealer,
            tuple(
                SideScore(side.value, verdict, (reason,), is_live=_is_live(quote, inputs))
                for side in inputs.request.side.sides
            ),
        )
        for quote in inputs.quotes
    )
    return EvaluationResult(VERSION, inputs.request.rfq_id, inputs.now_ns, (reason,), quotes, (), ())


def _is_live(quote: QuoteInputs, inputs: EvaluationInputs) -> bool:
    return inputs.now_ns < quote.valid_until_ns


def _quote_score(quote: QuoteInputs, request_side: RequestSide, answers: dict[Side, _SideAnswer]) -> QuoteScore:
    sides = tuple(answer.scores[quote.quote_id] for answer in answers.values())
    if request_side is not RequestSide.TWO_WAY:
        return QuoteScore(quote.quote_id, quote.dealer, sides)
    bid = answers[Side.SELL].costs_bps.get(quote.quote_id)
    ask = answers[Side.BUY].costs_bps.get(quote.quote_id)
    if bid is None or ask is None:
        return QuoteScore(quote.quote_id, quote.dealer, sides)
    # Costs are distances from the mid, so the width is their sum and the quote's centre lies half their difference up.
    width, skew = to_micro_bps(ask + bid), to_micro_bps((ask - bid) / 2.0)
    return QuoteScore(quote.quote_id, quote.dealer, sides, width, skew)


def _evaluate_side(inputs: EvaluationInputs, references: tuple[Reference, ...], side: Side) -> _SideAnswer:
    priced = _price_quotes(inputs, references, side)
    legs = _outlooks(references, side)
    if legs is None:
        scores = {item.quote.quote_id: _cost_only(item, priced, references, side, inputs) for item in priced}
        answer = _SideAnswer(scores, {}, _summary_without(inputs, references, side, priced), (), ())
        reasons = (ReasonCode.INSUFFICIENT_STATISTICS,)
    else:
        answer = _score_side(inputs, side, legs, priced)
        scores, reasons = answer.scores, answer.reasons
    unquoted = SideScore(side.value, Verdict.UNRELIABLE, (ReasonCode.NO_QUOTE,), is_live=False)
    return replace(
        answer,
        scores={quote.quote_id: scores.get(quote.quote_id, unquoted) for quote in inputs.quotes},
        costs_bps={item.quote.quote_id: item.cost_bps for item in priced},
        reasons=reasons,
    )


def _outlooks(references: tuple[Reference, ...], side: Side) -> tuple[LegOutlook, ...] | None:
    """The legs with their predictions, or ``None`` if any has none yet."""
    legs = []
    for reference in references:
        predictions = reference.leg.predictions(side)
        if predictions is None:
            return None
        legs.append(LegOutlook(reference, reference.leg.side_of(side), predictions))
    return tuple(legs)


def _price_quotes(
    inputs: EvaluationInputs, references: tuple[Reference, ...], side: Side
) -> tuple[_Priced, ...]:
    """Costs of every quote that has this side, ranked: live first, then by cost, arrival and id."""
    priced = []
    for quote in inputs.quotes:
        prices = quote.prices(side)
        if prices is None:
            continue
        cost = second = 0.0
        leg_costs = []
        for reference, price in zip(references, prices, strict=True):
            leg_side = reference.leg.side_of(side)
            leg_cost = leg_cost_bps(reference, leg_side, price)
            leg_costs.append(leg_cost)
            cost += reference.weight * leg_cost
            second += reference.weight * against_microprice(reference, leg_side, leg_cost)
        priced.append(_Priced(quote, prices, tuple(leg_costs), cost, second, _is_live(quote, inputs)))
    priced.sort(key=lambda p: (not p.is_live, p.cost_bps, p.quote.received_at_ns, p.quote.quote_id))
    return tuple(replace(item, rank=index + 1) for index, item in enumerate(priced))


def _cost_only(
    item: _Priced,
    priced: tuple[_Priced, ...],
    references: tuple[Reference, ...],
    side: Side,
    inputs: EvaluationInputs,
) -> SideScore:
    """What can be said of a quote from its price alone; the base of every score."""
    filled = min(item.quote.quantity, inputs.request.quantity)
    legs = tuple(
        LegScore(
            instrument_id=reference.leg.instrument_id,
            side=reference.leg.side_of(side).value,
            price=str(price),
            reference_mid=str(reference.market.mid),
            cost_micro_bps=to_micro_bps(cost),
            cost_micro_currency=leg_cost_micro_currency(
                reference, reference.leg.side_of(side), price, filled
            ),
            fair_median_micro_bps=None,
            fairness_ppm=None,
        )
        for reference, price, cost in zip(references, item.leg_prices, item.leg_costs_bps, strict=True)
    )
    has_cover = item.rank == 1 and len(priced) > 1 and priced[1].is_live
    expired = () if item.is_live else (ReasonCode.QUOTE_EXPIRED,)
    return SideScore(
        side=side.value,
        verdict=Verdict.UNRELIABLE,
        reasons=(*expired, ReasonCode.INSUFFICIENT_STATISTICS),
        is_live=item.is_live,
        rank=item.rank,
        cost_micro_bps=to_micro_bps(item.cost_bps),
        cost_second_reference_micro_bps=to_micro_bps(item.second_cost_bps),
        cost_micro_currency=sum(leg.cost_micro_currency for leg in legs),
        distance_to_best_micro_bps=to_micro_bps(item.cost_bps - priced[0].cost_bps),
        cover_distance_micro_bps=(
            to_micro_bps(priced[1].cost_bps - item.cost_bps) if has_cover else None
        ),
        legs=legs,
    )


def _summary_without(
    inputs: EvaluationInputs, references: tuple[Reference, ...], side: Side, priced: tuple[_Priced, ...]
) -> SideSummary:
    return SideSummary(
        side=side.value,
        gross_notional=str(sum((reference.notional for reference in references), Decimal(0))),
        fair_low_micro_bps=None,
        fair_median_micro_bps=None,
        fair_high_micro_bps=None,
        expected_best_micro_bps=None,
        markout_micro_bps=None,
        markout_parameter_sd_micro_bps=None,
        markout_market_sd_micro_bps=None,
        schedules=(),
        best_schedule=None,
        actions=accept_only(_candidates(priced), inputs, side),
        recommended=None,
    )


def _candidates(priced: tuple[_Priced, ...]) -> tuple[Candidate, ...]:
    return tuple(Candidate(item.quote, item.leg_prices, item.cost_bps) for item in priced if item.is_live)


def _score_side(
    inputs: EvaluationInputs, side: Side, legs: tuple[LegOutlook, ...], priced: tuple[_Priced, ...]
) -> _SideAnswer:
    """Score all quotes of one side against one set of draws."""
    parameters = inputs.parameters
    volatility = package_volatility_bps(legs, parameters.leg_correlation)
    alternative = build_alternative(inputs, legs, volatility)
    rivals = min(max(1, sum(item.is_live for item in priced)), parameters.rival_draws_max)
    pending = inputs.request.pending_dealers
    dealers = min(max(rivals, 1 + pending if pending else 1), parameters.rival_draws_max)

    charges: dict[float, PanelCharge] = {}
    standards: dict[tuple[float, float], Standard] = {}
    shares = [_share(item, inputs) for item in priced]
    for share in {1.0, *shares}:
        charges[share] = build_panel_charge(inputs, legs, volatility, share, dealers)
    for share, ttl_s in {(1.0, parameters.reference_ttl_s), *((s, p.ttl_s) for s, p in zip(shares, priced, strict=True))}:
        standards[share, ttl_s] = build_standard(charges[share], ttl_s, rivals)

    lit = _against_lit(alternative, priced)
    common = _common_reasons(legs, charges[1.0])
    references = tuple(leg.reference for leg in legs)
    scores = {}
    for index, (item, share) in enumerate(zip(priced, shares, strict=True)):
        base = _cost_only(item, priced, references, side, inputs)
        score = _judge(base, item, charges[share], standards[share, item.ttl_s], common, parameters)
        score = replace(score, **lit[index]) if lit else score
        scores[item.quote.quote_id] = replace(
            score,
            exceedances=_quote_exceedances(item, share, alternative, parameters),
            legs=_leg_scores(score, item, legs, charges[share]),
        )
    actions, recommended = decide(
        Situation(inputs, side, legs, charges[1.0], alternative, _candidates(priced))
    )
    summary = _summarise(
        inputs, legs, alternative, charges[1.0], standards[1.0, parameters.reference_ttl_s]
    )
    return _SideAnswer(
        scores=scores,
        costs_bps={},
        summary=replace(summary, side=side.value, actions=actions, recommended=recommended),
        models=tuple(f"{leg.predictions.model}@{leg.predictions.artifact_digest}" for leg in legs),
        reasons=common,
    )


def _share(item: _Priced, inputs: EvaluationInputs) -> float:
    """Part of the request that the quote is good for."""
    return min(1.0, float(item.quote.quantity / inputs.request.quantity))


def _common_reasons(legs: tuple[LegOutlook, ...], charge: PanelCharge) -> tuple[ReasonCode, ...]:
    fallback = any(leg.predictions.is_fallback for leg in legs)
    return (
        *((ReasonCode.PREDICTOR_FALLBACK,) if fallback else ()),
        *(() if charge.separable else (ReasonCode.INFORMATION_NOT_SEPARABLE,)),
    )


def _judge(
    base: SideScore,
    item: _Priced,
    charge: PanelCharge,
    standard: Standard,
    common: tuple[ReasonCode, ...],
    parameters: EvaluationParameters,
) -> SideScore:
    """Fairness, excess, waterfall and verdict of one quote."""
    verdict, fairness, fairness_best = standard.verdict(item.cost_bps, parameters)
    second_verdict = standard.verdict(item.second_cost_bps, parameters)[0]
    reasons: list[ReasonCode] = [] if item.is_live else [ReasonCode.QUOTE_EXPIRED]
    if verdict is not second_verdict:
        verdict = Verdict.UNRELIABLE
        reasons.append(ReasonCode.REFERENCE_AMBIGUOUS)
    elif verdict is Verdict.DEAR:
        reasons.append(ReasonCode.BELOW_DEAR_BOUND)
    elif verdict is Verdict.CHEAP:
        reasons.append(ReasonCode.ABOVE_CHEAP_BOUND)
    if verdict is Verdict.FAIR and item.rank == 1 and fairness_best < round(parameters.dear_below * 1_000_000):
        reasons.append(ReasonCode.BEST_OF_PANEL_DEAR)
    low, median, high = standard.quantiles()
    cost_micro_bps = to_micro_bps(item.cost_bps)
    return replace(
        base,
        verdict=verdict,
        reasons=(*reasons, *common),
        fair_low_micro_bps=to_micro_bps(low),
        fair_median_micro_bps=to_micro_bps(median),
        fair_high_micro_bps=to_micro_bps(high),
        fairness_ppm=fairness,
        fairness_best_of_n_ppm=fairness_best,
        excess_micro_bps=to_micro_bps(item.cost_bps - median),
        excess_low_micro_bps=to_micro_bps(item.cost_bps - high),
        excess_high_micro_bps=to_micro_bps(item.cost_bps - low),
        waterfall=build_waterfall(charge, item.ttl_s, cost_micro_bps, parameters),
    )


def _against_lit(alternative: Alternative, priced: tuple[_Priced, ...]) -> list[dict[str, int]]:
    """Edge over the best schedule and the chances of beating it, quote by quote; empty when none is admissible."""
    if alternative.best is None or not priced:
        return []
    expected = alternative.expected_bps[alternative.best]
    ordered = np.sort(expected)
    costs = np.array([item.cost_bps for item in priced])
    chances = realised_survival(expected, float(alternative.timing_sd_bps[alternative.best]), costs)
    edges = expected.mean() - costs
    return [
        {
            "edge_vs_lit_micro_bps": to_micro_bps(float(edge)),
            "p_beats_lit_ppm": to_ppm(survival(ordered, item.cost_bps)),
            "p_beats_lit_realised_ppm": to_ppm(float(chance)),
        }
        for item, edge, chance in zip(priced, edges, chances, strict=True)
    ]


def _quote_exceedances(
    item: _Priced, share: float, alternative: Alternative, parameters: EvaluationParameters
) -> Exceedances | None:
    """Total cost of taking the quote and working what it cannot fill; certain when it fills everything."""
    if share < 1.0 and alternative.best is None:
        return None
    if share >= 1.0:
        certain = tuple(1_000_000 if item.cost_bps > x else 0 for x in parameters.thresholds_bps)
        return Exceedances(_thresholds(parameters), certain, certain)
    best = alternative.best or 0
    rest = alternative.expected_for_share(1.0 - share, parameters.temporary_size_exponent)[best]
    expected = share * item.cost_bps + (1.0 - share) * rest
    return _exceedances(expected, (1.0 - share) * float(alternative.timing_sd_bps[best]), parameters)


def _thresholds(parameters: EvaluationParameters) -> tuple[int, ...]:
    return tuple(to_micro_bps(x) for x in parameters.thresholds_bps)


def _exceedances(expected: Floats, market_sd: float, parameters: EvaluationParameters) -> Exceedances:
    """P(cost > x) over parameters alone, and with the market's noise added."""
    at = np.array(parameters.thresholds_bps)
    known = (expected[None, :] > at[:, None]).mean(axis=1)
    whole = realised_survival(expected, market_sd, at)
    return Exceedances(
        _thresholds(parameters),
        tuple(to_ppm(value) for value in known.tolist()),
        tuple(to_ppm(value) for value in whole.tolist()),
    )


def _leg_scores(
    score: SideScore, item: _Priced, legs: tuple[LegOutlook, ...], charge: PanelCharge
) -> tuple[LegScore, ...]:
    """The legs' own fairness: that of the quote for a single leg, else each leg against its own charge."""
    if len(legs) == 1:
        return (
            replace(
                score.legs[0],
                fair_median_micro_bps=score.fair_median_micro_bps,
                fairness_ppm=score.fairness_ppm,
            ),
        )
    scored = []
    for leg_score, cost, leg, leg_charge in zip(score.legs, item.leg_costs_bps, legs, charge.legs, strict=True):
        volatility = leg.predictions.volatility_bps_sqrt_day
        own = replace(charge, base_bps=leg_charge.base_bps, volatility_bps_sqrt_day=volatility)
        standard = build_standard(own, item.ttl_s, 1)
        scored.append(
            replace(
                leg_score,
                fair_median_micro_bps=to_micro_bps(standard.quantiles()[1]),
                fairness_ppm=to_ppm(survival(standard.single, cost)),
            )
        )
    return tuple(scored)


def _summarise(
    inputs: EvaluationInputs,
    legs: tuple[LegOutlook, ...],
    alternative: Alternative,
    charge: PanelCharge,
    standard: Standard,
) -> SideSummary:
    """What holds for the side whatever the quotes say."""
    low, median, high = standard.quantiles()
    moves = np.sum([leg.reference.weight * leg.predictions.information_bps for leg in legs], axis=0)
    # Market noise of the legs adds like their volatilities, at the horizon's own scale.
    market = [
        (leg.reference.weight * leg.predictions.information_market_sd_bps, leg.side.sign) for leg in legs
    ]
    correlation = inputs.parameters.leg_correlation
    variance = correlation * sum(sign * sd for sd, sign in market) ** 2
    variance += (1.0 - correlation) * sum(sd * sd for sd, _ in market)
    return SideSummary(
        side="",
        gross_notional=str(sum((leg.reference.notional for leg in legs), Decimal(0))),
        fair_low_micro_bps=to_micro_bps(low),
        fair_median_micro_bps=to_micro_bps(median),
        fair_high_micro_bps=to_micro_bps(high),
        expected_best_micro_bps=to_micro_bps(float(standard.best_of_n.mean())),
        markout_micro_bps=to_micro_bps(float(moves.mean())),
        markout_parameter_sd_micro_bps=to_micro_bps(float(moves.std())),
        markout_market_sd_micro_bps=to_micro_bps(float(np.sqrt(variance))),
        schedules=_schedule_costs(alternative, inputs.parameters),
        best_schedule=alternative.best,
        actions=(),
        recommended=None,
    )


def _schedule_costs(alternative: Alternative, parameters: EvaluationParameters) -> tuple[ScheduleCost, ...]:
    """The table of lit schedules: expected parts, timing risk and exceedances by duration."""
    schedules = []
    for index, duration_s in enumerate(alternative.durations_s.tolist()):
        fees, spread, temporary, permanent, drift = (to_micro_bps(x) for x in alternative.parts_bps[:, index].tolist())
        sd = float(alternative.timing_sd_bps[index])
        schedules.append(
            ScheduleCost(
                duration_ns=round(duration_s * NS_PER_S),
                slices=slice_count(duration_s, parameters),
                admissible=alternative.admissible[index],
                fees_micro_bps=fees,
                half_spread_micro_bps=spread,
                temporary_micro_bps=temporary,
                permanent_micro_bps=permanent,
                drift_micro_bps=drift,
                expected_micro_bps=fees + spread + temporary + permanent + drift,
                timing_risk_micro_bps=to_micro_bps(sd),
                exceedances=_exceedances(alternative.expected_bps[index], sd, parameters),
            )
        )
    return tuple(schedules)
