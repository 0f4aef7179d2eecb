"""Gives committed events their numbers, soon after their commit, on whichever replica comes first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncpg
import structlog

from rfq_service.db.engine import Database, unavailable_as_rfq_error
from rfq_service.db.repositories.stream import CHANNEL, SequencerStep, purge_stream, sequence_events
from rfq_service.desk.backoff import Backoff
from rfq_service.domain.clock import Clock
from rfq_service.domain.errors import RfqError
from rfq_service.domain.units import NS_PER_S

# Events wait for an older transaction to end: the next look, and later ones after twice as long while nothing moves.
_STUCK_S = 0.003
_PURGE_EVERY_S = 60.0
_PURGE_STEP = 1_000
_PURGE_PAUSE_S = 0.05
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SequencerPace:
    """When the next step is due.

    Attributes:
        poll_s: with nothing known to be waiting; finds what a replica that died has committed.
        spacing_s: least time between the starts of two steps, so that a busy service numbers in batches.
        batch_max: most events numbered by one step.
        keep_s: how long entries are kept for readers who come back.
    """

    poll_s: float
    spacing_s: float
    batch_max: int
    keep_s: float


class Sequencer:
    """Steps over the events of all replicas. A step is one statement that holds a lock, all or nothing.

    There is no leader: every replica runs one of these, whoever comes first does the work, and a step that was cut off
    anywhere is done by the next one.

    Args:
        on_step: told the last leaf index after every step, of whichever replica it is; the same one more than once.
        on_failure: told the name of the job that failed.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        pace: SequencerPace,
        on_step: Callable[[int], None],
        on_failure: Callable[[str], None],
    ) -> None:
        self._database = database
        self._clock = clock
        self._pace = pace
        self._on_step = on_step
        self._on_failure = on_failure
        self._work = asyncio.Event()
        self._numbered = 0
        self._stepped_at_ns = clock.monotonic_ns()
        self._pending_ns = 0

    @property
    def numbered(self) -> int:
        """How many events this replica has numbered."""
        return self._numbered

    @property
    def lag_s(self) -> float:
        """No committed event without a number is older than this, in seconds."""
        return (self._clock.monotonic_ns() - self._stepped_at_ns + self._pending_ns) / NS_PER_S

    def wake(self) -> None:
        """Something was committed here; any number of calls before the next step make one step."""
        self._work.set()

    async def run(self) -> None:
        """Number events for ever; a database that is away is tried again, a little later each time."""
        await self._keep_at("sequencer", self._follow)

    async def run_purge(self) -> None:
        """Remove old entries for ever."""
        await self._keep_at("stream_purge", self._purge_for_ever)

    async def purge(self) -> int:
        """Remove all entries numbered longer ago than they are kept, in small transactions; return how many."""
        total = 0
        async with self._database.connect() as connection:
            raw = (await connection.get_raw_connection()).driver_connection
            while True:
                before_ns = self._clock.now_ns() - round(self._pace.keep_s * NS_PER_S)
                with unavailable_as_rfq_error():
                    purged = await purge_stream(raw, before_ns, _PURGE_STEP)
                total += purged
                if purged < _PURGE_STEP:
                    return total
                await asyncio.sleep(_PURGE_PAUSE_S)

    async def _keep_at(self, name: str, job: Callable[[Backoff], Awaitable[None]]) -> None:
        backoff = Backoff()
        while True:
            try:
                await job(backoff)
            except RfqError as error:
                self._on_failure(name)
                _log.warning("stream_work_failed", task=name, code=error.code, detail=error.detail)
            except Exception:  # noqa: BLE001 - told below
                # also what looks like a bug: whatever it is, later events must not wait for a restart
                self._on_failure(name)
                _log.exception("stream_work_failed", task=name)
            await asyncio.sleep(backoff.next_s())

    async def _follow(self, backoff: Backoff) -> None:
        async with self._database.connect() as connection:
            raw: asyncpg.Connection = (await connection.get_raw_connection()).driver_connection
            try:
                if self._database.has_sessions:
                    # On the connection that steps: what it tells itself comes with the answer and wakes nobody.
                    with unavailable_as_rfq_error():
                        await raw.add_listener(CHANNEL, self._on_told)
                await self._step_for_ever(raw, backoff)
            finally:
                await connection.invalidate()

    def _on_told(self, _connection: object, _pid: int, _channel: str, payload: str) -> None:
        """Another replica has stepped, or this one."""
        if payload.isdecimal():
            self._on_step(int(payload))

    async def _step_for_ever(self, connection: asyncpg.Connection, backoff: Backoff) -> None:
        loop = asyncio.get_running_loop()
        stuck_s = _STUCK_S
        while True:
            self._work.clear()
            started_s, started_ns, now_ns = loop.time(), self._clock.monotonic_ns(), self._clock.now_ns()
            with unavailable_as_rfq_error():
                step = await sequence_events(connection, self._pace.batch_max, now_ns)
            backoff.reset()
            self._stepped_at_ns = started_ns
            self._pending_ns = max(0, now_ns - step.oldest_pending_ns) if step.oldest_pending_ns is not None else 0
            self._numbered += step.numbered
            self._on_step(step.last_leaf_index)
            stuck_s = min(2 * stuck_s, self._pace.poll_s) if step.is_pending and not step.numbered else 0.0
            stuck_s = max(stuck_s, _STUCK_S)
            await self._wait(step, stuck_s)
            await asyncio.sleep(max(0.0, started_s + self._pace.spacing_s - loop.time()))

    async def _wait(self, step: SequencerStep, stuck_s: float) -> None:
        """Until the next step is due: at once after a full batch."""
        if step.numbered >= self._pace.batch_max:
            return
        try:
            async with asyncio.timeout(stuck_s if step.is_pending else self._pace.poll_s):
                await self._work.wait()
        except TimeoutError:
            pass

    async def _purge_for_ever(self, backoff: Backoff) -> None:
        while True:
            purged = await self.purge()
            backoff.reset()
            if purged:
                _log.info("stream_purged", entries=purged)
            await asyncio.sleep(_PURGE_EVERY_S)
