"""What the board knows of its feeds, as metrics: read when somebody looks, so it costs the feeds nothing."""

from __future__ import annotations

from collections.abc import Iterator

from rfq_service.domain.clock import Clock
from rfq_service.domain.units import NS_PER_S
from rfq_service.market_data.board import Board, InstrumentStatus
from rfq_service.monitoring.instruments import MARKET_AGE, MARKET_FAULTS, MARKET_MESSAGES, MARKET_USABLE
from rfq_service.monitoring.metrics import Values
from rfq_service.monitoring.telemetry import Telemetry

_KINDS = ("snapshots", "diffs", "trades", "tops")


def watch_market(telemetry: Telemetry, board: Board, clock: Clock) -> None:
    """Show messages, faults, usability and age of every instrument on the board."""

    def statuses() -> Iterator[InstrumentStatus]:
        for instrument in board.instruments():
            status = board.status(instrument.instrument_id)
            if status is not None:
                yield status

    def messages() -> Values:
        return [((s.instrument_id, kind), getattr(s.counts, kind)) for s in statuses() for kind in _KINDS]

    def faults() -> Values:
        return [((s.instrument_id, fault), count) for s in statuses() for fault, count in s.faults.items()]

    def usable() -> Values:
        return [((s.instrument_id,), s.is_usable) for s in statuses()]

    def age() -> Values:
        now_ns = clock.now_ns()
        return [((s.instrument_id,), (now_ns - s.last_event_ns) / NS_PER_S) for s in statuses() if s.last_event_ns]

    telemetry.watch(MARKET_MESSAGES.name, messages)
    telemetry.watch(MARKET_FAULTS.name, faults)
    telemetry.watch(MARKET_USABLE.name, usable)
    telemetry.watch(MARKET_AGE.name, age)
