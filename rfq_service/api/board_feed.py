"""The board as sockets see it: of each instrument only how things stand, and only when that has changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import msgspec

from rfq_service.api.dependencies import Board
from rfq_service.api.schemas.market import board_row_out
from rfq_service.domain.clock import Clock
from rfq_service.domain.identifiers import InstrumentId
from rfq_service.domain.instrument import Instrument
from rfq_service.domain.market import MarketSnapshot

# None takes every instrument.
Wanted = Collection[str] | None


class BoardFeed:
    """Rows of the board, each encoded once for all sockets.

    Attributes:
        version: grows with every refresh that found a change.
    """

    def __init__(self, board: Board, clock: Clock, instruments: Callable[[], Sequence[Instrument]]) -> None:
        self.version = 0
        self._board = board
        self._clock = clock
        self._instruments = instruments
        # By instrument: what its row was made of, the version it came with, and the row.
        self._rows: dict[InstrumentId, tuple[object, int, str]] = {}

    def refresh(self) -> bool:
        """Look at every instrument; whether any has changed."""
        now_ns = self._clock.now_ns()
        version = self.version + 1
        for instrument in self._instruments():
            snapshot = self._board.snapshot(instrument.instrument_id)
            state = _state_of(instrument, snapshot, now_ns)
            known = self._rows.get(instrument.instrument_id)
            if known is None or known[0] != state:
                self._rows[instrument.instrument_id] = (state, version, _row(instrument, snapshot, now_ns))
                self.version = version
        return self.version == version

    def snapshot(self, wanted: Wanted) -> list[str]:
        """The rows as they are now."""
        now_ns = self._clock.now_ns()
        return [
            _row(instrument, self._board.snapshot(instrument.instrument_id), now_ns)
            for instrument in self._instruments()
            if wanted is None or instrument.instrument_id in wanted
        ]

    def changes(self, version: int, wanted: Wanted) -> list[str]:
        """The rows that have changed since a version, in their newest form only."""
        return [
            row
            for instrument_id, (_, changed_in, row) in self._rows.items()
            if changed_in > version and (wanted is None or instrument_id in wanted)
        ]


def _state_of(instrument: Instrument, snapshot: MarketSnapshot | None, now_ns: int) -> object:
    """What makes a row worth sending again; that it grows older does not, until it is too old."""
    if snapshot is None:
        return None
    is_stale = snapshot.age_ns(now_ns) > instrument.staleness_limit_ns
    return snapshot.sequence, snapshot.recorded_ts_ns, snapshot.source_count, is_stale


def _row(instrument: Instrument, snapshot: MarketSnapshot | None, now_ns: int) -> str:
    return msgspec.json.encode(board_row_out(instrument, snapshot, now_ns)).decode()
