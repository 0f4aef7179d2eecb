"""Every recording through the ordinary path: nothing lost, and the books that others built from the same bytes."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from rfq_service.domain.clock import SimClock
from rfq_service.domain.identifiers import InstrumentId
from rfq_service.domain.market import ClockSource
from rfq_service.domain.units import is_multiple
from rfq_service.market_data.board import IDENTITY, Board
from rfq_service.market_data.catalogue import RecordedStream, find_recordings
from rfq_service.market_data.events import Fault, TradePrint

pytestmark = pytest.mark.data

# folder of the converted files, and the name of the row in the data's own table
CONVERTED = {
    "BINANCE.SPOT.NEXOUSDT": ("nexo_spot_binance", "NEXOUSDT spot"),
    "BINANCE.SPOT.BTCUSDT": ("majors_binance_20240808/spot_btcusdt", "BTCUSDT spot"),
    "BINANCE.SPOT.ETHUSDT": ("majors_binance_20240808/spot_ethusdt", "ETHUSDT spot"),
    "BINANCE.USDM.BTCUSDT": ("majors_binance_20240808/usdm_btcusdt", "BTCUSDT USD-M"),
    "BINANCE.USDM.ETHUSDT": ("majors_binance_20240808/usdm_ethusdt", "ETHUSDT USD-M"),
    "BINANCE.COINM.BTCUSD_PERP": ("majors_binance_20240808/coinm_btcusd_perp", "BTCUSD_PERP COIN-M"),
    "BINANCE.COINM.ETHUSD_PERP": ("majors_binance_20240808/coinm_ethusd_perp", "ETHUSD_PERP COIN-M"),
}
CHECK_EVERY_ROWS = 53


def _table_row(recordings: Path, label: str) -> list[int]:
    """Books, trades and best bid/offers of one instrument, as the data's README counts them."""
    text = (recordings / "README.md").read_text(encoding="utf-8")
    match = re.search(rf"^\| {re.escape(label)} \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|", text, re.MULTILINE)
    assert match is not None, f"no row for {label}"
    return [int(number.replace(",", "")) for number in match.groups()]


def _stream(recordings: Path, instrument_id: str) -> RecordedStream:
    for recording in find_recordings(recordings):
        for stream in recording.streams:
            if stream.instrument.instrument_id == instrument_id:
                assert isinstance(stream, RecordedStream)
                return stream
    raise AssertionError(f"{instrument_id} is not in the catalogue")


def test_the_catalogue_is_complete(recordings):
    found = [stream.instrument.instrument_id for each in find_recordings(recordings) for stream in each.streams]
    assert sorted(found) == sorted(CONVERTED)
    raw_files = {path.name for path in recordings.glob("*/raw/*.gz")}
    catalogued = {path.name for name in CONVERTED for path in _stream(recordings, name).files}
    assert catalogued == raw_files


@pytest.mark.parametrize("instrument_id", list(CONVERTED))
def test_nothing_breaks_and_books_and_trades_equal_the_converted_ones(recordings, instrument_id):
    folder, label = CONVERTED[instrument_id]
    rows = pl.read_parquet(recordings / folder / "book20.parquet")
    trade_rows = pl.read_parquet(recordings / folder / "trades.parquet")
    expected_trades = trade_rows.select("trade_id", "price", "qty", "aggressor", "ts_event_ms").iter_rows()
    stream = _stream(recordings, instrument_id)
    ingest = stream.new_ingest()
    board = Board(SimClock(0))
    board.install(ingest, IDENTITY, ClockSource.REPLAY)
    before_snapshot = diffs = trades = checked = 0
    for due_ns, raw in stream.messages():
        ingest.process(raw, due_ns)
        if ingest.counts.trades > trades:
            trades = ingest.counts.trades
            _assert_same_trade(stream, ingest.recent_trades[-1][1], next(expected_trades))
        if b"lastUpdateId" in raw[:200]:
            # diffs that waited for the snapshot have no row of their own
            before_snapshot = diffs = ingest.counts.diffs
        if ingest.counts.diffs == diffs:
            continue
        diffs = ingest.counts.diffs
        row_number = diffs - before_snapshot - 1
        if row_number % CHECK_EVERY_ROWS == 0 or row_number == rows.height - 1:
            _assert_same_book(board, InstrumentId(instrument_id), rows.row(row_number, named=True))
            checked += 1
    assert set(ingest.faults) <= {Fault.STALE_DIFF}, ingest.faults
    assert ingest.is_usable
    assert checked > 100
    assert [diffs - before_snapshot, trades, ingest.counts.tops] == _table_row(recordings, label)
    assert (diffs - before_snapshot, trades) == (rows.height, trade_rows.height)
    assert board.recent_trades(InstrumentId(instrument_id))[-1].trade_id == trade_rows["trade_id"][-1]


def _assert_same_trade(stream: RecordedStream, trade: TradePrint, row: tuple[object, ...]) -> None:
    price = trade.price_ticks * stream.instrument.tick_size
    quantity = trade.quantity_units * stream.quantity_step
    event_ms = trade.event_ns // 1_000_000
    assert (trade.trade_id, float(price), float(quantity), trade.aggressor_sign, event_ms) == row
    assert is_multiple(quantity, stream.instrument.lot_size)


def _assert_same_book(board: Board, instrument_id: InstrumentId, row: dict[str, float]) -> None:
    taken = board.snapshot(instrument_id)
    assert taken is not None
    for side, levels in (("bid", taken.bids), ("ask", taken.asks)):
        assert len(levels) == 20
        for number, level in enumerate(levels):
            assert float(level.price) == row[f"{side}_px_{number}"]
            assert float(level.quantity) == row[f"{side}_qty_{number}"]


def test_statistics_of_the_main_recording_are_those_of_its_converted_files(recordings):
    stream = _stream(recordings, "BINANCE.SPOT.NEXOUSDT")
    ingest = stream.new_ingest()
    for due_ns, raw in stream.messages():
        ingest.process(raw, due_ns)
    result = ingest.statistics.result(ingest.last_event_ns)
    trades = pl.read_parquet(recordings / "nexo_spot_binance" / "trades.parquet")
    # the last 24 of 24.3 hours
    from_ms = ingest.last_event_ns // 1_000_000 - 86_400_000
    last_day = trades.filter(pl.col("ts_event_ms") > from_ms)
    volume = float((last_day["price"] * last_day["qty"]).sum())
    assert result.volume_per_day_notional == pytest.approx(volume, rel=0.001)
    assert 250 < (result.volatility_bps_sqrt_day or 0) < 550
    assert result.observed_s == pytest.approx(87_615, abs=3)
    assert 3_000 < (result.depth_notional or 0) < 15_000


def test_one_folder_or_all_of_them(recordings, tmp_path):
    assert [found.name for found in find_recordings(recordings)] == ["nexo_spot_binance", "majors_binance_20240808"]
    assert [found.name for found in find_recordings(recordings / "nexo_spot_binance")] == ["nexo_spot_binance"]
    assert find_recordings(tmp_path) == []
    (tmp_path / "nexo_spot_binance").mkdir()
    with pytest.raises(FileNotFoundError):
        find_recordings(tmp_path)


def test_contract_terms(recordings):
    coin = _stream(recordings, "BINANCE.COINM.ETHUSD_PERP").instrument
    assert coin.is_inverse
    assert coin.notional(Decimal(3), Decimal(2_500)) == Decimal(30)
    assert (coin.quote_currency, coin.settlement_currency, coin.taker_fee_bps) == ("USD", "ETH", Decimal(5))
    spot = _stream(recordings, "BINANCE.SPOT.NEXOUSDT").instrument
    assert not spot.is_inverse
    assert (spot.quote_currency, spot.base_currency, spot.taker_fee_bps) == ("USDT", "NEXO", Decimal(10))
    assert spot.staleness_limit_ns == 60 * 10**9
