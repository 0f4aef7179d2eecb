"""Hands the numbered events of this replica's connected firms to their readers, each once and in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import asyncpg
import structlog

from rfq_service.db.engine import Database, unavailable_as_rfq_error
from rfq_service.db.repositories.stream import StreamReader
from rfq_service.desk.backoff import Backoff
from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.stream import CursorGoneError, StreamBounds, StreamEntry, StreamKey, Topic, firms_of, topic_of

T = TypeVar("T")

_POLL_S = 1.0
# Where nobody tells of new entries.
_POLL_UNTOLD_S = 0.1
_READY_TIMEOUT_S = 2.0
_FUTURE_LOOKS = 5
_FUTURE_PAUSE_S = 0.4
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StreamMessage:
    """An entry ready to be sent: encoded once for all readers of its stream."""

    number: int
    topic: Topic
    text: str


class Subscription:
    """A reader's place in one stream.

    Behind what is kept in memory he reads pages from the database, as fast as he can take them; once he has caught up
    he is given new entries through a bounded queue. Overrunning it ends the subscription; while he, or the hub itself,
    catches up it only means more pages.

    Args:
        on_ready: called when there may be something to take.
        on_overrun: called once, when a reader who had caught up is too slow.

    Attributes:
        number: everything up to here has been taken.
    """

    def __init__(
        self, hub: StreamHub, key: StreamKey, on_ready: Callable[[], None], on_overrun: Callable[[], None]
    ) -> None:
        self.key = key
        self.number = 0
        self._hub = hub
        self._on_ready = on_ready
        self._on_overrun = on_overrun
        self._queue: deque[StreamMessage] = deque()
        self._is_live = False

    async def take(self) -> Sequence[StreamMessage]:
        """What comes next, in order and without gaps; empty when everything has been taken.

        Raises:
            CursorGoneError: when what comes next is no longer kept.
            RfqError: ``DATABASE_UNAVAILABLE`` or ``OVERLOADED``; try again.
        """
        if not self._is_live:
            page = await self._hub.page(self.key, self.number)
            if page:
                self.number = page[-1].number
                return page
        messages = self._take_queue()
        self._is_live = not messages or messages[-1].number == self.number + len(messages)
        if not self._is_live:  # the queue was overrun while pages were read: more pages
            return await self.take()
        if messages:
            self.number = messages[-1].number
        return messages

    def offer(self, message: StreamMessage) -> None:
        """Queue an entry; called by the hub, in order."""
        if len(self._queue) >= self._hub.queue_max:
            self._queue.clear()
            if self._is_live and not self._hub.is_behind:
                self._hub.close(self)
                self._on_overrun()
                return
            self._is_live = False
        self._queue.append(message)
        self._on_ready()

    def _take_queue(self) -> list[StreamMessage]:
        messages = [message for message in self._queue if message.number > self.number]
        self._queue.clear()
        return messages


@dataclass(slots=True)
class _Channel:
    """One stream with its readers on this replica; ``number`` is the last one handed to them."""

    readers: list[Subscription] = field(default_factory=list)
    number: int = 0


class StreamHub:
    """Follows the numbering on one connection for all readers of a replica.

    Args:
        database: pool of the role that may read streams; one connection follows, one reads pages.
        encode: makes the text of an entry.
        queue_max: most entries that wait for a reader who has caught up.
        page_max: most entries of one read.
        on_failure: called when the database could not be followed.

    Attributes:
        is_behind: whether there are more new entries than one read brings: then no reader is to blame for his queue.
    """

    def __init__(
        self,
        database: Database,
        encode: Callable[[StreamEntry], str],
        *,
        queue_max: int,
        page_max: int,
        on_failure: Callable[[], None],
    ) -> None:
        self.queue_max = queue_max
        self.is_behind = False
        self._database = database
        self._encode = encode
        self._page_max = page_max
        self._read_max = max(3, min(page_max, queue_max // 2))
        self._on_failure = on_failure
        self._channels: dict[StreamKey, _Channel] = {}
        # Grows with every new channel, so that a read knows whether it asked for all of them.
        self._generation = 0
        self._known = self._cursor = 0
        self._is_ready = asyncio.Event()
        self._work = asyncio.Event()
        # Readers who catch up wait here for their turn, not at the pool, which would refuse them in time.
        self._paging = asyncio.Semaphore(1)
        self._reads: set[asyncio.Task[Any]] = set()

    def advance(self, last_leaf_index: int) -> None:
        """Everything up to this leaf index is committed."""
        if not self._is_ready.is_set():
            self._cursor = last_leaf_index
            self._is_ready.set()
        if last_leaf_index > self._known:
            self._known = last_leaf_index
            self._work.set()

    async def open(
        self, key: StreamKey, after: int | None, on_ready: Callable[[], None], on_overrun: Callable[[], None]
    ) -> Subscription:
        """Begin to read a stream behind a number, or from now on.

        Raises:
            CursorGoneError: when the number cannot be resumed from.
            RfqError: ``DATABASE_UNAVAILABLE`` or ``OVERLOADED``.
        """
        try:
            async with asyncio.timeout(_READY_TIMEOUT_S):
                await self._is_ready.wait()
        except TimeoutError:
            raise RfqError(ErrorCode.DATABASE_UNAVAILABLE, "the stream is not running yet; try again") from None
        reader = Subscription(self, key, on_ready, on_overrun)
        # Registered before the first look: what is committed from here on comes by one way or the other, or by both.
        self._register(reader)
        try:
            reader.number = await self._start(key, after)
        except BaseException:
            self.close(reader)
            raise
        return reader

    def close(self, reader: Subscription) -> None:
        """Stop reading; closing again changes nothing."""
        channel = self._channels.get(reader.key)
        if channel is None or reader not in channel.readers:
            return
        channel.readers.remove(reader)
        if not channel.readers:
            del self._channels[reader.key]

    async def page(self, key: StreamKey, number: int) -> list[StreamMessage]:
        """The next entries of one stream from the database; empty when there are none.

        Raises:
            CursorGoneError: when what comes next is no longer kept.
            RfqError: ``DATABASE_UNAVAILABLE`` or ``OVERLOADED``.
        """
        return await self._undisturbed(self._page(key, number))

    async def _page(self, key: StreamKey, number: int) -> list[StreamMessage]:
        while True:
            async with self._reader() as reader:
                entries = await reader.after(key, number, self._page_max)
                bounds = None if entries else await reader.bounds(key)
            first = entries[0].number if entries else number + 1
            if bounds is None and first == number + 1:
                return [self._message(entry) for entry in entries]
            if bounds is not None and bounds.last <= number:
                return []
            # a hole: purged, unless the entry was written between the two looks
            bounds = bounds or await self._read_bounds(key)
            if not bounds.holds_what_follows(number):
                raise CursorGoneError(bounds)

    async def run(self) -> None:
        """Follow the numbering for ever; a database that is away is tried again, a little later each time."""
        try:
            await self._follow_for_ever()
        finally:
            await asyncio.gather(*self._reads, return_exceptions=True)

    async def _follow_for_ever(self) -> None:
        backoff = Backoff()
        while True:
            try:
                await self._follow(backoff)
            except RfqError as error:
                self._on_failure()
                _log.warning("stream_not_followed", code=error.code, detail=error.detail)
            except Exception:  # noqa: BLE001 - told below
                # also what looks like a bug: readers of other firms must not wait for a restart
                self._on_failure()
                _log.exception("stream_not_followed")
            await asyncio.sleep(backoff.next_s())

    async def _follow(self, backoff: Backoff) -> None:
        async with self._database.connect() as connection:
            raw: asyncpg.Connection = (await connection.get_raw_connection()).driver_connection
            try:
                raw.add_termination_listener(lambda _: self._work.set())
                await self._read_for_ever(raw, backoff)
            finally:
                await connection.invalidate()

    async def _read_for_ever(self, connection: asyncpg.Connection, backoff: Backoff) -> None:
        reader = StreamReader(connection)
        poll_s = _POLL_S if self._database.has_sessions else _POLL_UNTOLD_S
        while not connection.is_closed():
            self._work.clear()
            is_more = await self._read(reader)
            backoff.reset()
            if is_more:
                continue
            try:
                async with asyncio.timeout(poll_s):
                    await self._work.wait()
            except TimeoutError:
                pass
        raise RfqError(ErrorCode.DATABASE_UNAVAILABLE, "the connection that follows the stream was closed")

    async def _read(self, reader: StreamReader) -> bool:
        """Hand out what is new; whether there is more."""
        known, generation = self._known, self._generation
        if not self._channels:
            self._cursor = max(self._cursor, known)
            return False
        with unavailable_as_rfq_error():
            entries = await reader.since(firms_of(self._channels), self._cursor, self._read_max)
        self.is_behind = len(entries) == self._read_max
        self._hand_out(entries)
        if generation != self._generation:
            # A firm has joined meanwhile, whose entries this read did not ask for: once more from the same place.
            return True
        if self.is_behind:
            # The last event may have one more entry, of its other party.
            self._cursor = entries[-1].leaf_index - 1
            return True
        self._cursor = max(self._cursor, known, entries[-1].leaf_index if entries else 0)
        return False

    def _hand_out(self, entries: Iterable[StreamEntry]) -> None:
        for entry in entries:
            channel = self._channels.get(entry.key)
            if channel is None or entry.number <= channel.number:
                continue
            channel.number = entry.number
            message = self._message(entry)
            for reader in tuple(channel.readers):
                reader.offer(message)

    async def _start(self, key: StreamKey, after: int | None) -> int:
        bounds = await self._bounds(key)
        for _ in range(_FUTURE_LOOKS):
            if after is None or after <= bounds.last:
                break
            # After a crash of the database the last numbers are given again, the same ones: wait a little for that.
            await asyncio.sleep(_FUTURE_PAUSE_S)
            bounds = await self._bounds(key)
        number = bounds.last if after is None else after
        if not bounds.holds_what_follows(number):
            raise CursorGoneError(bounds)
        return number

    def _register(self, reader: Subscription) -> None:
        if reader.key not in self._channels:
            self._channels[reader.key] = _Channel()
            self._generation += 1
        self._channels[reader.key].readers.append(reader)

    def _message(self, entry: StreamEntry) -> StreamMessage:
        return StreamMessage(entry.number, topic_of(entry.kind), self._encode(entry))

    async def _bounds(self, key: StreamKey) -> StreamBounds:
        return await self._undisturbed(self._read_bounds(key))

    async def _undisturbed(self, read: Coroutine[None, None, T]) -> T:
        """Let a read come to its end when the reader has gone: a connection must not be left in the middle."""
        task = asyncio.create_task(read)
        self._reads.add(task)
        task.add_done_callback(self._reads.discard)
        return await asyncio.shield(task)

    async def _read_bounds(self, key: StreamKey) -> StreamBounds:
        async with self._reader() as reader:
            return await reader.bounds(key)

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[StreamReader]:
        async with self._paging, self._database.connect() as connection:
            try:
                yield StreamReader((await connection.get_raw_connection()).driver_connection)
            except BaseException:
                # It may have a transaction open, of which the pool knows nothing.
                await connection.invalidate()
                raise
