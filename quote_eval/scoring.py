"""From a quote's prices to its score: costs, fairness, verdict, waterfall, edge over the lit market."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np

from quote_eval.alternative import Alternative, LegOutlook, realised_survival, slice_count
from quote_eval.benchmark import Reference, against_microprice, leg_cost_bps, leg_cost_micro_currency
from quote_eval.inputs import EvaluationInputs, EvaluationParameters, QuoteInputs
from quote_eval.numerics import Floats, mean, quantile, survival, to_micro_bps_list, to_ppm_list
from quote_eval.panel import PanelCharge, Standard, build_standard, build_waterfall, classify, expected_bars
from quote_eval.results import Exceedances, LegScore, ReasonCode, ScheduleCost, SideScore, Verdict
from rfq_service.domain.units import NS_PER_S, Side, to_micro_bps

_PPM = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class PricedQuote:
    """One side of one quote against the references; ``rank`` 1 is best, live quotes before expired ones.

    Attributes:
        share: part of the request that the quote is good for, in (0, 1].
        ttl_s: life of the firm quote from its arrival on.
    """

    quote: QuoteInputs
    leg_prices: tuple[Decimal, ...]
    leg_costs_bps: tuple[float, ...]
    cost_bps: float
    second_cost_bps: float
    is_live: bool
    share: float
    ttl_s: float
    rank: int


def price_quotes(inputs: EvaluationInputs, references: tuple[Reference, ...], side: Side) -> tuple[PricedQuote, ...]:
    """Costs of every quote that has this side, best first: live before expired, then by cost, arrival and id."""
    measured = []
    for quote in inputs.quotes:
        prices = quote.prices(side)
        if prices is None:
            continue
        leg_costs, cost, second = [], 0.0, 0.0
        for reference, price in zip(references, prices, strict=True):
            leg_side = reference.leg.side_of(side)
            leg_cost = leg_cost_bps(reference, leg_side, price)
            leg_costs.append(leg_cost)
            cost += reference.weight * leg_cost
            second += reference.weight * against_microprice(reference, leg_side, leg_cost)
        is_live = inputs.now_ns < quote.valid_until_ns
        order = (not is_live, cost, quote.received_at_ns, quote.quote_id)
        measured.append((order, quote, prices, tuple(leg_costs), second))
    measured.sort(key=lambda item: item[0])
    return tuple(
        PricedQuote(
            quote=quote,
            leg_prices=prices,
            leg_costs_bps=leg_costs,
            cost_bps=order[1],
            second_cost_bps=second,
            is_live=not order[0],
            share=min(1.0, float(quote.quantity / inputs.request.quantity)),
            ttl_s=(quote.valid_until_ns - quote.received_at_ns) / NS_PER_S,
            rank=index + 1,
        )
        for index, (order, quote, prices, leg_costs, second) in enumerate(measured)
    )


def cost_only_scores(
    inputs: EvaluationInputs, references: tuple[Reference, ...], side: Side, priced: tuple[PricedQuote, ...]
) -> dict[str, SideScore]:
    """Scores without predictions: cost and rank, no judgement."""
    scores = {}
    for item in priced:
        expired = () if item.is_live else (ReasonCode.QUOTE_EXPIRED,)
        legs = leg_scores(inputs, references, side, item)
        scores[item.quote.quote_id] = SideScore(
            verdict=Verdict.UNRELIABLE,
            reasons=(*expired, ReasonCode.INSUFFICIENT_STATISTICS),
            legs=legs,
            **_cost_fields(side, item, priced, legs),
        )
    return scores


def leg_scores(
    inputs: EvaluationInputs,
    references: tuple[Reference, ...],
    side: Side,
    item: PricedQuote,
    fair: list[tuple[int, int]] | None = None,
) -> tuple[LegScore, ...]:
    """The legs of a quote; ``fair`` holds fair median (1e-6 bps) and fairness (1e-6) of each leg where known."""
    filled = min(item.quote.quantity, inputs.request.quantity)
    scores = []
    for index, (reference, price) in enumerate(zip(references, item.leg_prices, strict=True)):
        leg_side = reference.leg.side_of(side)
        median, fairness = fair[index] if fair is not None else (None, None)
        scores.append(
            LegScore(
                instrument_id=reference.leg.instrument_id,
                side=leg_side.value,
                price=str(price),
                reference_mid=str(reference.market.mid),
                cost_micro_bps=to_micro_bps(item.leg_costs_bps[index]),
                cost_micro_currency=leg_cost_micro_currency(reference, leg_side, price, filled),
                fair_median_micro_bps=median,
                fairness_ppm=fairness,
            )
        )
    return tuple(scores)


def _cost_fields(
    side: Side, item: PricedQuote, priced: tuple[PricedQuote, ...], legs: tuple[LegScore, ...]
) -> dict[str, Any]:
    """Fields of a score that need no prediction."""
    has_cover = item.rank == 1 and len(priced) > 1 and item.is_live and priced[1].is_live
    return {
        "side": side.value,
        "is_live": item.is_live,
        "rank": item.rank,
        "cost_micro_bps": to_micro_bps(item.cost_bps),
        "cost_second_reference_micro_bps": to_micro_bps(item.second_cost_bps),
        "cost_micro_currency": sum(leg.cost_micro_currency for leg in legs),
        "distance_to_best_micro_bps": to_micro_bps(item.cost_bps - priced[0].cost_bps),
        "cover_distance_micro_bps": to_micro_bps(priced[1].cost_bps - item.cost_bps) if has_cover else None,
    }


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """What all quotes of one side are judged by: the law of the charge by size, the lit alternative, common reasons.

    ``standard`` is that of a quote for the whole request with the reference TTL.
    """

    inputs: EvaluationInputs
    side: Side
    legs: tuple[LegOutlook, ...]
    references: tuple[Reference, ...]
    charges: dict[float, PanelCharge]
    alternative: Alternative
    rivals: int
    common: tuple[ReasonCode, ...]
    standard: Standard

    def scores(self, priced: tuple[PricedQuote, ...]) -> dict[str, SideScore]:
        """Score all quotes; those of one size and life share their draws and are judged in one go."""
        lit = _against_lit(self.alternative, priced)
        groups: dict[tuple[float, float], list[PricedQuote]] = {}
        for item in priced:
            groups.setdefault((item.share, item.ttl_s), []).append(item)
        scores = {}
        for (share, ttl_s), members in groups.items():
            charge = self.charges[share]
            at_reference = share >= 1.0 and ttl_s == self.inputs.parameters.reference_ttl_s
            standard = self.standard if at_reference else build_standard(charge, ttl_s, self.rivals)
            bars = expected_bars(charge, ttl_s, self.inputs.parameters)
            for item, fields in zip(members, self._fair_fields(standard, members), strict=True):
                legs = leg_scores(self.inputs, self.references, self.side, item, self._leg_fairness(item, fields))
                costs = _cost_fields(self.side, item, priced, legs)
                scores[item.quote.quote_id] = SideScore(
                    **costs,
                    **fields,
                    **lit[item.rank - 1],
                    waterfall=build_waterfall(bars, costs["cost_micro_bps"], separable=charge.separable),
                    exceedances=self._exceedances(item),
                    legs=legs,
                )
        return scores

    def _fair_fields(self, standard: Standard, members: list[PricedQuote]) -> list[dict[str, Any]]:
        """Verdict, fairness and excess of quotes judged by one standard, against both references at once."""
        costs = np.array([item.cost_bps for item in members])
        seconds = np.array([item.second_cost_bps for item in members])
        single, best = standard.fairness_ppm(np.concatenate([costs, seconds]))
        quantiles = standard.quantiles()
        low, median, high = to_micro_bps_list(quantiles)
        excess = to_micro_bps_list((costs[:, None] - quantiles[[1, 2, 0]]).ravel())
        count, fields = len(members), []
        for i, item in enumerate(members):
            verdict, reasons = self._verdict(item, (single[i], best[i]), (single[count + i], best[count + i]))
            fields.append(
                {
                    "verdict": verdict,
                    "reasons": (*reasons, *self.common),
                    "fair_low_micro_bps": low,
                    "fair_median_micro_bps": median,
                    "fair_high_micro_bps": high,
                    "fairness_ppm": single[i],
                    "fairness_best_of_n_ppm": best[i],
                    "excess_micro_bps": excess[3 * i],
                    "excess_low_micro_bps": excess[3 * i + 1],
                    "excess_high_micro_bps": excess[3 * i + 2],
                }
            )
        return fields

    def _verdict(
        self, item: PricedQuote, first: tuple[int, int], second: tuple[int, int]
    ) -> tuple[Verdict, list[ReasonCode]]:
        """The verdict if both references lead to it, and why."""
        parameters = self.inputs.parameters
        reasons = [] if item.is_live else [ReasonCode.QUOTE_EXPIRED]
        verdict = classify(*first, parameters)
        if verdict is not classify(*second, parameters):
            return Verdict.UNRELIABLE, [*reasons, ReasonCode.REFERENCE_AMBIGUOUS]
        if verdict is Verdict.DEAR:
            reasons.append(ReasonCode.BELOW_DEAR_BOUND)
        elif verdict is Verdict.CHEAP:
            reasons.append(ReasonCode.ABOVE_CHEAP_BOUND)
        elif item.rank == 1 and first[1] < round(parameters.dear_below * _PPM):
            reasons.append(ReasonCode.BEST_OF_PANEL_DEAR)
        return verdict, reasons

    def _leg_fairness(self, item: PricedQuote, fields: dict[str, Any]) -> list[tuple[int, int]]:
        """The legs' own fairness: that of the quote for a single leg, else each leg against its own charge."""
        if len(self.legs) == 1:
            return [(fields["fair_median_micro_bps"], fields["fairness_ppm"])]
        fair = []
        for leg, charge, cost in zip(self.legs, self.charges[item.share].legs, item.leg_costs_bps, strict=True):
            draws = np.sort(charge.draws(leg.predictions.volatility_bps_sqrt_day, item.ttl_s)[0])
            fair.append((to_micro_bps(quantile(draws, 0.5)), to_ppm_list(survival(draws, np.array([cost])))[0]))
        return fair

    def _exceedances(self, item: PricedQuote) -> Exceedances | None:
        """Total cost of taking the quote and working what it cannot fill; certain when it fills everything."""
        parameters, best = self.inputs.parameters, self.alternative.best
        if item.share >= 1.0:
            certain = tuple(_PPM if item.cost_bps > x else 0 for x in parameters.thresholds_bps)
            return Exceedances(_thresholds(parameters.thresholds_bps), certain, certain)
        if best is None:
            return None
        left = 1.0 - item.share
        rest = self.alternative.expected_for_share(left, parameters.temporary_size_exponent, best)
        sd = left * self.alternative.timing_sd_bps[[best]]
        return _exceedances((item.share * item.cost_bps + left * rest)[None, :], sd, parameters)[0]


def schedule_costs(alternative: Alternative, parameters: EvaluationParameters) -> tuple[ScheduleCost, ...]:
    """The table of lit schedules: expected parts, timing risk and exceedances by duration."""
    exceedances = _exceedances(alternative.expected_bps, alternative.timing_sd_bps, parameters)
    parts = to_micro_bps_list(alternative.parts_bps.T.ravel())
    risks = to_micro_bps_list(alternative.timing_sd_bps)
    schedules = []
    for index, duration_s in enumerate(alternative.durations_s.tolist()):
        fees, spread, temporary, permanent, drift = parts[5 * index : 5 * index + 5]
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
                timing_risk_micro_bps=risks[index],
                exceedances=exceedances[index],
            )
        )
    return tuple(schedules)


@lru_cache(maxsize=16)
def _thresholds(thresholds_bps: tuple[float, ...]) -> tuple[int, ...]:
    return tuple(to_micro_bps(x) for x in thresholds_bps)


def _exceedances(expected: Floats, market_sd: Floats, parameters: EvaluationParameters) -> list[Exceedances]:
    """P(cost > x) for each row of ``expected`` (R, M): over parameters alone, and with the market's noise (R,)."""
    at = np.array(parameters.thresholds_bps)
    known = mean((expected[:, None, :] > at[:, None]).astype(np.float64))
    whole = realised_survival(expected, market_sd, at)
    thresholds, count = _thresholds(parameters.thresholds_bps), len(at)
    flat_known, flat_whole = to_ppm_list(known.ravel()), to_ppm_list(whole.ravel())
    return [
        Exceedances(
            thresholds,
            tuple(flat_known[row * count : (row + 1) * count]),
            tuple(flat_whole[row * count : (row + 1) * count]),
        )
        for row in range(len(expected))
    ]


def _against_lit(alternative: Alternative, priced: tuple[PricedQuote, ...]) -> list[dict[str, Any]]:
    """Edge over the best schedule and the chances of beating it, by rank; no fields when no schedule is admissible."""
    best = alternative.best
    if best is None or not priced:
        return [{} for _ in priced]
    expected = alternative.expected_bps[best]
    costs = np.array([item.cost_bps for item in priced])
    edges = to_micro_bps_list(mean(expected) - costs)
    known = to_ppm_list(survival(np.sort(expected), costs))
    realised = to_ppm_list(realised_survival(expected, float(alternative.timing_sd_bps[best]), costs))
    return [
        {
            "edge_vs_lit_micro_bps": edge,
            "p_beats_lit_ppm": chance,
            "p_beats_lit_realised_ppm": chance_realised,
        }
        for edge, chance, chance_realised in zip(edges, known, realised, strict=True)
    ]
