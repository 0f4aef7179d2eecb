"""From a quote's storing to its event on another firm's socket, at 200 quotes a second.

Five dealers post quotes at Poisson arrivals on the open RFQs of several clients, each of whom listens to his own
stream. Every quote is scored and stored before it is answered. The clock of an event starts when the answer to its
quote, which follows the commit, is back at the dealer; also told is the time since the service took the quote in, which
contains scoring and commit. Service and Postgres run on one core, dealers and clients on the other.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvloop
from websockets.asyncio.client import connect as connect_socket

from rfq_service.db.embedded import EmbeddedPostgres
from tests.benchmarks.load import Connection, check_status, connect
from tests.benchmarks.parties import issue_keys, tokens
from tests.benchmarks.row import Row, judge
from tests.support.processes import client_core, our_service, pinned, server_core

ROUNDS = 5
RATE_PER_S = 200.0
SECONDS = 6.0
CLIENTS = 8
RFQS_PER_CLIENT = 6
DEALERS = [f"push-dealer-{number}" for number in range(5)]


def run() -> list[Row]:
    """p50 and p99 of each round."""
    with tempfile.TemporaryDirectory(prefix="rfq-bench-") as folder:
        return _run(Path(folder))


def _run(folder: Path) -> list[Row]:
    with pinned(server_core()), EmbeddedPostgres(folder / "postgres") as server:
        clients = [f"push-client-{number}" for number in range(CLIENTS)]
        keys = issue_keys(server.dsn, clients, DEALERS)
        environment = {"RFQ_MARKET_SOURCE": "simulated", "RFQ_AUTH_TOKEN_S": "3600"}
        with our_service(server.dsn, environment, folder / "service.log") as (_, port):
            bearers = tokens(port, keys)
            with pinned(client_core()), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                rounds = [runner.run(_round(port, bearers, seed)) for seed in range(ROUNDS + 1)][1:]
    stored = [latencies[0] for latencies in rounds]
    taken_in = [latencies[1] for latencies in rounds]
    how = f"{RATE_PER_S:.0f} quotes/s, {SECONDS:.0f} s a round, {CLIENTS} clients' sockets, {len(DEALERS)} dealers"
    return [
        judge("push_p50", [_quantile(values, 0.5) for values in stored], "ms", how),
        judge("push_p99", [_quantile(values, 0.99) for values in stored], "ms", how),
        judge("push_p50_with_scoring_and_commit", [_quantile(values, 0.5) for values in taken_in], "ms", how),
        judge("push_p99_with_scoring_and_commit", [_quantile(values, 0.99) for values in taken_in], "ms", how),
    ]


def _quantile(values: list[float], share: float) -> float:
    return float(np.quantile(values, share)) * 1e3


async def _round(port: int, bearers: list[str], seed: int) -> tuple[list[float], list[float]]:
    """Seconds from the answer to the event, and from the quote's taking in to the event."""
    clients, dealers = bearers[:CLIENTS], bearers[CLIENTS:]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        rfqs, ask = await _open_rfqs(http, clients, seed)
    seen: dict[str, tuple[float, float]] = {}
    answered: dict[str, float] = {}
    ready = asyncio.Barrier(len(clients) + 1)
    async with asyncio.TaskGroup() as group:
        listeners = [group.create_task(_listen(port, bearer, seen, ready)) for bearer in clients]
        await ready.wait()
        await _post_quotes(port, dealers, rfqs, ask, seed, answered)
        await asyncio.sleep(0.5)
        for listener in listeners:
            listener.cancel()
    if set(answered) - set(seen):
        raise RuntimeError(f"{len(set(answered) - set(seen))} of {len(answered)} quotes never reached their client")
    pairs = [(seen[quote_id], at) for quote_id, at in answered.items()]
    # an event may overtake the answer to its quote
    return [max(0.0, arrived - at) for (arrived, _), at in pairs], [since for (_, since), _ in pairs]


async def _open_rfqs(http: httpx.AsyncClient, clients: list[str], seed: int) -> tuple[list[str], float]:
    board = (await http.get("/v1/board", headers={"Authorization": clients[0]})).json()["items"]
    market = next(row for row in board if row["status"] == "live")
    order = {"legs": [{"instrument_id": market["instrument_id"]}], "side": "buy", "quantity": "1000", "panel": DEALERS}
    rfqs = []
    for client, bearer in enumerate(clients):
        for number in range(RFQS_PER_CLIENT):
            headers = {"Authorization": bearer, "Idempotency-Key": f"push-{seed}-{client}-{number}"}
            answer = await http.post("/v1/rfqs", json=order, headers=headers)
            check_status(answer.status_code)
            rfqs.append(str(answer.json()["rfq"]["rfq_id"]))
    return rfqs, float(market["ask"])


async def _listen(port: int, bearer: str, seen: dict[str, tuple[float, float]], ready: asyncio.Barrier) -> None:
    headers = {"Authorization": bearer}
    async with connect_socket(f"ws://127.0.0.1:{port}/v1/stream", additional_headers=headers) as socket:
        await socket.send(json.dumps({"op": "subscribe", "topics": ["quotes"]}))
        async for text in socket:
            message: dict[str, Any] = json.loads(text)
            if message["type"] == "subscribed":
                await ready.wait()
            elif message["type"] == "event" and message["kind"] == "quote.posted":
                since = time.time() - datetime.fromisoformat(message["occurred_at"][:26] + "+00:00").timestamp()
                seen[message["quote_id"]] = (time.perf_counter(), since)


async def _post_quotes(
    port: int, dealers: list[str], rfqs: list[str], ask: float, seed: int, answered: dict[str, float]
) -> None:
    draws = np.random.default_rng(seed)
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for connection in await connect(port, 32):
        free.put_nowait(connection)

    async def one(number: int) -> None:
        connection = await free.get()
        path = f"/v1/dealer/rfqs/{rfqs[number % len(rfqs)]}/quotes"
        bearer = dealers[(number // len(rfqs)) % len(dealers)]
        body = json.dumps({"ask": {"price": f"{ask + 0.001 * (number % 50):.3f}"}, "ttl_s": "60"}).encode()
        lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
        lines += ["Content-Type: application/json", f"Authorization: {bearer}", f"Idempotency-Key: q-{seed}-{number}"]
        check_status(await connection.send("\r\n".join([*lines, "", ""]).encode() + body))
        answered[json.loads(connection.body)["quote_id"]] = time.perf_counter()
        free.put_nowait(connection)

    due = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(RATE_PER_S * SECONDS)):
            due += float(draws.exponential(1.0 / RATE_PER_S))
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(one(number))
    while not free.empty():
        free.get_nowait().close()
