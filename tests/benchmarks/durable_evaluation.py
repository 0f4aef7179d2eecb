"""Durable evaluations of forty rival firms against the least a Litestar service can do.

Everything that rivals need is on: tokens, scopes, rate limits, row-level security, idempotency keys, events and their
sequencer, default sampling. One request is an RFQ with five quotes: five scores, stored before the answer, in 15
normalised rows and more. The peer keeps the same body as one row.

Service, peer and Postgres run on one core, the load generator on the other. Both servers are up at the same time and
are measured in turn; the simulated market plays on our side throughout and its cost counts as ours. A checkpoint before
every round puts Postgres into its steady state, in which it reuses its log files: making new ones stalls every commit
for some 80 ms here, about once a second in the first minutes of a new server.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import numpy as np
import uvloop

from rfq_service.db.embedded import EmbeddedPostgres
from tests.benchmarks.load import Target, closed_loop, open_loop
from tests.benchmarks.parties import issue_keys, tokens
from tests.benchmarks.row import Row, judge
from tests.support.processes import bare_service, client_core, cpu_seconds, our_service, pinned, server_core

ROUNDS = 5
FIRMS = 40
# connections: requests of one round
CLOSED_REQUESTS = {1: 400, 8: 1_200, 64: 2_400}
BUSY = 64
OPEN_SECONDS = 8.0
QUOTES = 5
P99 = 0.99


@dataclass(frozen=True, slots=True)
class Side:
    """One of both servers."""

    pid: int
    target: Target


@dataclass(slots=True)
class Figures:
    """What the rounds of both sides gave, in pairs."""

    rate: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    cpu: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    p99: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))


def run() -> list[Row]:
    """Rates, CPU and tail of the durable evaluation, each next to the peer's."""
    with tempfile.TemporaryDirectory(prefix="rfq-bench-") as folder:
        return _run(Path(folder))


def _run(folder: Path) -> list[Row]:
    with pinned(server_core()), EmbeddedPostgres(folder / "postgres") as server:
        keys = issue_keys(server.dsn, [f"bench-desk-{number}" for number in range(FIRMS)])
        environment = {"RFQ_MARKET_SOURCE": "simulated", "RFQ_AUTH_TOKEN_S": "3600"}
        with our_service(server.dsn, environment, folder / "service.log") as (ours, port):
            bearers = tokens(port, keys)
            order = _order(port, bearers[0])
            ids = itertools.count()

            def ask(number: int) -> tuple[str, dict[str, str], bytes]:
                bearer = bearers[number % len(bearers)]
                return "/v1/evaluations", {"Authorization": bearer, "Idempotency-Key": f"bench-{next(ids)}"}, order

            with bare_service(server.dsn) as (peer, peer_port):
                our_side = Side(ours.pid, Target(port, ask))
                peer_side = Side(peer.pid, Target(peer_port, lambda number: ("/keep", ask(number)[1], order)))
                return _measure(our_side, peer_side, server)


def _order(port: int, bearer: str) -> bytes:
    """An RFQ with five quotes around the simulated market, as JSON."""
    headers = {"Authorization": bearer}
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
    figures = {connections: Figures() for connections in CLOSED_REQUESTS}
    with _client_loop() as runner:
        for side in (ours, peer):  # warm both up
            runner.run(closed_loop(side.target, BUSY, CLOSED_REQUESTS[BUSY] // 2, 0))
        for _ in range(ROUNDS):
            for connections, requests in CLOSED_REQUESTS.items():
                for which, side in enumerate((ours, peer)):
                    runner.run(_checkpoint(server.dsn))
                    used, rate = _closed(runner, side, server.pid, connections, requests)
                    figures[connections].cpu[which].append(used)
                    figures[connections].rate[which].append(rate)
        arrivals = 0.5 * float(np.median(figures[BUSY].rate[0]))
        count = int(arrivals * OPEN_SECONDS)
        for seed in range(ROUNDS):
            for which, side in enumerate((ours, peer)):
                runner.run(_checkpoint(server.dsn))
                latencies = runner.run(open_loop(side.target, BUSY, arrivals, count, seed, 0))
                figures[BUSY].p99[which].append(float(np.quantile(latencies, P99)) * 1e3)
    return _rows(figures, arrivals)


def _rows(figures: dict[int, Figures], arrivals: float) -> list[Row]:
    rows = []
    for connections, found in figures.items():
        how = f"{connections} connections, {CLOSED_REQUESTS[connections]} requests a round, {FIRMS} firms, one core"
        ours, peers = found.rate
        rows.append(judge(f"durable_evaluation_rate_{connections}", ours, "requests/s", how, peers))
        ours, peers = found.cpu
        unit = "µs CPU per request, service + Postgres + sequencer"
        rows.append(judge(f"durable_evaluation_cpu_{connections}", ours, unit, how, peers))
    opened = f"Poisson arrivals at {arrivals:.0f}/s, {OPEN_SECONDS:.0f} s a round, latency from the time it was due"
    ours, peers = figures[BUSY].p99
    return [*rows, judge("durable_evaluation_p99", ours, "ms", opened, peers)]


async def _checkpoint(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("CHECKPOINT")
    await connection.close()


def _closed(
    runner: asyncio.Runner, side: Side, postgres_pid: int, connections: int, requests: int
) -> tuple[float, float]:
    """CPU µs a request and requests a second at capacity."""
    before = cpu_seconds(side.pid) + cpu_seconds(postgres_pid)
    rate = runner.run(closed_loop(side.target, connections, requests, 0))
    time.sleep(0.05)
    used = cpu_seconds(side.pid) + cpu_seconds(postgres_pid) - before
    return used / requests * 1e6, rate


@contextmanager
def _client_loop() -> Iterator[asyncio.Runner]:
    with pinned(client_core()), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner
