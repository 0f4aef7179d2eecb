"""Requests for quote and trades."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import msgspec

from rfq_service.client.schemas.enums import RequestSide, RfqState, Side, SizeMode
from rfq_service.client.values import Reply, TimeNs


class Leg(Reply, frozen=True):
    """One leg, in requests too; its size is the RFQ's quantity × ratio, its side that when the package is bought."""

    instrument_id: str
    side: Side = Side.BUY
    ratio: Decimal = Decimal(1)


class Terms(Reply, frozen=True, kw_only=True):
    """What every invited dealer is told."""

    legs: tuple[Leg, ...]
    side: RequestSide
    quantity: Decimal
    size_mode: SizeMode
    minimum_quantity: Decimal | None
    price_increment: Decimal
    created_at_ns: TimeNs = msgspec.field(name="created_at")
    expires_at_ns: TimeNs = msgspec.field(name="expires_at")


class Rfq(Reply, frozen=True, kw_only=True):
    """An RFQ as its client sees it."""

    rfq_id: UUID
    state: RfqState
    terms: Terms
    limit_price: Decimal | None
    client_reference: str
    anonymous: bool
    filled_quantity: Decimal


class Fill(Reply, frozen=True, kw_only=True):
    """A trade; ``side`` is the client's."""

    fill_id: UUID
    rfq_id: UUID
    quote_id: UUID
    side: Side
    quantity: Decimal
    price: Decimal
    leg_prices: tuple[Decimal, ...]
    filled_at_ns: TimeNs = msgspec.field(name="filled_at")


class RfqView(Reply, frozen=True, kw_only=True):
    """An RFQ with the dealers asked and what has traded."""

    rfq: Rfq
    panel: tuple[str, ...]
    fills: tuple[Fill, ...]


class RfqPage(Reply, frozen=True, kw_only=True):
    """RFQs, newest first."""

    items: tuple[Rfq, ...]
    next_cursor: str | None
