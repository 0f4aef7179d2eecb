"""From a quote's costs to its score: fairness, verdict, waterfall, edge over the lit market."""

from __future__ import annotations

import msgspec
import numpy as np

from quote_eval.alternative import Alternative, LegOutlook
from quote_eval.costs import PricedQuote, SidedLegs, cost_table, cover_distance, fixed_costs, leg_scores
from quote_eval.inputs import EvaluationInputs
from quote_eval.numerics import Floats, ascending, quantile, survival, to_micro_bps_array, to_ppm_array
from quote_eval.odds import LitOdds, certain_exceedances, exceedances
from quote_eval.panel import PanelCharge, Standard, VerdictBounds, build_standard, build_waterfall, expected_bars
from quote_eval.results import Exceedances, ReasonCode, ScheduleCost, SideScore, Verdict
from rfq_service.domain.units import NS_PER_S, Side, to_micro_bps


def cost_only_scores(sided: SidedLegs, side: Side, priced: tuple[PricedQuote, ...]) -> dict[str, SideScore]:
    """Scores without predictions: cost and rank, no judgement."""
    if not priced:
        return {}
    scores, cover = {}, cover_distance(priced)
    rows = fixed_costs(cost_table(priced), (priced[0].cost_bps,))
    for item, (cost, second_cost, *leg_costs, distance) in zip(priced, rows, strict=True):
        expired = () if item.is_live else (ReasonCode.QUOTE_EXPIRED,)
        legs = leg_scores(sided, item, leg_costs, [(None, None)] * len(leg_costs))
        scores[item.quote.quote_id] = SideScore(
            side=side,
            verdict=Verdict.UNRELIABLE,
            reasons=(*expired, ReasonCode.INSUFFICIENT_STATISTICS),
            is_live=item.is_live,
            rank=item.rank,
            cost_micro_bps=cost,
            cost_second_reference_micro_bps=second_cost,
            cost_micro_currency=sum(item.leg_costs_micro_currency),
            distance_to_best_micro_bps=distance,
            cover_distance_micro_bps=cover if item.rank == 1 else None,
            legs=legs,
        )
    return scores


class Judge(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What all quotes of one side are judged by: the law of the charge by size, the lit alternative, common reasons.

    ``standard`` is that of a quote for the whole request with the reference TTL.
    """

    inputs: EvaluationInputs
    side: Side
    legs: tuple[LegOutlook, ...]
    sided: SidedLegs
    charges: dict[float, PanelCharge]
    alternative: Alternative
    odds: LitOdds
    rivals: int
    common: tuple[ReasonCode, ...]
    standard: Standard
    bounds: VerdictBounds

    def scores(self, priced: tuple[PricedQuote, ...]) -> dict[str, SideScore]:
        """Score all quotes; those of one size and life share their draws and are judged in one go.

        ``priced`` are the quotes that ``odds`` was made for.
        """
        groups: dict[tuple[float, float], list[PricedQuote]] = {}
        for item in priced:
            groups.setdefault((item.share, item.ttl_s), []).append(item)
        scores, cover = {}, cover_distance(priced)
        for (share, ttl_s), members in groups.items():
            at_reference = share >= 1.0 and ttl_s == self.inputs.parameters.reference_ttl_s
            standard = self.standard if at_reference else build_standard(self.charges[share], ttl_s, self.rivals)
            fair = [to_micro_bps(value) for value in standard.quantiles_bps]
            bars = expected_bars(self.charges[share], ttl_s, self.inputs.parameters)
            costs = cost_table(members)
            rows = fixed_costs(costs, (priced[0].cost_bps, *standard.quantiles_bps, self.alternative.best_bps))
            for item, row, chances in zip(members, rows, _fairness(standard, costs.T[:2]), strict=True):
                scores[item.quote.quote_id] = self._side_score(item, row, chances, fair, bars, cover)
        return scores

    def _side_score(
        self,
        item: PricedQuote,
        row: list[int],
        chances: list[int],
        fair: list[int],
        bars: list[int],
        cover: int | None,
    ) -> SideScore:
        """Everything about one quote.

        Args:
            item: the quote.
            row: its row of ``fixed_costs``: against the best quote, the fair quantiles and the best schedule.
            chances: its row of ``_fairness``.
            fair: the fair quantiles in fixed point.
            bars: ``expected_bars``.
            cover: ``cover_distance`` of the best quote.
        """
        cost, second_cost, *leg_costs, distance, over_low, over_median, over_high, over_lit = row
        fairness, second_fairness, best_of_n, second_best_of_n = chances
        verdict, reasons = self._verdict(item, (fairness, best_of_n), (second_fairness, second_best_of_n))
        fair_legs = [(fair[1], fairness)] if len(self.legs) == 1 else self._leg_fairness(item)
        legs = leg_scores(self.sided, item, leg_costs, fair_legs)
        has_lit = self.alternative.best is not None
        beats_lit, beats_lit_realised = self.odds.beaten[item.rank - 1] if has_lit else (None, None)
        return SideScore(
            side=self.side,
            verdict=verdict,
            reasons=reasons + self.common,
            is_live=item.is_live,
            rank=item.rank,
            cost_micro_bps=cost,
            cost_second_reference_micro_bps=second_cost,
            cost_micro_currency=sum(item.leg_costs_micro_currency),
            distance_to_best_micro_bps=distance,
            cover_distance_micro_bps=cover if item.rank == 1 else None,
            fair_low_micro_bps=fair[0],
            fair_median_micro_bps=fair[1],
            fair_high_micro_bps=fair[2],
            fairness_ppm=fairness,
            fairness_best_of_n_ppm=best_of_n,
            excess_micro_bps=over_median,
            excess_low_micro_bps=over_high,
            excess_high_micro_bps=over_low,
            edge_vs_lit_micro_bps=-over_lit if has_lit else None,
            p_beats_lit_ppm=beats_lit,
            p_beats_lit_realised_ppm=beats_lit_realised,
            waterfall=build_waterfall(bars, cost, separable=self.charges[item.share].separable),
            exceedances=self._exceedances(item),
            legs=legs,
        )

    def _verdict(
        self, item: PricedQuote, first: tuple[int, int], second: tuple[int, int]
    ) -> tuple[Verdict, tuple[ReasonCode, ...]]:
        """The verdict if both references lead to it, and why; by each, fairness and that for the best of N."""
        reasons = () if item.is_live else (ReasonCode.QUOTE_EXPIRED,)
        verdict = self.bounds.classify(*first)
        if verdict is not self.bounds.classify(*second):
            return Verdict.UNRELIABLE, (*reasons, ReasonCode.REFERENCE_AMBIGUOUS)
        if verdict is Verdict.DEAR:
            return verdict, (*reasons, ReasonCode.BELOW_DEAR_BOUND)
        if verdict is Verdict.CHEAP:
            return verdict, (*reasons, ReasonCode.ABOVE_CHEAP_BOUND)
        if item.rank == 1 and first[1] < self.bounds.dear_below_ppm:
            return verdict, (*reasons, ReasonCode.BEST_OF_PANEL_DEAR)
        return verdict, reasons

    def _leg_fairness(self, item: PricedQuote) -> list[tuple[int, int]]:
        """Fair median and fairness of each leg of a package against its own charge."""
        fair = []
        for leg, charge, cost in zip(self.legs, self.charges[item.share].legs, item.leg_costs_bps, strict=True):
            draws = ascending(charge.draws(leg.predictions.volatility_bps_sqrt_day, item.ttl_s)[0])
            fairness = int(to_ppm_array(survival(draws, np.array([cost])))[0])
            fair.append((to_micro_bps(quantile(draws, 0.5)), fairness))
        return fair

    def _exceedances(self, item: PricedQuote) -> Exceedances | None:
        """Total cost of taking the quote and working what it cannot fill; certain when it fills everything."""
        parameters, best = self.inputs.parameters, self.alternative.best
        if item.share >= 1.0:
            return certain_exceedances(parameters.thresholds_bps, item.cost_bps)
        if best is None:
            return None
        left = 1.0 - item.share
        rest = self.alternative.expected_for_share(left, parameters.temporary_size_exponent, best)
        sd = left * self.alternative.timing_sd_bps[[best]]
        return exceedances(parameters.thresholds_bps, (item.share * item.cost_bps + left * rest)[None, :], sd)


def _fairness(standard: Standard, costs: Floats) -> list[list[int]]:
    """Per quote, in 1e-6: P(F ≥ c) by either reference, and the same for the best of N; ``costs`` is (2, N)."""
    chances = np.concatenate((survival(standard.single, costs), survival(standard.best_of_n, costs)))
    by_quote: list[list[int]] = to_ppm_array(chances).T.tolist()
    return by_quote


def schedule_costs(alternative: Alternative, odds: LitOdds) -> tuple[ScheduleCost, ...]:
    """The table of lit schedules: expected parts, timing risk and exceedances by duration."""
    table = np.concatenate((alternative.parts_bps, alternative.timing_sd_bps[None, :]))
    schedules = []
    for duration_s, is_admissible, row, chances, slices in zip(
        alternative.durations_s.tolist(),
        alternative.admissible,
        to_micro_bps_array(table).T.tolist(),
        odds.exceedances,
        alternative.slices,
        strict=True,
    ):
        fees, spread, temporary, permanent, drift, timing_risk = row
        schedules.append(
            ScheduleCost(
                duration_ns=round(duration_s * NS_PER_S),
                slices=slices,
                admissible=is_admissible,
                fees_micro_bps=fees,
                half_spread_micro_bps=spread,
                temporary_micro_bps=temporary,
                permanent_micro_bps=permanent,
                drift_micro_bps=drift,
                expected_micro_bps=fees + spread + temporary + permanent + drift,
                timing_risk_micro_bps=timing_risk,
                exceedances=chances,
            )
        )
    return tuple(schedules)
