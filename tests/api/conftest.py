"""One running service for all tests of the API: real database, simulated market."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.api.service import CLIENT, DEALERS, Service, make_runtime, running
from tests.support.postgres import DatabaseServer


@pytest.fixture(scope="session")
def api_dsn(database_server: DatabaseServer) -> Iterator[str]:
    with database_server.database(migrated=True) as dsn:
        yield dsn


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def service(api_dsn: str) -> AsyncIterator[Service]:
    async with running(make_runtime(api_dsn), api_dsn) as served:
        yield served


@pytest_asyncio.fixture(loop_scope="session")
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with service.http(CLIENT) as http:
        yield http


@pytest_asyncio.fixture(loop_scope="session")
async def dealer(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with service.http(DEALERS[0]) as http:
        yield http


@pytest_asyncio.fixture(loop_scope="session")
async def market(client: httpx.AsyncClient) -> dict[str, Any]:
    """A live line of the board."""
    rows: list[dict[str, Any]] = (await client.get("/v1/board")).json()["items"]
    return next(row for row in rows if row["status"] == "live")
