"""Instruments and the live market."""

from __future__ import annotations

from rfq_service.api.dependencies import Runtime
from rfq_service.api.operation import Call, NoBody, NoQuery, operation
from rfq_service.api.schemas.market import (
    BoardOut,
    BookOut,
    InstrumentListOut,
    InstrumentOut,
    board_row_out,
    book_out,
    instrument_out,
)
from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.identity import Role
from rfq_service.domain.instrument import Instrument

TAG = "Market"


def _instrument(runtime: Runtime, instrument_id: str) -> Instrument:
    for instrument in runtime.instruments():
        if instrument.instrument_id == instrument_id:
            return instrument
    raise RfqError(ErrorCode.NOT_FOUND, "no such instrument")


@operation("GET", "/v1/instruments", tag=TAG, body=NoBody, query=NoQuery, returns=InstrumentListOut, roles=tuple(Role))
async def list_instruments(call: Call[NoBody, NoQuery]) -> InstrumentListOut:
    """List the instruments.

    Everything that can be requested and quoted, with its grid of prices and quantities.
    """
    return InstrumentListOut(items=[instrument_out(instrument) for instrument in call.runtime.instruments()])


@operation(
    "GET",
    "/v1/instruments/{instrument_id}",
    tag=TAG,
    body=NoBody,
    query=NoQuery,
    returns=InstrumentOut,
    problems=(ErrorCode.NOT_FOUND,),
    roles=tuple(Role),
)
async def get_instrument(call: Call[NoBody, NoQuery]) -> InstrumentOut:
    """Read one instrument.

    Prices are multiples of `tick_size`, quantities of `lot_size`; an RFQ may set a price increment of its own.
    """
    return instrument_out(_instrument(call.runtime, call.path["instrument_id"]))


@operation("GET", "/v1/board", tag=TAG, body=NoBody, query=NoQuery, returns=BoardOut, roles=tuple(Role))
async def list_board(call: Call[NoBody, NoQuery]) -> BoardOut:
    """Read the market of every instrument.

    Best prices with their age and what has been measured: volatility, volume, depth, spread, imbalance. The mid is the
    reference of every score and quote; a `stale` market or none gives neither.
    """
    runtime = call.runtime
    now_ns = runtime.clock.now_ns()
    rows = [board_row_out(item, runtime.board.snapshot(item.instrument_id), now_ns) for item in runtime.instruments()]
    return BoardOut(items=rows)


@operation(
    "GET",
    "/v1/board/{instrument_id}",
    tag=TAG,
    body=NoBody,
    query=NoQuery,
    returns=BookOut,
    problems=(ErrorCode.NOT_FOUND,),
    roles=tuple(Role),
)
async def get_book(call: Call[NoBody, NoQuery]) -> BookOut:
    """Read the order book of one instrument.

    The same line as on the board, with the best levels of both sides.
    """
    instrument = _instrument(call.runtime, call.path["instrument_id"])
    snapshot = call.runtime.board.snapshot(instrument.instrument_id)
    return book_out(instrument, snapshot, call.runtime.clock.now_ns())
