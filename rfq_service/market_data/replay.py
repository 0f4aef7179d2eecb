"""Replay of recordings as fast as possible, with a report: are they whole, and how fast are we."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rfq_service.domain.identifiers import InstrumentId
from rfq_service.domain.units import NS_PER_S
from rfq_service.market_data.events import Fault
from rfq_service.market_data.feeds import MessageStream, Recording

PROGRESS_EVERY_MESSAGES = 5_000
_BREAKS = (Fault.GAP, Fault.CROSSED, Fault.MALFORMED, Fault.NON_FINITE, Fault.NEGATIVE)

# (instrument, messages done so far)
Progress = Callable[[InstrumentId, int], None]


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What one instrument's replay came to.

    Attributes:
        diffs: book changes applied.
        breaks: messages after which the book was no longer known or that could not be used; 0 for a whole recording.
        faults: every counter; ``stale_diff`` counts diffs older than the snapshot, which is no break.
        market_s: recorded time from first to last message.
        taken_s: time it took here, reading and decompressing included.
        realtime_factor: market seconds per second.
    """

    recording: str
    instrument_id: InstrumentId
    messages: int
    snapshots: int
    diffs: int
    trades: int
    breaks: int
    faults: dict[str, int]
    market_s: float
    taken_s: float
    realtime_factor: float


def replay(recordings: Sequence[Recording], progress: Progress | None = None) -> list[ReplayReport]:
    """Play every stream of every recording, one after the other; recordings must end (a simulated one needs a length).

    Args:
        recordings: what to play.
        progress: called with (instrument, messages so far) every 5,000 messages and at each end.
    """
    return [
        _replay_stream(recording.name, stream, progress) for recording in recordings for stream in recording.streams
    ]


def _replay_stream(recording_name: str, stream: MessageStream, progress: Progress | None) -> ReplayReport:
    ingest = stream.new_ingest()
    instrument_id = stream.instrument.instrument_id
    first_ns = last_ns = 0
    started_ns = time.perf_counter_ns()
    for due_ns, raw in stream.messages():
        first_ns = first_ns or due_ns
        last_ns = due_ns
        ingest.process(raw, due_ns)
        if progress is not None and ingest.counts.messages % PROGRESS_EVERY_MESSAGES == 0:
            progress(instrument_id, ingest.counts.messages)
    taken_s = (time.perf_counter_ns() - started_ns) / NS_PER_S
    if progress is not None:
        progress(instrument_id, ingest.counts.messages)
    market_s = (last_ns - first_ns) / NS_PER_S
    return ReplayReport(
        recording=recording_name,
        instrument_id=instrument_id,
        messages=ingest.counts.messages,
        snapshots=ingest.counts.snapshots,
        diffs=ingest.counts.diffs,
        trades=ingest.counts.trades,
        breaks=sum(ingest.faults[fault] for fault in _BREAKS),
        faults={str(fault): count for fault, count in ingest.faults.items()},
        market_s=market_s,
        taken_s=taken_s,
        realtime_factor=market_s / taken_s,
    )
