"""When not to quote. A refusal is a value with a stable reason; its detail is for the dealer's own eyes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from pricing.inputs import LegInputs, PricingInputs
from rfq_service.domain.units import NS_PER_S, Side


class DeclineReason(StrEnum):
    """Stable codes, in the order in which they are checked."""

    RFQ_EXPIRED = "RFQ_EXPIRED"
    STALE_MARKET = "STALE_MARKET"
    VOLATILITY_UNKNOWN = "VOLATILITY_UNKNOWN"
    FORECAST_UNCERTAIN = "FORECAST_UNCERTAIN"
    SIZE_LIMIT = "SIZE_LIMIT"
    INVENTORY_LIMIT = "INVENTORY_LIMIT"
    PRICE_COLLAR = "PRICE_COLLAR"
    CROSSED = "CROSSED"


@dataclass(frozen=True, slots=True)
class Decline:
    """A decision not to quote.

    Attributes:
        detail: one sentence for the dealer; it may name his limits, so it is never shown to the client.
    """

    reason: DeclineReason
    detail: str


def check_request(inputs: PricingInputs) -> Decline | None:
    """Refuse what cannot be priced now, whatever the size: expired, stale, or too little known."""
    expiries = [inputs.terms.expires_at_ns]
    expiries += [leg.instrument.expires_at_ns for leg in inputs.legs if leg.instrument.expires_at_ns is not None]
    if inputs.now_ns >= min(expiries):
        return Decline(DeclineReason.RFQ_EXPIRED, "the RFQ or an instrument of it has expired")
    for leg in inputs.legs:
        declined = _check_market(leg, inputs.now_ns) or _check_forecast(leg)
        if declined is not None:
            return declined
    return None


def _check_market(leg: LegInputs, now_ns: int) -> Decline | None:
    age_ns = leg.market.age_ns(now_ns)
    limit_ns = min(leg.instrument.staleness_limit_ns, leg.parameters.market_age_limit_ns)
    name = leg.instrument.instrument_id
    if age_ns > limit_ns:
        detail = f"{name}: the market is {age_ns / NS_PER_S:.3f} s old, the limit is {limit_ns / NS_PER_S:.3f} s"
        return Decline(DeclineReason.STALE_MARKET, detail)
    volatility = leg.market.statistics.volatility_bps_sqrt_day
    if volatility is None or not 0.0 <= volatility < math.inf:
        # Without it the risk of the position has no price; zero would be the cheapest guess, not a neutral one.
        return Decline(DeclineReason.VOLATILITY_UNKNOWN, f"{name}: too little market seen to measure volatility")
    return None


def _check_forecast(leg: LegInputs) -> Decline | None:
    forecast, limit_bps = leg.adverse_selection, leg.parameters.adverse_selection_sd_limit_bps
    finite = math.isfinite(forecast.expected_bps) and math.isfinite(leg.fair_value_offset_bps)
    if finite and 0.0 <= forecast.sd_bps <= limit_bps:
        return None
    known = f"adverse selection {forecast.expected_bps:.3f} ± {forecast.sd_bps:.3f} bps"
    detail = f"{leg.instrument.instrument_id}: {known}, the limit on its sd is {limit_bps:.3f} bps"
    return Decline(DeclineReason.FORECAST_UNCERTAIN, detail)


def check_size(leg: LegInputs, size_notional: float) -> Decline | None:
    """Refuse a leg above the dealer's size limit."""
    limit = leg.parameters.size_limit_notional
    if size_notional <= limit:
        return None
    detail = f"{leg.instrument.instrument_id}: notional {size_notional:.2f} is above the size limit {limit:.2f}"
    return Decline(DeclineReason.SIZE_LIMIT, detail)


def check_inventory(leg: LegInputs, side: Side, inventory_notional: float, size_notional: float) -> Decline | None:
    """Refuse a fill of the client's ``side`` that takes inventory beyond its limit; one that reduces it may."""
    after = inventory_notional - side.sign * size_notional
    limit = leg.parameters.inventory_limit_notional
    if abs(after) <= max(limit, abs(inventory_notional)):
        return None
    detail = f"{leg.instrument.instrument_id}: inventory would be {after:.2f}, the limit is {limit:.2f}"
    return Decline(DeclineReason.INVENTORY_LIMIT, detail)


def check_collar(leg: LegInputs, client_cost_bps: float) -> Decline | None:
    """Refuse a price further from the mid than the collar; written so that NaN is refused too."""
    collar_bps = leg.parameters.price_collar_bps
    if abs(client_cost_bps) <= collar_bps:
        return None
    detail = f"{leg.instrument.instrument_id}: {client_cost_bps:.3f} bps from mid, the collar is {collar_bps:.3f}"
    return Decline(DeclineReason.PRICE_COLLAR, detail)
