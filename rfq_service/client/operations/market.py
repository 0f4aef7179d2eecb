"""Instruments and markets."""

from __future__ import annotations

from rfq_service.client.call import Call, get, segment
from rfq_service.client.schemas.market import Board, Book, Instrument, InstrumentList


def list_instruments() -> Call[InstrumentList]:
    """What can be traded, and on which grid."""
    return get("list_instruments", "/v1/instruments", InstrumentList)


def get_instrument(instrument_id: str) -> Call[Instrument]:
    """One instrument."""
    return get("get_instrument", f"/v1/instruments/{segment(instrument_id)}", Instrument)


def list_board() -> Call[Board]:
    """Every market in a line."""
    return get("list_board", "/v1/board", Board)


def get_book(instrument_id: str) -> Call[Book]:
    """One market with its levels, best first."""
    return get("get_book", f"/v1/board/{segment(instrument_id)}", Book)
