"""The whole service in process, with firms and keys, for tests and for the recorder of the examples.

``httpx.ASGITransport`` lets requests overlap, which Litestar's own test client does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
from litestar import Litestar
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from rfq_service.administration import store_firm, store_key
from rfq_service.api.problems import TOKEN_PATH
from rfq_service.app import create_app
from rfq_service.bootstrap import Runtime, build_runtime
from rfq_service.db.engine import asyncpg_url
from rfq_service.domain.identity import Role
from rfq_service.market_data.simulated import simulated_recording
from rfq_service.settings import AuthSettings, HttpSettings, Settings, TelemetrySettings

CLIENT, RIVAL_CLIENT = "Alder Capital", "Birch Partners"
DEALERS = ("Dealer A", "Dealer B", "Dealer C", "Dealer D", "Dealer E")
AUDITOR, OPERATOR = "Cedar Audit", "Operations"
BODY_MAX_BYTES = 16_384
_ROLES = {AUDITOR: Role.AUDITOR, OPERATOR: Role.OPERATOR}


@dataclass(frozen=True)
class Service:
    """The running service, a key for each firm (client id and secret) and the token it buys."""

    app: Litestar
    runtime: Runtime
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    dsn: str = ""

    def http(self, firm: str | None = None, *, keyed: bool = True, **headers: str) -> httpx.AsyncClient:
        """A client with the firm's token, or without any; an error in the app is an answer, as behind a real server.

        Every POST gets an ``Idempotency-Key`` of its own unless it has one, or ``keyed`` is false.
        """
        if firm is not None:
            headers["Authorization"] = f"Bearer {self.tokens[firm]}"
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        hooks: Any = {"request": [add_idempotency_key]} if keyed else {}
        return httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers, event_hooks=hooks)

    async def rows(self, statement: str, **values: object) -> Sequence[Any]:
        """What the owner of the tables finds, whom no policy binds."""
        engine = create_async_engine(asyncpg_url(self.dsn), poolclass=NullPool)
        try:
            async with engine.connect() as connection:
                return (await connection.execute(text(statement), values)).all()
        finally:
            await engine.dispose()

    async def add_key(self, firm: str, role: Role | None = None) -> tuple[str, str]:
        """A new key of a firm: client id and secret."""
        async with self.runtime.databases.operator.begin() as uow:
            key_id, secret = await store_key(uow, firm, "test", role)
            await uow.commit()
        return str(key_id), secret

    async def ask_token(self, client_id: str, secret: str, **form: str) -> httpx.Response:
        """The token endpoint's answer."""
        async with self.http() as http:
            data = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret, **form}
            return await http.post(TOKEN_PATH, data=data)

    async def token(self, client_id: str, secret: str, **form: str) -> str:
        """A token for a key."""
        answer = await self.ask_token(client_id, secret, **form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


async def add_idempotency_key(request: httpx.Request) -> None:
    """A key that was never used, for a request that has none."""
    if request.method == "POST":
        request.headers.setdefault("Idempotency-Key", uuid4().hex)


def make_runtime(dsn: str) -> Runtime:
    """A runtime on a simulated market, with a small limit for bodies and room for hasty tests."""
    settings = Settings(
        http=HttpSettings(body_max_bytes=BODY_MAX_BYTES, deadline_ms=5_000, rate_per_s=5_000, rate_burst=10_000),
        auth=AuthSettings(token_s=3_600),
        telemetry=TelemetrySettings(log_level="ERROR"),
    )
    return build_runtime(settings, dsn, [simulated_recording(seed=3)])


@asynccontextmanager
async def running(runtime: Runtime, dsn: str = "", *, add_firms: bool = True) -> AsyncIterator[Service]:
    """The runtime served, its market live; ``dsn`` is the owner's, for tests that look behind."""
    app = create_app(runtime)
    started, stop = asyncio.Event(), asyncio.Event()
    # A task of its own: Litestar's lifespan must end in the task it began in, and fixtures begin and end in two.
    lifespan = asyncio.create_task(_hold_open(app, started, stop))
    try:
        async with asyncio.timeout(60):
            waiting = asyncio.create_task(started.wait())
            await asyncio.wait({lifespan, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            service = Service(app, runtime, dsn=dsn)
            for name in () if not add_firms else (CLIENT, RIVAL_CLIENT, *DEALERS, AUDITOR, OPERATOR):
                await _add(service, name)
            await runtime.firms.refresh()
            if runtime.player is not None:
                await runtime.player.ready.wait()
        yield service
    finally:
        stop.set()
        await lifespan


async def _hold_open(app: Litestar, started: asyncio.Event, stop: asyncio.Event) -> None:
    async with app.lifespan():
        started.set()
        await stop.wait()


async def _add(service: Service, name: str) -> None:
    async with service.runtime.databases.operator.begin() as uow:
        await store_firm(uow, name, is_dealer=name in DEALERS)
        await uow.commit()
    service.keys[name] = await service.add_key(name, _ROLES.get(name))
    service.tokens[name] = await service.token(*service.keys[name])
