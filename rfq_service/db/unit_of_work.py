"""One transaction with its repositories; committed by the use case, before the reply exists.

Lock order, the same for everybody, so that two transactions never wait for each other in a circle: the RFQ's row first
(``rfqs.get(lock=True)``, ``rfqs.rfq_for_dealer_lock``, the ``claim_expired`` of both), then the ends of its quotes,
then its invitations. Claims skip the RFQs that others hold.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from rfq_service.db.repositories.events import EventRepository
from rfq_service.db.repositories.firms import FirmRepository
from rfq_service.db.repositories.instruments import InstrumentRepository
from rfq_service.db.repositories.market import MarketRepository
from rfq_service.db.repositories.quotes import QuoteRepository
from rfq_service.db.repositories.rfqs import RfqRepository


class UnitOfWork:
    """The repositories of one transaction; made by ``Database.begin``."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.firms = FirmRepository(connection)
        self.instruments = InstrumentRepository(connection)
        self.rfqs = RfqRepository(connection)
        self.quotes = QuoteRepository(connection)
        self.events = EventRepository(connection)
        self.market = MarketRepository(connection)

    async def commit(self) -> None:
        """Make everything durable; only what follows this may be acknowledged."""
        await self._connection.commit()
