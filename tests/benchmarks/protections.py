"""What each protection costs a durable evaluation, alone and on one core: the price list behind the total.

CPU of this process for what runs in the service, CPU of PostgreSQL for what runs there. Statements are measured in
batches of sixteen evaluations with five quotes each, as a busy service commits them, with and without the protection.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import asyncpg

from rfq_service.api.idempotency import parse_key, request_digest
from rfq_service.api.rate_limit import Gate
from rfq_service.bootstrap import new_id
from rfq_service.db import roles
from rfq_service.db.append import build_append
from rfq_service.db.repositories.stream import sequence_events
from rfq_service.domain.changes import Changes
from rfq_service.domain.identifiers import EventId
from rfq_service.domain.identity import Role
from rfq_service.monitoring.telemetry import Telemetry
from tests.api.service import CLIENT, Service, make_runtime, running
from tests.benchmarks.row import Row, judge
from tests.support.postgres import DatabaseServer
from tests.support.processes import cpu_seconds, pinned, server_core

ROUNDS = 5
CALLS = 20_000
BATCH = 16
BATCHES = 60


def run() -> list[Row]:
    """One row for each protection, µs CPU a request."""
    with pinned(server_core()), DatabaseServer() as server, server.database(migrated=True) as dsn:
        return asyncio.run(_run(dsn, server))


async def _run(dsn: str, server: DatabaseServer) -> list[Row]:
    async with running(make_runtime(dsn)) as service:
        batch = await _evaluations(service)
        rows = await _in_the_service(service)
    return rows + await _in_the_database(dsn, server.pid, batch)


async def _evaluations(service: Service) -> list[Changes]:
    """What the service would store for sixteen evaluations; the writer is caught, so nothing is stored."""
    caught: list[Changes] = []

    async def catch(changes: Changes) -> None:
        caught.append(changes)

    writer = service.runtime.writer
    original, writer.write = writer.write, catch  # type: ignore[method-assign]
    async with service.http(CLIENT) as http:
        market = (await http.get("/v1/board")).json()["items"][0]
        prices = [str(Decimal(market["ask"]) + number * Decimal("0.001")) for number in range(5)]
        quotes = [{"dealer": f"dealer-{number}", "ask": {"price": price}} for number, price in enumerate(prices)]
        order = {"legs": [{"instrument_id": market["instrument_id"]}], "side": "buy", "quantity": "1000"}
        for _ in range(BATCH):
            answer = await http.post("/v1/evaluations", json={**order, "quotes": quotes})
            answer.raise_for_status()
    writer.write = original  # type: ignore[method-assign]
    return caught


async def _in_the_service(service: Service) -> list[Row]:
    runtime = service.runtime
    headers = {"authorization": f"Bearer {service.tokens[CLIENT]}", "idempotency-key": "benchmark-0123456789"}
    principal = await runtime.identity.authenticate(headers)
    wide = replace(runtime.settings.http, rate_per_s=1_000_000.0, rate_burst=1_000_000)
    gate = Gate(replace(runtime.settings, http=wide), runtime.clock)
    body = b"x" * 500

    async def authenticate() -> None:
        await runtime.identity.authenticate(headers)

    async def limit() -> None:
        with gate.protected:
            gate.count_request(principal.key_id, {})

    async def digest() -> None:
        parse_key(headers)
        request_digest("POST", "/v1/evaluations", Role.BUY_SIDE, body)

    rows = [
        await _row("cost_token", "a verified token looked up by digest", authenticate),
        await _row("cost_limits", "requests at once and rate of the key, with headers", limit),
        await _row("cost_key_digest", "Idempotency-Key read, request digested", digest),
    ]
    for name, ratio in (("cost_telemetry", runtime.settings.telemetry.sample_ratio), ("cost_telemetry_all", 1.0)):
        telemetry = Telemetry(sample_ratio=ratio, otlp_endpoint=None, log_level="ERROR", log_json=True)

        async def use_case(telemetry: Telemetry = telemetry) -> None:
            with telemetry.use_case("evaluate_quotes", None):
                pass

        rows.append(await _row(name, f"span and histogram of a use case, {ratio:.0%} sampled", use_case))
        telemetry.close()
    return rows


async def _row(name: str, what: str, call: Callable[[], Awaitable[None]]) -> Row:
    with _collected():
        figures = []
        for _ in range(ROUNDS):
            started = time.process_time()
            for _ in range(CALLS):
                await call()
            figures.append((time.process_time() - started) / CALLS * 1e6)
    return judge(name, figures, "µs CPU per request", f"{what}; {CALLS} calls a round")


async def _in_the_database(dsn: str, postgres_pid: int, batch: Sequence[Changes]) -> list[Row]:
    without_record = [replace(changes, record=None) for changes in batch]
    without_event = [replace(changes, events=[]) for changes in without_record]
    owner = await asyncpg.connect(dsn)
    writer = await asyncpg.connect(roles.role_dsn(dsn, roles.WRITER))
    sequencer = await asyncpg.connect(roles.role_dsn(dsn, roles.SEQUENCER))
    for connection in (owner, writer):
        await connection.execute("SET plan_cache_mode = force_generic_plan")
    work: dict[str, Callable[[], Awaitable[object]]] = {
        "bare": lambda: _store(owner, without_event, names_firms=False),
        "event": lambda: _store(owner, without_record, names_firms=False),
        "reply": lambda: _store(owner, batch, names_firms=False),
        "policies": lambda: _store(writer, batch, names_firms=True),
        "commit": lambda: _commit_events(writer, batch),
        "numbers": lambda: _commit_events(writer, batch, sequencer),
    }
    figures: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, call in work.items():
            figures[name].append(await _spent(call, postgres_pid))
    for connection in (owner, writer, sequencer):
        await connection.close()
    how = f"service and Postgres, batches of {BATCH}, {BATCHES} a round"
    unit = "µs CPU per request"
    rows = [judge("cost_rows_alone", figures["bare"], unit, f"the evaluation's own rows; {how}")]
    steps = (
        ("cost_event", "bare", "event", "its event"),
        ("cost_reply_kept", "event", "reply", "the reply kept for repetitions, packed"),
        ("cost_row_policies", "reply", "policies", "written by the writer's role under its policies"),
        ("cost_numbering", "commit", "numbers", "its event numbered and told, one step a batch"),
    )
    for name, before, after, what in steps:
        added = [high - low for low, high in zip(figures[before], figures[after], strict=True)]
        rows.append(judge(name, added, unit, f"{what}; {how}"))
    return rows


async def _spent(call: Callable[[], Awaitable[object]], postgres_pid: int) -> float:
    """µs CPU, ours and the server's, of one request of a batch."""
    for _ in range(5):
        await call()
    with _collected():
        started = time.process_time() + cpu_seconds(postgres_pid)
        for _ in range(BATCHES):
            await call()
        return (time.process_time() + cpu_seconds(postgres_pid) - started) / BATCHES / BATCH * 1e6


async def _store(connection: Any, batch: Sequence[Changes], *, names_firms: bool) -> None:
    """Write a batch and undo it, so that it can be written again."""
    transaction = connection.transaction()
    await transaction.start()
    statement, arguments = build_append(batch, names_firms=names_firms)
    await connection.execute(statement, *arguments)
    await transaction.rollback()


async def _commit_events(connection: Any, batch: Sequence[Changes], sequencer: Any = None) -> None:
    """Commit a batch's events under new ids, and number them where there is a sequencer."""
    now_ns = time.time_ns()
    fresh = [
        Changes(changes.client_firm_id, events=[replace(event, event_id=EventId(new_id(now_ns)))])
        for changes in batch
        for event in changes.events
    ]
    statement, arguments = build_append(fresh, names_firms=True)
    await connection.execute(statement, *arguments)
    if sequencer is not None:
        await sequence_events(sequencer, 1_000, now_ns)


@contextmanager
def _collected() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
