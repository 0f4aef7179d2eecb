"""Reference data and market history: nobody's secret."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from rfq_service.db.tables.base import (
    NAME_LENGTH_MAX,
    Base,
    finite,
    length,
    measured,
    not_negative,
    positive,
    times,
    word_of,
)
from rfq_service.domain.instrument import ContractType, InstrumentKind


class InstrumentRow(Base):
    """A tradable instrument; see ``rfq_service.domain.instrument.Instrument`` for the columns."""

    __tablename__ = "instrument"
    __table_args__ = (
        length("id", NAME_LENGTH_MAX),
        length("venue", NAME_LENGTH_MAX),
        length("symbol", NAME_LENGTH_MAX),
        length("base_currency", 20),
        length("quote_currency", 20),
        length("settlement_currency", 20),
        word_of("kind", InstrumentKind),
        word_of("contract_type", ContractType),
        *positive("tick_size", "lot_size", "multiplier", "quantity_min", "quantity_max"),
        *finite("taker_fee_bps"),
        *times("staleness_limit_ns", "expires_at_ns"),
        CheckConstraint("quantity_min <= quantity_max", "quantity_bounds"),
        CheckConstraint("(expires_at_ns IS NOT NULL) = (kind = 'dated_future')", "expiry_of_dated_future"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    venue: Mapped[str]
    symbol: Mapped[str]
    kind: Mapped[str]
    contract_type: Mapped[str]
    base_currency: Mapped[str]
    quote_currency: Mapped[str]
    settlement_currency: Mapped[str]
    tick_size: Mapped[Decimal]
    lot_size: Mapped[Decimal]
    multiplier: Mapped[Decimal]
    quantity_min: Mapped[Decimal]
    quantity_max: Mapped[Decimal]
    staleness_limit_ns: Mapped[int]
    taker_fee_bps: Mapped[Decimal]
    expires_at_ns: Mapped[int | None]


class MarketBarRow(Base):
    """One minute of the lit market: mids, traded volume (instrument units), trades, mean spread (bps) and depth.

    ``depth_notional`` is the mean quote-currency notional over both sides' best five levels.
    """

    __tablename__ = "market_bar"
    __table_args__ = (
        *times("start_ns"),
        *positive("open_mid", "high_mid", "low_mid", "close_mid"),
        *not_negative("volume"),
        *measured("spread_bps", "depth_notional"),
        CheckConstraint("trade_count >= 0", "trade_count"),
        CheckConstraint("low_mid <= least(open_mid, close_mid)", "lowest"),
        CheckConstraint("high_mid >= greatest(open_mid, close_mid)", "highest"),
    )

    instrument_id: Mapped[str] = mapped_column(ForeignKey("instrument.id"), primary_key=True)
    start_ns: Mapped[int] = mapped_column(primary_key=True)
    open_mid: Mapped[Decimal]
    high_mid: Mapped[Decimal]
    low_mid: Mapped[Decimal]
    close_mid: Mapped[Decimal]
    volume: Mapped[Decimal]
    trade_count: Mapped[int]
    spread_bps: Mapped[float]
    depth_notional: Mapped[float]
