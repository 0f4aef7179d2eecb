"""Feeds: where raw messages come from and when.

A stream is one instrument's messages in order, each with the exchange time at which it is due. A feed plays all
streams of a recording on one clock of its own; a live feed is the same without a clock of its own.
"""

from __future__ import annotations

import asyncio
import gzip
import heapq
import math
import statistics
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rfq_service.domain.clock import Clock
from rfq_service.domain.errors import require
from rfq_service.domain.identifiers import InstrumentId
from rfq_service.domain.instrument import Instrument
from rfq_service.domain.market import ClockSource
from rfq_service.domain.units import NS_PER_S
from rfq_service.market_data.binance import event_time_ns
from rfq_service.market_data.board import TimeMap
from rfq_service.market_data.ingest import InstrumentIngest

# (time due on the feed's clock, raw message)
TimedMessage = tuple[int, bytes]
# (instrument, arrival on the feed's clock, raw message)
FeedMessage = tuple[InstrumentId, int, bytes]

SLICE_NS = 2_000_000
WAKE_INTERVAL_S = 0.005
# A loop's next pass warms up while this one plays its last seconds, or the market would stand still meanwhile.
NEARLY_OVER_S = 10.0
# A wall clock that is this far from where it should be has been set, or the machine has slept; less is slewing.
CLOCK_STEP_NS = NS_PER_S
_OFFSET_SAMPLES = 255
_OFFSET_UPDATE_EVERY = 64


class MessageStream(Protocol):
    """One instrument's raw messages, and how to make sense of them."""

    @property
    def instrument(self) -> Instrument:
        """The instrument all messages are about."""

    def messages(self) -> Iterator[TimedMessage]:
        """From the start, due times never decreasing."""

    def new_ingest(self) -> InstrumentIngest:
        """A fresh ingest for one pass."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Streams recorded (or generated) at the same time, to be played on one clock.

    Attributes:
        warmup_s: market time that is played as fast as possible, so that statistics exist when service starts.
        loop_s: market time after which a loop starts again: where the first stream ends, if others go on.
    """

    name: str
    clock_source: ClockSource
    warmup_s: float
    streams: tuple[MessageStream, ...]
    loop_s: float = math.inf


class ExchangeTimeline:
    """Puts every message on the exchange's clock, without looking ahead.

    A message without exchange time gets its local time plus the running median of exchange − local. Times never
    decrease: a message is due no earlier than its own exchange time and no earlier than the message before it.
    """

    def __init__(self) -> None:
        self._offsets: deque[int] = deque(maxlen=_OFFSET_SAMPLES)
        self._offset_ns: int | None = None
        self._since_update = 0
        self._now_ns = 0

    def place(self, local_ns: int, exchange_ns: int) -> int | None:
        """Due time of a message, ``None`` while no exchange time has been seen; ``exchange_ns`` is 0 if it has none."""
        if exchange_ns:
            self._learn(exchange_ns - local_ns)
        elif self._offset_ns is None:
            return None
        else:
            exchange_ns = local_ns + self._offset_ns
        self._now_ns = max(self._now_ns, exchange_ns)
        return self._now_ns

    def _learn(self, offset_ns: int) -> None:
        self._offsets.append(offset_ns)
        self._since_update += 1
        if self._offset_ns is None or self._since_update >= _OFFSET_UPDATE_EVERY or len(self._offsets) < 8:
            self._offset_ns = round(statistics.median(self._offsets))
            self._since_update = 0


def read_lines(files: tuple[Path, ...], local_time_unit_ns: int) -> Iterator[tuple[int, bytes]]:
    """Local receive time (UTC ns) and raw message of each ``<local time> <json>`` line, file after file."""
    for path in files:
        with gzip.open(path, "rb") as lines:
            for line in lines:
                local_time, _, raw = line.partition(b" ")
                yield int(local_time) * local_time_unit_ns, raw


def on_exchange_time(lines: Iterator[tuple[int, bytes]]) -> Iterator[TimedMessage]:
    """Recorded lines with the exchange time at which they are due; the first ones wait for the first known time."""
    timeline = ExchangeTimeline()
    held: list[bytes] = []
    for local_ns, raw in lines:
        due_ns = timeline.place(local_ns, event_time_ns(raw))
        if due_ns is None:
            held.append(raw)
            continue
        if held:
            yield from ((due_ns, earlier) for earlier in held)
            held.clear()
        yield due_ns, raw


def merged(streams: tuple[MessageStream, ...]) -> Iterator[tuple[int, int, bytes]]:
    """(due time, stream index, raw) of all streams in order of time."""

    def tagged(index: int, stream: MessageStream) -> Iterator[tuple[int, int, bytes]]:
        return ((due_ns, index, raw) for due_ns, raw in stream.messages())

    return heapq.merge(*(tagged(index, stream) for index, stream in enumerate(streams)), key=lambda item: item[0])


class Feed(Protocol):
    """Raw messages as they arrive, live or replayed."""

    @property
    def time_map(self) -> TimeMap | None:
        """From the feed's clock to wall time, another after a jump of the latter; ``None`` while a replay warms up."""

    def __aiter__(self) -> AsyncIterator[FeedMessage]:
        """Messages in order of arrival."""


class FileReplayFeed:
    """Plays a recording once: the warm-up as fast as possible, the rest at ``speed`` times real time.

    The feed's clock is recorded exchange time. When the warm-up ends, one offset is fixed for the whole recording so
    that recorded now is wall now, and fixed anew only when the wall clock jumps; no message is delivered before its
    recorded time. The event loop gets its turn at least every 2 ms of work.

    Args:
        recording: what to play.
        clock: wall clock.
        speed: market seconds per second; infinity plays everything as fast as possible.
        warmup_s: overrides the recording's own.
        length_s: stop after so much market time.
        is_gentle: work at most half of the time while warming up, because others are being served.
    """

    def __init__(
        self,
        recording: Recording,
        clock: Clock,
        speed: float = 1.0,
        warmup_s: float | None = None,
        *,
        length_s: float = math.inf,
        is_gentle: bool = False,
    ) -> None:
        require(speed > 0, "a replay goes forward")
        self._recording = recording
        self._clock = clock
        self._speed = speed
        self._warmup_ns = round((recording.warmup_s if warmup_s is None else warmup_s) * NS_PER_S)
        self._length_ns = length_s * NS_PER_S
        self._pause_s = SLICE_NS / NS_PER_S if is_gentle else 0.0
        self._nearly_over_ns = self._length_ns - NEARLY_OVER_S * speed * NS_PER_S
        self._feed_zero_ns = 0
        self._started_monotonic_ns = 0
        self.nearly_over = asyncio.Event()
        self.time_map: TimeMap | None = None

    async def __aiter__(self) -> AsyncIterator[FeedMessage]:
        """Deliver (instrument, arrival on the feed's clock, raw message)."""
        instrument_ids = [stream.instrument.instrument_id for stream in self._recording.streams]
        first_ns: int | None = None
        slice_end_ns = time.perf_counter_ns() + SLICE_NS
        for due_ns, index, raw in merged(self._recording.streams):
            first_ns = due_ns if first_ns is None else first_ns
            if due_ns - first_ns > self._length_ns:
                break
            if due_ns - first_ns > self._nearly_over_ns and self.time_map is not None:
                self.nearly_over.set()
            arrival_ns = due_ns
            if due_ns - first_ns > self._warmup_ns and not math.isinf(self._speed):
                if self.time_map is None:
                    self.time_map = TimeMap(due_ns, self._clock.now_ns(), self._speed)
                    self._feed_zero_ns, self._started_monotonic_ns = due_ns, self._clock.monotonic_ns()
                arrival_ns = await self._wait_until(due_ns)
            if time.perf_counter_ns() >= slice_end_ns:
                await asyncio.sleep(0.0 if self.time_map else self._pause_s)
                slice_end_ns = time.perf_counter_ns() + SLICE_NS
            yield instrument_ids[index], arrival_ns, raw
        self.nearly_over.set()

    async def _wait_until(self, due_ns: int) -> int:
        """Sleep until the recorded time has come; returns the feed's clock then.

        Waits on the monotonic clock: a wall clock that is set back must not stop the market.
        """
        while (left_ns := due_ns - self._feed_now_ns()) > 0:
            # a whole batch per wake-up costs a fraction of a wake-up per message
            await asyncio.sleep(max(left_ns / self._speed / NS_PER_S, WAKE_INTERVAL_S))
            self._follow_wall_clock()
        return self._feed_now_ns()

    def _feed_now_ns(self) -> int:
        played_ns = self._clock.monotonic_ns() - self._started_monotonic_ns
        return self._feed_zero_ns + round(played_ns * self._speed)

    def _follow_wall_clock(self) -> None:
        """Date the market anew after a jump: it would look stale, or fresh, for as long as it is played."""
        feed_ns, wall_ns = self._feed_now_ns(), self._clock.now_ns()
        if self.time_map is not None and abs(self.time_map.to_wall(feed_ns) - wall_ns) > CLOCK_STEP_NS:
            self.time_map = TimeMap(feed_ns, wall_ns, self._speed)
