"""Plays recordings onto the board, for ever if asked, beside whatever else the event loop does."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable, Mapping, Sequence

from rfq_service.domain.clock import Clock
from rfq_service.domain.errors import require
from rfq_service.domain.identifiers import InstrumentId
from rfq_service.domain.market import ClockSource
from rfq_service.market_data.board import Board, TimeMap
from rfq_service.market_data.feeds import Feed, FileReplayFeed, Recording
from rfq_service.market_data.ingest import InstrumentIngest

PASS_SEQUENCE_BITS = 32


async def pump(
    feed: Feed,
    ingests: Mapping[InstrumentId, InstrumentIngest],
    board: Board,
    clock_source: ClockSource,
    on_ready: Callable[[], None] | None = None,
) -> bool:
    """Feed -> ingest -> board until the feed ends; the one loop that live feeds and replays share.

    Returns:
        Whether the markets got onto the board: they do once the feed knows its time map, which for a replay is at the
        end of its warm-up.
    """
    shown: TimeMap | None = None
    async for instrument_id, arrival_ns, raw in feed:
        if feed.time_map is not shown and feed.time_map is not None:
            for ingest in ingests.values():
                if shown is None:
                    board.install(ingest, feed.time_map, clock_source)
                else:
                    board.follow(ingest, feed.time_map)
            if shown is None and on_ready is not None:
                on_ready()
            shown = feed.time_map
        ingests[instrument_id].process(raw, arrival_ns)
    return shown is not None


class MarketPlayer:
    """Plays each recording on its own clock; all start at once.

    Args:
        recordings: what to play; their instruments are registered on the board at once.
        board: where the markets appear, each recording when its warm-up is done.
        clock: wall clock.
        speed: market seconds per second.
        warmup_s: overrides each recording's own warm-up.
        loop: start again at the end, with fresh books; the old ones stay on the board until the new ones are warm.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        board: Board,
        clock: Clock,
        *,
        speed: float = 1.0,
        warmup_s: float | None = None,
        loop: bool = True,
    ) -> None:
        require(len(recordings) > 0, "a player needs something to play")
        self.ready = asyncio.Event()
        self._recordings = tuple(recordings)
        self._board = board
        self._clock = clock
        self._speed = speed
        self._warmup_s = warmup_s
        self._loop = loop
        self._not_warm = len(recordings)
        for recording in recordings:
            for stream in recording.streams:
                board.register(stream.instrument)

    async def run(self) -> None:
        """Play until the end of the last recording, for ever with ``loop``; cancel it to stop."""
        async with asyncio.TaskGroup() as group:
            for recording in self._recordings:
                group.create_task(self._play(group, recording))

    async def _play(self, group: asyncio.TaskGroup, recording: Recording) -> None:
        for pass_number in itertools.count() if self._loop else range(1):
            is_first = pass_number == 0
            feed = FileReplayFeed(
                recording,
                self._clock,
                self._speed,
                self._warmup_s,
                length_s=recording.loop_s if self._loop else math.inf,
                is_gentle=not is_first,
            )
            group.create_task(self._play_once(recording, feed, pass_number))
            await feed.nearly_over.wait()

    async def _play_once(self, recording: Recording, feed: FileReplayFeed, pass_number: int) -> None:
        ingests = {stream.instrument.instrument_id: stream.new_ingest() for stream in recording.streams}
        for ingest in ingests.values():
            # sequences of later passes lie above those of earlier ones: one number stays one book
            ingest.book.sequence = pass_number << PASS_SEQUENCE_BITS
        on_ready = self._mark_warm if pass_number == 0 else None
        is_installed = await pump(feed, ingests, self._board, recording.clock_source, on_ready)
        require(is_installed, f"{recording.name} is longer than its warm-up")

    def _mark_warm(self) -> None:
        self._not_warm -= 1
        if self._not_warm == 0:
            self.ready.set()
