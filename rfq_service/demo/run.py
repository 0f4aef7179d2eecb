"""``rfq demo``: a desk and five dealers trade through the public API; all is started for it and stopped after."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rfq_service import administration
from rfq_service.bootstrap import SIMULATED, choose_market
from rfq_service.client import Client, Policy, RfqServiceError
from rfq_service.client.settings import CLIENT_ID_VARIABLE, CLIENT_SECRET_VARIABLE, URL_VARIABLE
from rfq_service.client.tokens import TOKEN_PATH
from rfq_service.client.values import decode
from rfq_service.db import migrate
from rfq_service.db.unit_of_work import UnitOfWork
from rfq_service.demo.dealer import AUTO, STYLES
from rfq_service.demo.desk import Report
from rfq_service.demo.report import build_table
from rfq_service.domain.identifiers import ApiKeyId
from rfq_service.domain.market import ClockSource
from rfq_service.market_data.feeds import Recording
from rfq_service.settings import Settings
from rfq_service.terminal import make_console

_RFQS = 12
_SEED = 7
_START_TIMEOUT_S = 90.0
_DESK = "demo-desk"
_STEPS = 4


# Client id and secret.
Key = tuple[ApiKeyId, str]


class DemoError(OSError):
    """The demo could not go on; the text says where to look."""


def run_demo(settings: Settings) -> int:
    """Run the demo; 0 when every RFQ came to its end and everything has been stopped."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or it would leave the service running
    console = make_console()
    source = os.environ.get("DEMO_DATA") or settings.market.source
    recordings = choose_market(source)
    _say_what_is_played(console, recordings)
    log_dir = settings.database.data_dir / "demo"
    log_dir.mkdir(parents=True, exist_ok=True)
    reports: list[Report] = []
    with _progress(console) as progress, ExitStack() as stack:
        task = progress.add_task("PostgreSQL", total=_STEPS + _RFQS)

        def step(text: str) -> None:
            progress.update(task, description=text)
            progress.advance(task)
            if not console.is_terminal:
                console.print(f"- {text}")

        dsn = stack.enter_context(administration.open_postgres(settings))
        step("schema")
        migrate.upgrade(dsn, secret=settings.database.role_secret)
        step("firms and keys")
        keys = stack.enter_context(_keys(settings, dsn))
        step("service and market")
        played = _source_of(recordings, source)
        url = stack.enter_context(_service(dsn, played, keys[_DESK], log_dir / "service.log"))
        step("dealers and desk")
        for name, style in _dealers():
            command = ["-m", "rfq_service.demo.dealer", style, str(_SEED)]
            stack.enter_context(_party(command, url, keys[name], log_dir / f"{name}.log"))
        for report in _desk(url, keys[_DESK], log_dir / "desk.log"):
            reports.append(report)
            step(f"RFQ {len(reports)} of {_RFQS}")
    console.print(build_table(reports))
    _say_what_next(console, settings, log_dir)
    return 0


def _say_what_is_played(console: Console, recordings: list[Recording]) -> None:
    if any(recording.clock_source is ClockSource.SIMULATED for recording in recordings):
        console.print("No recording at hand: the market is [bold]SIMULATED[/bold], made from measured parameters.")
        console.print("DEMO_DATA=path plays recorded Binance WebSocket messages instead.")
        return
    for recording in recordings:
        names = ", ".join(stream.instrument.instrument_id for stream in recording.streams)
        console.print(f"Recorded market [bold]{recording.name}[/bold]: {names}")


def _source_of(recordings: list[Recording], source: str) -> str:
    """What the service is told to play: what has just been announced."""
    if any(recording.clock_source is ClockSource.SIMULATED for recording in recordings):
        return SIMULATED
    return str(Path(source).resolve()) if source else ""


def _say_what_next(console: Console, settings: Settings, log_dir: Path) -> None:
    where = settings.database.url or f"{settings.database.data_dir}/postgres (embedded PostgreSQL)"
    base = f"http://{settings.http.host}:{settings.http.port}"
    console.print(f"Everything is stopped. The history is kept in {where}, the logs in {log_dir}.")
    console.print("Next: [bold]make serve[/bold] keeps the service up;")
    console.print(f"  API {base}/v1, documentation {base}/docs, OpenAPI {base}/openapi.json, metrics {base}/metrics")
    console.print("To look at this history: make a key, buy a token with it, ask.")
    for line in (
        f'eval "$(.venv/bin/rfq key add {_DESK})"',
        f"TOKEN=$(curl -su $client_id:$client_secret -d grant_type=client_credentials {base}{TOKEN_PATH} \\",
        "        | cut -d'\"' -f4)",
        f"curl -H \"Authorization: Bearer $TOKEN\" '{base}/v1/quotes?limit=5'",
    ):
        console.print(f"  {line}", markup=False, soft_wrap=True)


def _dealers() -> list[tuple[str, str]]:
    """(firm, style) of each dealer; the last one uses the service's own pricer."""
    return [(f"dealer-{style}", style) for style in STYLES] + [("dealer-auto", AUTO)]


@contextmanager
def _keys(settings: Settings, dsn: str) -> Iterator[dict[str, Key]]:
    """A fresh key for every demo firm, revoked at the end; firms of an earlier demo are used again."""
    dealers = [name for name, _ in _dealers()]

    async def issue(uow: UnitOfWork) -> dict[str, Key]:
        known = await uow.firms.by_name([_DESK, *dealers])
        for name in (_DESK, *dealers):
            if name not in known:
                await administration.store_firm(uow, name, is_dealer=name != _DESK)
        return {name: await administration.store_key(uow, name, "demo") for name in (_DESK, *dealers)}

    issued = administration.in_transaction(settings, issue, dsn)

    async def revoke(uow: UnitOfWork) -> None:
        for key_id, _ in issued.values():
            await administration.drop_key(uow, key_id)

    try:
        yield issued
    finally:
        administration.in_transaction(settings, revoke, dsn)


@contextmanager
def _service(dsn: str, source: str, key: Key, log: Path) -> Iterator[str]:
    """``rfq serve`` in a process of its own; yields its address once it is ready."""
    environment = {**os.environ, "RFQ_DATABASE_URL": dsn, "RFQ_HTTP_PORT": "0", "RFQ_MARKET_SOURCE": source}
    # its log says where it listens
    environment |= {"RFQ_TELEMETRY_LOG_JSON": "true", "RFQ_TELEMETRY_LOG_LEVEL": "INFO"}
    with _process(["-m", "rfq_service", "serve"], environment, log) as process:
        url = _wait_for_url(process, log)
        _wait_until_ready(process, url, key, log)
        yield url


@contextmanager
def _party(command: list[str], url: str, key: Key, log: Path) -> Iterator[None]:
    with _process(command, _environment(url, key), log):
        yield


def _environment(url: str, key: Key) -> dict[str, str]:
    key_id, secret = key
    return {**os.environ, URL_VARIABLE: url, CLIENT_ID_VARIABLE: str(key_id), CLIENT_SECRET_VARIABLE: secret}


@contextmanager
def _process(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, *command], env=environment, stdout=output, stderr=output)
        try:
            yield process
        finally:
            _stop(process)


def _desk(url: str, key: Key, log: Path) -> Iterator[Report]:
    """The desk's reports as they come."""
    command = [sys.executable, "-m", "rfq_service.demo.desk", str(_RFQS), str(_SEED)]
    with log.open("wb") as errors:
        process = subprocess.Popen(command, env=_environment(url, key), stdout=subprocess.PIPE, stderr=errors)
        try:
            if process.stdout is not None:
                for line in process.stdout:
                    yield decode(line, Report)
            if process.wait() != 0:
                raise DemoError(f"the desk stopped early, see {log}: {_last_line(log)}")
        finally:
            _stop(process)


def _wait_for_url(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines():
            if '"listening"' in line:
                return str(json.loads(line)["url"])
        time.sleep(0.05)
    raise DemoError(f"the service did not start, see {log}: {_last_line(log)}")


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, key: Key, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    with Client(url, str(key[0]), key[1], policy=Policy(deadline_s=5.0)) as client:
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(RfqServiceError):
                if client.ready().status == "ok":
                    return
            time.sleep(0.05)
    raise DemoError(f"the service did not become ready, see {log}: {_last_line(log)}")


def _last_line(log: Path) -> str:
    return next(reversed(log.read_text(encoding="utf-8").splitlines()), "it said nothing")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
