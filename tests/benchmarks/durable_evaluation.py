"""A durable evaluation against the least a Litestar service can do: CPU at capacity, p99 at half of our capacity.

Service, peer and Postgres run on one core, the load generator on the other. Both servers are up at the same time and
are measured in turn; the simulated market plays on our side throughout and its cost counts as ours. A checkpoint before
every round puts Postgres into its steady state, in which it reuses its log files: making new ones stalls every commit
for some 80 ms here, about once a second in the first minutes of a new server.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import numpy as np
import uvloop

from rfq_service import administration
from rfq_service.db.embedded import EmbeddedPostgres
from rfq_service.db.unit_of_work import UnitOfWork
from rfq_service.settings import Settings
from tests.benchmarks.load import Target, closed_loop, open_loop
from tests.benchmarks.row import Row, judge
from tests.support.processes import bare_service, client_core, cpu_seconds, our_service, pinned, server_core

ROUNDS = 5
CONNECTIONS = 32
CLOSED_REQUESTS = 2_000
OPEN_SECONDS = 8.0
QUOTES = 5
P99 = 0.99


@dataclass(frozen=True, slots=True)
class Side:
    """One of both servers."""

    pid: int
    target: Target


def run() -> list[Row]:
    """The two rows of the durable evaluation and what they rest on."""
    with tempfile.TemporaryDirectory(prefix="rfq-bench-") as folder:
        return _run(Path(folder))


def _run(folder: Path) -> list[Row]:
    with pinned(server_core()), EmbeddedPostgres(folder / "postgres") as server:
        key = _prepare(server.dsn)
        environment = {"RFQ_MARKET_SOURCE": "simulated"}
        with our_service(server.dsn, environment, folder / "service.log") as (ours, port):
            order = _order(port, key)
            with bare_service(server.dsn) as (peer, peer_port):
                headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
                our_side = Side(ours.pid, Target(port, "/v1/evaluations", headers, lambda _: order))
                peer_side = Side(peer.pid, Target(peer_port, "/keep", headers, lambda _: order))
                return _measure(our_side, peer_side, server)


def _prepare(dsn: str) -> str:
    """A client firm with a key."""

    async def work(uow: UnitOfWork) -> str:
        await administration.store_firm(uow, "bench-desk", is_dealer=False)
        return (await administration.store_key(uow, "bench-desk", "bench"))[1]

    from rfq_service.db import migrate

    migrate.upgrade(dsn)
    return administration.in_transaction(Settings(), work, dsn)


def _order(port: int, key: str) -> bytes:
    """An RFQ with five quotes around the simulated market, as JSON."""
    headers = {"Authorization": f"Bearer {key}"}
    board: list[dict[str, Any]] = httpx.get(f"http://127.0.0.1:{port}/v1/board", headers=headers).json()["items"]
    market = next(row for row in board if row["status"] == "live")
    instrument = httpx.get(f"http://127.0.0.1:{port}/v1/instruments/{market['instrument_id']}", headers=headers).json()
    tick, ask = float(instrument["tick_size"]), float(market["ask"])
    decimals = max(0, -int(np.floor(np.log10(tick))))
    quotes = [
        {"dealer": f"dealer-{index}", "ask": {"price": f"{ask + index * tick:.{decimals}f}"}, "ttl_s": "30"}
        for index in range(QUOTES)
    ]
    body = {
        "legs": [{"instrument_id": market["instrument_id"]}],
        "side": "buy",
        "quantity": "5000",
        "size_mode": "all_or_none",
        "client_reference": "benchmark",
        "quotes": quotes,
    }
    return json.dumps(body).encode()


def _measure(ours: Side, peer: Side, server: EmbeddedPostgres) -> list[Row]:
    our_cpu: list[float] = []
    peer_cpu: list[float] = []
    our_rate: list[float] = []
    peer_rate: list[float] = []
    our_p99: list[float] = []
    peer_p99: list[float] = []
    with _client_loop() as runner:
        for side in (ours, peer):  # warm both up
            runner.run(closed_loop(side.target, CONNECTIONS, CLOSED_REQUESTS // 2, 0))
        for _ in range(ROUNDS):
            for side, cpu, rates in ((ours, our_cpu, our_rate), (peer, peer_cpu, peer_rate)):
                runner.run(_checkpoint(server.dsn))
                used, rate = _closed(runner, side, server.pid)
                cpu.append(used)
                rates.append(rate)
        arrivals = 0.5 * float(np.median(our_rate))
        count = int(arrivals * OPEN_SECONDS)
        for seed in range(ROUNDS):
            for side, p99 in ((ours, our_p99), (peer, peer_p99)):
                runner.run(_checkpoint(server.dsn))
                latencies = runner.run(open_loop(side.target, CONNECTIONS * 2, arrivals, count, seed, 0))
                p99.append(float(np.quantile(latencies, P99)) * 1e3)
    split = f"{CONNECTIONS} connections, {CLOSED_REQUESTS} requests a round, service and Postgres on one core"
    opened = f"Poisson arrivals at {arrivals:.0f}/s, {OPEN_SECONDS:.0f} s a round, latency from the time it was due"
    return [
        judge("durable_evaluation_cpu", our_cpu, "µs CPU per request, service + Postgres", split, peer_cpu),
        judge("durable_evaluation_p99", our_p99, "ms", opened, peer_p99),
        judge("durable_evaluation_rate", our_rate, "requests/s", split, peer_rate),
    ]


async def _checkpoint(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("CHECKPOINT")
    await connection.close()


def _closed(runner: asyncio.Runner, side: Side, postgres_pid: int) -> tuple[float, float]:
    """CPU µs a request and requests a second at capacity."""
    before = cpu_seconds(side.pid) + cpu_seconds(postgres_pid)
    rate = runner.run(closed_loop(side.target, CONNECTIONS, CLOSED_REQUESTS, 0))
    time.sleep(0.05)
    used = cpu_seconds(side.pid) + cpu_seconds(postgres_pid) - before
    return used / CLOSED_REQUESTS * 1e6, rate


@contextmanager
def _client_loop() -> Iterator[asyncio.Runner]:
    with pinned(client_core()), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner
