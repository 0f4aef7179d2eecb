"""The journal of changes."""

from __future__ import annotations

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from rfq_service.db.tables import EventRow, table_of
from rfq_service.domain.history import Event

_event = table_of(EventRow)


class EventRepository:
    """Appends to the journal; an event is written in the transaction of its change."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, *events: Event) -> None:
        """Append events."""
        if not events:
            return
        values = [
            {
                "id": event.event_id,
                "kind": event.kind.value,
                "occurred_at_ns": event.occurred_at_ns,
                "client_firm_id": event.client_firm_id,
                "dealer_firm_id": event.dealer_firm_id,
                "rfq_id": event.rfq_id,
                "quote_id": event.quote_id,
                "payload_json": event.payload_json,
            }
            for event in events
        ]
        await self._connection.execute(insert(_event), values)
