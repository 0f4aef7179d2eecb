from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from rfq_service.db.embedded import EmbeddedPostgres
from rfq_service.db.engine import Database, Databases
from rfq_service.domain.history import Firm
from tests.database import samples


@pytest.fixture
async def database(database_dsn: str) -> AsyncIterator[Database]:
    """The tables' owner, whom no policy binds: only tests of the pool itself and of constraints use it."""
    opened = Database(database_dsn)
    yield opened
    await opened.close()


@pytest.fixture
async def databases(database_dsn: str) -> AsyncIterator[Databases]:
    opened = Databases.open(database_dsn)
    yield opened
    await opened.close()


@pytest.fixture
async def client(databases: Databases) -> Firm:
    firm = samples.firm("Client")
    async with databases.operator.begin() as uow:
        await uow.firms.add(firm)
        await uow.instruments.upsert(samples.instrument(samples.SPOT), samples.instrument(samples.PERPETUAL))
        await uow.commit()
    return firm


@pytest.fixture
async def dealers(databases: Databases) -> list[Firm]:
    firms = [samples.firm(name, is_dealer=True) for name in ("Anna", "Bert", "Cleo")]
    async with databases.operator.begin() as uow:
        for firm in firms:
            await uow.firms.add(firm)
        await uow.commit()
    return firms


@pytest.fixture
def own_server() -> Iterator[EmbeddedPostgres]:
    """A server of the test's own, which it may stop and kill; durable, as what it keeps is asked for afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="rfq-own-server-"))
    directory.chmod(0o755)  # the server runs as another user when the tests run as root
    server = EmbeddedPostgres(directory / "data", fsync=True)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(directory, ignore_errors=True)
