"""From raw messages to a trusted book: one synchronous path for live feeds, replays and the simulated market."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from rfq_service.domain.book import OrderBook
from rfq_service.domain.instrument import Instrument
from rfq_service.domain.units import NS_PER_S
from rfq_service.market_data.events import (
    BadMessageError,
    Decoder,
    DepthDiff,
    DepthSnapshot,
    Fault,
    TopOfBook,
    TradePrint,
)
from rfq_service.market_data.statistics import StatisticsTracker

# Diffs that wait for a snapshot; at ten a second this is more than a minute, far longer than a snapshot takes.
WAITING_DIFFS_MAX = 1_000
RECENT_TRADES_MAX = 256
# An event time further ahead of our clock than this is a broken number, not a fast clock.
CLOCK_LEAD_NS_MAX: Final = 60 * NS_PER_S


@dataclass(slots=True)
class IngestCounts:
    """What came in so far, by kind."""

    messages: int = 0
    snapshots: int = 0
    diffs: int = 0
    trades: int = 0
    tops: int = 0


class InstrumentIngest:
    """Book, statistics and last trades of one instrument, fed raw message by raw message.

    A gap, a crossed book or an unreadable diff makes the book unusable until the next snapshot; nothing is guessed.
    Times are those of the feed that calls (UTC when live, the recording's own clock in a replay).
    """

    def __init__(self, instrument: Instrument, decoder: Decoder, quantity_step: Decimal) -> None:
        self.instrument = instrument
        self.quantity_step = quantity_step
        self.book = OrderBook()
        self.statistics = StatisticsTracker(instrument, float(quantity_step))
        self.counts = IngestCounts()
        self.faults: Counter[Fault] = Counter()
        self.recent_trades: deque[tuple[int, TradePrint]] = deque(maxlen=RECENT_TRADES_MAX)
        # time of the last message that told or confirmed the touch, and of the last message at all
        self.book_event_ns = 0
        self.book_init_ns = 0
        self.last_event_ns = 0
        self.last_top: TopOfBook | None = None
        self.decoder = decoder
        self._synchronised = False
        self._bridging = False
        self._last_id = 0
        self._waiting: deque[DepthDiff] = deque(maxlen=WAITING_DIFFS_MAX)

    @property
    def is_usable(self) -> bool:
        """Whether the book is known to be right and has both sides."""
        return self._synchronised and self.book.is_two_sided

    @property
    def is_confirmed(self) -> bool:
        """Whether the best bid/offer stream agrees with the touch of the book."""
        if self.last_top is None or not self.is_usable:
            return False
        bid_ticks, _, ask_ticks, _ = self.book.touch()
        return self.last_top.bid_ticks == bid_ticks and self.last_top.ask_ticks == ask_ticks

    def process(self, raw: bytes, ts_init_ns: int) -> None:
        """Take one raw message that arrived at ``ts_init_ns``; bad messages are counted, never raised."""
        self.counts.messages += 1
        try:
            event = self.decoder(raw)
            if event is None:
                return
            if event.event_ns > ts_init_ns + CLOCK_LEAD_NS_MAX:
                is_depth = isinstance(event, DepthDiff | DepthSnapshot)
                raise BadMessageError(Fault.MALFORMED, "event time ahead of our clock", is_depth=is_depth)
        except BadMessageError as error:
            self._reject(error)
            return
        # streams of one venue overtake each other by milliseconds: the instrument's clock only moves forward
        at_ns = max(self.last_event_ns, event.event_ns or ts_init_ns)
        self.last_event_ns = at_ns
        if isinstance(event, DepthDiff):
            self._on_diff(event, at_ns, ts_init_ns)
        elif isinstance(event, TopOfBook):
            self._on_top(event, at_ns, ts_init_ns)
        elif isinstance(event, TradePrint):
            self.counts.trades += 1
            self.statistics.on_trade(at_ns, event.price_ticks, event.quantity_units)
            self.recent_trades.append((ts_init_ns, event))
        else:
            self._on_snapshot(event, at_ns, ts_init_ns)

    def _on_diff(self, diff: DepthDiff, at_ns: int, ts_init_ns: int) -> None:
        if not self._synchronised:
            self._waiting.append(diff)
            return
        if diff.last_id <= self._last_id:
            self.faults[Fault.STALE_DIFF] += 1
            return
        follows = diff.previous_id <= self._last_id if self._bridging else diff.previous_id == self._last_id
        if not follows:
            self._lose(Fault.GAP)
            self._waiting.append(diff)
            return
        statistics, book = self.statistics, self.book
        if statistics.next_grid_ns is not None and at_ns >= statistics.next_grid_ns:
            statistics.before_change(at_ns, book)
        book.apply_diff(diff.bids, diff.asks)
        self.counts.diffs += 1
        self._last_id = diff.last_id
        self._bridging = False
        self._accept_book(at_ns, ts_init_ns)

    def _on_snapshot(self, snapshot: DepthSnapshot, at_ns: int, ts_init_ns: int) -> None:
        self.counts.snapshots += 1
        if self._synchronised and snapshot.last_id <= self._last_id:
            return
        statistics = self.statistics
        if statistics.next_grid_ns is not None and at_ns >= statistics.next_grid_ns:
            statistics.before_change(at_ns, self.book)
        self.book.apply_snapshot(snapshot.bids, snapshot.asks)
        self._last_id = snapshot.last_id
        self._synchronised = self._bridging = True
        self._accept_book(at_ns, ts_init_ns)
        waiting = list(self._waiting)
        self._waiting.clear()
        for diff in waiting:
            self._on_diff(diff, at_ns, ts_init_ns)

    def _on_top(self, top: TopOfBook, at_ns: int, ts_init_ns: int) -> None:
        """A best bid/offer stream only confirms the book: where it agrees, the book is as fresh as this message."""
        self.counts.tops += 1
        self.last_top = top
        if self.is_confirmed:
            self.book_event_ns = at_ns
            self.book_init_ns = ts_init_ns

    def _accept_book(self, at_ns: int, ts_init_ns: int) -> None:
        book = self.book
        if not book.is_two_sided:
            self.statistics.pause()
        elif book.is_crossed:
            self._lose(Fault.CROSSED)
        else:
            self.statistics.after_change(at_ns, book)
            self.book_event_ns = at_ns
            self.book_init_ns = ts_init_ns

    def _reject(self, error: BadMessageError) -> None:
        if error.is_depth and self._synchronised:
            self._lose(error.fault)
        else:
            self.faults[error.fault] += 1

    def _lose(self, fault: Fault) -> None:
        """The book can no longer be trusted: give none until a snapshot comes."""
        self.faults[fault] += 1
        self._synchronised = False
        self.statistics.pause()
