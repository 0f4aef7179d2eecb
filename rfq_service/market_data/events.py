"""What any venue's messages mean, in whole ticks and quantity units: the words between decoders and ingest."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, Protocol

from rfq_service.domain.book import LevelChange


class Fault(StrEnum):
    """Why a message was not used; each has a counter per instrument."""

    GAP = "gap"
    STALE_DIFF = "stale_diff"
    CROSSED = "crossed"
    MALFORMED = "malformed"
    NON_FINITE = "non_finite"
    NEGATIVE = "negative"


class BadMessageError(Exception):
    """A message that cannot be used.

    Args:
        fault: which counter it belongs to.
        detail: what was wrong, for the log.
        is_depth: whether it was meant to change the book, which is then no longer known.
    """

    def __init__(self, fault: Fault, detail: str, *, is_depth: bool = False) -> None:
        super().__init__(f"{fault}: {detail}")
        self.fault = fault
        self.is_depth = is_depth


class DepthSnapshot(NamedTuple):
    """A whole book as of update ``last_id``; ``event_ns`` is 0 where the venue sends no time."""

    event_ns: int
    last_id: int
    bids: list[LevelChange]
    asks: list[LevelChange]


class DepthDiff(NamedTuple):
    """Absolute new quantities of the levels changed by updates after ``previous_id`` up to ``last_id``."""

    event_ns: int
    previous_id: int
    last_id: int
    bids: list[LevelChange]
    asks: list[LevelChange]


class TopOfBook(NamedTuple):
    """Best bid and offer from a stream of their own; ``event_ns`` is 0 where the venue sends no time."""

    event_ns: int
    bid_ticks: int
    ask_ticks: int


class TradePrint(NamedTuple):
    """One public trade; ``aggressor_sign`` is +1 where the taker bought."""

    event_ns: int
    trade_id: int
    price_ticks: int
    quantity_units: int
    aggressor_sign: int


MarketEvent = DepthSnapshot | DepthDiff | TopOfBook | TradePrint


class Decoder(Protocol):
    """Raw message of one instrument -> its meaning; ``None`` for messages that carry no market data.

    Raises:
        BadMessageError: when the message cannot be used.
    """

    def __call__(self, raw: bytes) -> MarketEvent | None:
        """Decode one message."""
