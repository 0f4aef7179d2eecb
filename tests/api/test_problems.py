"""Errors: each code has one status, nothing leaks, what is late or down is said as 503 with Retry-After."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from structlog.testing import capture_logs

from rfq_service.api.problems import STATUS
from rfq_service.domain.errors import ErrorCode, InvariantError, RfqError, require
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
    class SlowKeys:
        async def firm_of(self, _key: str) -> None:
            await asyncio.sleep(60)

    async def never(*_: object) -> None:
        require(condition=False, message="the use case must not run")

    runtime = FakeRuntime(FakeDesk(never), keys=SlowKeys())  # type: ignore[arg-type]
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


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": "wrong"},
        {"X-API-Key": ""},
        {"X-API-Key": "x" * 10_000},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic fake-key"},
        {"Authorization": "fake-key"},
        {"Authorization": "Bearer fake-key", "X-API-Key": "wrong"},
        {"Authorization": b"Bearer \xff\xfe"},
    ],
)
async def test_without_one_valid_key_nothing_is_served(headers: dict[str, Any]) -> None:
    async with http_with(_not_found) as http:
        del http.headers["X-API-Key"]
        answer = await http.get(RFQS, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("headers", [{"X-API-Key": "fake-key"}, {"Authorization": "bearer fake-key"}])
async def test_a_key_is_taken_from_either_header(headers: dict[str, str]) -> None:
    async with http_with(_not_found) as http:
        del http.headers["X-API-Key"]
        assert (await http.get(RFQS, headers=headers)).json()["code"] == "RFQ_NOT_FOUND"


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
    async with http_with(_not_found) as http:
        await http.get(RFQS)
        text = (await http.get("/metrics")).text
    assert 'rfq_use_case_duration_seconds_count{use_case="list_rfqs",outcome="refused"} 1' in text
