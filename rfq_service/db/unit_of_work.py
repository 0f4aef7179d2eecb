"""One transaction with its repositories; committed by the use case, before the reply exists.

Lock order, the same for everybody, so that two transactions never wait for each other in a circle: the RFQ first
(``rfqs.lock``, ``rfqs.enter_as_invited``, ``books.lock_invited``), then its row, and then everything is written at once
by ``store``, the request's ``Idempotency-Key`` with it. Nothing is written before the RFQ is locked: a transaction has
its id from its first write on, so for one RFQ the order of the ids is the order of the changes, and the sequencer may
number events by it.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from rfq_service.db.append import build_append, refuses_key
from rfq_service.db.repositories.audit import AuditRepository
from rfq_service.db.repositories.events import EventRepository
from rfq_service.db.repositories.firms import FirmRepository
from rfq_service.db.repositories.idempotency import IdempotencyRepository, KeyUsedError
from rfq_service.db.repositories.identity import IdentityRepository
from rfq_service.db.repositories.instruments import InstrumentRepository
from rfq_service.db.repositories.market import MarketRepository
from rfq_service.db.repositories.quotes import QuoteRepository
from rfq_service.db.repositories.rfqs import RfqRepository
from rfq_service.domain.changes import Changes


class UnitOfWork:
    """The repositories of one transaction; made by ``Database.begin``."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.firms = FirmRepository(connection)
        self.identity = IdentityRepository(connection)
        self.audit = AuditRepository(connection)
        self.instruments = InstrumentRepository(connection)
        self.rfqs = RfqRepository(connection)
        self.quotes = QuoteRepository(connection)
        self.events = EventRepository(connection)
        self.idempotency = IdempotencyRepository(connection)
        self.market = MarketRepository(connection)

    async def store(self, batch: Sequence[Changes]) -> None:
        """Store what use cases have decided about RFQs that this transaction has locked or makes.

        Raises:
            KeyUsedError: when an ``Idempotency-Key`` was used before; the transaction is then good for nothing.
        """
        for changes in batch:
            if changes.saved_rfq is not None:
                await self.rfqs.save(changes.saved_rfq)
            if changes.invitation_state is not None and changes.saved_rfq is not None:
                rfq_id = changes.saved_rfq.rfq_id
                await self.rfqs.close_invitations(rfq_id, changes.invitation_state, changes.outcomes)
        statement, arguments = build_append(batch, names_firms=False)
        try:
            await self._connection.exec_driver_sql(statement, tuple(arguments))
        except IntegrityError as error:
            if refuses_key(error):
                raise KeyUsedError from None
            raise

    async def commit(self) -> None:
        """Make everything durable; only what follows this may be acknowledged."""
        await self._connection.commit()
