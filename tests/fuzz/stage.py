"""The whole service behind a real socket, in a thread of its own: Hypothesis' tests are synchronous."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import asyncpg
import httpx
import uvicorn
import uvloop

from rfq_service.administration import store_firm, store_key
from rfq_service.api.problems import TOKEN_PATH
from rfq_service.app import create_app
from rfq_service.bootstrap import Runtime, build_runtime
from rfq_service.domain.clock import Clock
from rfq_service.domain.identity import Role
from rfq_service.domain.market import ClockSource
from rfq_service.domain.units import NS_PER_S
from rfq_service.market_data.feeds import Recording
from rfq_service.market_data.simulated import WARMUP_S, SimulatedStream, simulated_recording
from rfq_service.serve import server_config
from rfq_service.settings import (
    AuthSettings,
    DatabaseSettings,
    HttpSettings,
    LifeSettings,
    MarketSettings,
    Settings,
    TelemetrySettings,
)

CLIENTS = ("Alder Capital", "Birch Partners")
DEALERS = ("Dealer A", "Dealer B", "Dealer C", "Dealer D", "Dealer E")
AUDITOR, OPERATOR = "Cedar Audit", "Operations"
_BUSY_S = 60
# Nothing is to end by itself: sweeps are made when a test says so.
_NEVER_MS = 1_000_000_000
T = TypeVar("T")


@dataclass(frozen=True)
class Key:
    """A key: whose, what for, and its two halves."""

    firm: str
    role: Role
    client_id: str
    secret: str


class ToldClock:
    """A wall clock that goes on when told to, and a microsecond whenever somebody looks; the monotonic one is real."""

    def __init__(self) -> None:
        self._now_ns = time.time_ns()
        self._lock = threading.Lock()

    def now_ns(self) -> int:
        with self._lock:
            self._now_ns += 1_000
            return self._now_ns

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def advance(self, seconds: int) -> None:
        with self._lock:
            self._now_ns += seconds * NS_PER_S


@dataclass
class Stage:
    """The running service and a key of each party, by firm and role."""

    runtime: Runtime
    url: str
    loop: asyncio.AbstractEventLoop
    dsn: str
    keys: dict[tuple[str, Role], Key] = field(default_factory=dict)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the service's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(_BUSY_S)

    def http(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=headers, timeout=_BUSY_S)

    def token(self, firm: str, role: Role) -> str:
        """A new token, as its key buys it."""
        key = self.keys[firm, role]
        form = {"grant_type": "client_credentials", "client_id": key.client_id, "client_secret": key.secret}
        with self.http() as http:
            answer = http.post(TOKEN_PATH, data=form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def settle(self) -> None:
        """Wait until every event has its number."""
        waiting = "SELECT (SELECT count(*) FROM event) - (SELECT count(*) FROM event_leaf)"
        owner = await asyncpg.connect(self.dsn)
        try:
            async with asyncio.timeout(_BUSY_S):
                while await owner.fetchval(waiting):  # noqa: ASYNC110 - the sequencer tells nobody
                    await asyncio.sleep(0.01)
        finally:
            await owner.close()

    async def add_firm(self, name: str, *, is_dealer: bool = False) -> None:
        async with self.runtime.databases.operator.begin() as uow:
            await store_firm(uow, name, is_dealer=is_dealer)
            await uow.commit()
        await self.runtime.firms.refresh()

    async def add_key(self, firm: str, role: Role) -> None:
        async with self.runtime.databases.operator.begin() as uow:
            key_id, secret = await store_key(uow, firm, "test", role)
            await uow.commit()
        self.keys[firm, role] = Key(firm, role, str(key_id), secret)


def generous_settings() -> Settings:
    """Room for two starved cores: what is refused here is refused for what the request is, never for want of time."""
    return Settings(
        database=DatabaseSettings(command_timeout_ms=_BUSY_S * 1_000),
        http=HttpSettings(deadline_ms=_BUSY_S * 1_000, body_max_bytes=16_384, rate_per_s=100_000, rate_burst=1_000_000),
        auth=AuthSettings(token_s=3_600, blind_max_s=600, failures_per_minute=10_000_000),
        # a lively market is found again soon after the wall clock was told to jump
        market=MarketSettings(speed=20.0),
        life=LifeSettings(sweep_ms=_NEVER_MS),
        telemetry=TelemetrySettings(log_level="CRITICAL"),
    )


def two_markets() -> Recording:
    """Two simulated instruments in one currency: enough for packages."""
    (stream,) = simulated_recording(seed=3).streams
    assert isinstance(stream, SimulatedStream)
    other = SimulatedStream("SIMULATED.SPOT.OTHERUSDT", stream.parameters, seed=4)
    return Recording("simulated", ClockSource.SIMULATED, WARMUP_S, (stream, other))


@contextmanager
def stage(dsn: str, clock: Clock | None = None) -> Iterator[Stage]:
    """The service with two clients, five dealers (one of them a client too), an auditor and an operator."""
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="service")
    thread.start()
    settings = generous_settings()
    listening = socket.socket()
    try:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        runtime = build_runtime(settings, dsn, [two_markets()], clock=clock)
        server = uvicorn.Server(server_config(create_app(runtime), settings))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        served = asyncio.run_coroutine_threadsafe(server.serve(sockets=[listening]), loop)
        try:
            staged = Stage(runtime, url, loop, dsn)
            staged.run(_furnish(staged, server))
            yield staged
        finally:
            server.should_exit = True
            served.result(_BUSY_S)
    finally:
        listening.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_BUSY_S)
        loop.close()


async def _furnish(staged: Stage, server: uvicorn.Server) -> None:
    async with asyncio.timeout(_BUSY_S):
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        for name in (*CLIENTS, *DEALERS, AUDITOR, OPERATOR):
            await staged.add_firm(name, is_dealer=name in DEALERS)
        for name in (*CLIENTS, DEALERS[-1]):
            await staged.add_key(name, Role.BUY_SIDE)
        for name in DEALERS:
            await staged.add_key(name, Role.DEALER)
        await staged.add_key(AUDITOR, Role.AUDITOR)
        await staged.add_key(OPERATOR, Role.OPERATOR)
        assert staged.runtime.player is not None
        await staged.runtime.player.ready.wait()
