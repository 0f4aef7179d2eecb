from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from rfq_service.db.engine import Databases
from tests.stream import journal


@pytest.fixture
async def databases(database_dsn: str) -> AsyncIterator[Databases]:
    opened = Databases.open(database_dsn)
    yield opened
    await opened.close()


@pytest.fixture
async def owner(database_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the tables' owner, whom no row policy holds."""
    connection = await asyncpg.connect(database_dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def second(database_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Another one, for a second transaction at the same time."""
    connection = await asyncpg.connect(database_dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def firm(owner: asyncpg.Connection):
    return await journal.add_firm(owner, "Alder Capital")


@pytest.fixture
async def rival(owner: asyncpg.Connection):
    return await journal.add_firm(owner, "Birch Partners")
