"""The peer of the durable evaluation: the least that a Litestar service can do to keep what it is sent.

One route reads a JSON body, does one asyncpg INSERT of it, commits and answers. Same server settings as ours.
"""

from __future__ import annotations

import gc
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import uvicorn
from litestar import Litestar, post

_TABLE = "CREATE TABLE IF NOT EXISTS kept (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL)"


def create_app(dsn: str) -> Litestar:
    """The peer's application."""
    pools: list[asyncpg.Pool] = []

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        pool = await asyncpg.create_pool(dsn, min_size=8, max_size=8)
        await pool.execute(_TABLE)
        pools.append(pool)
        gc.collect()
        gc.freeze()
        yield
        await pool.close()

    @post("/keep")
    async def keep(data: dict[str, Any]) -> dict[str, int]:
        async with pools[0].acquire() as connection, connection.transaction():
            number = await connection.fetchval("INSERT INTO kept (body) VALUES ($1) RETURNING id", repr(data))
        return {"id": number}

    return Litestar([keep], lifespan=[lifespan], openapi_config=None)


def main() -> None:
    """Serve on a free port and print it."""
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(
        create_app(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_config=None, lifespan="on"
    )
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
