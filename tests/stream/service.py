"""The whole service behind real sockets: uvicorn as ``rfq serve`` runs it, in the test's own loop."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from rfq_service.administration import store_firm, store_key
from rfq_service.app import create_app
from rfq_service.bootstrap import Runtime, build_runtime
from rfq_service.domain.history import Firm
from rfq_service.domain.identifiers import ApiKeyId
from rfq_service.domain.identity import Role, Scope
from rfq_service.market_data.simulated import simulated_recording
from rfq_service.serve import server_config
from rfq_service.settings import AuthSettings, MarketSettings, Settings, StreamSettings, TelemetrySettings


@dataclass(frozen=True)
class Service:
    """A replica that listens."""

    runtime: Runtime
    server: uvicorn.Server
    port: int
    owner: asyncpg.Connection

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/stream"

    async def firm(self, name: str, *, is_dealer: bool = False) -> Firm:
        async with self.runtime.databases.operator.begin() as uow:
            firm = await store_firm(uow, name, is_dealer=is_dealer)
            await uow.commit()
        return firm

    async def key(self, firm: Firm, role: Role = Role.BUY_SIDE) -> tuple[ApiKeyId, str]:
        async with self.runtime.databases.operator.begin(principal=firm.firm_id) as uow:
            key = await store_key(uow, firm.name, "test", role=role)
            await uow.commit()
        await self.settle()
        return key

    async def settle(self) -> None:
        """Wait until every event has its number: making a key is an event too."""
        await eventually(self._is_settled)

    async def _is_settled(self) -> bool:
        waiting = "SELECT (SELECT count(*) FROM event) - (SELECT count(*) FROM event_leaf)"
        return not await self.owner.fetchval(waiting)

    async def token(self, firm: Firm, role: Role = Role.BUY_SIDE, *scopes: Scope) -> str:
        return await self.token_of(*await self.key(firm, role), *scopes)

    async def token_of(self, key_id: ApiKeyId, secret: str, *scopes: Scope) -> str:
        return (await self.runtime.identity.issue(key_id, secret, frozenset(scopes))).token

    def open(self, token: str | None = None, **options: Any) -> connect:
        headers = dict(options.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return connect(self.url, additional_headers=headers, **options)


@asynccontextmanager
async def serving(dsn: str, *, token_s: int = 300, market_speed: float = 1.0, **stream: Any) -> AsyncIterator[Service]:
    """The service with a simulated market; ``stream`` are settings of its section."""
    settings = Settings(
        stream=replace(StreamSettings(), **stream),
        auth=replace(AuthSettings(), token_s=token_s),
        market=replace(MarketSettings(), speed=market_speed),
        telemetry=TelemetrySettings(log_level="CRITICAL"),
    )
    runtime = build_runtime(settings, dsn, [simulated_recording(seed=3)])
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(128)
    server = uvicorn.Server(server_config(create_app(runtime), settings))
    task = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started:
        assert not task.done(), task.result()
        await asyncio.sleep(0.01)
    owner = await asyncpg.connect(dsn)
    try:
        yield Service(runtime, server, listening.getsockname()[1], owner)
    finally:
        await owner.close()
        server.should_exit = True
        await task
        listening.close()
        await _end_what_lingers()


async def _end_what_lingers() -> None:
    """Close sockets that the service left to the end of its process: here the process goes on after it."""
    loop = asyncio.get_running_loop()
    for found in gc.get_objects():
        if issubclass(type(found), asyncio.Transport) and getattr(found, "_loop", None) is loop:
            found.abort()
    await asyncio.sleep(0.05)


async def eventually(condition: Callable[[], bool | Awaitable[bool]], timeout_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while True:
        is_so = condition()
        if await is_so if isinstance(is_so, Awaitable) else is_so:
            return
        assert time.monotonic() < deadline_s, "it never came to be"
        await asyncio.sleep(0.01)


async def say(connection: ClientConnection, **message: Any) -> None:
    await connection.send(json.dumps(message))


async def hear(connection: ClientConnection, *kinds: str, timeout_s: float = 10.0) -> dict[str, Any]:
    """The next message of one of these kinds; of any kind but heartbeats without them."""
    async with asyncio.timeout(timeout_s):
        while True:
            message: dict[str, Any] = json.loads(await connection.recv())
            if message["type"] in kinds or (not kinds and message["type"] != "heartbeat"):
                return message


async def subscribe(connection: ClientConnection, *topics: str, **more: Any) -> dict[str, Any]:
    await say(connection, op="subscribe", topics=list(topics), **more)
    return await hear(connection, "subscribed", "resync", "error")


async def closed(connection: ClientConnection, timeout_s: float = 10.0) -> int:
    """The code with which the socket ends, whatever comes before."""
    async with asyncio.timeout(timeout_s):
        try:
            while True:
                await connection.recv()
        except ConnectionClosed as end:
            return 1006 if end.rcvd is None else int(end.rcvd.code)
