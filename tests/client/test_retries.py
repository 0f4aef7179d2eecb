# What the clients do when the network and the service misbehave, against a real server that does.
from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from decimal import Decimal
from uuid import UUID

import pytest

from rfq_service.client import (
    AsyncClient,
    Client,
    Conflict,
    Forbidden,
    NotFound,
    OutcomeUnknown,
    Policy,
    RateLimited,
    Refused,
    RfqServiceError,
    Unauthenticated,
    Unavailable,
)
from rfq_service.client.operations import buy_side
from tests.client.servers import TOKEN_PATH, answer, drop, half, late, problem, scripted, token_reply

RFQ_ID = UUID("01a1f8e6-b775-7039-8a22-f186dfd0db6d")
ACCEPT = f"/v1/rfqs/{RFQ_ID}/accept"
QUICK = Policy(deadline_s=5.0, timeout_s=1.0, pause_s=0.01, pause_s_max=0.05)
FILL = {
    "fill_id": str(RFQ_ID),
    "rfq_id": str(RFQ_ID),
    "quote_id": str(RFQ_ID),
    "side": "buy",
    "quantity": "10.00",
    "price": "1.219",
    "leg_prices": ["1.219"],
    "filled_at": "2026-11-20T12:20:32.344205261Z",
    "a_field_of_the_future": {"x": 1},
}


@pytest.fixture
def server():
    with scripted() as script:
        yield script


class Waiting:
    """The asynchronous client behind the methods of the other, so that one set of tests sees both."""

    def __init__(self, *arguments, **named):
        self._runner = asyncio.Runner()
        self._client = self._runner.run(self._make(*arguments, **named))

    async def _make(self, *arguments, **named):
        return AsyncClient(*arguments, **named)

    def __getattr__(self, name):
        return lambda *arguments, **named: self._runner.run(getattr(self._client, name)(*arguments, **named))

    def close(self):
        self._runner.run(self._client.aclose())
        self._runner.close()


@pytest.fixture(params=[Client, Waiting], ids=["sync", "async"])
def client(request, server):
    made = request.param(server.url, "id-1", "rfqk_secret", policy=QUICK)
    yield made
    made.close()


def accept(client, **named):
    return client.accept_quote(RFQ_ID, quote_id=RFQ_ID, **named)


def keys(server):
    return [request.headers["idempotency-key"] for request in server.of(ACCEPT)]


@pytest.mark.parametrize(
    "trouble",
    [
        drop,
        half,
        late(1.3, drop),
        problem(503, "DATABASE_UNAVAILABLE"),
        problem(503, "OVERLOADED"),
        problem(429, "RATE_LIMITED"),
        problem(409, "IDEMPOTENCY_IN_FLIGHT"),
        answer(502, b"<html>bad gateway</html>"),
        answer(504, b""),
    ],
    ids=["dropped", "half", "too late", "database", "overloaded", "limited", "in flight", "gateway", "empty"],
)
def test_change_is_repeated_with_the_same_key_and_the_same_bytes(client, server, trouble):
    server.behaviours[ACCEPT] = [trouble, trouble, answer(200, FILL)]
    fill = accept(client, quantity=Decimal("1E+1"))
    assert (fill.quantity, fill.price, int(fill.filled_at_ns)) == (
        Decimal("10.00"),
        Decimal("1.219"),
        1_795_177_232_344_205_261,
    )
    assert len(keys(server)) == 3
    assert len(set(keys(server))) == 1
    assert len({request.body for request in server.of(ACCEPT)}) == 1
    assert json.loads(server.of(ACCEPT)[0].body) == {"quote_id": str(RFQ_ID), "quantity": "10"}


def test_reads_are_repeated_too_and_carry_no_key(client, server):
    server.behaviours["/v1/board"] = [drop, problem(503, "OVERLOADED"), answer(200, {"items": []})]
    assert client.list_board().items == ()
    assert all("idempotency-key" not in request.headers for request in server.of("/v1/board"))


def test_each_change_has_a_key_of_its_own_unless_the_caller_gives_one(client, server):
    server.behaviours[ACCEPT] = [answer(200, FILL)]
    accept(client)
    accept(client)
    accept(client, idempotency_key="mine-1")
    used = keys(server)
    assert len(set(used)) == 3
    assert used[2] == "mine-1"
    for wrong in ("", "two\nlines", "ü", "x" * 256):
        with pytest.raises(ValueError, match="idempotency key"):
            accept(client, idempotency_key=wrong)


def test_retry_after_is_waited_for(client, server):
    server.behaviours[ACCEPT] = [problem(503, "OVERLOADED", Retry_After="1"), answer(200, FILL)]
    accept(client)
    first, second = server.of(ACCEPT)
    assert second.at_s - first.at_s >= 1.0


def test_outcome_is_unknown_after_the_deadline_and_can_be_asked_for_later(server):
    server.behaviours[ACCEPT] = [drop]
    with Client(server.url, "id-1", "rfqk_secret", policy=Policy(0.5, 0.2, 0.05, 0.1)) as client:
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown) as unknown:
            accept(client)
        assert 0.2 < time.monotonic() - began < 1.5
        assert {unknown.value.idempotency_key} == set(keys(server))
        assert (unknown.value.status, unknown.value.code) == (0, "UNREACHABLE")
        server.behaviours[ACCEPT] = [answer(200, FILL)]
        assert client.send(unknown.value.call).fill_id == RFQ_ID
        assert len(set(keys(server))) == 1
        assert len({request.body for request in server.of(ACCEPT)}) == 1


@pytest.mark.parametrize(
    "told,kind",
    [
        ([drop, problem(409, "RFQ_NOT_OPEN")], Conflict),  # the service looked: there was no effect
        ([problem(429, "RATE_LIMITED")], RateLimited),
        ([problem(503, "OVERLOADED")], Unavailable),
        ([problem(503, "DEADLINE_EXCEEDED")], OutcomeUnknown),
        ([problem(500, "INTERNAL")], OutcomeUnknown),
        ([drop, problem(403, "FORBIDDEN")], OutcomeUnknown),  # what became of the first attempt, it does not say
        ([problem(409, "IDEMPOTENCY_IN_FLIGHT")], OutcomeUnknown),
        ([answer(200, {"not": "a fill"})], OutcomeUnknown),
        ([problem(403, "FORBIDDEN")], Forbidden),
        ([problem(404, "RFQ_NOT_FOUND")], NotFound),
        ([problem(422, "QUANTITY_OFF_LOT")], Refused),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_unknown_is_said_only_where_it_is_unknown(server, told, kind):
    server.behaviours[ACCEPT] = told
    with (
        Client(server.url, "id-1", "rfqk_secret", policy=Policy(0.5, 0.2, 0.05, 0.1)) as client,
        pytest.raises(RfqServiceError) as raised,
    ):
        accept(client)
    assert type(raised.value) is kind


def test_refusal_tells_all_and_is_not_repeated(client, server):
    server.behaviours[ACCEPT] = [problem(422, "QUANTITY_OFF_LOT")]
    with pytest.raises(Refused) as refused:
        accept(client)
    error = refused.value
    assert (error.status, error.code, error.detail) == (422, "QUANTITY_OFF_LOT", "so it is")
    assert (error.field, error.trace_id, error.retry_after_s) == ("a.b", "0" * 32, None)
    assert len(server.of(ACCEPT)) == 1


def test_nobody_there_is_unavailable_and_nothing_was_sent():
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with (
        Client(f"http://127.0.0.1:{port}", "id-1", "s", policy=Policy(0.3, 0.2, 0.05, 0.1)) as client,
        pytest.raises(Unavailable) as raised,
    ):
        accept(client)
    assert raised.value.code == "UNREACHABLE"


def test_token_is_bought_once_for_all_and_sent_with_every_call(server):
    server.behaviours["/v1/board"] = [answer(200, {"items": []})]
    server.behaviours[TOKEN_PATH] = [late(0.1, answer(200, token_reply("one")))]
    with Client(server.url, "id-1", "a+b:c", policy=QUICK) as client:
        threads = [threading.Thread(target=client.list_board) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    (asked,) = server.of(TOKEN_PATH)
    assert asked.body == b"grant_type=client_credentials"
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert asked.headers["authorization"] == "Basic aWQtMTphJTJCYiUzQWM="  # each part is a form value
    assert {request.headers["authorization"] for request in server.of("/v1/board")} == {"Bearer one"}


def test_token_is_renewed_before_it_ends(client, server):
    server.token_life_s = 1
    server.behaviours["/v1/board"] = [answer(200, {"items": []})]
    client.list_board()
    client.list_board()
    time.sleep(0.85)
    client.list_board()
    sent = [request.headers["authorization"] for request in server.of("/v1/board")]
    assert sent == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]


def test_refused_token_is_replaced_once(client, server):
    server.behaviours["/v1/board"] = [problem(401, "UNAUTHENTICATED"), answer(200, {"items": []})]
    client.list_board()
    server.behaviours["/v1/board"] = [problem(401, "UNAUTHENTICATED")]
    with pytest.raises(Unauthenticated):
        client.list_board()
    assert len(server.of("/v1/board")) == 4
    assert server.tokens == 3


def test_unknown_secret_is_said_at_once(client, server):
    server.behaviours[TOKEN_PATH] = [problem(401, "UNAUTHENTICATED")]
    with pytest.raises(Unauthenticated):
        client.list_board()
    assert len(server.of(TOKEN_PATH)) == 1


def test_oauth_error_is_understood(client, server):
    server.behaviours[TOKEN_PATH] = [answer(400, {"error": "invalid_scope", "error_description": "no"})]
    with pytest.raises(Refused) as refused:
        client.list_board()
    assert (refused.value.code, refused.value.detail) == ("INVALID_SCOPE", "no")


def test_public_calls_need_no_token_and_ready_answers_503(client, server):
    told = {"status": "unavailable", "components": {"database": "gone"}}
    server.behaviours["/health/ready"] = [answer(503, told)]
    assert client.ready().components == {"database": "gone"}
    assert server.tokens == 0
    server.behaviours["/metrics"] = [answer(200, b"# HELP x\n")]
    assert client.metrics() == "# HELP x\n"


def test_pages_are_followed_to_the_last(server):
    server.behaviours["/v1/rfqs"] = [
        answer(200, {"items": [], "next_cursor": "abc"}),
        answer(200, {"items": [], "next_cursor": None}),
    ]
    with Client(server.url, "id-1", "s", policy=QUICK) as client:
        assert list(client.each_rfq(limit=2)) == []
    assert [request.target for request in server.of("/v1/rfqs")] == [
        "/v1/rfqs?limit=2",
        "/v1/rfqs?limit=2&cursor=abc",
    ]


@pytest.mark.parametrize("value", [1.5, True, "1"])
def test_only_exact_numbers_are_sent(value):
    with pytest.raises(TypeError, match="Decimal"):
        buy_side.accept_quote(RFQ_ID, quote_id=RFQ_ID, quantity=value)


def test_secrets_are_in_no_log_and_no_text(server, caplog):
    caplog.set_level(logging.DEBUG)
    server.behaviours["/v1/board"] = [answer(200, {"items": []})]
    with Client(server.url, "id-1", "rfqk_secret", policy=QUICK) as client:
        client.list_board()
        shown = repr(client) + repr(client.token()) + repr(vars(client))
    for secret in ("rfqk_secret", "token-1", "aWQtMTpy"):
        assert secret not in caplog.text + shown
    assert caplog.records


def test_settings_come_from_the_environment(monkeypatch, server):
    for name in ("RFQ_URL", "RFQ_CLIENT_ID", "RFQ_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="RFQ_URL"):
        Client()
    monkeypatch.setenv("RFQ_URL", f"{server.url}/")
    monkeypatch.setenv("RFQ_CLIENT_ID", "id-1")
    monkeypatch.setenv("RFQ_CLIENT_SECRET", "s")
    with Client() as client:
        assert client.url == server.url
    with pytest.raises(ValueError, match="https://"):
        Client("localhost:8080")
