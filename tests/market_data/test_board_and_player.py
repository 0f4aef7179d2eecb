"""From a playing market to snapshots on the board."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from dataclasses import replace
from decimal import Decimal

import pytest

from rfq_service.domain.clock import SimClock
from rfq_service.domain.errors import InvariantError
from rfq_service.domain.identifiers import InstrumentId
from rfq_service.domain.market import ClockSource, Level
from rfq_service.domain.units import NS_PER_S, Side
from rfq_service.market_data.board import IDENTITY, Board, TimeMap
from rfq_service.market_data.feeds import FileReplayFeed
from rfq_service.market_data.player import MarketPlayer
from rfq_service.market_data.simulated import simulated_recording
from tests.market_data.messages import START_MS, diff, instrument, new_ingest, snapshot, top, trade

NOW_NS = START_MS * 1_000_000
ID = InstrumentId("TEST.SPOT.ABCUSD")
SIMULATED = InstrumentId("SIMULATED.SPOT.NEXOUSDT")


class WallClock:
    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


def _board(time_map: TimeMap = IDENTITY, source: ClockSource = ClockSource.EXCHANGE):
    clock, ingest = SimClock(NOW_NS), new_ingest()
    board = Board(clock)
    board.install(ingest, time_map, source)
    ingest.process(snapshot(100, [("1.20", "1.5"), ("1.19", "2")], [("1.22", "1")]), NOW_NS)
    return board, ingest, clock


def test_snapshot_is_exact_and_built_once_per_book():
    board, ingest, _ = _board()
    first = board.snapshot(ID)
    assert first is not None
    assert first.bids == (Level(Decimal("1.20"), Decimal("1.5")), Level(Decimal("1.19"), Decimal(2)))
    assert (first.best_ask, first.mid, first.source_count) == (Decimal("1.22"), Decimal("1.21"), 1)
    assert (first.ts_event_ns, first.ts_init_ns, first.recorded_ts_ns) == (NOW_NS, NOW_NS, None)
    ingest.process(top("1.20", "1.22"), NOW_NS + 5)
    confirmed = board.snapshot(ID)
    assert confirmed is not None
    assert (confirmed.sequence, confirmed.source_count, confirmed.ts_init_ns) == (first.sequence, 2, NOW_NS + 5)
    assert confirmed.bids is first.bids
    ingest.process(diff(101, 101, [("1.21", "1")], []), NOW_NS + 6)
    changed = board.snapshot(ID)
    assert changed is not None
    assert changed.sequence == first.sequence + 1
    assert changed.best_bid == Decimal("1.21")


def test_at_most_twenty_levels():
    board, ingest, _ = _board()
    ingest.process(diff(101, 101, [(f"1.{n:02d}", "1") for n in range(19)], []), NOW_NS)
    ingest.process(diff(102, 102, [(f"0.{n:02d}", "1") for n in range(1, 60)], []), NOW_NS)
    taken = board.snapshot(ID)
    assert taken is not None
    assert len(taken.bids) == 20
    assert [level.price for level in taken.bids] == sorted((level.price for level in taken.bids), reverse=True)


def test_no_snapshot_for_unknown_unready_or_broken_markets():
    board, ingest, clock = _board()
    assert board.snapshot(InstrumentId("NO.SUCH.THING")) is None
    assert board.status(InstrumentId("NO.SUCH.THING")) is None
    ingest.process(diff(105, 106, [], []), NOW_NS)
    assert board.snapshot(ID) is None
    status = board.status(ID)
    assert status is not None
    assert (status.is_usable, status.faults, status.counts.messages) == (False, {"gap": 1}, 2)
    empty = Board(clock)
    empty.register(instrument())
    assert empty.snapshot(ID) is None
    assert [each.instrument_id for each in empty.instruments()] == [ID]
    waiting = empty.status(ID)
    assert waiting is not None
    assert (waiting.is_usable, waiting.last_event_ns) == (False, 0)


def test_replayed_times_are_moved_to_now():
    wall_ns = NOW_NS + 10**17
    board, ingest, clock = _board(TimeMap(NOW_NS, wall_ns), ClockSource.REPLAY)
    clock.advance(10**17)
    ingest.process(trade(7, "1.22", "0.5", START_MS + 20, buyer_is_maker=True), NOW_NS + 30_000_000)
    taken = board.snapshot(ID)
    assert taken is not None
    assert (taken.ts_event_ns, taken.recorded_ts_ns, taken.clock_source) == (wall_ns, NOW_NS, ClockSource.REPLAY)
    (last,) = board.recent_trades(ID)
    assert (last.ts_event_ns, last.ts_init_ns) == (wall_ns + 20_000_000, wall_ns + 30_000_000)
    assert (last.trade_id, last.price, last.quantity, last.aggressor) == (7, Decimal("1.22"), Decimal("0.5"), Side.SELL)


def test_imbalance_moves_on_while_the_market_is_silent():
    board, ingest, clock = _board()
    ingest.process(diff(101, 101, [("1.20", "3")], []), NOW_NS)
    clock.advance(30 * NS_PER_S)
    taken = board.snapshot(ID)
    assert taken is not None
    assert taken.statistics.imbalance == pytest.approx(0.5)
    assert taken.age_ns(clock.now_ns()) == 30 * NS_PER_S


async def test_player_serves_a_warm_market_and_stops_when_cancelled():
    board, started = Board(WallClock()), time.monotonic()
    player = MarketPlayer([simulated_recording()], board, WallClock(), speed=20.0)
    assert [each.instrument_id for each in board.instruments()] == [SIMULATED]
    assert board.snapshot(SIMULATED) is None
    task = asyncio.create_task(player.run())
    await asyncio.wait_for(player.ready.wait(), 30)
    assert time.monotonic() - started < 10
    taken = board.snapshot(SIMULATED)
    assert taken is not None
    assert taken.clock_source is ClockSource.SIMULATED
    assert taken.statistics.volatility_bps_sqrt_day is not None
    assert taken.statistics.observed_s > 3_000
    await asyncio.sleep(0.5)
    later = board.snapshot(SIMULATED)
    assert later is not None
    assert later.sequence > taken.sequence
    assert 0 <= later.age_ns(time.time_ns()) < 2 * NS_PER_S
    assert abs(later.ts_init_ns - time.time_ns()) < 2 * NS_PER_S
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class SetClock(WallClock):
    """A wall clock that somebody sets; the monotonic one goes on."""

    ahead_ns = 0

    def now_ns(self) -> int:
        return time.time_ns() + self.ahead_ns


async def test_market_stays_live_when_the_wall_clock_is_set():
    clock = SetClock()
    board = Board(clock)
    player = MarketPlayer([simulated_recording()], board, clock, speed=20.0)
    task = asyncio.create_task(player.run())
    await asyncio.wait_for(player.ready.wait(), 30)
    for ahead_s in (3_600, -3_600):
        clock.ahead_ns = ahead_s * NS_PER_S
        await asyncio.sleep(0.5)
        taken = board.snapshot(SIMULATED)
        assert taken is not None
        assert abs(taken.ts_init_ns - clock.now_ns()) < 2 * NS_PER_S
        assert taken.statistics.imbalance is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_loop_starts_again_with_fresh_books_and_no_hole():
    board = Board(WallClock())
    recording = simulated_recording(length_s=400.0)
    player = MarketPlayer([recording], board, WallClock(), speed=500.0, warmup_s=200.0, loop=True)
    task = asyncio.create_task(player.run())
    await asyncio.wait_for(player.ready.wait(), 30)
    seen = []
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        taken = board.snapshot(SIMULATED)
        assert taken is not None
        seen.append(taken)
        await asyncio.sleep(0.01)
    task.cancel()
    recorded = [taken.recorded_ts_ns for taken in seen]
    assert any(later < earlier for earlier, later in itertools.pairwise(recorded)), "it never started again"
    assert all(later.sequence >= earlier.sequence for earlier, later in itertools.pairwise(seen))
    assert all(later.ts_event_ns >= earlier.ts_event_ns - NS_PER_S for earlier, later in itertools.pairwise(seen))


async def test_loop_can_end_before_the_recording_does():
    recording = replace(simulated_recording(), loop_s=300.0)
    player = MarketPlayer([recording], Board(WallClock()), WallClock(), speed=1_000.0, warmup_s=200.0, loop=False)
    feed = FileReplayFeed(recording, WallClock(), speed=math.inf, length_s=recording.loop_s)
    arrivals = [arrival_ns async for _, arrival_ns, _ in feed]
    assert 290 < (arrivals[-1] - arrivals[0]) / NS_PER_S <= 300
    # without loop everything is played, and this recording has no end
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(player.run(), 0.6)
    assert player.ready.is_set()


async def test_player_ends_by_itself_without_loop():
    board = Board(WallClock())
    recording = simulated_recording(length_s=300.0)
    player = MarketPlayer([recording], board, WallClock(), speed=1_000.0, warmup_s=200.0, loop=False)
    await asyncio.wait_for(player.run(), 20)
    assert player.ready.is_set()
    assert board.snapshot(SIMULATED) is not None


async def test_recording_shorter_than_its_warm_up_is_refused():
    recording = simulated_recording(length_s=10.0)
    player = MarketPlayer([recording], Board(WallClock()), WallClock(), warmup_s=1e6)
    with pytest.raises(ExceptionGroup) as caught:
        await player.run()
    assert caught.group_contains(InvariantError)
