"""Placing messages in time, and playing them at the right one."""

from __future__ import annotations

import asyncio
import gzip
import math
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfq_service.domain.market import ClockSource
from rfq_service.market_data.binance import Flavour, event_time_ns
from rfq_service.market_data.board import TimeMap
from rfq_service.market_data.catalogue import RecordedStream
from rfq_service.market_data.feeds import ExchangeTimeline, FileReplayFeed, Recording, merged
from tests.market_data.messages import START_MS, STEP, diff, instrument, snapshot, top, trade

MS = 1_000_000
LATENCY_MS = -40


class WallClock:
    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


def _recorded(folder: Path, messages: list[tuple[int, bytes]], name: str = "TEST.SPOT.ABCUSD") -> RecordedStream:
    """A file of (exchange ms, raw) in the format of the recordings, local times in microseconds."""
    path = folder / f"{name}.gz"
    with gzip.open(path, "wb") as lines:
        for at_ms, raw in messages:
            lines.write(b"%d %s\n" % ((at_ms + LATENCY_MS) * 1000, raw))
    return RecordedStream(instrument(name=name), Flavour.SPOT, STEP, (path,), 1000)


def _market(folder: Path, seconds: int, name: str = "TEST.SPOT.ABCUSD") -> RecordedStream:
    messages = [(START_MS, snapshot(1, [("1.20", "1")], [("1.21", "1")]))]
    for number in range(seconds * 10):
        at_ms = START_MS + number * 100
        messages.append((at_ms, diff(number + 2, number + 2, [("1.20", "1"), ("1.19", "2")], [], at_ms)))
        messages.append((at_ms, top("1.20", "1.21")))
    return _recorded(folder, messages, name)


def test_messages_without_exchange_time_are_shifted_by_the_median(tmp_path):
    messages = [(START_MS + 10 * n, trade(n, "1.20", "1", START_MS + 10 * n)) for n in range(50)]
    messages.append((START_MS + 1_000, top("1.20", "1.21")))
    due = [due_ns for due_ns, _ in _recorded(tmp_path, messages).messages()]
    assert due[-1] == (START_MS + 1_000) * MS


def test_first_messages_wait_for_the_first_known_time(tmp_path):
    messages = [(START_MS, snapshot(1, [], [])), (START_MS, top("1", "2")), (START_MS + 5, diff(2, 2, [], []))]
    placed = list(_recorded(tmp_path, messages).messages())
    assert [due_ns for due_ns, _ in placed] == [START_MS * MS] * 3
    assert b"lastUpdateId" in placed[0][1]


@given(st.lists(st.tuples(st.integers(-500, 500), st.integers(0, 300), st.booleans()), min_size=1, max_size=60))
def test_no_message_is_due_before_its_own_time_or_its_predecessor(steps):
    timeline, previous, exchange_ms = ExchangeTimeline(), 0, START_MS
    for latency_ms, gap_ms, has_time in steps:
        exchange_ms += gap_ms
        due_ns = timeline.place((exchange_ms + latency_ms) * MS, exchange_ms * MS if has_time else 0)
        if due_ns is None:
            assert not has_time
            continue
        assert due_ns >= previous
        if has_time:
            assert due_ns >= exchange_ms * MS
        previous = due_ns


@given(st.integers(0, 4 * 10**18), st.integers(0, 4 * 10**18), st.integers(0, 10**15))
def test_time_map_is_exact_at_real_speed(feed_zero_ns, wall_zero_ns, span_ns):
    time_map = TimeMap(feed_zero_ns, wall_zero_ns)
    assert time_map.to_wall(feed_zero_ns + span_ns) == wall_zero_ns + span_ns
    assert time_map.to_feed(wall_zero_ns + span_ns) == feed_zero_ns + span_ns


def test_time_map_scales_with_speed():
    time_map = TimeMap(1_000, 50_000, speed=4.0)
    assert time_map.to_wall(1_400) == 50_100
    assert time_map.to_feed(50_100) == 1_400


def test_streams_are_merged_by_due_time(tmp_path):
    streams = (_market(tmp_path, 3, "TEST.SPOT.AAAUSD"), _market(tmp_path, 3, "TEST.SPOT.BBBUSD"))
    played = list(merged(streams))
    assert [due_ns for due_ns, _, _ in played] == sorted(due_ns for due_ns, _, _ in played)
    for index in (0, 1):
        assert [raw for _, of, raw in played if of == index] == [raw for _, raw in streams[index].messages()]


async def test_everything_at_once_keeps_recorded_times(tmp_path):
    stream = _market(tmp_path, 100)
    feed = FileReplayFeed(Recording("test", ClockSource.REPLAY, 0.0, (stream,)), WallClock(), speed=math.inf)
    played = [(arrival_ns, raw) async for _, arrival_ns, raw in feed]
    assert played == list(stream.messages())
    assert feed.time_map is None


async def test_paced_replay_keeps_time_after_the_warm_up(tmp_path):
    recording = Recording("test", ClockSource.REPLAY, 10.0, (_market(tmp_path, 16),))
    feed = FileReplayFeed(recording, WallClock(), speed=10.0)
    lateness_ns, started = [], time.monotonic()
    warm_after_s = None
    async for _, arrival_ns, raw in feed:
        exchange_ns = event_time_ns(raw)
        assert arrival_ns >= exchange_ns, "a message was played before its time"
        if feed.time_map is not None:
            warm_after_s = warm_after_s or time.monotonic() - started
            lateness_ns.append(feed.time_map.to_feed(time.time_ns()) - arrival_ns)
    assert warm_after_s is not None
    # 6 s of market at ten times real time
    assert time.monotonic() - started - warm_after_s == pytest.approx(0.59, abs=0.2)
    assert max(lateness_ns) < 1_000 * MS


async def test_warm_up_lets_the_event_loop_breathe(tmp_path):
    recording = Recording("test", ClockSource.REPLAY, 1e6, (_market(tmp_path, 1_000),))
    turns = 0

    async def other_work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other_work())
    cpu_before = time.process_time()
    async for _ in FileReplayFeed(recording, WallClock()):
        pass
    task.cancel()
    assert turns >= (time.process_time() - cpu_before) / 0.010
