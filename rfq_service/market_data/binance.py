"""Binance WebSocket and REST depth messages: spot, USD-M and COIN-M.

Update ids chain differently: a spot diff covers updates U…u and follows the diff whose ``u`` is U − 1; a futures diff
names its predecessor's ``u`` in ``pu``. Both become ``previous_id`` here, so that nobody else need know.
"""

from __future__ import annotations

import re
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

import msgspec

from rfq_service.domain.book import LevelChange
from rfq_service.domain.units import NS_PER_MS
from rfq_service.market_data.events import (
    BadMessageError,
    DepthDiff,
    DepthSnapshot,
    Fault,
    MarketEvent,
    TopOfBook,
    TradePrint,
)

_CACHE_SIZE_MAX = 200_000
_NUMBER_LENGTH_MAX = 40
_DECIMAL_NUMBER = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?", re.ASCII)
_NON_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE | re.ASCII)

_WireLevels = list[tuple[str, str]]
# milliseconds of the years 1970 to 2200; anything else is not a time
_WireTime = Annotated[int, msgspec.Meta(ge=0, le=7_258_118_400_000)]


class Flavour(StrEnum):
    """Which of the venue's protocols a stream speaks."""

    SPOT = "spot"
    FUTURES = "futures"


class _WireData(msgspec.Struct, gc=False):
    """Union of the fields of depthUpdate, bookTicker and trade; ``b`` and ``a`` are levels or one price."""

    e: str | None = None
    E: _WireTime = 0
    U: int | None = None
    u: int | None = None
    pu: int | None = None
    b: _WireLevels | str | None = None
    a: _WireLevels | str | None = None
    B: str | None = None
    A: str | None = None
    t: int | None = None
    p: str | None = None
    q: str | None = None
    m: bool | None = None


class _WireMessage(msgspec.Struct, gc=False):
    """A combined-stream message (``data``) or a REST depth snapshot (the other fields)."""

    data: _WireData | None = None
    last_update_id: int | None = msgspec.field(default=None, name="lastUpdateId")
    E: _WireTime = 0
    bids: _WireLevels | None = None
    asks: _WireLevels | None = None


class _NumberCache(dict[str, int]):
    """Decimal text -> exact whole number of ``step``; prices and sizes repeat, so most look-ups are hits."""

    def __init__(self, step: Decimal) -> None:
        super().__init__()
        self._decimals = max(0, -int(step.normalize().as_tuple().exponent))
        self._units_per_step = int(step.scaleb(self._decimals))

    def __missing__(self, text: str) -> int:
        value = self._parse(text)
        if len(self) >= _CACHE_SIZE_MAX:
            self.clear()
        self[text] = value
        return value

    def _parse(self, text: str) -> int:
        match = _DECIMAL_NUMBER.fullmatch(text) if len(text) <= _NUMBER_LENGTH_MAX else None
        if match is None:
            fault = Fault.NON_FINITE if _NON_FINITE.fullmatch(text) else Fault.MALFORMED
            raise BadMessageError(fault, f"not a decimal number: {text[:_NUMBER_LENGTH_MAX]!r}")
        sign, whole, fraction = match.group(1), match.group(2), match.group(3) or ""
        kept, dropped = fraction[: self._decimals], fraction[self._decimals :]
        value, rest = divmod(int(whole + kept.ljust(self._decimals, "0")), self._units_per_step)
        if rest or dropped.strip("0"):
            raise BadMessageError(Fault.MALFORMED, f"{text} is off the grid")
        if sign and value:
            raise BadMessageError(Fault.NEGATIVE, f"{text} is negative")
        return value


class BinanceDecoder:
    """Decodes the messages of one instrument.

    Args:
        flavour: spot or futures rules for update ids.
        tick_size: price grid.
        quantity_step: finest quantity the venue sends; may be finer than the lot, as old orders keep their old grid.
    """

    def __init__(self, flavour: Flavour, tick_size: Decimal, quantity_step: Decimal) -> None:
        self._is_spot = flavour is Flavour.SPOT
        self._ticks = _NumberCache(tick_size)
        self._units = _NumberCache(quantity_step)
        self._decode = msgspec.json.Decoder(_WireMessage).decode

    def __call__(self, raw: bytes) -> MarketEvent | None:
        """Decode one message; ``None`` for kinds that are not used (heartbeats, subscription replies).

        Raises:
            BadMessageError: malformed JSON, missing fields, numbers off the grid, negative or not finite.
        """
        try:
            message = self._decode(raw)
        except (msgspec.DecodeError, RecursionError) as error:
            # what cannot be read may have been a diff; if so the next one shows the gap
            raise BadMessageError(Fault.MALFORMED, str(error)) from None
        data = message.data
        if data is None:
            return self._snapshot(message)
        if data.e == "depthUpdate":
            return self._diff(data)
        if data.e == "trade":
            return self._trade(data)
        if data.B is not None:
            return self._top_of_book(data)
        return None

    def _diff(self, data: _WireData) -> DepthDiff:
        bids, asks, first, last = data.b, data.a, data.U, data.u
        previous = data.pu
        if self._is_spot and first is not None:
            previous = first - 1
        if not isinstance(bids, list) or not isinstance(asks, list) or last is None or previous is None:
            raise BadMessageError(Fault.MALFORMED, "a depth update lacks a field", is_depth=True)
        return DepthDiff(data.E * NS_PER_MS, previous, last, self._levels(bids), self._levels(asks))

    def _snapshot(self, message: _WireMessage) -> DepthSnapshot | None:
        if message.last_update_id is None:
            return None
        if message.bids is None or message.asks is None:
            raise BadMessageError(Fault.MALFORMED, "a snapshot lacks a side", is_depth=True)
        bids, asks = self._levels(message.bids), self._levels(message.asks)
        return DepthSnapshot(message.E * NS_PER_MS, message.last_update_id, bids, asks)

    def _levels(self, levels: _WireLevels) -> list[LevelChange]:
        ticks, units = self._ticks, self._units
        try:
            return [(ticks[price], units[quantity]) for price, quantity in levels]
        except BadMessageError as error:
            raise BadMessageError(error.fault, str(error), is_depth=True) from None

    def _top_of_book(self, data: _WireData) -> TopOfBook:
        bid, ask = data.b, data.a
        if not isinstance(bid, str) or not isinstance(ask, str):
            raise BadMessageError(Fault.MALFORMED, "a best bid/offer lacks a price")
        return TopOfBook(data.E * NS_PER_MS, self._ticks[bid], self._ticks[ask])

    def _trade(self, data: _WireData) -> TradePrint | None:
        if data.t is None or data.p is None or data.q is None or data.m is None:
            raise BadMessageError(Fault.MALFORMED, "a trade lacks a field")
        sign = -1 if data.m else 1
        ticks, units = self._ticks[data.p], self._units[data.q]
        # futures print settlements of the insurance fund as trades of nothing
        return TradePrint(data.E * NS_PER_MS, data.t, ticks, units, sign) if ticks and units else None


_EVENT_TIME_KEY = b'"E":'


def event_time_ns(raw: bytes) -> int:
    """Exchange time of a raw message without decoding it, 0 where it has none (spot best bid/offer, spot snapshot)."""
    start = raw.find(_EVENT_TIME_KEY, 0, 256)
    if start < 0:
        # futures best bid/offer carry it at the end
        start = raw.rfind(_EVENT_TIME_KEY, -32)
        if start < 0:
            return 0
    digits = raw[start + 4 : start + 17]
    return int(digits) * NS_PER_MS if digits.isdigit() else 0
