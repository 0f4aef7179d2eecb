"""Errors: each code has one status, nothing leaks, what is late or down is said as 503 with Retry-After."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from structlog.testing import capture_logs

from rfq_service.api.problems import STATUS
from rfq_service.domain.errors import ErrorCode, InvariantError, RfqError, require
from rfq_service.settings import HttpSettings, Settings
from tests.api.fakes import FakeDesk, FakeRuntime, http_on, http_with

RFQS = "/v1/rfqs"
SECRET = "postgresql://user:hunter2@db/rfq"


async def ask(error: Exception) -> Any:
    async def fail(*_: object) -> None:
        raise error

    async with http_with(fail) as http:
        return await http.get(RFQS)


def test_every_code_has_a_status_of_its_kind() -> None:
    assert set(STATUS) == set(ErrorCode)
    ours = {code for code, status in STATUS.items() if status >= 500}
    assert ours == {
        ErrorCode.INTERNAL,
        ErrorCode.DEADLINE_EXCEEDED,
        ErrorCode.DATABASE_UNAVAILABLE,
        ErrorCode.OVERLOADED,
    }
    assert all(status >= 400 for status in STATUS.values())


@pytest.mark.parametrize("code", [code for code in ErrorCode if code is not ErrorCode.INTERNAL])
async def test_an_error_becomes_its_problem(code: ErrorCode) -> None:
    answer = await ask(RfqError(code, "why", "legs[0].ratio"))
    assert answer.status_code == STATUS[code]
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert re.fullmatch("[0-9a-f]{32}", problem.pop("trace_id"))
    assert problem == {
        "type": f"urn:rfq:problem:{code.lower().replace('_', '-')}",
        "title": code.replace("_", " ").capitalize(),
        "status": STATUS[code],
        "detail": "why",
        "code": code.value,
        "field": "legs[0].ratio",
    }
    assert ("retry-after" in answer.headers) == (answer.status_code == 503)
    assert ("www-authenticate" in answer.headers) == (answer.status_code == 401)
    assert "ratelimit" in answer.headers  # whatever became of it, he is told what he may still ask


@pytest.mark.parametrize(
    "error", [RuntimeError(SECRET), InvariantError(SECRET), KeyError(SECRET), RfqError(ErrorCode.INTERNAL, SECRET)]
)
async def test_what_was_not_foreseen_is_logged_and_not_told(error: Exception) -> None:
    with capture_logs() as logs:
        answer = await ask(error)
    assert answer.status_code == 500
    problem = answer.json()
    assert problem["code"] == "INTERNAL"
    assert SECRET not in answer.text
    [entry] = logs
    assert entry["exc_info"] is error
    assert entry["request_trace_id"] == problem["trace_id"]


async def test_a_late_answer_is_503_within_the_deadline() -> None:
    ended = asyncio.Event()

    async def hang(*_: object) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with asyncio.timeout(5), http_with(hang) as http:
        answer = await http.get(RFQS)
    assert (answer.status_code, answer.json()["code"]) == (503, "DEADLINE_EXCEEDED")
    assert answer.headers["retry-after"] == "1"
    assert ended.is_set()


async def test_a_late_key_lookup_is_503_too() -> None:
    class SlowIdentity:
        async def authenticate(self, _headers: object) -> None:
            await asyncio.sleep(60)

    async def never(*_: object) -> None:
        require(condition=False, message="the use case must not run")

    runtime = FakeRuntime(FakeDesk(never), identity=SlowIdentity())  # type: ignore[arg-type]
    async with asyncio.timeout(5), http_on(runtime) as http:
        assert (await http.get(RFQS)).json()["code"] == "DEADLINE_EXCEEDED"


async def test_a_body_that_never_ends_meets_the_deadline() -> None:
    async def never(*_: object) -> None:
        require(condition=False, message="the use case must not run")

    async def body() -> Any:
        yield b'{"legs": '
        await asyncio.sleep(60)

    async with asyncio.timeout(5), http_with(never) as http:
        answer = await http.post(RFQS, content=body(), headers={"content-type": "application/json"})
    assert answer.json()["code"] == "DEADLINE_EXCEEDED"


async def test_the_callers_trace_goes_on() -> None:
    async with http_with(_not_found) as http:
        trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
        answer = await http.get(RFQS, headers={"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"})
        assert answer.json()["trace_id"] == trace_id
        first, second = [(await http.get(RFQS)).json()["trace_id"] for _ in range(2)]
        assert first != second


async def _not_found(*_: object) -> None:
    raise RfqError(ErrorCode.RFQ_NOT_FOUND, "no such RFQ")


@pytest.mark.parametrize(
    "method, path, status, code",
    [
        ("GET", "/v1/nothing", 404, "NOT_FOUND"),
        ("GET", "/", 404, "NOT_FOUND"),
        ("GET", "/v1/rfqs/%00", 404, "RFQ_NOT_FOUND"),
        ("DELETE", RFQS, 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/health/live", 405, "METHOD_NOT_ALLOWED"),
    ],
)
async def test_unknown_routes_and_methods_are_problems_too(method: str, path: str, status: int, code: str) -> None:
    async with http_with(_not_found) as http:
        answer = await http.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert ("allow" in answer.headers) == (status == 405), "the methods that are there are named"


async def test_requests_beyond_what_is_served_at_once_are_turned_away_and_health_is_not() -> None:
    arrived, leave = asyncio.Semaphore(0), asyncio.Event()

    async def wait(*_: object) -> None:
        arrived.release()
        await leave.wait()
        raise RfqError(ErrorCode.RFQ_NOT_FOUND, "no such RFQ")

    settings = Settings(http=HttpSettings(deadline_ms=5_000, in_flight_max=2))
    runtime = FakeRuntime(FakeDesk(wait), settings=settings)
    async with asyncio.timeout(10), http_on(runtime) as http:
        inside = [asyncio.create_task(http.get(RFQS)) for _ in range(2)]
        for _ in inside:
            await arrived.acquire()
        answer = await http.get(RFQS)
        assert (answer.status_code, answer.json()["code"]) == (503, "OVERLOADED")
        assert answer.headers["retry-after"] == "1"
        assert (await http.get("/health/live")).status_code == 200
        leave.set()
        assert [task.json()["code"] for task in await asyncio.gather(*inside)] == ["RFQ_NOT_FOUND"] * 2
        assert (await http.get(RFQS)).json()["code"] == "RFQ_NOT_FOUND"
    assert runtime.gate.protected.in_flight == 0


@pytest.mark.parametrize(
    "headers, code",
    [
        ([("x-filler", "x" * 40_000)], "HEADERS_TOO_LARGE"),
        ([(f"x-{number}", "1") for number in range(101)], "HEADERS_TOO_LARGE"),
        ([("authorization", "Bearer fake-token"), ("authorization", "Bearer fake-token")], "REPEATED_PARAMETER"),
    ],
)
async def test_headers_are_bounded_and_not_ambiguous(headers: list[tuple[str, str]], code: str) -> None:
    async with http_with(_not_found) as http:
        del http.headers["Authorization"]
        answer = await http.get(RFQS, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (STATUS[ErrorCode(code)], code)


@pytest.mark.parametrize(
    "headers, challenge",
    [
        ({}, "Bearer"),
        ({"X-API-Key": "fake-token"}, "Bearer"),
        ({"Authorization": "Bearer wrong"}, 'Bearer error="invalid_token"'),
        ({"Authorization": "Basic fake-token"}, 'Bearer error="invalid_token"'),
        ({"Authorization": b"Bearer \xff\xfe"}, 'Bearer error="invalid_token"'),
    ],
)
async def test_without_a_valid_token_nothing_is_served(headers: dict[str, Any], challenge: str) -> None:
    async with http_with(_not_found) as http:
        del http.headers["Authorization"]
        answer = await http.get(RFQS, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED")
    assert answer.headers["www-authenticate"] == challenge
    assert "ratelimit" not in answer.headers


async def test_readiness_names_what_is_wrong() -> None:
    runtime = FakeRuntime(FakeDesk(_not_found), state={"database": "ok", "market": "warming up"})
    async with http_on(runtime) as http:
        answer = await http.get("/health/ready")
        assert answer.status_code == 503
        assert answer.json() == {"status": "unavailable", "components": runtime.state}
        runtime.state = {"database": "ok", "market": "ok"}
        assert (await http.get("/health/ready")).json() == {"status": "ok", "components": runtime.state}
        assert (await http.get("/health/live")).json() == {"status": "ok"}


async def test_every_request_is_measured_by_operation_and_outcome() -> None:
    runtime = FakeRuntime(FakeDesk(_not_found))
    async with http_on(runtime) as http:
        await http.get(RFQS)
        assert (await http.get("/metrics")).status_code == 403  # for operators
    text = runtime.telemetry.prometheus_text().decode()
    assert 'rfq_use_case_duration_seconds_count{use_case="list_rfqs",outcome="refused"} 1' in text
