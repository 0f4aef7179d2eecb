"""Firms and their API keys."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Row, insert, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from rfq_service.db.tables import ApiKeyRow, FirmRow, table_of
from rfq_service.domain.history import Firm
from rfq_service.domain.identifiers import ApiKeyId, FirmId

_firm = table_of(FirmRow)
_key = table_of(ApiKeyRow)
_Firms = list[Firm]


class FirmRepository:
    """Queries on firms and keys. A key is known by the SHA-256 of its secret only."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, firm: Firm) -> bool:
        """Add a firm; ``False``, and nothing changed, when its name is taken."""
        values = {"id": firm.firm_id, "name": firm.name, "is_dealer": firm.is_dealer}
        statement = postgresql.insert(_firm).values(values).on_conflict_do_nothing(index_elements=["name"])
        return (await self._connection.execute(statement)).rowcount == 1

    async def get(self, firm_id: FirmId) -> Firm | None:
        """A firm by id."""
        row = (await self._connection.execute(select(_firm).where(_firm.c.id == firm_id))).first()
        return None if row is None else _to_firm(row)

    async def by_name(self, names: Iterable[str]) -> dict[str, Firm]:
        """The firms that exist among ``names``."""
        rows = await self._connection.execute(select(_firm).where(_firm.c.name.in_(list(names))))
        return {row.name: _to_firm(row) for row in rows}

    async def list(self) -> _Firms:
        """All firms by name."""
        return [_to_firm(row) for row in await self._connection.execute(select(_firm).order_by(_firm.c.name))]

    async def add_key(
        self, key_id: ApiKeyId, firm_id: FirmId, digest: bytes, prefix: str, label: str, created_at_ns: int
    ) -> None:
        """Add a key; ``digest`` is the SHA-256 of the secret, ``prefix`` its first characters for people."""
        await self._connection.execute(
            insert(_key).values(
                id=key_id, firm_id=firm_id, digest=digest, prefix=prefix, label=label, created_at_ns=created_at_ns
            )
        )

    async def key_by_digest(self, digest: bytes) -> tuple[ApiKeyId, Firm] | None:
        """The key with that digest and its firm; ``None`` when unknown or revoked."""
        statement = (
            select(_firm, _key.c.id.label("key_id"))
            .join(_key, _key.c.firm_id == _firm.c.id)
            .where(_key.c.digest == digest, _key.c.revoked_at_ns.is_(None))
        )
        row = (await self._connection.execute(statement)).first()
        return None if row is None else (ApiKeyId(row.key_id), _to_firm(row))

    async def revoke_key(self, key_id: ApiKeyId, revoked_at_ns: int) -> FirmId | None:
        """Revoke a key and return its firm; ``None`` when it is unknown or already revoked."""
        statement = (
            update(_key)
            .where(_key.c.id == key_id, _key.c.revoked_at_ns.is_(None))
            .values(revoked_at_ns=revoked_at_ns)
            .returning(_key.c.firm_id)
        )
        firm_id = (await self._connection.execute(statement)).scalar_one_or_none()
        return None if firm_id is None else FirmId(firm_id)


def _to_firm(row: Row[tuple[object, ...]]) -> Firm:
    return Firm(firm_id=FirmId(row.id), name=row.name, is_dealer=row.is_dealer)
