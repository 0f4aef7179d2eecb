"""Parameters for a dealer who has given none: everything in units of the instrument's own spread and volatility.

One holding time links the numbers: the inventory limit is what the dealer's request flow can turn over within it.
"""

from __future__ import annotations

import math

from pricing.inputs import DealerParameters
from pricing.inventory import RequestFlow
from pricing.win_curve import WinCurve, lambert_w_of_exp
from rfq_service.domain.instrument import Instrument
from rfq_service.domain.market import Level, MarketSnapshot
from rfq_service.domain.measures import spread_bps
from rfq_service.domain.units import NS_PER_S, S_PER_DAY

HOLDING_TIME_S = 3_600
"""How long inventory is held; an hour is the order of magnitude of a principal desk's internalisation in the papers."""

WIN_CURVE_ALPHA = -1.0
"""A quote at mid wins 73 % of the time, as in the published presets; the rest goes to clients who do not trade."""

SCALE_PER_HOLDING_SD = 0.025
"""Competitive markup where the lit spread says nothing: 1/40 of the mid's sd over the holding time, the keen end of
the published presets (1/40 to 1/5): 1.3 bps for BTC at 250 bps/√day, whose lit spread is 0.002 bps."""

PRICE_OF_RISK = 0.05
"""Holding the full limit over the holding time is charged a twentieth of the P&L's sd. Skew at the limit is then about
three times the competitive markup where volatility sets the scale."""

INVENTORY_LIMIT_PER_DAILY_VOLUME = 0.02
INVENTORY_LIMIT_PER_DEPTH = 10.0
SIZE_LIMIT_PER_INVENTORY_LIMIT = 0.5
COLLAR_MIN_BPS = 50.0
COLLAR_SCALES = 20.0
UNCERTAINTY_LIMIT_SCALES = 5.0
PARAMETER_AVERSION = 0.25
PROCESSING_BPS = 0.2
QUOTE_TTL_NS = 30 * NS_PER_S

_FLOW_SIZES_PER_LIMIT = (0.02, 0.05, 0.1, 0.25)
_DEPTH_LEVELS = 5
_SCALE_MIN_BPS = 0.01
_VOLATILITY_MIN_BPS_SQRT_DAY = 1.0


def default_parameters(market: MarketSnapshot, instrument: Instrument) -> DealerParameters:
    """Sensible parameters for an instrument at its present market.

    - The *scale* is the markup that competition leaves: the lit half-spread, or ``SCALE_PER_HOLDING_SD`` standard
      deviations over the holding time where that is more. The win curve is set so that without any cost the best
      markup is one scale; so 4 bps for NEXO (spread 8 bps) and a few bps for BTC come from the same constants.
    - The inventory limit is the larger of 2 % of daily volume and ten times the depth of the best five levels; half
      of it is the size limit. The flow brings it in on each side once per holding time, in equal parts by size.
    - γ follows from ``PRICE_OF_RISK``: ``γ/2·σ²q²τ = κ·σ·q·√τ`` at the limit, ``γ = 2κ/(σ√τ·q)``.

    Skew and size charge so move with σ and spread, and changing the currency unit changes no price.
    """
    volatility = market.statistics.volatility_bps_sqrt_day or 0.0
    holding_sd_bps = max(volatility, _VOLATILITY_MIN_BPS_SQRT_DAY) * math.sqrt(HOLDING_TIME_S / S_PER_DAY)
    scale_bps = _scale_bps(market, holding_sd_bps)
    limit = _inventory_limit_notional(market, instrument)
    win_curve = WinCurve(WIN_CURVE_ALPHA, (1.0 + lambert_w_of_exp(-1.0 - WIN_CURVE_ALPHA)) / scale_bps)
    return DealerParameters(
        win_curve=win_curve,
        flow=_flow(limit, win_curve),
        risk_aversion_per_bps_notional=2.0 * PRICE_OF_RISK / (holding_sd_bps * limit),
        processing_bps=PROCESSING_BPS,
        parameter_aversion=PARAMETER_AVERSION,
        adverse_selection_sd_limit_bps=UNCERTAINTY_LIMIT_SCALES * scale_bps,
        inventory_limit_notional=limit,
        size_limit_notional=SIZE_LIMIT_PER_INVENTORY_LIMIT * limit,
        price_collar_bps=max(COLLAR_MIN_BPS, COLLAR_SCALES * scale_bps),
        quote_ttl_ns=QUOTE_TTL_NS,
        market_age_limit_ns=instrument.staleness_limit_ns,
    )


def _scale_bps(market: MarketSnapshot, holding_sd_bps: float) -> float:
    """The time-weighted half-spread where it is known (the present one jumps), else the present one."""
    full_bps = market.statistics.spread_bps
    if full_bps is None:
        full_bps = spread_bps(market.best_bid, market.best_ask)
    return max(full_bps / 2.0, SCALE_PER_HOLDING_SD * holding_sd_bps, _SCALE_MIN_BPS)


def _inventory_limit_notional(market: MarketSnapshot, instrument: Instrument) -> float:
    depth = market.statistics.depth_notional
    if depth is None:
        depth = (_notional(market.bids, instrument) + _notional(market.asks, instrument)) / 2.0
    volume = market.statistics.volume_per_day_notional or 0.0
    return max(INVENTORY_LIMIT_PER_DAILY_VOLUME * volume, INVENTORY_LIMIT_PER_DEPTH * depth)


def _notional(levels: tuple[Level, ...], instrument: Instrument) -> float:
    return sum(float(instrument.notional(level.quantity, level.price)) for level in levels[:_DEPTH_LEVELS])


def _flow(limit: float, win_curve: WinCurve) -> tuple[RequestFlow, ...]:
    limits_per_day = S_PER_DAY / HOLDING_TIME_S / len(_FLOW_SIZES_PER_LIMIT)
    return tuple(
        RequestFlow(share * limit, limits_per_day / share, win_curve, PROCESSING_BPS) for share in _FLOW_SIZES_PER_LIMIT
    )
