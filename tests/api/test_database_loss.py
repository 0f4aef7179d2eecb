"""The database goes away under the running service: 503 in time, nothing half-done, and back by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.api.service import CLIENT, DEALERS, make_runtime, running
from tests.support.postgres import DatabaseServer


@pytest.fixture
def own_server() -> Iterator[tuple[DatabaseServer, str]]:
    with DatabaseServer() as server, server.database(migrated=True) as dsn:
        yield server, dsn


async def until_ready(client: httpx.AsyncClient) -> None:
    for _ in range(200):
        if (await client.get("/health/ready")).status_code == 200:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the service has not recovered within 20 s")


async def test_503_while_the_database_is_away_and_service_when_it_is_back(
    own_server: tuple[DatabaseServer, str],
) -> None:
    server, dsn = own_server
    async with (
        running(make_runtime(dsn)) as service,
        service.http(CLIENT) as client,
        service.http(DEALERS[0]) as dealer,
    ):
        market = (await client.get("/v1/board")).json()["items"][0]
        terms = {"legs": [{"instrument_id": market["instrument_id"]}], "side": "buy", "quantity": "100"}
        evaluation = {**terms, "quotes": [{"dealer": "Desk 1", "ask": {"price": market["ask"]}}]}
        rfq_id = (await client.post("/v1/rfqs", json=terms)).json()["rfq"]["rfq_id"]
        assert (await dealer.get(f"/v1/dealer/rfqs/{rfq_id}")).status_code == 200

        server._postgres.stop()
        ask = {"ask": {"price": market["ask"]}}
        calls: list[tuple[httpx.AsyncClient, str, str, Any]] = [
            (client, "GET", "/v1/rfqs", None),
            (client, "POST", "/v1/rfqs", terms),
            (client, "POST", "/v1/evaluations", evaluation),
            (client, "GET", f"/v1/rfqs/{rfq_id}/quotes", None),
            (dealer, "POST", f"/v1/dealer/rfqs/{rfq_id}/quotes", ask),
            (dealer, "POST", "/v1/dealer/price", {"rfq_id": rfq_id}),
        ]
        deadline_s = service.runtime.settings.http.deadline_ms / 1_000
        for http, method, path, body in calls:
            started = time.monotonic()
            answer = await http.request(method, path, json=body)
            assert answer.status_code == 503, (path, answer.text)
            assert answer.json()["code"] in ("DATABASE_UNAVAILABLE", "DEADLINE_EXCEEDED")
            assert answer.headers["retry-after"] == "1"
            assert time.monotonic() - started < deadline_s + 0.5
        assert (await client.get("/health/live")).status_code == 200
        ready = await client.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json()["components"]["database"] != "ok"

        server._postgres.start()
        await until_ready(client)
        assert [row["rfq_id"] for row in (await client.get("/v1/rfqs")).json()["items"]] == [rfq_id]
        assert (await client.post("/v1/evaluations", json=evaluation)).status_code == 201
        assert (await dealer.post(f"/v1/dealer/rfqs/{rfq_id}/quotes", json=ask)).status_code == 201
