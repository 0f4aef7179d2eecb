"""Book building from raw messages against real time, on the busiest minute of the recordings."""

from __future__ import annotations

import gc
import time
from collections import Counter

from rfq_service.domain.units import NS_PER_S
from rfq_service.market_data.catalogue import find_recordings
from rfq_service.market_data.feeds import MessageStream, merged
from rfq_service.market_data.replay import replay
from tests.benchmarks.row import Row, judge
from tests.support.data import recordings_path

ROUNDS = 5
MINUTE_NS = 60 * NS_PER_S
_HOW = "instruments in 60 s, on one core; decompression excluded, JSON included"

_Messages = list[tuple[int, int, bytes]]


def run() -> list[Row]:
    """The whole market's busiest minute, one instrument's, and breaks everywhere.

    Raises:
        FileNotFoundError: without the recordings there is nothing to measure.
    """
    recordings = find_recordings(recordings_path())
    if not recordings:
        raise FileNotFoundError("no recordings to measure on: RFQ_DATA names their folder")
    markets = {recording.name: recording.streams for recording in recordings}
    instruments = {
        stream.instrument.instrument_id: (stream,) for recording in recordings for stream in recording.streams
    }
    market = max(markets.values(), key=lambda streams: _busiest_minute(list(merged(streams)))[2])
    instrument = max(instruments.values(), key=lambda streams: _busiest_minute(list(merged(streams)))[2])
    cases = {"book_building_busiest_minute": market, "book_building_one_instrument": instrument}
    loaded = {name: list(merged(streams)) for name, streams in cases.items()}
    factors: dict[str, list[float]] = {name: [] for name in cases}
    breaks: list[float] = []
    for _ in range(ROUNDS):
        for name, streams in cases.items():
            factors[name].append(60.0 / _seconds_for_busiest_minute(streams, loaded[name]))
        breaks.append(sum(report.breaks for report in replay(recordings)))
    rows = [
        judge(
            name,
            factors[name],
            "x real time",
            f"{_busiest_minute(loaded[name])[2]:,} messages of {len(streams)} {_HOW}",
        )
        for name, streams in cases.items()
    ]
    how = "every recording replayed; gaps, crossed books, malformed, negative and non-finite numbers counted"
    return [*rows, judge("book_building_sequence_breaks", breaks, "breaks", how)]


def _busiest_minute(messages: _Messages) -> tuple[int, int, int]:
    """First index, index after the last, and count of the 60 s window with most messages."""
    best = (0, 0, 0)
    start = 0
    for end, (due_ns, _, _) in enumerate(messages):
        while messages[start][0] <= due_ns - MINUTE_NS:
            start += 1
        if end + 1 - start > best[2]:
            best = (start, end + 1, end + 1 - start)
    return best


def _seconds_for_busiest_minute(streams: tuple[MessageStream, ...], messages: _Messages) -> float:
    """Wall seconds for that minute's raw lines, JSON included; the books are built up to it outside the clock."""
    start, end, _ = _busiest_minute(messages)
    ingests = [stream.new_ingest() for stream in streams]
    for due_ns, index, raw in messages[:start]:
        ingests[index].process(raw, due_ns)
    minute = messages[start:end]
    gc.collect()
    gc.freeze()
    began_ns = time.perf_counter_ns()
    for due_ns, index, raw in minute:
        ingests[index].process(raw, due_ns)
    taken_s = (time.perf_counter_ns() - began_ns) / NS_PER_S
    gc.unfreeze()
    faults = sum((ingest.faults for ingest in ingests), Counter())
    if not all(ingest.is_usable for ingest in ingests):
        raise AssertionError(f"a book broke during the benchmark: {faults}")
    return taken_s
