"""Instruments and firms: known from Postgres, replaced as a whole when they change; an instrument with its event."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from uuid import UUID

from rfq_service.db.engine import Database
from rfq_service.db.unit_of_work import UnitOfWork
from rfq_service.desk.terms import build_event
from rfq_service.domain.history import Audience, EventKind, Firm
from rfq_service.domain.identifiers import InstrumentId
from rfq_service.domain.instrument import Instrument


class InstrumentDirectory:
    """Every known instrument by id, for readers that must not wait."""

    def __init__(self, database: Database, new_id: Callable[[int], UUID]) -> None:
        self._database = database
        self._new_id = new_id
        self._by_id: Mapping[InstrumentId, Instrument] = {}

    def __call__(self) -> Mapping[InstrumentId, Instrument]:
        """Instruments by id."""
        return self._by_id

    async def refresh(self) -> None:
        """Read them again."""
        async with self._database.begin() as uow:
            known = await uow.instruments.all()
        self._by_id = {instrument.instrument_id: instrument for instrument in known}

    async def add_missing(self, instruments: Sequence[Instrument]) -> None:
        """Store those that are not known yet; what an operator has changed of the others stays."""
        await self.refresh()
        await self.register([item for item in instruments if item.instrument_id not in self._by_id])

    async def register(self, instruments: Sequence[Instrument]) -> None:
        """Store instruments, new or changed, and read all again."""
        async with self._database.begin() as uow:
            await store_instruments(uow, instruments, self._new_id)
            await uow.commit()
        await self.refresh()


class FirmDirectory:
    """Every firm by name, for panels, which are chosen without asking the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_name: Mapping[str, Firm] = {}

    async def refresh(self) -> None:
        """Read them again."""
        async with self._database.begin() as uow:
            self._by_name = {firm.name: firm for firm in await uow.firms.list()}

    async def named(self, names: Sequence[str]) -> Mapping[str, Firm]:
        """The firms that exist, those of the names among them; one that is not known yet is looked for once."""
        if any(name not in self._by_name for name in names):
            await self.refresh()
        return self._by_name

    async def dealers(self) -> list[Firm]:
        """Every dealer firm, by name."""
        if not any(firm.is_dealer for firm in self._by_name.values()):
            await self.refresh()
        return [firm for firm in self._by_name.values() if firm.is_dealer]


async def store_instruments(
    uow: UnitOfWork, instruments: Sequence[Instrument], new_id: Callable[[int], UUID]
) -> list[Instrument]:
    """Store those that are new or differ from what is known, each with an event; return them."""
    known = {instrument.instrument_id: instrument for instrument in await uow.instruments.all()}
    changed = [instrument for instrument in instruments if known.get(instrument.instrument_id) != instrument]
    await uow.instruments.upsert(*changed)
    now_ns = time.time_ns()
    for instrument in changed:
        stored = asdict(instrument)
        await uow.events.add(build_event(EventKind.INSTRUMENT_STORED, new_id(now_ns), now_ns, stored, Audience.NONE))
    return changed
