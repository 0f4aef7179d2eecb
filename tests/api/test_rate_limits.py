"""What a key may ask: counted for the key whatever its requests come with, and told in the standard headers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfq_service.api.rate_limit import Gate, RateLimiter
from rfq_service.app import create_app
from rfq_service.domain.clock import SimClock
from rfq_service.domain.units import NS_PER_S
from rfq_service.settings import AuthSettings, HttpSettings, Settings
from tests.api.service import CLIENT, DEALERS, Service

START_NS = 1_723_122_000_000_000_000
BURST = 5


def limiter(rate_per_s: float = 10, burst: int = BURST) -> tuple[RateLimiter, SimClock]:
    clock = SimClock(START_NS)
    return RateLimiter(rate_per_s, burst, clock), clock


def test_a_burst_then_the_rate() -> None:
    limits, clock = limiter()
    assert [limits.take("a")[0] for _ in range(BURST)] == [4, 3, 2, 1, 0]
    left, full_in_s, wait_s = limits.take("a")
    assert (left, full_in_s, wait_s) == (0, pytest.approx(0.5), pytest.approx(0.1))
    assert limits.take("b")[2] == 0
    clock.advance(NS_PER_S // 10)
    assert limits.take("a")[2] == 0
    assert limits.take("a")[2] == pytest.approx(0.1)
    clock.advance(10 * NS_PER_S)
    assert limits.take("a")[:2] == (BURST - 1, pytest.approx(0.1))


def test_being_refused_costs_nothing() -> None:
    limits, clock = limiter()
    for _ in range(BURST + 100):
        limits.take("a")
    clock.advance(NS_PER_S // 10)
    assert limits.take("a")[2] == 0


@given(
    rate=st.floats(0.1, 100_000),
    burst=st.integers(1, 50),
    pauses=st.lists(st.integers(0, 2 * NS_PER_S), min_size=1, max_size=200),
)
def test_never_more_than_burst_and_rate_allow(rate: float, burst: int, pauses: list[int]) -> None:
    limits, clock = limiter(rate, burst)
    served_ns: list[int] = []
    for pause_ns in pauses:
        clock.advance(pause_ns)
        left, _, wait_s = limits.take("a")
        assert 0 <= left < burst
        if wait_s == 0:
            served_ns.append(clock.now_ns())
    for start in range(len(served_ns)):
        for end in range(start, len(served_ns)):
            span_s = (served_ns[end] - served_ns[start]) / NS_PER_S
            assert end - start + 1 <= burst + rate * span_s + 1e-3


def test_it_forgets_who_is_idle_and_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rfq_service.api.rate_limit._CALLERS_MAX", 10)
    limits, clock = limiter()
    for number in range(10):
        limits.take(number)
    clock.advance(NS_PER_S)
    for _ in range(BURST):
        limits.take("busy")
    for number in range(100, 108):
        limits.take(number)
    assert limits.take("busy")[2] > 0
    assert len(limits._full_at_ns) <= 10


@asynccontextmanager
async def limited(service: Service, **http: Any) -> AsyncIterator[Service]:
    """The same service with a gate that is nearly shut."""
    settings = Settings(http=HttpSettings(**http), auth=AuthSettings(failures_per_minute=0.1))
    before = service.runtime.gate
    service.runtime.gate = Gate(settings, SimClock(START_NS))
    try:
        yield Service(create_app(service.runtime), service.runtime, service.keys, service.tokens, service.dsn)
    finally:
        service.runtime.gate = before


def told(answer: httpx.Response) -> int:
    match = re.fullmatch(r'"key";r=(\d+);t=(\d+)', answer.headers["ratelimit"])
    assert match is not None
    return int(match[1])


@pytest.mark.asyncio(loop_scope="session")
async def test_headers_count_down_with_errors_too_and_then_429(service: Service) -> None:
    async with limited(service, rate_per_s=1, rate_burst=4) as tight, tight.http(CLIENT) as http:
        answers = [await http.get(path) for path in ("/v1/board", "/v1/rfqs/x", "/v1/dealer/rfqs", "/v1/rfqs?x=1")]
        assert [answer.status_code for answer in answers] == [200, 404, 403, 400]
        assert [told(answer) for answer in answers] == [3, 2, 1, 0]
        assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"key";q=4;w=4'}
        refused = await http.get("/v1/board")
        assert (refused.status_code, refused.json()["code"]) == (429, "RATE_LIMITED")
        assert (refused.headers["retry-after"], told(refused)) == ("1", 0)


@pytest.mark.asyncio(loop_scope="session")
async def test_no_header_address_or_second_token_gives_a_key_more(service: Service) -> None:
    second = await service.token(*service.keys[CLIENT])
    assert second != service.tokens[CLIENT]
    async with limited(service, rate_per_s=1, rate_burst=4) as tight:
        tokens = (service.tokens[CLIENT], second)
        statuses = []
        for number in range(8):
            headers = {
                "Authorization": f"Bearer {tokens[number % 2]}",
                "X-Forwarded-For": f"10.0.0.{number}",
                "Forwarded": f"for=10.0.1.{number}",
                "X-Real-IP": f"10.0.2.{number}",
                "User-Agent": f"client {number}",
            }
            async with tight.http(**headers) as http:
                statuses.append((await http.get("/v1/board")).status_code)
        assert statuses == [200] * 4 + [429] * 4
        # another key is another allowance
        async with tight.http(DEALERS[0]) as http:
            assert (await http.get("/v1/board")).status_code == 200
        # and asking for tokens counts as well
        answer = await tight.ask_token(*service.keys[CLIENT])
        assert (answer.status_code, answer.json()["error"]) == (429, "temporarily_unavailable")


@pytest.mark.asyncio(loop_scope="session")
async def test_wrong_secrets_are_counted_for_each_client_id_and_lock_nobody_out(service: Service) -> None:
    fresh_id, fresh_secret = await service.add_key(CLIENT)
    client_id, secret = service.keys[CLIENT]
    async with limited(service, rate_per_s=100, rate_burst=100) as tight:
        guesses = [(await tight.ask_token(client_id, f"rfqk_{number}")).status_code for number in range(15)]
        assert guesses == [401] * 10 + [429] * 5
        limited_answer = await tight.ask_token(client_id, "rfqk_x")
        assert int(limited_answer.headers["retry-after"]) > 0
        # whoever was let in before still is, and other ids are not concerned
        assert (await tight.ask_token(client_id, secret)).status_code == 200
        assert (await tight.ask_token(fresh_id, fresh_secret)).status_code == 200
        assert (await tight.ask_token(str(UUID(int=1)), secret)).status_code == 401


@pytest.mark.asyncio(loop_scope="session")
async def test_a_refused_change_changes_nothing(service: Service) -> None:
    async with limited(service, rate_per_s=0.1, rate_burst=1) as tight, tight.http(CLIENT) as http:
        assert (await http.get("/v1/board")).status_code == 200
        answer = await http.post("/v1/rfqs", json={}, headers={"Idempotency-Key": "limited"})
        assert answer.status_code == 429
