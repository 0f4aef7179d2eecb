"""One-minute bars of a market, with the snapshot that stood at the end of each: what history keeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from rfq_service.domain.clock import SimClock
from rfq_service.domain.errors import require
from rfq_service.domain.identifiers import InstrumentId
from rfq_service.domain.instrument import Instrument
from rfq_service.domain.market import ClockSource, MarketSnapshot
from rfq_service.domain.units import BPS, EXACT, NS_PER_S
from rfq_service.market_data.board import IDENTITY, Board
from rfq_service.market_data.feeds import MessageStream
from rfq_service.market_data.ingest import InstrumentIngest
from rfq_service.market_data.statistics import DEPTH_LEVELS

BAR_NS = 60 * NS_PER_S


@dataclass(frozen=True, slots=True)
class MarketBar:
    """One minute of one market, from ``start_ns`` on (recorded exchange time, UTC).

    Attributes:
        open_mid: mid at the start of the minute (the first one of the first minute).
        volume: traded quantity, instrument units.
        volume_notional: the same in quote currency.
        spread_bps: mean full spread over the minute's seconds, bps of mid.
        depth_notional: mean over the seconds of both sides' mean notional on the best five levels.
        snapshot: the market at the end of the minute; ``None`` where the book was unusable.
    """

    instrument_id: InstrumentId
    start_ns: int
    open_mid: Decimal
    high_mid: Decimal
    low_mid: Decimal
    close_mid: Decimal
    volume: Decimal
    volume_notional: float
    trade_count: int
    spread_bps: float
    depth_notional: float
    snapshot: MarketSnapshot | None


class _BarBuilder:
    """Collects one minute; sums only."""

    def __init__(self, start_ns: int, twice_mid: int) -> None:
        self.start_ns = start_ns
        self.open = self.high = self.low = self.close = twice_mid
        self.volume_units = 0
        self.volume_notional = 0.0
        self.trades = 0
        self.spread_sum_bps = 0.0
        self.depth_sum = 0.0
        self.samples = 0

    def on_book(self, twice_mid: int) -> None:
        self.close = twice_mid
        self.high = max(self.high, twice_mid)
        self.low = min(self.low, twice_mid)

    def sample(self, ingest: InstrumentIngest) -> None:
        """Look at the book once; called for every second of the minute."""
        bid_ticks, _, ask_ticks, _ = ingest.book.touch()
        levels = ingest.book.top_bids(DEPTH_LEVELS) + ingest.book.top_asks(DEPTH_LEVELS)
        self.spread_sum_bps += 2.0 * BPS * (ask_ticks - bid_ticks) / (ask_ticks + bid_ticks)
        self.depth_sum += 0.5 * sum(ingest.statistics.notional(ticks, units) for ticks, units in levels)
        self.samples += 1

    def build(self, instrument: Instrument, quantity_step: Decimal, snapshot: MarketSnapshot | None) -> MarketBar:
        half_tick = instrument.tick_size / 2
        open_mid, high_mid, low_mid, close_mid = (
            EXACT.multiply(Decimal(twice_mid), half_tick) for twice_mid in (self.open, self.high, self.low, self.close)
        )
        samples = max(1, self.samples)
        return MarketBar(
            instrument_id=instrument.instrument_id,
            start_ns=self.start_ns,
            open_mid=open_mid,
            high_mid=high_mid,
            low_mid=low_mid,
            close_mid=close_mid,
            volume=EXACT.multiply(Decimal(self.volume_units), quantity_step),
            volume_notional=self.volume_notional,
            trade_count=self.trades,
            spread_bps=self.spread_sum_bps / samples,
            depth_notional=self.depth_sum / samples,
            snapshot=snapshot,
        )


def summarise(stream: MessageStream, clock_source: ClockSource = ClockSource.REPLAY) -> Iterator[MarketBar]:
    """Bars of every minute in which the stream's book was usable, oldest first; the last one may be a part of one."""
    ingest = stream.new_ingest()
    clock = SimClock(0)
    board = Board(clock)
    board.install(ingest, IDENTITY, clock_source)
    builder: _BarBuilder | None = None
    second_ns = 0

    def closed(bar: _BarBuilder, at_ns: int) -> MarketBar:
        clock.advance(at_ns - clock.now_ns())
        snapshot = board.snapshot(stream.instrument.instrument_id)
        return bar.build(stream.instrument, ingest.quantity_step, snapshot)

    for due_ns, raw in stream.messages():
        while builder is not None and second_ns <= due_ns:
            if ingest.is_usable:
                builder.sample(ingest)
            second_ns += NS_PER_S
            if second_ns - builder.start_ns > BAR_NS:
                yield closed(builder, builder.start_ns + BAR_NS)
                builder = _next_builder(builder, ingest, due_ns)
        trades_before = ingest.counts.trades
        ingest.process(raw, due_ns)
        if ingest.is_usable:
            bid_ticks, _, ask_ticks, _ = ingest.book.touch()
            if builder is None:
                builder = _BarBuilder(due_ns // BAR_NS * BAR_NS, bid_ticks + ask_ticks)
                second_ns = due_ns // NS_PER_S * NS_PER_S + NS_PER_S
            builder.on_book(bid_ticks + ask_ticks)
        if builder is not None and ingest.counts.trades > trades_before:
            _count_trade(builder, ingest)
    if builder is not None:
        yield closed(builder, max(ingest.last_event_ns, builder.start_ns))


def _next_builder(done: _BarBuilder, ingest: InstrumentIngest, due_ns: int) -> _BarBuilder | None:
    """The following minute's bar; none while the book is unusable."""
    require(done.start_ns + BAR_NS <= due_ns, "bars follow time")
    return _BarBuilder(done.start_ns + BAR_NS, done.close) if ingest.is_usable else None


def _count_trade(builder: _BarBuilder, ingest: InstrumentIngest) -> None:
    _, trade = ingest.recent_trades[-1]
    builder.trades += 1
    builder.volume_units += trade.quantity_units
    builder.volume_notional += ingest.statistics.notional(trade.price_ticks, trade.quantity_units)
