"""What the desks need from above them, declared by the user of it (dependency rule 4); tests pass their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from rfq_service.db.engine import Database
from rfq_service.db.unit_of_work import UnitOfWork
from rfq_service.domain.clock import Clock
from rfq_service.domain.identifiers import InstrumentId
from rfq_service.domain.instrument import Instrument
from rfq_service.domain.market import MarketSnapshot
from rfq_service.domain.quote import Quote
from rfq_service.domain.rfq import ExpiryBounds, Rfq


class MarketView(Protocol):
    """The live market as decisions see it."""

    def snapshot(self, instrument_id: InstrumentId) -> MarketSnapshot | None:
        """The freshest usable book, or ``None`` while there is none."""


class QuoteListener(Protocol):
    """The buy side's ear on the sell side's commits: it is told of quotes and tells nothing back."""

    async def on_quotes_changed(self, uow: UnitOfWork, rfq: Rfq, active: Sequence[Quote], new: Quote | None) -> None:
        """Score ``new`` and decide again over the ``active`` quotes, within the transaction that changes them."""


@dataclass(frozen=True, slots=True)
class DeskContext:
    """What both desks share: parts, not decisions.

    Attributes:
        instruments: every known instrument by id; the mapping is replaced when the reference data changes.
        new_id: makes a UUIDv7 of a UTC time in nanoseconds.
    """

    database: Database
    market: MarketView
    clock: Clock
    instruments: Callable[[], Mapping[InstrumentId, Instrument]]
    new_id: Callable[[int], UUID]
    rfq_life: ExpiryBounds
    quote_life: ExpiryBounds
