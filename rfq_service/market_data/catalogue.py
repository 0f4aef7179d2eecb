"""The recordings this project knows: which files, which protocol, which instruments."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from rfq_service.domain.identifiers import InstrumentId
from rfq_service.domain.instrument import ContractType, Instrument, InstrumentKind
from rfq_service.domain.market import ClockSource
from rfq_service.domain.units import NS_PER_S
from rfq_service.market_data.binance import BinanceDecoder, Flavour
from rfq_service.market_data.feeds import Recording, TimedMessage, on_exchange_time, read_lines
from rfq_service.market_data.ingest import InstrumentIngest

CATALOGUE_PATH = Path(__file__).with_name("catalogue.toml")
_TAKER_FEE_BPS = {Flavour.SPOT: Decimal(10), Flavour.FUTURES: Decimal(5)}


@dataclass(frozen=True, slots=True)
class RecordedStream:
    """One instrument's raw files, in order."""

    instrument: Instrument
    flavour: Flavour
    quantity_step: Decimal
    files: tuple[Path, ...]
    local_time_unit_ns: int

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Local receive time (UTC ns) and raw message of every line."""
        return read_lines(self.files, self.local_time_unit_ns)

    def messages(self) -> Iterator[TimedMessage]:
        """Every message with the exchange time at which it is due."""
        return on_exchange_time(self.lines())

    def new_ingest(self) -> InstrumentIngest:
        """A fresh ingest for one pass."""
        decoder = BinanceDecoder(self.flavour, self.instrument.tick_size, self.quantity_step)
        return InstrumentIngest(self.instrument, decoder, self.quantity_step)


def find_recordings(data_dir: Path) -> list[Recording]:
    """Every catalogued recording in ``data_dir``, which is the folder of all recordings or one of them.

    Raises:
        FileNotFoundError: if a recording is there but one of its files is missing.
    """
    catalogue = tomllib.loads(CATALOGUE_PATH.read_text(encoding="utf-8"))
    found = []
    for entry in catalogue["recording"]:
        folder = data_dir / entry["folder"]
        if not folder.is_dir() and data_dir.resolve().name == entry["folder"]:
            folder = data_dir
        if folder.is_dir():
            found.append(_recording(entry, folder))
    return found


def _recording(entry: dict[str, Any], folder: Path) -> Recording:
    streams = []
    for stream in entry["stream"]:
        files = tuple(folder / name for name in stream["files"])
        for path in files:
            if not path.is_file():
                raise FileNotFoundError(f"recording {entry['name']} is incomplete: {path} is missing")
        streams.append(
            RecordedStream(
                instrument=_instrument(stream),
                flavour=Flavour(stream["flavour"]),
                quantity_step=Decimal(stream["quantity_step"]),
                files=files,
                local_time_unit_ns=entry["local_time_unit_ns"],
            )
        )
    return Recording(
        name=entry["name"],
        clock_source=ClockSource.REPLAY,
        warmup_s=float(entry["warmup_s"]),
        streams=tuple(streams),
        loop_s=float(entry.get("loop_s", math.inf)),
    )


def _instrument(stream: dict[str, Any]) -> Instrument:
    instrument_id = stream["instrument"]
    venue, _, symbol = instrument_id.split(".")
    flavour, is_inverse = Flavour(stream["flavour"]), "multiplier" in stream
    quote = "USD" if is_inverse else "USDT"
    return Instrument(
        instrument_id=InstrumentId(instrument_id),
        venue=venue,
        symbol=symbol,
        kind=InstrumentKind.SPOT if flavour is Flavour.SPOT else InstrumentKind.PERPETUAL,
        contract_type=ContractType.INVERSE if is_inverse else ContractType.LINEAR,
        base_currency=stream["base"],
        quote_currency=quote,
        settlement_currency=stream["base"] if is_inverse else quote,
        tick_size=Decimal(stream["tick_size"]),
        lot_size=Decimal(stream["lot_size"]),
        multiplier=Decimal(stream.get("multiplier", "1")),
        quantity_min=Decimal(stream["minimum"]),
        quantity_max=Decimal(stream["maximum"]),
        staleness_limit_ns=stream["staleness_limit_s"] * NS_PER_S,
        taker_fee_bps=_TAKER_FEE_BPS[flavour],
    )
