"""Minute bars of the lit market."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Protocol

from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from rfq_service.db.tables import MarketBarRow, table_of
from rfq_service.domain.identifiers import InstrumentId

_bar = table_of(MarketBarRow)
_KEY = ("instrument_id", "start_ns")
_EXACT = ("open_mid", "high_mid", "low_mid", "close_mid", "volume", "trade_count")
_MEASURED = ("spread_bps", "depth_notional")


class Bar(Protocol):
    """A minute as the market data layer builds it: exact mids and volume, measured spread (bps) and depth."""

    @property
    def instrument_id(self) -> InstrumentId: ...  # noqa: D102 - the class says what they are
    @property
    def start_ns(self) -> int: ...  # noqa: D102
    @property
    def open_mid(self) -> Decimal: ...  # noqa: D102
    @property
    def high_mid(self) -> Decimal: ...  # noqa: D102
    @property
    def low_mid(self) -> Decimal: ...  # noqa: D102
    @property
    def close_mid(self) -> Decimal: ...  # noqa: D102
    @property
    def volume(self) -> Decimal: ...  # noqa: D102
    @property
    def trade_count(self) -> int: ...  # noqa: D102
    @property
    def spread_bps(self) -> float: ...  # noqa: D102
    @property
    def depth_notional(self) -> float: ...  # noqa: D102


class MarketRepository:
    """Writes market history."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add_bars(self, bars: Iterable[Bar]) -> int:
        """Store bars; one that is already there is replaced, so a recording may be ingested again. Returns how many."""
        values = [
            {name: getattr(bar, name) for name in (*_KEY, *_EXACT, *_MEASURED)}
            for bar in sorted(bars, key=lambda bar: (bar.instrument_id, bar.start_ns))
        ]
        if not values:
            return 0
        statement = postgresql.insert(_bar)
        statement = statement.on_conflict_do_update(
            index_elements=_KEY, set_={name: statement.excluded[name] for name in (*_EXACT, *_MEASURED)}
        )
        await self._connection.execute(statement, values)
        return len(values)
