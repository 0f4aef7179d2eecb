"""The board's state as metrics."""

from __future__ import annotations

from rfq_service.domain.clock import SimClock
from rfq_service.domain.market import ClockSource
from rfq_service.domain.units import NS_PER_S
from rfq_service.market_data.board import IDENTITY, Board
from rfq_service.monitoring.market_watch import watch_market
from rfq_service.monitoring.telemetry import Telemetry
from tests.market_data.messages import START_MS, diff, new_ingest, snapshot

NOW_NS = START_MS * 1_000_000


def test_messages_faults_usability_and_age_of_a_feed():
    clock, ingest, telemetry = SimClock(NOW_NS), new_ingest(), Telemetry()
    board = Board(clock)
    board.install(ingest, IDENTITY, ClockSource.EXCHANGE)
    watch_market(telemetry, board, clock)
    name = f'instrument="{ingest.instrument.instrument_id}"'

    ingest.process(snapshot(100, [("1.20", "1.5")], [("1.22", "1")]), NOW_NS)
    ingest.process(diff(101, 101, [("1.21", "1")], []), NOW_NS)
    clock.advance(3 * NS_PER_S)
    lines = telemetry.prometheus_text().decode().splitlines()
    assert f'rfq_market_messages_total{{{name},kind="diffs"}} 1' in lines
    assert f"rfq_market_usable{{{name}}} 1" in lines
    age_s = next(float(line.split()[1]) for line in lines if line.startswith("rfq_market_age_seconds{"))
    assert 2.9 < age_s <= 3.1

    ingest.process(diff(150, 151, [("1.21", "2")], []), NOW_NS)  # 102…149 are missing
    lines = telemetry.prometheus_text().decode().splitlines()
    assert f"rfq_market_usable{{{name}}} 0" in lines
    assert any(line.startswith(f"rfq_market_faults_total{{{name}") for line in lines)
