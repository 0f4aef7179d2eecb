"""What the API needs of the running service, declared by its user (dependency rule 4); ``bootstrap`` provides it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from rfq_service.api.rate_limit import Gate
from rfq_service.domain.clock import Clock
from rfq_service.domain.identifiers import InstrumentId
from rfq_service.domain.instrument import Instrument
from rfq_service.domain.market import MarketSnapshot
from rfq_service.monitoring.telemetry import Telemetry
from rfq_service.settings import Settings

if TYPE_CHECKING:  # the desks bring the numerical packages; handlers need only their types
    from rfq_service.api.sockets import Sockets
    from rfq_service.db.engine import Databases
    from rfq_service.desk.buy_side import BuySideDesk
    from rfq_service.desk.identity import Identity
    from rfq_service.desk.once import OnceDesk
    from rfq_service.desk.reference_data import FirmDirectory
    from rfq_service.desk.sell_side import SellSideDesk
    from rfq_service.desk.stream_hub import StreamHub


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
    def once(self) -> OnceDesk:
        """Whether a request runs or is answered as before."""

    @property
    def identity(self) -> Identity:
        """Who calls: tokens issued and verified."""

    @property
    def gate(self) -> Gate:
        """How much a caller may ask of this replica."""

    @property
    def databases(self) -> Databases:
        """A pool for each role, for what needs no desk: administration and audit."""

    @property
    def firms(self) -> FirmDirectory:
        """Every firm by name."""

    def new_id(self, now_ns: int) -> UUID:
        """A UUIDv7 of a UTC time in nanoseconds."""

    @property
    def stream(self) -> StreamHub:
        """The numbered events of the connected firms."""

    @property
    def sockets(self) -> Sockets:
        """The sockets open on this replica."""

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
