"""What raw messages mean, and which ones mean nothing good."""

from __future__ import annotations

import contextlib
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfq_service.market_data.binance import BinanceDecoder, Flavour, event_time_ns
from rfq_service.market_data.events import BadMessageError, DepthDiff, DepthSnapshot, Fault, TopOfBook, TradePrint
from tests.market_data.messages import START_MS, STEP, TICK, diff, snapshot, top, trade

MS = 1_000_000


def _decoder(flavour: Flavour = Flavour.SPOT) -> BinanceDecoder:
    return BinanceDecoder(flavour, TICK, STEP)


def test_spot_diff_follows_the_update_before_its_first():
    decoded = _decoder()(diff(11, 15, [("1.20000000", "2.50000000")], [("1.21", "0.000")]))
    assert decoded == DepthDiff(START_MS * MS, 10, 15, [(120, 2500)], [(121, 0)])


def test_futures_diff_names_its_predecessor():
    decoded = _decoder(Flavour.FUTURES)(diff(11, 15, [], [], previous=7))
    assert isinstance(decoded, DepthDiff)
    assert (decoded.previous_id, decoded.last_id) == (7, 15)


def test_other_kinds():
    decode = _decoder()
    assert decode(snapshot(9, [("1.20", "1")], [])) == DepthSnapshot(0, 9, [(120, 1000)], [])
    assert decode(top("1.20", "1.21")) == TopOfBook(0, 120, 121)
    assert decode(trade(3, "1.21", "0.5", buyer_is_maker=True)) == TradePrint(START_MS * MS, 3, 121, 500, -1)
    assert decode(trade(3, "0", "0")) is None
    assert decode(b'{"result":null,"id":1}') is None


@pytest.mark.parametrize(
    "number, fault",
    [
        ("NaN", Fault.NON_FINITE),
        ("-Infinity", Fault.NON_FINITE),
        ("inf", Fault.NON_FINITE),
        ("-1.00", Fault.NEGATIVE),
        ("1.005", Fault.MALFORMED),
        ("1e3", Fault.MALFORMED),
        ("1_000", Fault.MALFORMED),
        (" 1", Fault.MALFORMED),
        ("\u0661", Fault.MALFORMED),
        ("", Fault.MALFORMED),
        ("1" * 50, Fault.MALFORMED),
    ],
)
def test_bad_numbers_are_named(number, fault):
    for raw in (diff(1, 2, [(number, "1")], []), trade(1, number, "1"), top(number, "1.21")):
        with pytest.raises(BadMessageError) as caught:
            _decoder()(raw)
        assert caught.value.fault is fault
        assert caught.value.is_depth is (b"depthUpdate" in raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"data":' * 100_000,
        b'{"data":{"e":"depthUpdate","E":-1}}',
        b'{"data":{"e":"depthUpdate","E":1}}',
        b'{"data":{"e":"depthUpdate","E":1,"U":1,"u":2,"b":"1.0","a":[]}}',
        b'{"data":{"e":"trade","E":1,"p":"1.00"}}',
        b'{"data":{"B":"1","A":"1","b":[],"a":[]}}',
        b'{"lastUpdateId":1,"bids":[]}',
    ],
)
def test_malformed_messages_are_refused(raw):
    with pytest.raises(BadMessageError) as caught:
        _decoder()(raw)
    assert caught.value.fault is Fault.MALFORMED


@given(st.integers(0, 10**12), st.sampled_from(["0.01", "0.5", "1", "0.00000001", "5", "0.1"]))
def test_numbers_are_exact_on_any_grid(steps, step):
    value = steps * Decimal(step)
    for text in (f"{value:f}", f"{value.quantize(Decimal('1e-10')):f}"):
        decoded = BinanceDecoder(Flavour.SPOT, Decimal(step), Decimal(1))(diff(1, 1, [(text, "1")], []))
        assert isinstance(decoded, DepthDiff)
        assert decoded.bids == [(steps, 1)]


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_no_bytes_crash_the_decoder(raw):
    with contextlib.suppress(BadMessageError):
        _decoder()(raw)
    assert event_time_ns(raw) >= 0


def test_event_time_is_found_without_decoding():
    assert event_time_ns(diff(1, 2, [], [])) == START_MS * MS
    assert event_time_ns(trade(1, "1", "1")) == START_MS * MS
    assert event_time_ns(top("1", "2")) == 0
    assert event_time_ns(snapshot(1, [("1.0", "2.0")] * 50, [])) == 0
    # COIN-M puts it at the end
    last = {"stream": "x@bookTicker", "data": {"u": 1, "b": "1", "B": "2", "a": "3", "A": "4", "T": 5, "E": START_MS}}
    assert event_time_ns(json.dumps(last, separators=(",", ":")).encode() + b"\n") == START_MS * MS
