"""The generator behind the simulated market: an efficient price, aggressive orders, and makers around it.

The efficient price moves by news and by the permanent impact of aggressive orders, whose signs persist; makers keep a
dense book around it, follow it tick by tick, refill what was taken and now and then pull their best price.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from decimal import Decimal
from itertools import accumulate

import msgspec

from rfq_service.domain.units import NS_PER_MS, from_ticks
from rfq_service.market_data.feeds import TimedMessage

DEPTH_TICKS = 30
IMPACT_TICKS_MAX = 3.0
# an arbitrary fixed start: the generated market has no date of its own
START_MS = 1_704_067_200_000
# A quote moves once the efficient price is half a tick outside it, one tick from its mid: the mid then has the
# efficient price's volatility at every horizon and does not flicker.
FOLLOW_TICKS = 0.5


class SimulatedParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the generator needs; sizes in quantity units, prices in ticks, rates per second.

    Attributes:
        news_ticks_sqrt_s: volatility of the efficient price without the orders' impact.
        impact_ticks: permanent impact of the median order; grows with the square root of size.
        sign_persistence: probability that an order has the sign of the one before it.
        order_log_units_mean: mean of the logarithm of order size; ``order_log_units_sd`` its standard deviation.
        depth_units: mean resting quantity 0, 1, 2 … ticks from the best price of its side.
        depth_log_sd: standard deviation of the logarithm of a level's quantity.
        change_weights: how often a level 0, 1, 2 … ticks from the best price changes, relative.
        refill_probability: chance that a book change closes one tick of a widened spread.
        pull_probability: chance that a book change takes away a best price.
    """

    tick_size: str
    lot_size: str
    start_ticks: int
    news_ticks_sqrt_s: float
    impact_ticks: float
    order_rate: float
    order_log_units_mean: float
    order_log_units_sd: float
    order_units_max: int
    sign_persistence: float
    change_rate: float
    levels_per_change: float
    depth_units: tuple[float, ...]
    depth_log_sd: float
    change_weights: tuple[float, ...]
    refill_probability: float
    pull_probability: float


class _MakerSide:
    """One side's resting quantities: every tick from ``best`` outwards to ``worst``; +1 for bids, −1 for asks."""

    def __init__(self, sign: int, best: int, parameters: SimulatedParameters, draws: random.Random) -> None:
        self.sign = sign
        self.best = best
        self.worst = best + sign
        self.quantities: dict[int, int] = {}
        self.changed: set[int] = set()
        self._parameters = parameters
        self._draws = draws
        self.extend()

    def extend(self) -> None:
        """Keep ``DEPTH_TICKS`` levels behind the best price."""
        while self.sign * (self.best - self.worst) < DEPTH_TICKS - 1:
            self.worst -= self.sign
            self.place(self.worst)

    def place(self, tick: int) -> None:
        """Draw a fresh quantity at a price."""
        depth = self._parameters.depth_units
        mean = depth[min(abs(self.best - tick), len(depth) - 1)]
        sd = self._parameters.depth_log_sd
        # a lognormal with that mean
        self._set(tick, max(1, round(mean * math.exp(self._draws.gauss(-0.5 * sd * sd, sd)))))

    def improve(self) -> None:
        """Quote one tick better."""
        self.best += self.sign
        self.place(self.best)

    def retreat(self) -> None:
        """Take the best price away."""
        self._set(self.best, 0)
        self.best -= self.sign
        self.extend()

    def retreat_to(self, limit: int) -> None:
        """Take away every price better than ``limit``."""
        while self.sign * (self.best - limit) > 0:
            self.retreat()

    def take(self, units: int) -> tuple[int, int]:
        """Let an aggressive order trade at the best price; returns (tick, units traded)."""
        tick, traded = self.best, min(units, self.quantities[self.best])
        self._set(tick, self.quantities[tick] - traded)
        if not self.quantities.get(tick):
            self.best -= self.sign
            self.extend()
        return tick, traded

    def _set(self, tick: int, units: int) -> None:
        self.changed.add(tick)
        if units:
            self.quantities[tick] = units
        else:
            self.quantities.pop(tick, None)


class SimulatedMarket:
    """Generates one instrument's raw messages; the same seed gives the same bytes."""

    def __init__(self, symbol: str, parameters: SimulatedParameters, seed: int) -> None:
        self._symbol = symbol
        self._stream = symbol.lower()
        self._parameters = parameters
        self._draws = random.Random(seed)  # noqa: S311 (a market, not a secret)
        self._tick, self._lot = Decimal(parameters.tick_size), Decimal(parameters.lot_size)
        self._efficient = parameters.start_ticks + 0.5
        self._floor = parameters.start_ticks
        self._bids = _MakerSide(1, self._floor, parameters, self._draws)
        self._asks = _MakerSide(-1, self._floor + 1, parameters, self._draws)
        self._order_sign = 1
        self._update_id = 1
        self._trade_id = 0
        self._touch: tuple[int, int, int, int] | None = None
        self._change_weights = list(accumulate(parameters.change_weights))

    def messages(self, length_s: float) -> Iterator[TimedMessage]:
        """(due time in ns, raw message) from the snapshot on, for ``length_s`` of market time (may be infinite)."""
        parameters, draws = self._parameters, self._draws
        rate = parameters.order_rate + parameters.change_rate
        at_ms = START_MS
        yield at_ms * NS_PER_MS, self._snapshot_message()
        elapsed_s = 0.0
        while True:
            wait_s = draws.expovariate(rate)
            elapsed_s += wait_s
            if elapsed_s > length_s:
                return
            at_ms = max(at_ms + 1, START_MS + round(elapsed_s * 1_000))
            self._efficient += parameters.news_ticks_sqrt_s * math.sqrt(wait_s) * draws.gauss(0.0, 1.0)
            if draws.random() * rate < parameters.order_rate:
                for raw in self._aggressive_order(at_ms):
                    yield at_ms * NS_PER_MS, raw
            else:
                self._change_book()
            for raw in self._book_messages(at_ms):
                yield at_ms * NS_PER_MS, raw

    def _aggressive_order(self, at_ms: int) -> list[bytes]:
        parameters, draws = self._parameters, self._draws
        if draws.random() >= parameters.sign_persistence:
            self._order_sign = -self._order_sign
        size = math.exp(draws.gauss(parameters.order_log_units_mean, parameters.order_log_units_sd))
        units = left = max(1, min(round(size), parameters.order_units_max))
        resting = self._asks if self._order_sign > 0 else self._bids
        raws = []
        while left:
            ticks, traded = resting.take(left)
            left -= traded
            raws.append(self._trade_message(at_ms, ticks, traded))
        relative_size = units / math.exp(parameters.order_log_units_mean)
        impact = min(parameters.impact_ticks * math.sqrt(relative_size), IMPACT_TICKS_MAX)
        self._efficient += self._order_sign * impact
        return raws

    def _change_book(self) -> None:
        """Makers follow the efficient price, refill, sometimes pull, and redraw a few of their sizes."""
        parameters, draws = self._parameters, self._draws
        if not self._floor - FOLLOW_TICKS <= self._efficient < self._floor + 1 + FOLLOW_TICKS:
            self._floor = math.floor(self._efficient)
        self._bids.retreat_to(self._floor)
        self._asks.retreat_to(self._floor + 1)
        if draws.random() < parameters.refill_probability:
            if self._bids.best < self._floor:
                self._bids.improve()
            if self._asks.best > self._floor + 1:
                self._asks.improve()
        elif draws.random() < parameters.pull_probability:
            draws.choice((self._bids, self._asks)).retreat()
        for _ in range(1 + math.floor(draws.expovariate(1.0 / parameters.levels_per_change))):
            side = draws.choice((self._bids, self._asks))
            distance = draws.choices(range(len(self._change_weights)), cum_weights=self._change_weights)[0]
            side.place(side.best - side.sign * min(distance, DEPTH_TICKS - 1))

    def _book_messages(self, at_ms: int) -> Iterator[bytes]:
        bids, asks = self._changes(self._bids), self._changes(self._asks)
        if bids or asks:
            first = self._update_id + 1
            self._update_id += len(bids) + len(asks)
            data = {"e": "depthUpdate", "E": at_ms, "s": self._symbol, "U": first, "u": self._update_id}
            yield self._message("depth@100ms", data | {"b": bids, "a": asks})
        touch = (
            self._bids.best,
            self._bids.quantities[self._bids.best],
            self._asks.best,
            self._asks.quantities[self._asks.best],
        )
        if touch != self._touch:
            self._touch = touch
            bid, ask = self._level(touch[0], touch[1]), self._level(touch[2], touch[3])
            data = {"u": self._update_id, "s": self._symbol, "b": bid[0], "B": bid[1], "a": ask[0], "A": ask[1]}
            yield self._message("bookTicker", data)

    def _changes(self, side: _MakerSide) -> list[tuple[str, str]]:
        changes = [self._level(tick, side.quantities.get(tick, 0)) for tick in sorted(side.changed)]
        side.changed.clear()
        return changes

    def _snapshot_message(self) -> bytes:
        bids, asks = self._changes(self._bids)[::-1], self._changes(self._asks)
        return msgspec.json.encode({"lastUpdateId": self._update_id, "bids": bids, "asks": asks})

    def _trade_message(self, at_ms: int, ticks: int, units: int) -> bytes:
        self._trade_id += 1
        price, quantity = self._level(ticks, units)
        data: dict[str, object] = {"e": "trade", "E": at_ms, "s": self._symbol, "t": self._trade_id, "p": price}
        return self._message("trade", data | {"q": quantity, "T": at_ms, "m": self._order_sign < 0, "M": True})

    def _message(self, kind: str, data: dict[str, object]) -> bytes:
        return msgspec.json.encode({"stream": f"{self._stream}@{kind}", "data": data})

    def _level(self, ticks: int, units: int) -> tuple[str, str]:
        return f"{from_ticks(ticks, self._tick):f}", f"{from_ticks(units, self._lot):f}"
