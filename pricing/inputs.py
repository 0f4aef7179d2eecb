"""Everything a dealer's price may depend on, by value.

The information barrier starts here: there is no field for the client's limit price, the panel, rivals' quotes or any
evaluation, so pricing cannot use them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

from pricing.inventory import RequestFlow
from pricing.win_curve import WinCurve
from rfq_service.domain.errors import require
from rfq_service.domain.instrument import Instrument
from rfq_service.domain.market import MarketSnapshot
from rfq_service.domain.rfq import RfqTerms

CLOSED_FORM = "closed_form"


@dataclass(frozen=True, slots=True)
class DealerParameters:
    """One dealer's policy for one instrument. Notionals are in the instrument's quote currency.

    Attributes:
        win_curve: P(win | markup) of the request at hand.
        flow: requests expected in the long run, through which inventory is worked off.
        risk_aversion_per_bps_notional: γ, 1/(bps × notional); holding q for a day costs ``γσ²q²/2`` bps × notional.
        processing_bps: cost of booking, settling and funding a fill.
        parameter_aversion: ρ, how many sd of the *expected* adverse selection are charged on top of its mean.
        adverse_selection_sd_limit_bps: beyond this uncertainty the dealer declines.
        inventory_limit_notional: largest |inventory| a fill may lead to; fills that reduce it are always allowed.
        size_limit_notional: largest leg quoted.
        price_collar_bps: largest |client cost| ever quoted, before and after rounding.
        quote_ttl_ns: life of a quote.
        market_age_limit_ns: the dealer's own staleness limit; the instrument's applies as well.
    """

    win_curve: WinCurve
    flow: tuple[RequestFlow, ...]
    risk_aversion_per_bps_notional: float
    processing_bps: float
    parameter_aversion: float
    adverse_selection_sd_limit_bps: float
    inventory_limit_notional: float
    size_limit_notional: float
    price_collar_bps: float
    quote_ttl_ns: int
    market_age_limit_ns: int

    def __post_init__(self) -> None:
        for not_negative in (
            self.risk_aversion_per_bps_notional,
            self.parameter_aversion,
            self.adverse_selection_sd_limit_bps,
            self.inventory_limit_notional,
            self.size_limit_notional,
            self.price_collar_bps,
        ):
            require(math.isfinite(not_negative) and not_negative >= 0.0, "dealer parameters are finite, not negative")
        require(math.isfinite(self.processing_bps), "processing_bps is finite")
        require(self.quote_ttl_ns > 0 and self.market_age_limit_ns > 0, "lifetimes are positive")
        require(len(self.flow) > 0, "the flow has at least one kind of request")


@dataclass(frozen=True, slots=True)
class AdverseSelectionForecast:
    """``E[s(m_{t+h} − m_t)]`` of this request, given that the dealer wins it.

    Attributes:
        expected_bps: its mean; enters the price once.
        sd_bps: standard deviation of that *mean* over what is not known of the law, not of the market's move.
        source: which predictor made it.
    """

    expected_bps: float
    sd_bps: float
    source: str = CLOSED_FORM


@dataclass(frozen=True, slots=True)
class LegInputs:
    """One leg as this dealer sees it.

    Attributes:
        inventory: the dealer's position in instrument units (contracts, or base units), positive long.
        fair_value_offset_bps: the dealer's fair value less the mid, bps of mid, the same on both sides. It holds only
            what ``adverse_selection`` does not: a forecast that conditions on it already must leave it zero.
    """

    instrument: Instrument
    market: MarketSnapshot
    inventory: Decimal
    parameters: DealerParameters
    adverse_selection: AdverseSelectionForecast
    fair_value_offset_bps: float = 0.0


@dataclass(frozen=True, slots=True)
class PricingInputs:
    """A request to price.

    Attributes:
        terms: what every invited dealer is told.
        quantity: packages to quote for, at most ``terms.quantity``.
        legs: one per leg of the terms, in their order.
    """

    terms: RfqTerms
    quantity: Decimal
    legs: tuple[LegInputs, ...]
    now_ns: int

    def __post_init__(self) -> None:
        expected = tuple(leg.instrument_id for leg in self.terms.legs)
        given = tuple(leg.instrument.instrument_id for leg in self.legs)
        require(given == expected, "the pricing inputs have the legs of the terms, in their order")
        require(
            all(leg.market.instrument_id == leg.instrument.instrument_id for leg in self.legs),
            "each leg comes with its own instrument's market",
        )
        require(0 < self.quantity <= self.terms.quantity, "the quantity is positive, at most the RFQ's")
