"""The latest market of every instrument, in memory; what scores, quotes and the API read."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from rfq_service.domain.book import LevelChange
from rfq_service.domain.clock import Clock
from rfq_service.domain.identifiers import InstrumentId
from rfq_service.domain.instrument import Instrument
from rfq_service.domain.market import ClockSource, Level, MarketSnapshot, Trade
from rfq_service.domain.units import EXACT, Side, from_ticks
from rfq_service.market_data.ingest import IngestCounts, InstrumentIngest

SNAPSHOT_LEVELS = 20


@dataclass(frozen=True, slots=True)
class TimeMap:
    """Translates a feed's own clock to wall time: ``wall = wall_zero + (feed − feed_zero)/speed``.

    Live feeds run on wall time and use the identity; a replayed recording has one map for all its streams.
    """

    feed_zero_ns: int = 0
    wall_zero_ns: int = 0
    speed: float = 1.0

    def to_wall(self, feed_ns: int) -> int:
        """Wall time of a feed time."""
        return self.wall_zero_ns + self._scale(feed_ns - self.feed_zero_ns, 1.0 / self.speed)

    def to_feed(self, wall_ns: int) -> int:
        """Feed time of a wall time."""
        return self.feed_zero_ns + self._scale(wall_ns - self.wall_zero_ns, self.speed)

    @staticmethod
    def _scale(span_ns: int, factor: float) -> int:
        # integer arithmetic at real speed: a float cannot hold nanoseconds since 1970
        return span_ns if factor == 1.0 else round(span_ns * factor)


IDENTITY = TimeMap()


@dataclass(frozen=True, slots=True)
class InstrumentStatus:
    """Health of one instrument's feed; times are UTC nanoseconds, 0 before the first message."""

    instrument_id: InstrumentId
    is_usable: bool
    last_event_ns: int
    counts: IngestCounts
    faults: dict[str, int]
    clock_source: ClockSource


@dataclass(slots=True)
class _Entry:
    """What the board holds of one instrument; the levels are built once per book sequence."""

    instrument: Instrument
    ingest: InstrumentIngest | None = None
    time_map: TimeMap = IDENTITY
    clock_source: ClockSource = ClockSource.EXCHANGE
    levels_sequence: int = -1
    bids: tuple[Level, ...] = ()
    asks: tuple[Level, ...] = ()


class Board:
    """Latest snapshot per instrument, built when asked for.

    Args:
        clock: wall clock, to carry time-weighted statistics from the last change to now.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[InstrumentId, _Entry] = {}

    def register(self, instrument: Instrument) -> None:
        """Make an instrument known before its market is; registering it again changes nothing."""
        self._entries.setdefault(instrument.instrument_id, _Entry(instrument))

    def install(self, ingest: InstrumentIngest, time_map: TimeMap, clock_source: ClockSource) -> None:
        """Show this ingest's book from now on (a feed that has become ready, or the next pass of a replay)."""
        instrument = ingest.instrument
        self._entries[instrument.instrument_id] = _Entry(instrument, ingest, time_map, clock_source)

    def follow(self, ingest: InstrumentIngest, time_map: TimeMap) -> None:
        """Date this ingest's market anew, if it is still the one shown: its feed has seen the wall clock jump."""
        entry = self._entries[ingest.instrument.instrument_id]
        if entry.ingest is ingest:
            entry.time_map = time_map

    def instruments(self) -> tuple[Instrument, ...]:
        """Every known instrument, in the order of registration."""
        return tuple(entry.instrument for entry in self._entries.values())

    def instrument(self, instrument_id: InstrumentId) -> Instrument | None:
        """One instrument, ``None`` if unknown."""
        entry = self._entries.get(instrument_id)
        return entry.instrument if entry else None

    def snapshot(self, instrument_id: InstrumentId) -> MarketSnapshot | None:
        """The market now; ``None`` if the instrument is unknown or its book is not usable.

        How old is too old is the caller's decision (``MarketSnapshot.age_ns``, ``Instrument.staleness_limit_ns``).
        """
        entry = self._entries.get(instrument_id)
        if entry is None or entry.ingest is None or not entry.ingest.is_usable:
            return None
        ingest, to_wall = entry.ingest, entry.time_map.to_wall
        if entry.levels_sequence != ingest.book.sequence:
            self._build_levels(entry, ingest)
        is_replay = entry.clock_source in (ClockSource.REPLAY, ClockSource.SIMULATED)
        return MarketSnapshot(
            instrument_id=instrument_id,
            ts_event_ns=to_wall(ingest.book_event_ns),
            ts_init_ns=to_wall(ingest.book_init_ns),
            recorded_ts_ns=ingest.book_event_ns if is_replay else None,
            clock_source=entry.clock_source,
            source_count=2 if ingest.is_confirmed else 1,
            sequence=ingest.book.sequence,
            bids=entry.bids,
            asks=entry.asks,
            statistics=ingest.statistics.result(entry.time_map.to_feed(self._clock.now_ns())),
        )

    def recent_trades(self, instrument_id: InstrumentId) -> tuple[Trade, ...]:
        """The last public trades, oldest first (at most 256)."""
        entry = self._entries.get(instrument_id)
        if entry is None or entry.ingest is None:
            return ()
        instrument, step, to_wall = entry.instrument, entry.ingest.quantity_step, entry.time_map.to_wall
        return tuple(
            Trade(
                instrument_id=instrument_id,
                ts_event_ns=to_wall(trade.event_ns),
                ts_init_ns=to_wall(init_ns),
                trade_id=trade.trade_id,
                price=from_ticks(trade.price_ticks, instrument.tick_size),
                quantity=EXACT.multiply(Decimal(trade.quantity_units), step),
                aggressor=Side.BUY if trade.aggressor_sign > 0 else Side.SELL,
            )
            for init_ns, trade in entry.ingest.recent_trades
        )

    def status(self, instrument_id: InstrumentId) -> InstrumentStatus | None:
        """Health of one instrument's feed, ``None`` if unknown."""
        entry = self._entries.get(instrument_id)
        if entry is None:
            return None
        ingest = entry.ingest
        return InstrumentStatus(
            instrument_id=instrument_id,
            is_usable=ingest is not None and ingest.is_usable,
            last_event_ns=entry.time_map.to_wall(ingest.last_event_ns) if ingest and ingest.last_event_ns else 0,
            counts=ingest.counts if ingest else IngestCounts(),
            faults={str(fault): count for fault, count in ingest.faults.items()} if ingest else {},
            clock_source=entry.clock_source,
        )

    @staticmethod
    def _build_levels(entry: _Entry, ingest: InstrumentIngest) -> None:
        tick, step = entry.instrument.tick_size, ingest.quantity_step

        def levels(changes: list[LevelChange]) -> tuple[Level, ...]:
            return tuple(
                Level(from_ticks(ticks, tick), EXACT.multiply(Decimal(units), step)) for ticks, units in changes
            )

        entry.bids = levels(ingest.book.top_bids(SNAPSHOT_LEVELS))
        entry.asks = levels(ingest.book.top_asks(SNAPSHOT_LEVELS))
        entry.levels_sequence = ingest.book.sequence
