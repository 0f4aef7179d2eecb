"""The fast book against the slowest book there is: two dictionaries and sorting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfq_service.domain.book import LevelChange, OrderBook
from rfq_service.domain.errors import InvariantError

_changes = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), max_size=15)
_steps = st.lists(st.tuples(st.sampled_from(["diff", "diff", "diff", "snapshot"]), _changes, _changes), max_size=20)


class BruteForceBook:
    def __init__(self) -> None:
        self.sides: tuple[dict[int, int], dict[int, int]] = ({}, {})

    def apply(self, kind: str, *changes: list[LevelChange]) -> None:
        for side, levels in zip(self.sides, changes, strict=True):
            if kind == "snapshot":
                side.clear()
            for tick, quantity in levels:
                side[tick] = quantity
                if quantity == 0:
                    del side[tick]

    def top(self, count: int) -> tuple[list[LevelChange], list[LevelChange]]:
        bids, asks = self.sides
        return sorted(bids.items(), reverse=True)[:count], sorted(asks.items())[:count]


def _apply(book: OrderBook, kind: str, bids: list[LevelChange], asks: list[LevelChange]) -> None:
    if kind == "snapshot":
        book.apply_snapshot(bids, asks)
    else:
        book.apply_diff(bids, asks)


@given(_steps)
def test_book_equals_brute_force_after_every_step(steps):
    book, reference = OrderBook(), BruteForceBook()
    for number, (kind, some_bids, some_asks) in enumerate(steps, start=1):
        # a message names each price once
        bids, asks = list(dict(some_bids).items()), list(dict(some_asks).items())
        _apply(book, kind, bids, asks)
        reference.apply(kind, bids, asks)
        all_bids, all_asks = reference.top(100)
        assert book.sequence == number
        assert (book.top_bids(100), book.top_asks(100)) == (all_bids, all_asks)
        assert (book.top_bids(3), book.top_asks(3)) == reference.top(3)
        assert book.level_counts() == (len(all_bids), len(all_asks))
        assert book.is_two_sided == bool(all_bids and all_asks)
        if book.is_two_sided:
            assert book.touch() == (*all_bids[0], *all_asks[0])
            assert book.is_crossed == (all_bids[0][0] >= all_asks[0][0])
        else:
            assert not book.is_crossed


@pytest.mark.parametrize("bid, ask, crossed", [(9, 10, False), (10, 10, True), (11, 10, True)])
def test_locked_and_crossed_books_are_reported(bid, ask, crossed):
    book = OrderBook()
    book.apply_diff([(bid, 1)], [(ask, 1)])
    assert book.is_crossed is crossed


def test_negative_quantities_are_refused():
    book = OrderBook()
    book.apply_diff([(5, 3)], [])
    with pytest.raises(InvariantError):
        book.apply_diff([(5, -1)], [])
    with pytest.raises(InvariantError):
        book.apply_snapshot([(5, -1)], [])


def test_removing_an_absent_level_changes_nothing():
    book = OrderBook()
    book.apply_diff([(5, 3)], [(6, 2)])
    book.apply_diff([(4, 0)], [(7, 0)])
    assert book.top_bids(5) == [(5, 3)]
    assert book.top_asks(5) == [(6, 2)]
