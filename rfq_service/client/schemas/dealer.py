"""What a dealer sees: invitations and prices."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import msgspec

from rfq_service.client.schemas.enums import InvitationOutcome, InvitationState, Side
from rfq_service.client.schemas.rfq import Terms
from rfq_service.client.values import Reply, TimeNs


class Invitation(Reply, frozen=True, kw_only=True):
    """An RFQ as one invited dealer sees it."""

    invitation_id: UUID
    rfq_id: UUID
    client: str | None
    terms: Terms
    state: InvitationState
    outcome: InvitationOutcome | None
    cover_distance_bps: float | None


class InvitationPage(Reply, frozen=True, kw_only=True):
    """Invitations, newest first."""

    items: tuple[Invitation, ...]
    next_cursor: str | None


class SidePrice(Reply, frozen=True, kw_only=True):
    """One side of the price; the parts of ``attribution_bps`` add up to ``markup_bps``."""

    side: Side
    price: Decimal
    leg_prices: tuple[Decimal, ...]
    markup_bps: float
    win_probability: float
    expected_pnl_bps: float
    attribution_bps: dict[str, float]


class Price(Reply, frozen=True, kw_only=True):
    """What the pricer would quote now, or why it declines: ``decline_code`` set and no sides."""

    sides: tuple[SidePrice, ...]
    quantity: Decimal
    reference_mid: Decimal | None
    inventory: Decimal
    valid_until_ns: TimeNs = msgspec.field(name="valid_until")
    model: str
    is_fallback: bool
    decline_code: str | None
    decline_detail: str | None
