"""Book building from raw messages against real time, on the busiest minute of the recordings."""

from __future__ import annotations

import gc
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rfq_service.domain.units import NS_PER_S
from rfq_service.market_data.catalogue import find_recordings
from rfq_service.market_data.feeds import MessageStream, merged
from rfq_service.market_data.replay import replay
from tests.support.data import recordings_path

ROUNDS = 7
MINUTE_NS = 60 * NS_PER_S
RATIO_GOAL = 20.0
GOAL = "at least 20 × faster than real time of the busiest minute in the recordings, on one core"
BREAKS_GOAL = "zero sequence breaks on all recordings"

_Messages = list[tuple[int, int, bytes]]


def run() -> list[dict[str, Any]]:
    """Rows for the benchmark table: the whole market's busiest minute, one instrument's, and breaks everywhere."""
    recordings = find_recordings(recordings_path())
    markets = {recording.name: recording.streams for recording in recordings}
    instruments = {
        stream.instrument.instrument_id: (stream,) for recording in recordings for stream in recording.streams
    }
    market = max(markets.values(), key=lambda streams: _busiest_minute(list(merged(streams)))[2])
    instrument = max(instruments.values(), key=lambda streams: _busiest_minute(list(merged(streams)))[2])
    cases = {"book building, whole market": market, "book building, one instrument": instrument}
    loaded = {name: list(merged(streams)) for name, streams in cases.items()}
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, streams in cases.items():
            taken[name].append(_seconds_for_busiest_minute(streams, loaded[name]))
    rows = [_row(name, loaded[name], len(cases[name]), taken[name]) for name in cases]
    reports = replay(recordings)
    breaks = sum(report.breaks for report in reports)
    return [
        *rows,
        {
            "name": "sequence breaks",
            "value": breaks,
            "unit": "breaks",
            "baseline": 0,
            "ratio": None,
            "goal": BREAKS_GOAL,
            "met": breaks == 0 and len(reports) > 0,
            "how": f"{sum(report.messages for report in reports):,} messages of {len(reports)} recorded instruments, "
            "every gap, crossed book, malformed, negative or not finite number counted",
        },
    ]


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


def _row(name: str, messages: _Messages, instruments: int, taken_s: list[float]) -> dict[str, Any]:
    median_s = statistics.median(taken_s)
    count = _busiest_minute(messages)[2]
    ratio = 60.0 / median_s
    return {
        "name": name,
        "value": round(median_s, 4),
        "unit": "s of one core per busiest recorded minute",
        "baseline": 60.0,
        "ratio": round(ratio, 1),
        "goal": GOAL,
        "met": ratio >= RATIO_GOAL,
        "how": f"{count:,} messages of {instruments} instrument(s) in 60 s; median of {len(taken_s)} interleaved "
        f"rounds, {60.0 / max(taken_s):.0f} to {60.0 / min(taken_s):.0f} ×; decompression excluded, JSON included",
    }


if __name__ == "__main__":
    if not Path(recordings_path()).is_dir():
        raise SystemExit("no recordings: set RFQ_DATA")
    for row in run():
        print(row)
