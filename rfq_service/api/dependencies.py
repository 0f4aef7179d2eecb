"""What the API needs of the running service, declared by its user (dependency rule 4); ``bootstrap`` provides it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rfq_service.domain.clock import Clock
from rfq_service.domain.history import Firm
from rfq_service.domain.identifiers import InstrumentId
from rfq_service.domain.instrument import Instrument
from rfq_service.domain.market import MarketSnapshot
from rfq_service.monitoring.telemetry import Telemetry
from rfq_service.settings import Settings

if TYPE_CHECKING:  # the desks bring the numerical packages; handlers need only their types
    from rfq_service.desk.buy_side import BuySideDesk
    from rfq_service.desk.sell_side import SellSideDesk


class Keys(Protocol):
    """Who holds an API key."""

    async def firm_of(self, key: str) -> Firm | None:
        """The firm, or ``None`` for a key that is unknown or revoked."""


class Board(Protocol):
    """The live market."""

    def snapshot(self, instrument_id: InstrumentId) -> MarketSnapshot | None:
        """The freshest usable book, or ``None`` while there is none."""


class Runtime(Protocol):
    """The parts of the service that operations use."""

    @property
    def settings(self) -> Settings:
        """The whole tree."""

    @property
    def buy_side(self) -> BuySideDesk:
        """Use cases of clients."""

    @property
    def sell_side(self) -> SellSideDesk:
        """Use cases of dealers."""

    @property
    def keys(self) -> Keys:
        """Who holds which API key."""

    @property
    def board(self) -> Board:
        """The live market."""

    @property
    def telemetry(self) -> Telemetry:
        """Spans and metrics."""

    @property
    def clock(self) -> Clock:
        """Wall time and monotonic time."""

    def instruments(self) -> tuple[Instrument, ...]:
        """Every known instrument."""

    async def readiness(self) -> dict[str, str]:
        """State of each component: ``ok`` or what is wrong."""

    async def start(self) -> None:
        """Connect, load, begin to play the market."""

    async def stop(self) -> None:
        """Finish what is under way and let go."""
