"""What an auditor reads: within a transaction that has been opened to the firms he was granted."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from rfq_service.db.tables import StreamEntryRow, table_of
from rfq_service.domain.history import ToldEvent
from rfq_service.domain.identifiers import EventId, FirmId, QuoteId, RfqId
from rfq_service.domain.stream import Party

_entry = table_of(StreamEntryRow)
_ENTER = text("SELECT unnest(enter_audit(:auditor_firm_id))")


class AuditRepository:
    """Queries of auditors; before ``enter`` they find nothing."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def enter(self, auditor_firm_id: FirmId) -> set[UUID]:
        """Open this transaction to what the auditor firm was granted; returns the firms."""
        found = await self._connection.execute(_ENTER, {"auditor_firm_id": auditor_firm_id})
        return set(found.scalars())

    async def events(self, firm_id: FirmId, party: Party, after: int, limit: int) -> Sequence[ToldEvent]:
        """What one party of a firm was told beyond a number, in the order it was told."""
        statement = (
            select(_entry)
            .where(_entry.c.firm_id == firm_id, _entry.c.party == party.value, _entry.c.number > after)
            .order_by(_entry.c.number)
            .limit(limit)
        )
        return [
            ToldEvent(
                number=row.number,
                event_id=EventId(row.event_id),
                kind=row.kind,
                occurred_at_ns=row.occurred_at_ns,
                told_at_ns=row.sequenced_at_ns,
                rfq_id=None if row.rfq_id is None else RfqId(row.rfq_id),
                quote_id=None if row.quote_id is None else QuoteId(row.quote_id),
                payload_json=row.payload_json,
            )
            for row in await self._connection.execute(statement)
        ]
