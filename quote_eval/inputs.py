"""Everything a score depends on, by value: request, market, predictions, quotes, parameters, time and seed.

Costs are in bps of gross leg notional at the reference mids, positive when the client pays.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from quote_eval.numerics import Floats
from rfq_service.domain.errors import require
from rfq_service.domain.instrument import ContractType
from rfq_service.domain.rfq import SizeMode
from rfq_service.domain.units import EXACT, RequestSide, Side


class Predictions(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What the predictors say about one leg on one side: K candidate durations, M parameter draws.

    The same index is the same parameter draw in every array. Costs are positive when they hurt the leg's side.

    Attributes:
        durations_s: (K,) ascending lengths of working the order in the lit market.
        permanent_bps: (M,) permanent impact of the whole size.
        temporary_bps: (K, M) temporary cost of working the whole size over each duration.
        information_bps: (M,) expected total signed move to the horizon; contains the own permanent impact.
        information_market_sd_bps: sd of the market noise of that move, never mixed with the draws above.
        half_spread_bps: usual lit half-spread.
        model: name and version of the predictor.
        is_fallback: whether the closed form answered in place of the deployed model.
        artifact_digest: sha256 of the artifact.
    """

    durations_s: Floats
    permanent_bps: Floats
    temporary_bps: Floats
    information_bps: Floats
    information_market_sd_bps: float
    horizon_s: float
    volatility_bps_sqrt_day: float
    volume_per_day_notional: float
    half_spread_bps: float
    depth_notional: float
    model: str
    is_fallback: bool
    artifact_digest: str

    def __post_init__(self) -> None:
        durations, draws = len(self.durations_s), len(self.permanent_bps)
        require(durations >= 1 and draws >= 2, "at least one duration and two draws")
        require(self.temporary_bps.shape == (durations, draws), "temporary_bps is (durations, draws)")
        require(self.information_bps.shape == (draws,), "information_bps is (draws,)")
        require(self.volume_per_day_notional > 0.0 and self.horizon_s > 0.0, "volume and horizon are positive")


class LegMarket(msgspec.Struct, frozen=True, gc=False):
    """The board's view of one leg at the moment of scoring.

    Attributes:
        mid: exact plain mid, the reference.
        age_ns: age of the snapshot; older than ``staleness_limit_ns`` means no score.
        imbalance: time-weighted touch imbalance in [−1, 1].
        funding_bps_per_day: what a long position pays a day; zero where the instrument has no funding.
    """

    mid: Decimal
    half_spread_bps: float
    age_ns: int
    staleness_limit_ns: int
    imbalance: float
    taker_fee_bps: float
    funding_bps_per_day: float = 0.0


class LegInputs(msgspec.Struct, frozen=True, gc=False):
    """One leg; ``side`` is its direction when the package is bought, its size ``ratio × package quantity``.

    ``buying`` and ``selling`` are the predictions for a client who buys or sells *this leg*; only the sides that the
    request needs have to be there, and ``None`` means that statistics do not suffice yet.
    """

    instrument_id: str
    contract_type: ContractType
    side: Side
    ratio: Decimal
    multiplier: Decimal
    market: LegMarket | None
    buying: Predictions | None = None
    selling: Predictions | None = None

    def side_of(self, package_side: Side) -> Side:
        """The client's side of this leg when he trades the package on ``package_side``."""
        return self.side if package_side is Side.BUY else self.side.opposite

    def predictions(self, package_side: Side) -> Predictions | None:
        """The predictions for that side of the leg."""
        return self.buying if self.side_of(package_side) is Side.BUY else self.selling

    def notional(self, quantity: Decimal, price: Decimal) -> Decimal:
        """Exact quote-currency notional of ``quantity`` packages at a leg price."""
        per_contract = (
            self.multiplier if self.contract_type is ContractType.INVERSE else EXACT.multiply(self.multiplier, price)
        )
        return EXACT.multiply(EXACT.multiply(quantity, self.ratio), per_contract)


class RequestInputs(msgspec.Struct, frozen=True, gc=False):
    """The request as it stands.

    Attributes:
        quantity: what remains to be traded, in packages; the predictions are for this size.
        quantity_step: grid of the package quantity (the lot, for a single leg).
        limit_price: net package price that the client will not go beyond, or ``None``.
        price_increment: the RFQ's own grid of leg prices.
        pending_dealers: invited dealers who have neither quoted nor passed.
        complete_by_ns: latest end of a lit schedule, or ``None``.
    """

    rfq_id: str
    side: RequestSide
    legs: tuple[LegInputs, ...]
    quantity: Decimal
    quantity_step: Decimal
    size_mode: SizeMode
    minimum_quantity: Decimal | None
    limit_price: Decimal | None
    price_increment: Decimal
    expires_at_ns: int
    pending_dealers: int = 0
    complete_by_ns: int | None = None


class QuoteInputs(msgspec.Struct, frozen=True, gc=False):
    """One quote: leg prices where the client sells (``bid``) and buys (``ask``), good for ``quantity`` packages."""

    quote_id: str
    dealer: str
    bid: tuple[Decimal, ...] | None
    ask: tuple[Decimal, ...] | None
    quantity: Decimal
    received_at_ns: int
    valid_until_ns: int

    def prices(self, side: Side) -> tuple[Decimal, ...] | None:
        """Leg prices at which the client trades the package on ``side``."""
        return self.ask if side is Side.BUY else self.bid


class EvaluationParameters(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """Constants of the scorer. Whatever is called a prior was set by judgement, not measured.

    Attributes:
        thresholds_bps: x of P(total cost > x); at least three.
        dear_below, cheap_above: fairness bounds of the verdicts. Convention.
        microprice_weight: weight of the touch imbalance in the second reference. Prior until fitted out of sample.
        risk_weight: λ of the decision: minimise (1 − λ)·expected + λ·CVaR. The client's preference.
        cvar_level: level of the CVaR.
        processing_bps: clearing and handling of a dealer. Prior.
        dealer_fee_share: a dealer's lit fee as share of the client's taker fee. Prior.
        half_spread_log_sd: log-sd of the average half-spread paid around the usual one. Prior.
        inventory_sd: sd of a dealer's position before the trade, as share of the request. Prior.
        holding_time_median_s, holding_time_log_sd: time in which client flow takes a position off a dealer. Prior.
        risk_aversion_median, risk_aversion_log_sd: γ per bp, for positions in units of daily volume. Prior.
        margin_floor_bps, margin_half_spread_share, margin_log_sd: competitive margin, median
            floor + share × half-spread, log-normal between dealers. Prior until fitted on won and lost quotes.
        ttl_exercise_median, ttl_exercise_log_sd: share of the at-the-money option value of a firm quote that
            clients realise. Prior.
        temporary_size_exponent: 0.6, Almgren et al. 2005. Permanent impact is linear in size (ibid.).
        information_time_share: time constant of the arrival of information as share of the horizon. Prior.
        leg_correlation: correlation of the legs' mids in packages. Prior.
        participation_max, depth_share_max: a schedule takes at most this share of volume, or else its child orders at
            most this share of the resting depth. Convention.
        slice_interval_s: distance of the child orders of a schedule. Convention.
        counter_delay_s: time a counter takes. Prior.
        counter_affordable_min: no counter below what this share of such dealers could afford. Convention.
        counter_concession: chance that a dealer concedes a price above his break-even. Prior.
        wait_s: how long a decision to wait lasts. Convention.
        pending_response: chance that a dealer who has not answered yet does so in that time. Prior.
        counter_fade: chance that he withdraws the quote when countered. Prior.
        reference_ttl_s: life of a quote for the fair range of the request as a whole. Convention (default TTL).
        rival_draws_max: most dealers drawn for the best of N. Bounds the cost of a score.
    """

    thresholds_bps: tuple[float, ...] = (2.0, 5.0, 10.0, 20.0)
    dear_below: float = 0.10
    cheap_above: float = 0.95
    microprice_weight: float = 0.25
    risk_weight: float = 0.10
    cvar_level: float = 0.95
    processing_bps: float = 0.05
    dealer_fee_share: float = 0.5
    half_spread_log_sd: float = 0.2
    inventory_sd: float = 0.5
    holding_time_median_s: float = 600.0
    holding_time_log_sd: float = 1.0
    risk_aversion_median: float = 1.0
    risk_aversion_log_sd: float = 0.7
    margin_floor_bps: float = 0.2
    margin_half_spread_share: float = 0.25
    margin_log_sd: float = 0.6
    ttl_exercise_median: float = 0.1
    ttl_exercise_log_sd: float = 0.5
    temporary_size_exponent: float = 0.6
    information_time_share: float = 1.0 / 3.0
    leg_correlation: float = 0.8
    participation_max: float = 0.25
    depth_share_max: float = 0.5
    slice_interval_s: float = 10.0
    counter_delay_s: float = 5.0
    counter_affordable_min: float = 0.25
    counter_concession: float = 0.5
    counter_fade: float = 0.2
    wait_s: float = 10.0
    pending_response: float = 0.5
    reference_ttl_s: float = 30.0
    rival_draws_max: int = 16

    def __post_init__(self) -> None:
        require(len(self.thresholds_bps) >= 3, "at least three thresholds")
        require(0.0 <= self.dear_below < self.cheap_above <= 1.0, "dear_below lies under cheap_above")
        require(0.0 <= self.risk_weight <= 1.0 and 0.0 < self.cvar_level < 1.0, "weights lie in [0, 1]")
        require(0.0 <= self.counter_affordable_min < 1.0, "counter_affordable_min lies in [0, 1)")


class EvaluationInputs(msgspec.Struct, frozen=True, gc=False):
    """One call of the scorer.

    Attributes:
        now_ns: UTC time of the score.
        seed: seed of the dealers' unobserved states, from the artifact.
    """

    request: RequestInputs
    quotes: tuple[QuoteInputs, ...]
    now_ns: int
    seed: int
    parameters: EvaluationParameters = msgspec.field(default_factory=EvaluationParameters)
