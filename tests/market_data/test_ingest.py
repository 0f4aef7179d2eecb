"""Sequence rules and what happens to a book that cannot be trusted."""

from __future__ import annotations

import pytest

from rfq_service.market_data.binance import Flavour
from rfq_service.market_data.events import Fault
from rfq_service.market_data.ingest import InstrumentIngest
from tests.market_data.messages import START_MS, diff, new_ingest, snapshot, top, trade

NOW_NS = START_MS * 1_000_000
SNAPSHOT = snapshot(100, [("1.20", "1"), ("1.19", "2")], [("1.22", "1"), ("1.23", "2")])


def _fed(*raws: bytes, flavour: Flavour = Flavour.SPOT) -> InstrumentIngest:
    ingest = new_ingest(flavour)
    for raw in raws:
        ingest.process(raw, NOW_NS)
    return ingest


def test_diffs_that_came_before_the_snapshot_are_applied_after_it():
    # what arrives while the snapshot is fetched: too old, spanning, following
    ingest = _fed(
        diff(95, 99, [("9.99", "1")], []),
        diff(100, 102, [("1.21", "3")], []),
        diff(103, 104, [("1.21", "4")], []),
        SNAPSHOT,
    )
    assert ingest.is_usable
    assert ingest.book.touch() == (121, 4000, 122, 1000)
    assert ingest.faults == {Fault.STALE_DIFF: 1}
    assert ingest.counts.diffs == 2


@pytest.mark.parametrize("flavour", list(Flavour))
def test_gap_after_the_snapshot_makes_the_book_unusable(flavour):
    ingest = _fed(SNAPSHOT, diff(102, 105, [], [], previous=101), flavour=flavour)
    assert not ingest.is_usable
    assert ingest.faults == {Fault.GAP: 1}


@pytest.mark.parametrize("previous, usable", [(105, True), (104, False), (106, False)])
def test_futures_diffs_chain_by_the_named_predecessor(previous, usable):
    ingest = _fed(
        SNAPSHOT,
        diff(90, 105, [], [], previous=89),
        diff(500, 600, [], [], previous=previous),
        flavour=Flavour.FUTURES,
    )
    assert ingest.is_usable is usable


@pytest.mark.parametrize("first, usable", [(106, True), (105, False), (107, False)])
def test_spot_diffs_chain_without_overlap(first, usable):
    ingest = _fed(SNAPSHOT, diff(90, 105, [], []), diff(first, 110, [], []))
    assert ingest.is_usable is usable


def test_old_diff_is_dropped_and_counted():
    ingest = _fed(SNAPSHOT, diff(101, 105, [], []), diff(101, 105, [("1.21", "9")], []))
    assert ingest.is_usable
    assert ingest.book.touch() == (120, 1000, 122, 1000)
    assert ingest.faults == {Fault.STALE_DIFF: 1}


def test_a_new_snapshot_heals_a_gap_with_the_diffs_that_waited():
    ingest = _fed(SNAPSHOT, diff(103, 105, [("1.21", "5")], []), diff(106, 107, [("1.21", "6")], []))
    assert not ingest.is_usable
    ingest.process(snapshot(104, [("1.18", "1")], [("1.25", "1")]), NOW_NS)
    assert ingest.is_usable
    assert ingest.book.touch() == (121, 6000, 125, 1000)


def test_crossed_book_is_unusable_until_the_next_snapshot():
    ingest = _fed(SNAPSHOT, diff(101, 101, [("1.22", "1")], []), diff(102, 102, [("1.22", "0")], []))
    assert not ingest.is_usable
    assert ingest.faults == {Fault.CROSSED: 1}
    ingest.process(snapshot(102, [("1.20", "1")], [("1.22", "1")]), NOW_NS)
    assert ingest.is_usable


@pytest.mark.parametrize("bad, fault", [("NaN", Fault.NON_FINITE), ("-1", Fault.NEGATIVE), ("1.0005", Fault.MALFORMED)])
def test_one_bad_level_refuses_the_whole_diff(bad, fault):
    ingest = _fed(SNAPSHOT, diff(101, 101, [("1.21", "1"), ("1.18", bad)], []))
    assert not ingest.is_usable
    assert ingest.faults == {fault: 1}
    assert ingest.book.top_bids(5) == [(120, 1000), (119, 2000)]


def test_bad_trade_and_unreadable_message_leave_the_book_alone():
    ingest = _fed(SNAPSHOT, trade(1, "NaN", "1"), b"{", b'{"id":1}', diff(101, 101, [], []))
    assert ingest.is_usable
    assert ingest.faults == {Fault.NON_FINITE: 1, Fault.MALFORMED: 1}


def test_event_time_far_ahead_is_refused():
    ingest = _fed(SNAPSHOT, trade(1, "1.20", "1", at_ms=START_MS + 3_600_000))
    assert ingest.faults == {Fault.MALFORMED: 1}
    assert ingest.last_event_ns == NOW_NS
    assert ingest.is_usable


def test_one_sided_book_is_not_usable():
    ingest = _fed(SNAPSHOT, diff(101, 101, [("1.20", "0"), ("1.19", "0")], []))
    assert not ingest.is_usable
    ingest.process(diff(102, 102, [("1.20", "1")], []), NOW_NS)
    assert ingest.is_usable


def test_best_offer_stream_confirms_only_what_it_agrees_with():
    ingest = _fed(SNAPSHOT)
    assert not ingest.is_confirmed
    ingest.process(top("1.20", "1.22"), NOW_NS + 7)
    assert ingest.is_confirmed
    assert ingest.book_init_ns == NOW_NS + 7
    ingest.process(top("1.20", "1.21"), NOW_NS + 9)
    assert not ingest.is_confirmed
    assert ingest.book_init_ns == NOW_NS + 7


def test_time_never_runs_backwards():
    ingest = _fed(SNAPSHOT, trade(1, "1.20", "1", START_MS + 50), diff(101, 101, [], [], START_MS))
    assert ingest.last_event_ns == NOW_NS + 50_000_000
