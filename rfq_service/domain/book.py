"""Limit order book of one instrument in whole ticks and whole quantity units: exact, pure and quick in CPython."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

from rfq_service.domain.errors import require

# (price in ticks, absolute quantity in units); a quantity of zero removes the level
LevelChange = tuple[int, int]


class _BookSide:
    """One side. Keys are sign × tick, so on both sides a larger key is a better price and the best is the last.

    The sorted list changes only when a level appears or goes; new levels come near the touch, that is near the end
    of the list, where insertion moves little memory.
    """

    __slots__ = ("keys", "quantities", "sign")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.keys: list[int] = []
        self.quantities: dict[int, int] = {}

    def replace(self, levels: Iterable[LevelChange]) -> None:
        self.quantities = {self.sign * tick: quantity for tick, quantity in levels if quantity}
        require(all(quantity > 0 for quantity in self.quantities.values()), "resting quantities are positive")
        self.keys = sorted(self.quantities)

    def apply(self, changes: Iterable[LevelChange]) -> None:
        sign, keys, quantities = self.sign, self.keys, self.quantities
        for tick, quantity in changes:
            key = sign * tick
            if quantity > 0:
                if key not in quantities:
                    insort(keys, key)
                quantities[key] = quantity
            elif key in quantities:
                require(quantity == 0, "resting quantities are positive")
                del quantities[key]
                del keys[bisect_left(keys, key)]

    def top(self, count: int) -> list[LevelChange]:
        sign, quantities = self.sign, self.quantities
        return [(sign * key, quantities[key]) for key in reversed(self.keys[-count:])]


class OrderBook:
    """Bids and asks of one instrument.

    The book never repairs itself: a crossed book is reported by ``is_crossed`` and its owner throws it away.
    ``sequence`` counts the changes applied; one number means one state of the book.
    """

    __slots__ = ("_asks", "_bids", "sequence")

    def __init__(self) -> None:
        self._bids = _BookSide(1)
        self._asks = _BookSide(-1)
        self.sequence = 0

    def apply_snapshot(self, bids: Iterable[LevelChange], asks: Iterable[LevelChange]) -> None:
        """Replace the whole book."""
        self._bids.replace(bids)
        self._asks.replace(asks)
        self.sequence += 1

    def apply_diff(self, bids: Iterable[LevelChange], asks: Iterable[LevelChange]) -> None:
        """Set each named level to its absolute quantity; removing a level that is not there is no error."""
        self._bids.apply(bids)
        self._asks.apply(asks)
        self.sequence += 1

    @property
    def is_two_sided(self) -> bool:
        """Whether both sides have a level."""
        return bool(self._bids.keys) and bool(self._asks.keys)

    @property
    def is_crossed(self) -> bool:
        """Whether the best bid is at or above the best ask; a locked book counts as crossed."""
        return self.is_two_sided and self._bids.keys[-1] >= -self._asks.keys[-1]

    def touch(self) -> tuple[int, int, int, int]:
        """Best bid tick and quantity, best ask tick and quantity; only for a two-sided book."""
        bid_key, ask_key = self._bids.keys[-1], self._asks.keys[-1]
        return bid_key, self._bids.quantities[bid_key], -ask_key, self._asks.quantities[ask_key]

    def top_bids(self, count: int) -> list[LevelChange]:
        """The best ``count`` bids, best first."""
        return self._bids.top(count)

    def top_asks(self, count: int) -> list[LevelChange]:
        """The best ``count`` asks, best first."""
        return self._asks.top(count)

    def level_counts(self) -> tuple[int, int]:
        """Number of bid and ask levels held."""
        return len(self._bids.keys), len(self._asks.keys)
