"""A runtime whose desk does what a test says: for what the real one does not do on demand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import httpx

from rfq_service.api.dependencies import Runtime
from rfq_service.api.rate_limit import Gate
from rfq_service.app import create_app
from rfq_service.domain.clock import SimClock
from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.history import Firm
from rfq_service.domain.identifiers import ApiKeyId, FirmId, uuid7
from rfq_service.domain.identity import SCOPES_OF_ROLE, Principal, Role
from rfq_service.monitoring.telemetry import Telemetry
from rfq_service.settings import HttpSettings, Settings

TOKEN = "fake-token"
START_NS = 1_723_122_000_000_000_000
CALLER = Principal(
    firm=Firm(FirmId(uuid7(START_NS, 1)), "Fake", is_dealer=False),
    key_id=ApiKeyId(uuid7(START_NS, 2)),
    role=Role.BUY_SIDE,
    scopes=SCOPES_OF_ROLE[Role.BUY_SIDE],
    expires_at_ns=START_NS + 300_000_000_000,
)


class FakeIdentity:
    """One token opens everything."""

    async def authenticate(self, headers: Mapping[str, str]) -> Principal:
        if headers.get("authorization") != f"Bearer {TOKEN}":
            raise RfqError(ErrorCode.UNAUTHENTICATED, "not the fake token")
        return CALLER


@dataclass
class FakeDesk:
    """Every use case is this one function."""

    answer: Callable[..., Awaitable[Any]]

    def __getattr__(self, _name: str) -> Callable[..., Awaitable[Any]]:
        return self.answer


@dataclass
class FakeRuntime:
    buy_side: FakeDesk
    settings: Settings = field(default_factory=lambda: Settings(http=HttpSettings(deadline_ms=50)))
    identity: FakeIdentity = field(default_factory=FakeIdentity)
    telemetry: Telemetry = field(default_factory=Telemetry)
    clock: SimClock = field(default_factory=lambda: SimClock(START_NS))
    state: dict[str, str] = field(default_factory=lambda: {"database": "ok"})
    is_started: bool = False
    gate: Gate = field(init=False)

    def __post_init__(self) -> None:
        self.gate = Gate(self.settings, self.clock)

    @property
    def sell_side(self) -> FakeDesk:
        return self.buy_side

    def instruments(self) -> tuple[Any, ...]:
        return ()

    async def readiness(self) -> dict[str, str]:
        return self.state

    async def start(self) -> None:
        self.is_started = True

    async def stop(self) -> None:
        self.is_started = False


def http_on(runtime: FakeRuntime) -> httpx.AsyncClient:
    """A client with a valid token; an error in the app is an answer, as behind a real server."""
    transport = httpx.ASGITransport(app=create_app(cast("Runtime", runtime)), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test", headers={"Authorization": f"Bearer {TOKEN}"})


def http_with(answer: Callable[..., Awaitable[Any]]) -> httpx.AsyncClient:
    """A client of a service whose every use case is ``answer``."""
    return http_on(FakeRuntime(FakeDesk(answer)))
