"""What the desks need from above them, declared by the user of it (dependency rule 4); tests pass their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from rfq_service.db.engine import Databases
from rfq_service.desk.turns import Turns
from rfq_service.domain.changes import Changes, RfqBook
from rfq_service.domain.clock import Clock
from rfq_service.domain.identifiers import InstrumentId
from rfq_service.domain.instrument import Instrument
from rfq_service.domain.market import MarketSnapshot
from rfq_service.domain.quote import Quote
from rfq_service.domain.rfq import ExpiryBounds


class MarketView(Protocol):
    """The live market as decisions see it."""

    def snapshot(self, instrument_id: InstrumentId) -> MarketSnapshot | None:
        """The freshest usable book, or ``None`` while there is none."""


class QuoteListener(Protocol):
    """The buy side's ear on the sell side's commits: it is told of quotes and tells nothing back."""

    def on_quotes_changed(self, changes: Changes, book: RfqBook, new: Quote | None, now_ns: int) -> None:
        """Score ``new`` and decide again over the quotes that ``changes`` leave live; its rows go into ``changes``."""


def _tell_nobody() -> None:
    """Nobody waits for this service's events."""


@dataclass(frozen=True, slots=True)
class DeskContext:
    """What both desks share: parts, not decisions.

    Attributes:
        instruments: every known instrument by id; the mapping is replaced when the reference data changes.
        new_id: makes a UUIDv7 of a UTC time in nanoseconds.
        on_commit: called after every commit that may have written events.
    """

    database: Databases
    market: MarketView
    clock: Clock
    instruments: Callable[[], Mapping[InstrumentId, Instrument]]
    new_id: Callable[[int], UUID]
    rfq_life: ExpiryBounds
    quote_life: ExpiryBounds
    on_commit: Callable[[], None] = _tell_nobody
    turns: Turns = field(default_factory=Turns)
