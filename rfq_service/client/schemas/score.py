"""What is stored of a score: fixed-point integers, ``_micro_bps`` (1e-6 bps) and ``_ppm`` (1e-6)."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from rfq_service.client.schemas.enums import Action, ReasonCode, Side, Verdict
from rfq_service.client.values import Reply


class Exceedances(Reply, frozen=True, kw_only=True):
    """P(total cost > threshold) by threshold, once per kind of uncertainty."""

    thresholds_micro_bps: tuple[int, ...]
    parameter_ppm: tuple[int, ...]
    parameter_and_market_ppm: tuple[int, ...]


class Waterfall(Reply, frozen=True, kw_only=True):
    """From mid to price."""

    processing_micro_bps: int
    hedging_half_spread_micro_bps: int
    hedging_temporary_micro_bps: int
    own_permanent_micro_bps: int
    information_micro_bps: int
    risk_micro_bps: int
    ttl_option_micro_bps: int
    margin_micro_bps: int
    information_separable: bool


class LegScore(Reply, frozen=True, kw_only=True):
    """One leg of a quote, in bps of its own notional; ``cost_micro_currency`` in millionths of the quote currency."""

    instrument_id: str
    side: Side
    price: Decimal
    reference_mid: Decimal
    cost_micro_bps: int
    cost_micro_currency: int
    fair_median_micro_bps: int | None
    fairness_ppm: int | None


class SideScore(Reply, frozen=True, kw_only=True):
    """One side of one quote; numbers are ``None`` where the verdict's reasons say why."""

    side: Side
    verdict: Verdict
    reasons: tuple[ReasonCode, ...]
    is_live: bool
    rank: int | None = None
    cost_micro_bps: int | None = None
    cost_second_reference_micro_bps: int | None = None
    cost_micro_currency: int | None = None
    distance_to_best_micro_bps: int | None = None
    cover_distance_micro_bps: int | None = None
    fair_low_micro_bps: int | None = None
    fair_median_micro_bps: int | None = None
    fair_high_micro_bps: int | None = None
    fairness_ppm: int | None = None
    fairness_best_of_n_ppm: int | None = None
    excess_micro_bps: int | None = None
    excess_low_micro_bps: int | None = None
    excess_high_micro_bps: int | None = None
    edge_vs_lit_micro_bps: int | None = None
    p_beats_lit_ppm: int | None = None
    p_beats_lit_realised_ppm: int | None = None
    waterfall: Waterfall | None = None
    exceedances: Exceedances | None = None
    legs: tuple[LegScore, ...] = ()


class QuoteScore(Reply, frozen=True, kw_only=True):
    """The score of one side of one quote at the moment it was stored; width and skew for a two-way quote."""

    score: SideScore
    width_micro_bps: int | None
    skew_micro_bps: int | None


class ScheduleCost(Reply, frozen=True, kw_only=True):
    """Working the order over one duration: expected parts, timing risk and what may be exceeded."""

    duration_ns: int
    slices: int
    admissible: bool
    fees_micro_bps: int
    half_spread_micro_bps: int
    temporary_micro_bps: int
    permanent_micro_bps: int
    drift_micro_bps: int
    expected_micro_bps: int
    timing_risk_micro_bps: int
    exceedances: Exceedances


class ActionEstimate(Reply, frozen=True, kw_only=True):
    """One possible action: its cost in bps of the whole request, or why it is not possible."""

    action: Action
    admissible: bool
    reasons: tuple[ReasonCode, ...]
    expected_micro_bps: int | None = None
    cvar_micro_bps: int | None = None
    objective_micro_bps: int | None = None
    quote_id: UUID | None = None
    price: Decimal | None = None
    quantity: Decimal | None = None
    duration_ns: int | None = None
    slices: int | None = None


class SideSummary(Reply, frozen=True, kw_only=True):
    """What holds for one side of the request whatever the quotes say, and the decision on that side."""

    side: Side
    gross_notional: Decimal
    fair_low_micro_bps: int | None = None
    fair_median_micro_bps: int | None = None
    fair_high_micro_bps: int | None = None
    expected_best_micro_bps: int | None = None
    markout_micro_bps: int | None = None
    markout_parameter_sd_micro_bps: int | None = None
    markout_market_sd_micro_bps: int | None = None
    schedules: tuple[ScheduleCost, ...] = ()
    best_schedule: int | None = None
    actions: tuple[ActionEstimate, ...] = ()
    recommended: Action | None = None


class WeighedQuote(Reply, frozen=True, kw_only=True):
    """How one side of a live quote stood when the decision was taken, against the market of that moment."""

    quote_id: UUID
    side: Side
    rank: int | None
    verdict: Verdict
    cost_micro_bps: int | None
    # decisions that were stored before there were these have none
    fairness_ppm: int | None = None
    excess_micro_bps: int | None = None
    distance_to_best_micro_bps: int | None
    cover_distance_micro_bps: int | None


class DecisionResult(Reply, frozen=True, kw_only=True):
    """The recommended action on each side, with every action's cost, over all quotes live at that moment."""

    version: str
    evaluated_at_ns: int
    action: Action | None
    reasons: tuple[ReasonCode, ...]
    weighed: tuple[WeighedQuote, ...]
    sides: tuple[SideSummary, ...]
    models: tuple[str, ...]
