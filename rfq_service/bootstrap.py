"""Composition root: settings in, a runtime out. The only place where adapters are built."""

from __future__ import annotations

import asyncio
import math
import os
import struct
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from asyncpg.pgproto.pgproto import UUID as DatabaseUuid  # noqa: N811 - a class, named as the standard one
from sqlalchemy.exc import SQLAlchemyError

from models.predictors import ClosedFormPredictor
from quote_eval.inputs import EvaluationParameters
from quote_eval.ranking import warm_up
from rfq_service.api.board_feed import BoardFeed
from rfq_service.api.rate_limit import Gate
from rfq_service.api.schemas.stream import event_text
from rfq_service.api.sockets import Sockets
from rfq_service.db import migrate
from rfq_service.db.engine import Databases
from rfq_service.db.group_commit import GroupCommitWriter, QuoteWrite, commit_appends, commit_quotes
from rfq_service.desk.buy_side import BuySideDesk
from rfq_service.desk.identity import Identity
from rfq_service.desk.once import OnceDesk
from rfq_service.desk.ports import DeskContext
from rfq_service.desk.predictions import DURATIONS_S, HORIZON_S, Forecaster
from rfq_service.desk.reference_data import FirmDirectory, InstrumentDirectory
from rfq_service.desk.scoring import Scorer
from rfq_service.desk.sell_side import SellSideDesk
from rfq_service.desk.sequencer import Sequencer, SequencerPace
from rfq_service.desk.stream_hub import StreamHub
from rfq_service.desk.sweeper import Sweeper
from rfq_service.desk.tokens import TokenTerms, read_token_key
from rfq_service.domain.changes import Changes
from rfq_service.domain.clock import Clock
from rfq_service.domain.errors import RfqError
from rfq_service.domain.identifiers import uuid7_bytes
from rfq_service.domain.identity import TokenKey
from rfq_service.domain.instrument import Instrument
from rfq_service.domain.rfq import ExpiryBounds
from rfq_service.market_data.board import Board
from rfq_service.market_data.catalogue import find_recordings
from rfq_service.market_data.feeds import Recording
from rfq_service.market_data.player import MarketPlayer
from rfq_service.market_data.simulated import simulated_recording
from rfq_service.monitoring.instruments import EVENTS_NUMBERED, SEQUENCER_LAG, STREAM_SOCKETS
from rfq_service.monitoring.market_watch import watch_market
from rfq_service.monitoring.telemetry import Telemetry
from rfq_service.settings import LifeSettings, Settings, milliseconds_to_ns, seconds_to_ns

SIMULATED = "simulated"
_REFRESH_S = 5.0
_PARTITIONS_EVERY_S = 6 * 3_600.0
_log = structlog.get_logger(__name__)


class SystemClock:
    """The operating system's clocks."""

    def now_ns(self) -> int:
        """UTC wall time in nanoseconds."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Monotonic nanoseconds."""
        return time.monotonic_ns()


@dataclass(slots=True)
class Runtime:
    """The running parts, handed out by the API's providers."""

    settings: Settings
    clock: Clock
    telemetry: Telemetry
    databases: Databases
    board: Board
    directory: InstrumentDirectory
    firms: FirmDirectory
    once: OnceDesk
    identity: Identity
    gate: Gate
    buy_side: BuySideDesk
    sell_side: SellSideDesk
    writer: GroupCommitWriter[Changes]
    quote_writer: GroupCommitWriter[QuoteWrite]
    sweeper: Sweeper
    sequencer: Sequencer
    stream: StreamHub
    sockets: Sockets
    player: MarketPlayer | None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def new_id(self, now_ns: int) -> UUID:
        """A UUIDv7 of a UTC time in nanoseconds."""
        return new_id(now_ns)

    def instruments(self) -> tuple[Instrument, ...]:
        """Every known instrument, by id."""
        return tuple(instrument for _, instrument in sorted(self.directory().items()))

    async def start(self) -> None:
        """Open the database, register the market's instruments and start the background work."""
        self.telemetry.start()
        await self.directory.add_missing(self.board.instruments())
        await self.identity.start()
        await self.firms.refresh()
        await self.writer.start()
        await self.quote_writer.start()
        jobs: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("sweeper", self.sweeper.run),
            ("sequencer", self.sequencer.run),
            ("stream_purge", self.sequencer.run_purge),
            ("stream", self.stream.run),
            ("sockets", self.sockets.run),
            ("identity", self.identity.run),
            ("directories", self._keep_directories_fresh),
            ("partitions", self._keep_partitions_ahead),
        ]
        if self.player is not None:
            jobs.append(("market", self.player.run))
        self._tasks = [asyncio.create_task(self._supervise(name, job)) for name, job in jobs]

    async def stop(self) -> None:
        """Stop the background work, commit what is queued, close the database."""
        self.sockets.close()
        for task in self._tasks:
            task.cancel()
        # one that had failed was reported then; what waits for its commit must not be lost for it
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.writer.stop()
        await self.quote_writer.stop()
        await self.databases.close()
        self.telemetry.close()

    async def readiness(self) -> dict[str, str]:
        """Component to ``ok`` or what is wrong with it."""
        return {
            "database": await self._database_state(),
            "identity": self.identity.state(),
            "market": self._market_state(),
            "tasks": self._task_state(),
        }

    async def _database_state(self) -> str:
        try:
            await self.databases.ping()
        except RfqError as error:
            return error.detail
        return "ok"

    def _market_state(self) -> str:
        if self.player is None or self.player.ready.is_set():
            return "ok"
        return "warming up"

    def _task_state(self) -> str:
        failed = [task for task in self._tasks if task.done() and not task.cancelled() and task.exception() is not None]
        return "a background task has failed" if failed else "ok"

    async def _supervise(self, name: str, job: Callable[[], Awaitable[None]]) -> None:
        try:
            await job()
        except Exception:
            # the readiness check sees the ended task and takes this replica out of service
            self.telemetry.count("rfq_background_failures_total", task=name)
            _log.exception("background_task_failed", task=name)
            raise
        _log.info("background_task_ended", task=name)

    async def _keep_directories_fresh(self) -> None:
        while True:
            await asyncio.sleep(_REFRESH_S)
            try:
                await self.directory.refresh()
                await self.firms.refresh()
            except RfqError as error:
                _log.warning("directories_not_refreshed", code=error.code, detail=error.detail)

    async def _keep_partitions_ahead(self) -> None:
        while True:
            try:
                await migrate.ensure_partitions(self.databases.operator)
            except (RfqError, SQLAlchemyError) as error:
                # the default partition serves meanwhile; a service that may not create tables is told every time
                self.telemetry.count("rfq_background_failures_total", task="partitions")
                _log.warning("partitions_not_made", error=str(error))
            await asyncio.sleep(_PARTITIONS_EVERY_S)


def choose_market(source: str, simulated_length_s: float = math.inf) -> list[Recording]:
    """The recordings to play: those under ``source``, the ones beside the project, or the project's own simulation.

    Raises:
        FileNotFoundError: when ``source`` names a folder without recordings.
    """
    if source == SIMULATED:
        return [simulated_recording(length_s=simulated_length_s)]
    if source:
        found = find_recordings(Path(source))
        if not found:
            raise FileNotFoundError(f"no recording in {source}")
        return found
    return find_recordings(DEFAULT_RECORDINGS) or [simulated_recording(length_s=simulated_length_s)]


# Where a checkout finds recordings without being told.
DEFAULT_RECORDINGS = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


def build_runtime(
    settings: Settings, dsn: str, recordings: Sequence[Recording], *, clock: Clock | None = None
) -> Runtime:
    """Wire everything; nothing is opened before ``Runtime.start``."""
    clock = clock or SystemClock()
    telemetry = Telemetry(
        sample_ratio=settings.telemetry.sample_ratio,
        otlp_endpoint=settings.telemetry.otlp_endpoint or None,
        log_level=settings.telemetry.log_level,
        log_json=settings.telemetry.log_json,
    )
    databases = Databases.open(
        dsn,
        settings.database.role_secret,
        pool_size=settings.database.pool_size,
        command_timeout_s=settings.database.command_timeout_ms / 1_000,
        statement_cache_size=settings.database.statement_cache_size,
    )
    board = Board(clock)
    watch_market(telemetry, board, clock)
    player = None
    if recordings:
        player = MarketPlayer(recordings, board, clock, speed=settings.market.speed, loop=settings.market.loop)
    directory = InstrumentDirectory(databases.operator, new_id)
    firms = FirmDirectory(databases.operator)
    stream, sequencer = _build_stream(settings, databases, clock, telemetry)
    sockets = Sockets(settings.stream, BoardFeed(board, clock, lambda: tuple(directory().values())))
    telemetry.gauge(STREAM_SOCKETS.name, lambda: sockets.open)
    context = DeskContext(
        database=databases,
        market=board,
        clock=clock,
        instruments=directory,
        new_id=new_id,
        rfq_life=_bounds(settings.life, "rfq_expiry"),
        quote_life=_bounds(settings.life, "quote_ttl"),
        on_commit=sequencer.wake,
    )
    forecaster, scorer = _build_scoring(context)
    writer, quote_writer = _build_writers(settings, databases, context)
    telemetry.gauge("rfq_commit_queue_requests", lambda: writer.waiting + quote_writer.waiting)
    buy_side = BuySideDesk(context, scorer, writer, firms)
    return Runtime(
        settings=settings,
        clock=clock,
        telemetry=telemetry,
        databases=databases,
        board=board,
        directory=directory,
        firms=firms,
        once=OnceDesk(databases, clock),
        identity=_build_identity(settings, databases, clock),
        gate=Gate(settings, clock),
        buy_side=buy_side,
        sell_side=SellSideDesk(context, forecaster, buy_side, quote_writer),
        writer=writer,
        quote_writer=quote_writer,
        sweeper=Sweeper(
            context,
            buy_side,
            milliseconds_to_ns(settings.life.sweep_ms),
            lambda: telemetry.count("rfq_background_failures_total", task="sweeper"),
        ),
        sequencer=sequencer,
        stream=stream,
        sockets=sockets,
        player=player,
    )


def _build_identity(settings: Settings, databases: Databases, clock: Clock) -> Identity:
    auth = settings.auth
    return Identity(
        databases.operator,
        clock,
        new_id,
        TokenTerms(auth.issuer, auth.audience, auth.token_s),
        blind_max_ns=seconds_to_ns(auth.blind_max_s),
        own_key=own_token_key(settings, clock.now_ns()),
    )


def own_token_key(settings: Settings, now_ns: int) -> TokenKey | None:
    """The signing key of the configured file, ``None`` when the database keeps it.

    Raises:
        OSError: when the file cannot be read, or holds no such key.
    """
    file = settings.auth.token_key_file
    if not file:
        return None
    try:
        return read_token_key(Path(file).read_bytes(), now_ns)
    except ValueError as error:
        raise OSError(f"RFQ_AUTH_TOKEN_KEY_FILE={file!r}: {error}") from error


def new_id(now_ns: int) -> UUID:
    """A UUIDv7 of ``now_ns`` with the operating system's randomness.

    Of asyncpg's kind, as ids that come from the database are: made, compared, hashed and sent several times faster.
    """
    made: UUID = DatabaseUuid(uuid7_bytes(now_ns, next(_random_bits)))
    return made


def _draw_random_bits() -> Iterator[int]:
    """64 bits at a time, of 4 KiB asked of the operating system at once; for one thread."""
    while True:
        yield from struct.unpack("512Q", os.urandom(4096))


_random_bits = _draw_random_bits()


def _build_writers(
    settings: Settings, databases: Databases, context: DeskContext
) -> tuple[GroupCommitWriter[Changes], GroupCommitWriter[QuoteWrite]]:
    options: dict[str, Any] = {
        "on_commit": context.on_commit,
        "batch_max": settings.database.batch_max,
        "queue_max": settings.database.queue_max,
        "spacing_s": settings.database.batch_spacing_ms / 1_000,
    }
    appends = GroupCommitWriter(databases.writer, commit_appends, **options)
    return appends, GroupCommitWriter(databases.writer, commit_quotes, **options)


def _build_stream(
    settings: Settings, databases: Databases, clock: Clock, telemetry: Telemetry
) -> tuple[StreamHub, Sequencer]:
    stream = settings.stream

    def on_failure(task: str) -> None:
        telemetry.count("rfq_background_failures_total", task=task)

    hub = StreamHub(
        databases.streamer,
        event_text,
        queue_max=stream.queue_max,
        page_max=stream.page_max,
        on_failure=lambda: on_failure("stream"),
    )
    pace = SequencerPace(
        poll_s=stream.sequence_poll_ms / 1_000,
        spacing_s=stream.sequence_spacing_ms / 1_000,
        batch_max=stream.sequence_batch_max,
        keep_s=stream.keep_s,
    )
    sequencer = Sequencer(databases.sequencer, clock, pace, hub.advance, on_failure)
    telemetry.gauge(SEQUENCER_LAG.name, lambda: sequencer.lag_s)
    telemetry.watch(EVENTS_NUMBERED.name, lambda: [((), sequencer.numbered)])
    return hub, sequencer


def _build_scoring(context: DeskContext) -> tuple[Forecaster, Scorer]:
    predictor = ClosedFormPredictor.load()
    forecaster = Forecaster(predictor)
    parameters = EvaluationParameters(microprice_weight=predictor.microprice_weight)
    draws = predictor.artifact.draws
    warm_up(parameters, draws.seed, draws.count, DURATIONS_S, HORIZON_S)
    scorer = Scorer(
        market=context.market,
        forecaster=forecaster,
        instruments=context.instruments,
        new_id=context.new_id,
        parameters=parameters,
        seed=draws.seed,
    )
    return forecaster, scorer


def _bounds(life: LifeSettings, name: str) -> ExpiryBounds:
    low, middle, high = (seconds_to_ns(getattr(life, f"{name}_{end}_s")) for end in ("min", "default", "max"))
    return ExpiryBounds(default_ns=middle, min_ns=low, max_ns=high)
