"""The journal of changes."""

from __future__ import annotations

from itertools import count

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from rfq_service.db.repositories.conversion import event_values
from rfq_service.db.tables import EventRow, table_of
from rfq_service.domain.history import Event

_event = table_of(EventRow)


class EventRepository:
    """Appends to the journal; an event is written in the transaction of its change."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._position = count()

    async def add(self, *events: Event) -> None:
        """Append events, each with its place in the transaction."""
        if not events:
            return
        values = [event_values(event, next(self._position)) for event in events]
        await self._connection.execute(insert(_event), values)
