"""Inputs for the scorer's tests, from plain numbers."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
from msgspec.structs import replace

from quote_eval.inputs import (
    EvaluationInputs,
    EvaluationParameters,
    LegInputs,
    LegMarket,
    Predictions,
    QuoteInputs,
    RequestInputs,
)
from quote_eval.numerics import stratified_normals
from rfq_service.domain.instrument import ContractType
from rfq_service.domain.rfq import SizeMode
from rfq_service.domain.units import NS_PER_S, RequestSide, Side

NOW_NS = 1_721_750_000 * NS_PER_S
DURATIONS_S = (10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
DRAWS = 256


def make_predictions(
    *,
    permanent=2.0,
    temporary_at_minute=3.0,
    information=4.0,
    volatility=250.0,
    half_spread=4.0,
    volume=1_500_000.0,
    draws=DRAWS,
    seed=1234,
) -> Predictions:
    """Draws around the given means, laws of Almgren's shape: temporary falls with duration to the power 0.6."""
    durations = np.array(DURATIONS_S)
    shocks = [stratified_normals(seed, stream, draws) for stream in range(3)]
    return Predictions(
        durations_s=durations,
        permanent_bps=permanent * (1.0 + 0.13 * shocks[0]),
        temporary_bps=temporary_at_minute * (durations[:, None] / 60.0) ** -0.6 * np.exp(0.1 * shocks[1]),
        information_bps=information * (1.0 + 0.2 * shocks[2]),
        information_market_sd_bps=volatility * (60.0 / 86_400.0) ** 0.5,
        horizon_s=60.0,
        volatility_bps_sqrt_day=volatility,
        volume_per_day_notional=volume,
        half_spread_bps=half_spread,
        depth_notional=6_500.0,
        model="closed_form 1",
        is_fallback=False,
        artifact_digest="ab" * 32,
    )


def make_leg(
    *,
    mid="1.2500",
    instrument_id="BINANCE.SPOT.NEXOUSDT",
    contract_type=ContractType.LINEAR,
    side=Side.BUY,
    ratio="1",
    multiplier="1",
    imbalance=0.0,
    age_ns=50_000_000,
    predictions=None,
    **of_predictions,
) -> LegInputs:
    law = predictions or make_predictions(**of_predictions)
    return LegInputs(
        instrument_id=instrument_id,
        contract_type=contract_type,
        side=side,
        ratio=Decimal(ratio),
        multiplier=Decimal(multiplier),
        market=LegMarket(
            mid=Decimal(mid),
            half_spread_bps=law.half_spread_bps,
            age_ns=age_ns,
            staleness_limit_ns=5 * NS_PER_S,
            imbalance=imbalance,
            taker_fee_bps=5.0,
        ),
        buying=law,
        selling=law,
    )


def make_quote(name, *, bid=None, ask=None, quantity="4000", ttl_s=30, received_at_ns=NOW_NS - NS_PER_S) -> QuoteInputs:
    def prices(value):
        if value is None:
            return None
        return tuple(Decimal(str(p)) for p in (value if isinstance(value, (tuple, list)) else (value,)))

    return QuoteInputs(
        quote_id=name,
        dealer=f"dealer {name}",
        bid=prices(bid),
        ask=prices(ask),
        quantity=Decimal(quantity),
        received_at_ns=received_at_ns,
        valid_until_ns=received_at_ns + ttl_s * NS_PER_S,
    )


def make_request(legs=None, **changes) -> RequestInputs:
    request = RequestInputs(
        rfq_id="rfq",
        side=RequestSide.BUY,
        legs=legs or (make_leg(),),
        quantity=Decimal(4000),
        quantity_step=Decimal("0.1"),
        size_mode=SizeMode.ANY_PART,
        minimum_quantity=None,
        limit_price=None,
        price_increment=Decimal("0.0001"),
        expires_at_ns=NOW_NS + 300 * NS_PER_S,
    )
    return replace(request, **changes)


ASKS = ("1.2506", "1.2509", "1.2511", "1.2514", "1.2530")


def make_inputs(request=None, quotes=None, parameters=None, seed=7) -> EvaluationInputs:
    return EvaluationInputs(
        request=request or make_request(),
        quotes=quotes if quotes is not None else tuple(make_quote(f"q{i}", ask=p) for i, p in enumerate(ASKS)),
        now_ns=NOW_NS,
        seed=seed,
        parameters=parameters or EvaluationParameters(),
    )
