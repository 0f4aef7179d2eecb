"""The dealer's side on the wire: invitations and prices. Nothing of the client's secrets has a field here."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from rfq_service.api.parsing import format_cursor
from rfq_service.api.schemas.rfq import TermsOut, terms_out
from rfq_service.api.schemas.wire import (
    Bps,
    CursorText,
    DecimalText,
    InstrumentText,
    PageLimit,
    Share,
    TimeText,
    WireIn,
    WireOut,
    decimal_text,
    finite,
    micro,
    optional_decimal_of,
    optional_decimal_text,
)
from rfq_service.desk.orders import PriceAnswer, PriceOrder, SideMarkup
from rfq_service.domain.clock import format_timestamp
from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.history import Invitation, InvitationOutcome, InvitationState, Page
from rfq_service.domain.identifiers import InstrumentId, RfqId
from rfq_service.domain.units import RequestSide, Side


class InvitationListQuery(WireIn, frozen=True):
    """Which invitations."""

    state: InvitationState | UnsetType = UNSET
    cursor: CursorText | UnsetType = UNSET
    limit: PageLimit | UnsetType = UNSET


class PriceIn(WireIn, frozen=True):
    """An inbound RFQ by ``rfq_id``, or a hypothetical one by the other three fields."""

    rfq_id: UUID | None = None
    instrument_id: InstrumentText | None = None
    side: RequestSide | None = None
    quantity: DecimalText | None = None

    def order(self) -> PriceOrder:
        """What the desk is asked for.

        Raises:
            RfqError: ``INVALID_FIELD`` unless exactly one of both forms is complete.
        """
        hypothetical = (self.instrument_id, self.side, self.quantity)
        given = sum(value is not None for value in hypothetical)
        if given != (0 if self.rfq_id is not None else len(hypothetical)):
            raise RfqError(ErrorCode.INVALID_FIELD, "give rfq_id alone, or instrument_id, side and quantity", "rfq_id")
        return PriceOrder(
            rfq_id=None if self.rfq_id is None else RfqId(self.rfq_id),
            instrument_id=None if self.instrument_id is None else InstrumentId(self.instrument_id),
            side=self.side,
            quantity=optional_decimal_of(self.quantity, "quantity"),
        )


class InvitationOut(WireOut, frozen=True):
    """An RFQ as one invited dealer sees it."""

    invitation_id: UUID
    rfq_id: UUID
    client: Annotated[str | None, msgspec.Meta(description="Null when the client is anonymous.")]
    terms: TermsOut
    state: InvitationState
    outcome: InvitationOutcome | None
    cover_distance_bps: Annotated[Bps | None, msgspec.Meta(description="Told to the best loser only.")]


class InvitationPageOut(WireOut, frozen=True):
    """Invitations, newest first."""

    items: list[InvitationOut]
    next_cursor: CursorText | None


class SidePriceOut(WireOut, frozen=True):
    """One side of the price; the parts of ``attribution_bps`` add up to ``markup_bps``."""

    side: Annotated[Side, msgspec.Meta(description="The client's: sell is your bid, buy your ask.")]
    price: DecimalText
    leg_prices: list[DecimalText]
    markup_bps: Bps
    win_probability: Share
    expected_pnl_bps: Bps
    attribution_bps: dict[str, float]


class PriceOut(WireOut, frozen=True):
    """What the pricer would quote now, or why it declines: ``decline_code`` set and no sides."""

    sides: list[SidePriceOut]
    quantity: DecimalText
    reference_mid: DecimalText | None
    inventory: Annotated[DecimalText, msgspec.Meta(description="Your position in the first leg's instrument.")]
    valid_until: TimeText
    model: str
    is_fallback: bool
    decline_code: str | None
    decline_detail: str | None


def invitation_out(invitation: Invitation) -> InvitationOut:
    """Wire form of an invitation."""
    return InvitationOut(
        invitation_id=invitation.invitation_id,
        rfq_id=invitation.rfq_id,
        client=invitation.client_name,
        terms=terms_out(invitation.terms),
        state=invitation.state,
        outcome=invitation.outcome,
        cover_distance_bps=micro(invitation.cover_distance_micro_bps),
    )


def invitation_page_out(page: Page[Invitation]) -> InvitationPageOut:
    """Wire form of a page of invitations."""
    items = [invitation_out(invitation) for invitation in page.items]
    return InvitationPageOut(items=items, next_cursor=format_cursor(page.next_cursor))


def _side_price_out(markup: SideMarkup) -> SidePriceOut:
    return SidePriceOut(
        side=markup.side,
        price=decimal_text(markup.price),
        leg_prices=[decimal_text(price) for price in markup.leg_prices],
        markup_bps=finite(markup.markup_bps),
        win_probability=finite(markup.win_probability),
        expected_pnl_bps=finite(markup.expected_pnl_bps),
        attribution_bps={name: finite(value) for name, value in markup.attribution_bps},
    )


def price_out(answer: PriceAnswer) -> PriceOut:
    """Wire form of a price or of the refusal to give one."""
    return PriceOut(
        sides=[_side_price_out(markup) for markup in answer.sides],
        quantity=decimal_text(answer.quantity),
        reference_mid=optional_decimal_text(answer.reference_mid),
        inventory=decimal_text(answer.inventory),
        valid_until=format_timestamp(answer.valid_until_ns),
        model=answer.model,
        is_fallback=answer.is_fallback,
        decline_code=answer.decline_code or None,
        decline_detail=answer.decline_detail or None,
    )
