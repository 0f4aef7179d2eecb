"""Raw messages as the venue sends them, for a market with tick 0.01 and lot 0.001."""

from __future__ import annotations

import json
from decimal import Decimal

from rfq_service.domain.identifiers import InstrumentId
from rfq_service.domain.instrument import ContractType, Instrument, InstrumentKind
from rfq_service.market_data.binance import BinanceDecoder, Flavour
from rfq_service.market_data.ingest import InstrumentIngest

TICK, STEP = Decimal("0.01"), Decimal("0.001")
START_MS = 1_700_000_000_000
Levels = list[tuple[str, str]]


def instrument(contract_type: ContractType = ContractType.LINEAR, name: str = "TEST.SPOT.ABCUSD") -> Instrument:
    return Instrument(
        instrument_id=InstrumentId(name),
        venue="TEST",
        symbol="ABCUSD",
        kind=InstrumentKind.SPOT if contract_type is ContractType.LINEAR else InstrumentKind.PERPETUAL,
        contract_type=contract_type,
        base_currency="ABC",
        quote_currency="USD",
        settlement_currency="USD",
        tick_size=TICK,
        lot_size=STEP,
        multiplier=Decimal(1),
        quantity_min=STEP,
        quantity_max=Decimal(1000),
        staleness_limit_ns=5_000_000_000,
        taker_fee_bps=Decimal(10),
    )


def new_ingest(flavour: Flavour = Flavour.SPOT) -> InstrumentIngest:
    return InstrumentIngest(instrument(), BinanceDecoder(flavour, TICK, STEP), STEP)


def snapshot(last_id: int, bids: Levels, asks: Levels) -> bytes:
    return json.dumps({"lastUpdateId": last_id, "bids": bids, "asks": asks}).encode()


def _stream(kind: str, data: dict[str, object]) -> bytes:
    return json.dumps({"stream": f"abcusd@{kind}", "data": data}, separators=(",", ":")).encode()


def diff(
    first: int, last: int, bids: Levels, asks: Levels, at_ms: int = START_MS, previous: int | None = None
) -> bytes:
    data: dict[str, object] = {"e": "depthUpdate", "E": at_ms, "s": "ABCUSD", "U": first, "u": last}
    if previous is not None:
        data["pu"] = previous
    return _stream("depth@100ms", data | {"b": bids, "a": asks})


def trade(trade_id: int, price: str, quantity: str, at_ms: int = START_MS, *, buyer_is_maker: bool = False) -> bytes:
    data = {"e": "trade", "E": at_ms, "s": "ABCUSD", "t": trade_id, "p": price, "q": quantity, "T": at_ms}
    return _stream("trade", data | {"m": buyer_is_maker})


def top(bid: str, ask: str) -> bytes:
    return _stream("bookTicker", {"u": 1, "s": "ABCUSD", "b": bid, "B": "1.000", "a": ask, "A": "1.000"})
