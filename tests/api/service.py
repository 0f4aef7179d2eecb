"""The whole service in process, with firms and keys, for tests and for the recorder of the examples.

``httpx.ASGITransport`` lets requests overlap, which Litestar's own test client does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from litestar import Litestar

from rfq_service.administration import store_firm, store_key
from rfq_service.app import create_app
from rfq_service.bootstrap import Runtime, build_runtime
from rfq_service.market_data.simulated import simulated_recording
from rfq_service.settings import HttpSettings, Settings, TelemetrySettings

CLIENT, RIVAL_CLIENT = "Alder Capital", "Birch Partners"
DEALERS = ("Dealer A", "Dealer B", "Dealer C", "Dealer D", "Dealer E")
BODY_MAX_BYTES = 16_384


@dataclass(frozen=True)
class Service:
    """The running service and a client for each firm."""

    app: Litestar
    runtime: Runtime
    keys: dict[str, str]

    def http(self, firm: str | None = None, **headers: str) -> httpx.AsyncClient:
        """A client with the firm's key, or without any; an error in the app is an answer, as behind a real server."""
        if firm is not None:
            headers["Authorization"] = f"Bearer {self.keys[firm]}"
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)


def make_runtime(dsn: str) -> Runtime:
    """A runtime on a simulated market, with a small limit for bodies."""
    settings = Settings(
        http=HttpSettings(body_max_bytes=BODY_MAX_BYTES, deadline_ms=5_000),
        telemetry=TelemetrySettings(log_level="ERROR"),
    )
    return build_runtime(settings, dsn, [simulated_recording(seed=3)])


@asynccontextmanager
async def running(runtime: Runtime) -> AsyncIterator[Service]:
    """The runtime served, its market live."""
    app = create_app(runtime)
    started, stop = asyncio.Event(), asyncio.Event()
    # A task of its own: Litestar's lifespan must end in the task it began in, and fixtures begin and end in two.
    lifespan = asyncio.create_task(_hold_open(app, started, stop))
    try:
        async with asyncio.timeout(60):
            waiting = asyncio.create_task(started.wait())
            await asyncio.wait({lifespan, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            names = (CLIENT, RIVAL_CLIENT, *DEALERS)
            keys = {name: await _add(runtime, name, is_dealer=name in DEALERS) for name in names}
            if runtime.player is not None:
                await runtime.player.ready.wait()
        yield Service(app, runtime, keys)
    finally:
        stop.set()
        await lifespan


async def _hold_open(app: Litestar, started: asyncio.Event, stop: asyncio.Event) -> None:
    async with app.lifespan():
        started.set()
        await stop.wait()


async def _add(runtime: Runtime, name: str, *, is_dealer: bool) -> str:
    async with runtime.database.begin() as uow:
        firm = await store_firm(uow, name, is_dealer=is_dealer)
        _, key = await store_key(uow, firm.name, "test")
        await uow.commit()
    return key
