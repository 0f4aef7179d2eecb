"""RFQs on the wire: what a client sends, what he and the invited dealers read."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from rfq_service.api.parsing import format_cursor
from rfq_service.api.schemas.wire import (
    CursorText,
    DecimalText,
    DurationText,
    InstrumentText,
    NameText,
    PageLimit,
    ReferenceText,
    TimeText,
    WireIn,
    WireOut,
    decimal_of,
    decimal_text,
    optional_decimal_of,
    optional_decimal_text,
    optional_duration_ns,
)
from rfq_service.desk.orders import RfqOrder, RfqView
from rfq_service.domain.clock import format_timestamp
from rfq_service.domain.history import Page
from rfq_service.domain.identifiers import InstrumentId, QuoteId
from rfq_service.domain.quote import Fill
from rfq_service.domain.rfq import LEGS_MAX, Leg, Rfq, RfqState, RfqTerms, SizeMode
from rfq_service.domain.units import RequestSide, Side

PANEL_MAX = 100
_LIMIT_PRICE = "Your secret; no dealer ever sees it. It steers the decision; you may still accept beyond it."


class LegIn(WireIn, frozen=True):
    """One leg; its size is the RFQ's quantity × ratio, in the instrument's units."""

    instrument_id: InstrumentText
    side: Annotated[Side, msgspec.Meta(description="The leg's direction when the package is bought.")] = Side.BUY
    ratio: DecimalText = "1"


class TermsIn(WireIn, frozen=True, kw_only=True):
    """What is to be traded. ``price_increment`` defaults to the smallest tick of the legs."""

    legs: Annotated[list[LegIn], msgspec.Meta(min_length=1, max_length=LEGS_MAX)]
    side: Annotated[RequestSide, msgspec.Meta(description="Your direction on the package, or two_way to keep it.")]
    quantity: DecimalText
    size_mode: SizeMode = SizeMode.ALL_OR_NONE
    minimum_quantity: Annotated[DecimalText | None, msgspec.Meta(description="With size_mode minimum only.")] = None
    price_increment: DecimalText | None = None
    limit_price: Annotated[DecimalText | None, msgspec.Meta(description=_LIMIT_PRICE)] = None
    client_reference: ReferenceText = ""

    def to_order(self, *, anonymous: bool, panel: tuple[str, ...], expires_in_ns: int | None) -> RfqOrder:
        """What the desk is asked for; raises ``RfqError`` for numbers that are none."""
        return RfqOrder(
            legs=tuple(_leg(leg, f"legs[{index}]") for index, leg in enumerate(self.legs)),
            side=self.side,
            quantity=decimal_of(self.quantity, "quantity"),
            size_mode=self.size_mode,
            minimum_quantity=optional_decimal_of(self.minimum_quantity, "minimum_quantity"),
            price_increment=optional_decimal_of(self.price_increment, "price_increment"),
            limit_price=optional_decimal_of(self.limit_price, "limit_price"),
            client_reference=self.client_reference,
            anonymous=anonymous,
            panel=panel,
            expires_in_ns=expires_in_ns,
        )


class RfqIn(TermsIn, frozen=True, kw_only=True):
    """A new RFQ."""

    anonymous: Annotated[bool, msgspec.Meta(description="Hide your name; needs a panel of at least five.")] = False
    panel: Annotated[
        tuple[NameText, ...], msgspec.Meta(max_length=PANEL_MAX, description="Dealer firms to ask; empty asks all.")
    ] = ()
    expires_in_s: DurationText | None = None

    def order(self) -> RfqOrder:
        """What the desk is asked for; raises ``RfqError`` for numbers that are none."""
        expires_in_ns = optional_duration_ns(self.expires_in_s, "expires_in_s")
        return self.to_order(anonymous=self.anonymous, panel=self.panel, expires_in_ns=expires_in_ns)


class AcceptIn(WireIn, frozen=True):
    """Which quote to trade on. ``side`` is needed on a two-way RFQ, ``quantity`` defaults to all that can trade."""

    quote_id: UUID
    side: Side | None = None
    quantity: DecimalText | None = None

    def arguments(self) -> tuple[QuoteId, Side | None, Decimal | None]:
        """Quote, side and exact quantity; raises ``RfqError`` for a quantity that is none."""
        return QuoteId(self.quote_id), self.side, optional_decimal_of(self.quantity, "quantity")


class RfqListQuery(WireIn, frozen=True):
    """Which RFQs."""

    state: RfqState | UnsetType = UNSET
    cursor: CursorText | UnsetType = UNSET
    limit: PageLimit | UnsetType = UNSET


class LegOut(WireOut, frozen=True):
    """One leg."""

    instrument_id: InstrumentText
    side: Side
    ratio: DecimalText


class TermsOut(WireOut, frozen=True):
    """What every invited dealer is told."""

    legs: list[LegOut]
    side: RequestSide
    quantity: DecimalText
    size_mode: SizeMode
    minimum_quantity: DecimalText | None
    price_increment: DecimalText
    created_at: TimeText
    expires_at: TimeText


class RfqOut(WireOut, frozen=True):
    """An RFQ as its client sees it."""

    rfq_id: UUID
    state: RfqState
    terms: TermsOut
    limit_price: DecimalText | None
    client_reference: ReferenceText
    anonymous: bool
    filled_quantity: DecimalText


class FillOut(WireOut, frozen=True):
    """A trade; ``side`` is the client's."""

    fill_id: UUID
    rfq_id: UUID
    quote_id: UUID
    side: Side
    quantity: DecimalText
    price: DecimalText
    leg_prices: list[DecimalText]
    filled_at: TimeText


class RfqViewOut(WireOut, frozen=True):
    """An RFQ with the dealers asked and what has traded."""

    rfq: RfqOut
    panel: list[str]
    fills: list[FillOut]


class RfqPageOut(WireOut, frozen=True):
    """RFQs, newest first."""

    items: list[RfqOut]
    next_cursor: CursorText | None


def _leg(leg: LegIn, field: str) -> Leg:
    return Leg(InstrumentId(leg.instrument_id), leg.side, decimal_of(leg.ratio, f"{field}.ratio"))


def terms_out(terms: RfqTerms) -> TermsOut:
    """Wire form of terms."""
    return TermsOut(
        legs=[LegOut(leg.instrument_id, leg.side, decimal_text(leg.ratio)) for leg in terms.legs],
        side=terms.side,
        quantity=decimal_text(terms.quantity),
        size_mode=terms.size_mode,
        minimum_quantity=optional_decimal_text(terms.minimum_quantity),
        price_increment=decimal_text(terms.price_increment),
        created_at=format_timestamp(terms.created_at_ns),
        expires_at=format_timestamp(terms.expires_at_ns),
    )


def rfq_out(rfq: Rfq) -> RfqOut:
    """Wire form of an RFQ for its client."""
    return RfqOut(
        rfq_id=rfq.rfq_id,
        state=rfq.state,
        terms=terms_out(rfq.terms),
        limit_price=optional_decimal_text(rfq.limit_price),
        client_reference=rfq.client_reference,
        anonymous=rfq.anonymous,
        filled_quantity=decimal_text(rfq.filled_quantity),
    )


def fill_out(fill: Fill) -> FillOut:
    """Wire form of a fill."""
    return FillOut(
        fill_id=fill.fill_id,
        rfq_id=fill.rfq_id,
        quote_id=fill.quote_id,
        side=fill.side,
        quantity=decimal_text(fill.quantity),
        price=decimal_text(fill.price.price),
        leg_prices=[decimal_text(price) for price in fill.price.leg_prices],
        filled_at=format_timestamp(fill.filled_at_ns),
    )


def rfq_view_out(view: RfqView) -> RfqViewOut:
    """Wire form of an RFQ with panel and fills."""
    return RfqViewOut(rfq=rfq_out(view.rfq), panel=list(view.panel), fills=[fill_out(fill) for fill in view.fills])


def rfq_page_out(page: Page[Rfq]) -> RfqPageOut:
    """Wire form of a page of RFQs."""
    return RfqPageOut(items=[rfq_out(rfq) for rfq in page.items], next_cursor=format_cursor(page.next_cursor))
