"""Instrument reference data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from sqlalchemy import Row, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from rfq_service.db.tables import InstrumentRow, table_of
from rfq_service.domain.identifiers import InstrumentId
from rfq_service.domain.instrument import ContractType, Instrument, InstrumentKind

_instrument = table_of(InstrumentRow)
# Column names are field names, but for the key.
_FIELDS = tuple(field.name for field in fields(Instrument) if field.name != "instrument_id")


class InstrumentRepository:
    """Queries on instruments."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def upsert(self, *instruments: Instrument) -> None:
        """Add instruments, or replace what is known of them."""
        if not instruments:
            return
        statement = postgresql.insert(_instrument)
        statement = statement.on_conflict_do_update(
            index_elements=["id"], set_={name: statement.excluded[name] for name in _FIELDS}
        )
        values = [
            {"id": instrument.instrument_id, **{name: getattr(instrument, name) for name in _FIELDS}}
            for instrument in sorted(instruments, key=lambda instrument: instrument.instrument_id)
        ]
        await self._connection.execute(statement, values)

    async def get(self, instrument_id: InstrumentId) -> Instrument | None:
        """An instrument by id."""
        row = (await self._connection.execute(select(_instrument).where(_instrument.c.id == instrument_id))).first()
        return None if row is None else _to_instrument(row)

    async def all(self) -> Sequence[Instrument]:
        """All instruments by id."""
        rows = await self._connection.execute(select(_instrument).order_by(_instrument.c.id))
        return [_to_instrument(row) for row in rows]


def _to_instrument(row: Row[tuple[object, ...]]) -> Instrument:
    values = {name: getattr(row, name) for name in _FIELDS}
    values["kind"] = InstrumentKind(row.kind)
    values["contract_type"] = ContractType(row.contract_type)
    return Instrument(instrument_id=InstrumentId(row.id), **values)
