from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from rfq_service.db.engine import Database
from rfq_service.domain.history import Firm
from tests.database import samples


@pytest.fixture
async def database(database_dsn: str) -> AsyncIterator[Database]:
    opened = Database(database_dsn)
    yield opened
    await opened.close()


@pytest.fixture
async def client(database: Database) -> Firm:
    firm = samples.firm("Client")
    async with database.begin() as uow:
        await uow.firms.add(firm)
        await uow.instruments.upsert(samples.instrument(samples.SPOT), samples.instrument(samples.PERPETUAL))
        await uow.commit()
    return firm


@pytest.fixture
async def dealers(database: Database) -> list[Firm]:
    firms = [samples.firm(name, is_dealer=True) for name in ("Anna", "Bert", "Cleo")]
    async with database.begin() as uow:
        for firm in firms:
            await uow.firms.add(firm)
        await uow.commit()
    return firms
