"""Instruments and markets."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from rfq_service.client.schemas.enums import ClockSource, ContractType, InstrumentKind, MarketStatus
from rfq_service.client.values import Reply, TimeNs


class Instrument(Reply, frozen=True, kw_only=True):
    """What can be traded, and on which grid."""

    instrument_id: str
    venue: str
    symbol: str
    kind: InstrumentKind
    contract_type: ContractType
    base_currency: str
    quote_currency: str
    settlement_currency: str
    tick_size: Decimal
    lot_size: Decimal
    multiplier: Decimal
    quantity_min: Decimal
    quantity_max: Decimal
    staleness_limit_s: float
    taker_fee_bps: Decimal
    expires_at_ns: TimeNs | None = msgspec.field(name="expires_at")


class InstrumentList(Reply, frozen=True, kw_only=True):
    """Every instrument."""

    items: tuple[Instrument, ...]


class Level(Reply, frozen=True, kw_only=True):
    """One price level of the book."""

    price: Decimal
    quantity: Decimal


class Statistics(Reply, frozen=True, kw_only=True):
    """What has been measured of the market so far; ``null`` until enough has been seen."""

    volatility_bps_sqrt_day: float | None
    volume_per_day_notional: float | None
    depth_notional: float | None
    spread_bps: float | None
    imbalance: float | None
    observed_s: float


class BoardRow(Reply, frozen=True, kw_only=True):
    """The market of one instrument in a line."""

    instrument_id: str
    status: MarketStatus
    bid: Decimal | None = None
    ask: Decimal | None = None
    mid: Decimal | None = None
    spread_bps: float | None = None
    age_ms: float | None = None
    observed_at_ns: TimeNs | None = msgspec.field(name="observed_at", default=None)
    recorded_at_ns: TimeNs | None = msgspec.field(name="recorded_at", default=None)
    clock_source: ClockSource | None = None
    source_count: int | None = None
    sequence: int | None = None
    statistics: Statistics | None = None


class Board(Reply, frozen=True, kw_only=True):
    """Every market."""

    items: tuple[BoardRow, ...]


class Book(Reply, frozen=True, kw_only=True):
    """One market with its levels, best first."""

    market: BoardRow
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
