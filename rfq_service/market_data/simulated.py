"""A small market that the project generates itself, for machines without a recording. Not a model to learn from.

It speaks the venue's protocol (snapshot, depth diffs, best bid/offer, trades), so that it takes the same way through
ingest, book and board as a recording. Parameters are measured (``market_data/measure.py``) and stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path

import msgspec

from rfq_service.domain.errors import require
from rfq_service.domain.identifiers import InstrumentId
from rfq_service.domain.instrument import ContractType, Instrument, InstrumentKind
from rfq_service.domain.market import ClockSource
from rfq_service.domain.units import NS_PER_S
from rfq_service.market_data.binance import BinanceDecoder, Flavour
from rfq_service.market_data.feeds import Recording, TimedMessage
from rfq_service.market_data.ingest import InstrumentIngest
from rfq_service.market_data.simulated_market import SimulatedMarket, SimulatedParameters

PARAMETERS_PATH = Path(__file__).parents[2] / "models" / "artifacts" / "default" / "simulated_market.json"
WARMUP_S = 3_600.0


@dataclass(frozen=True)
class SimulatedStream:
    """A generated market in the shape of a recorded stream."""

    name: str
    parameters: SimulatedParameters
    seed: int
    length_s: float = math.inf

    @cached_property
    def instrument(self) -> Instrument:
        """The simulated instrument; its id says that it is simulated."""
        venue, kind, symbol = self.name.split(".")
        require((venue, kind) == ("SIMULATED", "SPOT"), "a generated market is called simulated")
        lot = Decimal(self.parameters.lot_size)
        return Instrument(
            instrument_id=InstrumentId(self.name),
            venue=venue,
            symbol=symbol,
            kind=InstrumentKind.SPOT,
            contract_type=ContractType.LINEAR,
            base_currency=symbol.removesuffix("USDT"),
            quote_currency="USDT",
            settlement_currency="USDT",
            tick_size=Decimal(self.parameters.tick_size),
            lot_size=lot,
            multiplier=Decimal(1),
            quantity_min=lot * 100,
            quantity_max=lot * 100_000_000,
            staleness_limit_ns=60 * NS_PER_S,
            taker_fee_bps=Decimal(10),
        )

    def messages(self) -> Iterator[TimedMessage]:
        """The same messages on every call."""
        symbol = self.instrument.symbol
        return SimulatedMarket(symbol, self.parameters, self.seed).messages(self.length_s)

    def new_ingest(self) -> InstrumentIngest:
        """A fresh ingest for one pass."""
        lot = Decimal(self.parameters.lot_size)
        decoder = BinanceDecoder(Flavour.SPOT, Decimal(self.parameters.tick_size), lot)
        return InstrumentIngest(self.instrument, decoder, lot)


class _ParametersFile(msgspec.Struct):
    """The stored file: parameters by instrument name, and where they come from (not read here)."""

    markets: dict[str, SimulatedParameters]


def simulated_recording(seed: int = 1, length_s: float = math.inf, path: Path = PARAMETERS_PATH) -> Recording:
    """The generated market as a recording: endless by default, the same for the same seed.

    Raises:
        FileNotFoundError: if the measured parameters are missing.
    """
    markets = msgspec.json.decode(path.read_bytes(), type=_ParametersFile).markets
    streams = tuple(
        SimulatedStream(name, parameters, seed + index, length_s)
        for index, (name, parameters) in enumerate(sorted(markets.items()))
    )
    return Recording("simulated", ClockSource.SIMULATED, WARMUP_S, streams)
