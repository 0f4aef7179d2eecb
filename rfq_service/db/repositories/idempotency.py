"""What requests with an ``Idempotency-Key`` were answered."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from rfq_service.db.repositories.conversion import record_values, unpack_body
from rfq_service.db.tables import IdempotencyKeyRow, table_of
from rfq_service.domain.history import IdempotencyRecord
from rfq_service.domain.identifiers import FirmId

_key = table_of(IdempotencyKeyRow)


class KeyUsedError(Exception):
    """The ``Idempotency-Key`` was used before: what it did then is stored, and nothing is now."""


class IdempotencyRepository:
    """Queries on stored replies. A use case of the trade writes its own with its effect, by ``UnitOfWork.store``."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def find(self, firm_id: FirmId, operation: str, key_digest: bytes) -> IdempotencyRecord | None:
        """What the firm's request with that key was answered, if it took effect."""
        statement = select(_key).where(
            _key.c.firm_id == firm_id, _key.c.operation == operation, _key.c.key_digest == key_digest
        )
        row = (await self._connection.execute(statement)).first()
        if row is None:
            return None
        return IdempotencyRecord(
            firm_id=FirmId(row.firm_id),
            operation=row.operation,
            key_digest=row.key_digest,
            request_digest=row.request_digest,
            status=row.status,
            body=unpack_body(row.body),
            created_at_ns=row.created_at_ns,
            expires_at_ns=row.expires_at_ns,
        )

    async def add(self, record: IdempotencyRecord) -> None:
        """Store a reply in the transaction of its effect; raises ``KeyUsedError`` when the key was used before."""
        statement = postgresql.insert(_key).values(record_values(record)).on_conflict_do_nothing()
        if (await self._connection.execute(statement)).rowcount != 1:
            raise KeyUsedError

    async def try_lock(self, lock_key: int) -> bool:
        """Claim a key for this transaction; ``False`` when a request with it is at work in another one."""
        statement = select(func.pg_try_advisory_xact_lock(lock_key))
        return bool((await self._connection.execute(statement)).scalar_one())

    async def purge(self, now_ns: int, most: int) -> int:
        """Delete up to ``most`` records whose time is over; return how many."""
        statement = select(func.purge_idempotency_keys(now_ns, most))
        return int((await self._connection.execute(statement)).scalar_one())
