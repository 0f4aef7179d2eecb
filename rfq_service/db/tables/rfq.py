"""The RFQ as two parties see it: the client's own tables, and one invitation per dealer with only what he may see."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from sqlalchemy import (
    JSON,
    CheckConstraint,
    ForeignKey,
    Index,
    SmallInteger,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from rfq_service.db.tables.base import (
    NAME_LENGTH_MAX,
    REFERENCE_LENGTH_MAX,
    Base,
    finite,
    length,
    positive,
    times,
    word_of,
)
from rfq_service.domain.history import InvitationOutcome, InvitationState
from rfq_service.domain.rfq import RfqState, SizeMode
from rfq_service.domain.units import RequestSide, Side

_CAN_EXPIRE = "state IN ('open', 'partially_filled')"


class RfqRow(Base):
    """The client's RFQ: terms, limit price, panel (in his order) and how far it has come. No dealer reads it.

    The firm is not referenced: the check would lock its row in every evaluation, and firms are never deleted.
    """

    __tablename__ = "rfq"
    __table_args__ = (
        Index(None, "client_firm_id", "id"),
        Index("rfq_live_idx", "client_firm_id", "state", "id", postgresql_where=text("state <> 'evaluated'")),
        Index("rfq_expiry_idx", "expires_at_ns", postgresql_where=text(_CAN_EXPIRE)),
        word_of("side", RequestSide),
        word_of("size_mode", SizeMode),
        word_of("state", RfqState),
        *positive("quantity", "minimum_quantity", "price_increment"),
        *finite("limit_price"),
        *times("created_at_ns", "expires_at_ns"),
        length("client_reference", REFERENCE_LENGTH_MAX, 0),
        CheckConstraint("(minimum_quantity IS NOT NULL) = (size_mode = 'minimum')", "minimum_of_mode"),
        CheckConstraint("filled_quantity >= 0 AND filled_quantity <= quantity", "filled_quantity"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    client_firm_id: Mapped[UUID]
    side: Mapped[str]
    quantity: Mapped[Decimal]
    size_mode: Mapped[str]
    minimum_quantity: Mapped[Decimal | None]
    price_increment: Mapped[Decimal]
    created_at_ns: Mapped[int]
    expires_at_ns: Mapped[int]
    limit_price: Mapped[Decimal | None]
    client_reference: Mapped[str]
    anonymous: Mapped[bool]
    state: Mapped[str]
    filled_quantity: Mapped[Decimal]
    panel_firm_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))


class RfqLegRow(Base):
    """A leg of the client's RFQ, in the client's order. No foreign keys, for the reason given at ``QuoteRow``."""

    __tablename__ = "rfq_leg"
    __table_args__ = (
        Index(None, "client_firm_id", "instrument_id", "rfq_id"),
        word_of("side", Side),
        *positive("ratio"),
    )

    rfq_id: Mapped[UUID] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    client_firm_id: Mapped[UUID]
    instrument_id: Mapped[str]
    side: Mapped[str]
    ratio: Mapped[Decimal]


class InvitationRow(Base):
    """One dealer's own row of an RFQ. It carries the terms by value, so that he needs no other table.

    ``client_firm_id`` is for the service: the dealer's role has no right to it. ``client_name`` is NULL when the client
    is anonymous. ``instrument_ids`` repeats the legs' names for the index.
    """

    __tablename__ = "invitation"
    __table_args__ = (
        UniqueConstraint("dealer_firm_id", "rfq_id"),
        Index(None, "dealer_firm_id", "id"),
        Index(None, "dealer_firm_id", "state", "id"),
        Index(None, "rfq_id"),
        length("client_name", NAME_LENGTH_MAX),
        word_of("side", RequestSide),
        word_of("size_mode", SizeMode),
        word_of("state", InvitationState),
        word_of("outcome", InvitationOutcome),
        *positive("quantity", "minimum_quantity", "price_increment"),
        *times("created_at_ns", "expires_at_ns"),
        CheckConstraint("cover_distance_micro_bps >= 0", "cover_distance_micro_bps"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    rfq_id: Mapped[UUID] = mapped_column(ForeignKey("rfq.id"))
    dealer_firm_id: Mapped[UUID] = mapped_column(ForeignKey("firm.id"))
    client_name: Mapped[str | None]
    side: Mapped[str]
    quantity: Mapped[Decimal]
    size_mode: Mapped[str]
    minimum_quantity: Mapped[Decimal | None]
    price_increment: Mapped[Decimal]
    created_at_ns: Mapped[int]
    expires_at_ns: Mapped[int]
    legs_json: Mapped[str] = mapped_column(JSON)
    instrument_ids: Mapped[list[str]] = mapped_column(ARRAY(Text))
    state: Mapped[str]
    outcome: Mapped[str | None]
    cover_distance_micro_bps: Mapped[int | None]
    client_firm_id: Mapped[UUID]
