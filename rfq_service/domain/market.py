"""Market values: what the board knows of one instrument at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from rfq_service.domain.identifiers import InstrumentId
from rfq_service.domain.units import EXACT, Side

_HALF = Decimal("0.5")


class ClockSource(StrEnum):
    """Where a snapshot's event time comes from, best first."""

    EXCHANGE = "exchange"
    LOCAL = "local"
    REPLAY = "replay"
    SIMULATED = "simulated"


@dataclass(frozen=True, slots=True)
class Level:
    """One price level: exact price and total resting quantity in instrument units."""

    price: Decimal
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Trade:
    """One public trade. ``aggressor`` is the taker's side; both times are UTC nanoseconds."""

    instrument_id: InstrumentId
    ts_event_ns: int
    ts_init_ns: int
    trade_id: int
    price: Decimal
    quantity: Decimal
    aggressor: Side


@dataclass(frozen=True, slots=True)
class MarketStatistics:
    """What the board has measured of one instrument; ``None`` until enough has been seen.

    Attributes:
        volatility_bps_sqrt_day: volatility of the mid, bps per square root of a day.
        volume_per_day_notional: traded volume scaled to a day, quote currency.
        depth_notional: mean of both sides' resting quote-currency notional over the best five levels, time-weighted.
        spread_bps: time-weighted mean full spread, bps of mid.
        imbalance: time-weighted (≥ 1 s) touch imbalance (bid − ask)/(bid + ask) in [−1, 1].
        observed_s: seconds of market the figures rest on.
    """

    volatility_bps_sqrt_day: float | None
    volume_per_day_notional: float | None
    depth_notional: float | None
    spread_bps: float | None
    imbalance: float | None
    observed_s: float


@dataclass(frozen=True, slots=True)
class MarketSnapshot:
    """The book of one instrument at one moment, bids and asks best first, never empty and never crossed.

    Attributes:
        ts_event_ns: exchange time (UTC; shifted to now in a replay) of the last change seen.
        ts_init_ns: time it reached this process.
        recorded_ts_ns: original exchange time of a replayed recording, else ``None``.
        source_count: independent streams that confirm the touch (depth, best bid/offer).
        sequence: number of book changes applied; two snapshots with one number are the same book.
    """

    instrument_id: InstrumentId
    ts_event_ns: int
    ts_init_ns: int
    recorded_ts_ns: int | None
    clock_source: ClockSource
    source_count: int
    sequence: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    statistics: MarketStatistics

    @property
    def best_bid(self) -> Decimal:
        """Highest bid price."""
        return self.bids[0].price

    @property
    def best_ask(self) -> Decimal:
        """Lowest ask price."""
        return self.asks[0].price

    @property
    def mid(self) -> Decimal:
        """Plain mid, exact: the reference of every score, label and markout."""
        return EXACT.multiply(EXACT.add(self.best_bid, self.best_ask), _HALF)

    def age_ns(self, now_ns: int) -> int:
        """Time since the last change reached this process; never negative.

        The exchange's time does not count: a clock ahead of ours would make a market look fresh for ever, and one
        behind it would make a live market look dead.
        """
        return max(0, now_ns - self.ts_init_ns)
