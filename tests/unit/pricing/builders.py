"""Small builders for pricing tests: one linear and one inverse instrument, a market, a dealer, a request."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from pricing.inputs import AdverseSelectionForecast, DealerParameters, LegInputs, PricingInputs
from pricing.inventory import RequestFlow
from pricing.win_curve import WinCurve
from rfq_service.domain.identifiers import InstrumentId
from rfq_service.domain.instrument import ContractType, Instrument, InstrumentKind
from rfq_service.domain.market import ClockSource, Level, MarketSnapshot, MarketStatistics
from rfq_service.domain.rfq import Leg, RfqTerms, SizeMode
from rfq_service.domain.units import NS_PER_S, RequestSide, Side

NOW_NS = 1_800_000_000 * NS_PER_S
MILLION = 1_000_000.0


def instrument(name: str = "TEST.SPOT.NEXOUSDT", contract_type: ContractType = ContractType.LINEAR) -> Instrument:
    inverse = contract_type is ContractType.INVERSE
    return Instrument(
        instrument_id=InstrumentId(name),
        venue="TEST",
        symbol=name.rsplit(".", maxsplit=1)[-1],
        kind=InstrumentKind.PERPETUAL if inverse else InstrumentKind.SPOT,
        contract_type=contract_type,
        base_currency="NEXO",
        quote_currency="USDT",
        settlement_currency="NEXO" if inverse else "USDT",
        tick_size=Decimal("0.0001"),
        lot_size=Decimal("0.01"),
        multiplier=Decimal(100) if inverse else Decimal(1),
        quantity_min=Decimal("0.01"),
        quantity_max=Decimal(10**12),
        staleness_limit_ns=5 * NS_PER_S,
        taker_fee_bps=Decimal(10),
    )


def statistics(volatility: float | None = 300.0) -> MarketStatistics:
    return MarketStatistics(
        volatility_bps_sqrt_day=volatility,
        volume_per_day_notional=1.5e6,
        depth_notional=6_500.0,
        spread_bps=8.0,
        imbalance=0.0,
        observed_s=3_600.0,
    )


def market(
    of: Instrument, bid: str = "0.9996", ask: str = "1.0004", age_s: float = 0.1, volatility: float | None = 300.0
) -> MarketSnapshot:
    at_ns = NOW_NS - round(age_s * NS_PER_S)
    return MarketSnapshot(
        instrument_id=of.instrument_id,
        ts_event_ns=at_ns,
        ts_init_ns=at_ns,
        recorded_ts_ns=None,
        clock_source=ClockSource.EXCHANGE,
        source_count=1,
        sequence=1,
        bids=(Level(Decimal(bid), Decimal(5_000)),),
        asks=(Level(Decimal(ask), Decimal(5_000)),),
        statistics=statistics(volatility),
    )


def parameters(**changes: object) -> DealerParameters:
    win_curve = WinCurve(-1.0, 0.5)
    base = DealerParameters(
        win_curve=win_curve,
        flow=(RequestFlow(10_000.0, 100.0, win_curve), RequestFlow(50_000.0, 10.0, win_curve)),
        risk_aversion_per_bps_notional=2e-9,
        processing_bps=0.2,
        parameter_aversion=0.25,
        adverse_selection_sd_limit_bps=20.0,
        inventory_limit_notional=1e6,
        size_limit_notional=5e5,
        price_collar_bps=200.0,
        quote_ttl_ns=30 * NS_PER_S,
        market_age_limit_ns=5 * NS_PER_S,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def leg(
    of: Instrument | None = None,
    inventory: str | Decimal = "0",
    adverse_bps: float = 1.0,
    sd_bps: float = 0.0,
    dealer: DealerParameters | None = None,
    book: MarketSnapshot | None = None,
    fair_value_offset_bps: float = 0.0,
) -> LegInputs:
    of = of or instrument()
    return LegInputs(
        instrument=of,
        market=book or market(of),
        inventory=Decimal(inventory),
        parameters=dealer or parameters(),
        adverse_selection=AdverseSelectionForecast(adverse_bps, sd_bps),
        fair_value_offset_bps=fair_value_offset_bps,
    )


def request(
    *legs: LegInputs,
    side: RequestSide = RequestSide.TWO_WAY,
    quantity: str | Decimal = "20000",
    increment: str | Decimal = "0.0000000001",
    leg_sides: tuple[Side, ...] = (),
    expires_in_s: float = 300.0,
) -> PricingInputs:
    sides = leg_sides or (Side.BUY,) * len(legs)
    terms = RfqTerms(
        legs=tuple(
            Leg(given.instrument.instrument_id, direction, Decimal(1))
            for given, direction in zip(legs, sides, strict=True)
        ),
        side=side,
        quantity=Decimal(quantity),
        size_mode=SizeMode.ALL_OR_NONE,
        minimum_quantity=None,
        price_increment=Decimal(increment),
        created_at_ns=NOW_NS - NS_PER_S,
        expires_at_ns=NOW_NS + round(expires_in_s * NS_PER_S),
    )
    return PricingInputs(terms=terms, quantity=Decimal(quantity), legs=legs, now_ns=NOW_NS)
