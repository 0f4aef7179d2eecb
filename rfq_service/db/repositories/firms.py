"""Firms: the market's directory."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import Row, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from rfq_service.db.repositories.conversion import to_page
from rfq_service.db.tables import FirmRow, table_of
from rfq_service.domain.history import Firm, Page
from rfq_service.domain.identifiers import FirmId

_firm = table_of(FirmRow)
_Firms = list[Firm]


class FirmRepository:
    """Queries on firms."""

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

    async def page(self, cursor: UUID | None, limit: int) -> Page[Firm]:
        """Firms, newest first."""
        statement = select(_firm).order_by(_firm.c.id.desc()).limit(limit + 1)
        if cursor is not None:
            statement = statement.where(_firm.c.id < cursor)
        found = [_to_firm(row) for row in await self._connection.execute(statement)]
        return to_page(found, limit, lambda firm: firm.firm_id)


def _to_firm(row: Row[tuple[object, ...]]) -> Firm:
    return Firm(firm_id=FirmId(row.id), name=row.name, is_dealer=row.is_dealer)
