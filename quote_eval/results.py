"""What a score says. Every number is an integer: ``_micro_bps`` (1e-6 bps), ``_ppm`` (1e-6), exact text for prices.

They are structs, and so is all that a score is made from: a frozen dataclass takes ten times as long to make, and a
score makes dozens.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from rfq_service.domain.units import Side


class Verdict(StrEnum):
    """The one-word answer."""

    FAIR = "fair"
    DEAR = "dear"
    CHEAP = "cheap"
    STALE = "stale"
    UNRELIABLE = "unreliable"


class ReasonCode(StrEnum):
    """Why a verdict or an action is what it is; stable, shown to the client."""

    STALE_MARKET = "STALE_MARKET"
    NO_MARKET = "NO_MARKET"
    INSUFFICIENT_STATISTICS = "INSUFFICIENT_STATISTICS"
    REFERENCE_AMBIGUOUS = "REFERENCE_AMBIGUOUS"
    QUOTE_EXPIRED = "QUOTE_EXPIRED"
    BELOW_DEAR_BOUND = "BELOW_DEAR_BOUND"
    ABOVE_CHEAP_BOUND = "ABOVE_CHEAP_BOUND"
    BEST_OF_PANEL_DEAR = "BEST_OF_PANEL_DEAR"
    PREDICTOR_FALLBACK = "PREDICTOR_FALLBACK"
    INFORMATION_NOT_SEPARABLE = "INFORMATION_NOT_SEPARABLE"
    LIMIT_PRICE = "LIMIT_PRICE"
    NO_QUOTE = "NO_QUOTE"
    NO_PENDING_DEALERS = "NO_PENDING_DEALERS"
    NO_TIME_LEFT = "NO_TIME_LEFT"
    NO_BETTER_PRICE = "NO_BETTER_PRICE"
    QUANTITY_NOT_ALL = "QUANTITY_NOT_ALL"
    QUANTITY_TOO_SMALL = "QUANTITY_TOO_SMALL"
    QUANTITY_PARTIAL = "QUANTITY_PARTIAL"
    PACKAGE = "PACKAGE"
    PARTICIPATION_EXCEEDED = "PARTICIPATION_EXCEEDED"
    PRICE_LOCKED = "PRICE_LOCKED"
    LOWEST_OBJECTIVE = "LOWEST_OBJECTIVE"


class Action(StrEnum):
    """What a desk can do next."""

    ACCEPT = "accept"
    COUNTER = "counter"
    WORK = "work"
    SPLIT = "split"
    WAIT = "wait"


class Exceedances(msgspec.Struct, frozen=True, gc=False):
    """P(total cost > threshold) by threshold, once per kind of uncertainty.

    Attributes:
        parameter_ppm: contains what is not known about the law only: the cost to be *expected* exceeds the threshold.
        parameter_and_market_ppm: contains the price noise until the order is done as well: the *realised* cost does.
    """

    thresholds_micro_bps: tuple[int, ...]
    parameter_ppm: tuple[int, ...]
    parameter_and_market_ppm: tuple[int, ...]


class Waterfall(msgspec.Struct, frozen=True, gc=False):
    """From mid to price.

    The bars are expected components of the fair charge and the margin is the rest, so that they add up to the cost
    exactly. Where own impact and information cannot be told apart, ``information_micro_bps`` is
    both, ``own_permanent_micro_bps`` zero and ``information_separable`` false.
    """

    processing_micro_bps: int
    hedging_half_spread_micro_bps: int
    hedging_temporary_micro_bps: int
    own_permanent_micro_bps: int
    information_micro_bps: int
    risk_micro_bps: int
    ttl_option_micro_bps: int
    margin_micro_bps: int
    information_separable: bool

    @property
    def total_micro_bps(self) -> int:
        """Sum of all bars."""
        return (
            self.processing_micro_bps
            + self.hedging_half_spread_micro_bps
            + self.hedging_temporary_micro_bps
            + self.own_permanent_micro_bps
            + self.information_micro_bps
            + self.risk_micro_bps
            + self.ttl_option_micro_bps
            + self.margin_micro_bps
        )


class LegScore(msgspec.Struct, frozen=True, gc=False):
    """One leg of a quote, in bps of its own notional; ``cost_micro_currency`` in millionths of the quote currency."""

    instrument_id: str
    side: Side
    price: str
    reference_mid: str
    cost_micro_bps: int
    cost_micro_currency: int
    fair_median_micro_bps: int | None
    fairness_ppm: int | None


class SideScore(msgspec.Struct, frozen=True, gc=False):
    """One side of one quote; numbers are ``None`` where the verdict's reasons say why.

    Attributes:
        rank: 1 is best; live quotes before expired ones; ``None`` without a reference.
        cost_second_reference_micro_bps: cost against the clipped microprice.
        cost_micro_currency: cost of what this quote can fill, in millionths of the quote currency.
        fair_low_micro_bps, fair_high_micro_bps: 5 % and 95 % quantile of the fair charge.
        fairness_ppm: P(F ≥ c). ``fairness_best_of_n_ppm``: the same for the best of as many dealers as quoted.
        excess_low_micro_bps, excess_high_micro_bps: 90 % interval of the excess.
        cover_distance_micro_bps: of the best quote to the next live one.
        exceedances: total cost of taking this quote and working what it cannot fill.
    """

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


class QuoteScore(msgspec.Struct, frozen=True, gc=False):
    """One quote: one side, or sell (bid) then buy (ask) with width and skew of a two-way quote."""

    quote_id: str
    dealer: str
    sides: tuple[SideScore, ...]
    width_micro_bps: int | None = None
    skew_micro_bps: int | None = None


class ScheduleCost(msgspec.Struct, frozen=True, gc=False):
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


class ActionEstimate(msgspec.Struct, frozen=True, gc=False):
    """One possible action: its cost in bps of the whole request, or why it is not possible."""

    action: Action
    admissible: bool
    reasons: tuple[ReasonCode, ...]
    expected_micro_bps: int | None = None
    cvar_micro_bps: int | None = None
    objective_micro_bps: int | None = None
    quote_id: str | None = None
    price: str | None = None
    quantity: str | None = None
    duration_ns: int | None = None
    slices: int | None = None


class SideSummary(msgspec.Struct, frozen=True, gc=False):
    """What holds for one side of the request whatever the quotes say, and the decision on that side.

    Attributes:
        fair_*: quantiles of the fair charge for a quote with the reference TTL.
        expected_best_micro_bps: mean of the best of as many dealers as quoted.
        markout_*: predicted move to the horizon; parameter sd and market sd apart.
        schedules: lit alternatives by duration; ``best_schedule`` is the index of the one compared with.
    """

    side: Side
    gross_notional: str
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


class EvaluationResult(msgspec.Struct, frozen=True, gc=False):
    """The whole answer; ``quotes`` in the order of the inputs."""

    version: str
    rfq_id: str
    evaluated_at_ns: int
    reasons: tuple[ReasonCode, ...]
    quotes: tuple[QuoteScore, ...]
    sides: tuple[SideSummary, ...]
    models: tuple[str, ...]
