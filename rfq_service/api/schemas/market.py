"""Instruments and the board on the wire."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from rfq_service.api.schemas.wire import (
    Bps,
    DecimalText,
    InstrumentText,
    TimeText,
    WireOut,
    decimal_text,
    finite,
    optional_finite,
)
from rfq_service.domain.clock import format_timestamp
from rfq_service.domain.instrument import ContractType, Instrument, InstrumentKind
from rfq_service.domain.market import ClockSource, Level, MarketSnapshot, MarketStatistics
from rfq_service.domain.measures import spread_bps
from rfq_service.domain.units import NS_PER_MS, NS_PER_S

MarketStatus = Literal["live", "stale", "no_market"]


class InstrumentOut(WireOut, frozen=True):
    """What can be traded, and on which grid."""

    instrument_id: InstrumentText
    venue: str
    symbol: str
    kind: InstrumentKind
    contract_type: ContractType
    base_currency: str
    quote_currency: str
    settlement_currency: str
    tick_size: DecimalText
    lot_size: DecimalText
    multiplier: DecimalText
    quantity_min: DecimalText
    quantity_max: DecimalText
    staleness_limit_s: Annotated[
        float, msgspec.Meta(description="A market older than this gives no score and no quote.")
    ]
    taker_fee_bps: DecimalText
    expires_at: TimeText | None


class InstrumentListOut(WireOut, frozen=True):
    """Every instrument."""

    items: list[InstrumentOut]


class LevelOut(WireOut, frozen=True):
    """One price level of the book."""

    price: DecimalText
    quantity: DecimalText


class StatisticsOut(WireOut, frozen=True):
    """What has been measured of the market so far; ``null`` until enough has been seen."""

    volatility_bps_sqrt_day: float | None
    volume_per_day_notional: float | None
    depth_notional: float | None
    spread_bps: float | None
    imbalance: float | None
    observed_s: float


class BoardRowOut(WireOut, frozen=True):
    """The market of one instrument in a line."""

    instrument_id: InstrumentText
    status: Annotated[MarketStatus, msgspec.Meta(description="Only a live market gives scores and quotes.")]
    bid: DecimalText | None = None
    ask: DecimalText | None = None
    mid: DecimalText | None = None
    spread_bps: Bps | None = None
    age_ms: float | None = None
    observed_at: TimeText | None = None
    recorded_at: Annotated[TimeText | None, msgspec.Meta(description="Original time of a replayed recording.")] = None
    clock_source: ClockSource | None = None
    source_count: int | None = None
    sequence: int | None = None
    statistics: StatisticsOut | None = None


class BoardOut(WireOut, frozen=True):
    """Every market."""

    items: list[BoardRowOut]


class BookOut(WireOut, frozen=True):
    """One market with its levels, best first."""

    market: BoardRowOut
    bids: list[LevelOut]
    asks: list[LevelOut]


def instrument_out(instrument: Instrument) -> InstrumentOut:
    """Wire form of an instrument."""
    return InstrumentOut(
        instrument_id=instrument.instrument_id,
        venue=instrument.venue,
        symbol=instrument.symbol,
        kind=instrument.kind,
        contract_type=instrument.contract_type,
        base_currency=instrument.base_currency,
        quote_currency=instrument.quote_currency,
        settlement_currency=instrument.settlement_currency,
        tick_size=decimal_text(instrument.tick_size),
        lot_size=decimal_text(instrument.lot_size),
        multiplier=decimal_text(instrument.multiplier),
        quantity_min=decimal_text(instrument.quantity_min),
        quantity_max=decimal_text(instrument.quantity_max),
        staleness_limit_s=instrument.staleness_limit_ns / NS_PER_S,
        taker_fee_bps=decimal_text(instrument.taker_fee_bps),
        expires_at=None if instrument.expires_at_ns is None else format_timestamp(instrument.expires_at_ns),
    )


def board_row_out(instrument: Instrument, snapshot: MarketSnapshot | None, now_ns: int) -> BoardRowOut:
    """Wire form of a market at ``now_ns``."""
    if snapshot is None:
        return BoardRowOut(instrument_id=instrument.instrument_id, status="no_market")
    age_ns = snapshot.age_ns(now_ns)
    recorded_ns = snapshot.recorded_ts_ns
    return BoardRowOut(
        instrument_id=instrument.instrument_id,
        status="stale" if age_ns > instrument.staleness_limit_ns else "live",
        bid=decimal_text(snapshot.best_bid),
        ask=decimal_text(snapshot.best_ask),
        mid=decimal_text(snapshot.mid),
        spread_bps=finite(spread_bps(snapshot.best_bid, snapshot.best_ask)),
        age_ms=age_ns / NS_PER_MS,
        observed_at=format_timestamp(snapshot.ts_event_ns),
        recorded_at=None if recorded_ns is None else format_timestamp(recorded_ns),
        clock_source=snapshot.clock_source,
        source_count=snapshot.source_count,
        sequence=snapshot.sequence,
        statistics=_statistics_out(snapshot.statistics),
    )


def book_out(instrument: Instrument, snapshot: MarketSnapshot | None, now_ns: int) -> BookOut:
    """Wire form of a market with its levels."""
    row = board_row_out(instrument, snapshot, now_ns)
    if snapshot is None:
        return BookOut(market=row, bids=[], asks=[])
    return BookOut(market=row, bids=_levels_out(snapshot.bids), asks=_levels_out(snapshot.asks))


def _levels_out(levels: tuple[Level, ...]) -> list[LevelOut]:
    return [LevelOut(price=decimal_text(level.price), quantity=decimal_text(level.quantity)) for level in levels]


def _statistics_out(statistics: MarketStatistics) -> StatisticsOut:
    return StatisticsOut(
        volatility_bps_sqrt_day=optional_finite(statistics.volatility_bps_sqrt_day),
        volume_per_day_notional=optional_finite(statistics.volume_per_day_notional),
        depth_notional=optional_finite(statistics.depth_notional),
        spread_bps=optional_finite(statistics.spread_bps),
        imbalance=optional_finite(statistics.imbalance),
        observed_s=finite(statistics.observed_s),
    )
