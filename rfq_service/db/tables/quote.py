"""Quotes, their ends and their fills: rows that client and dealer both may read."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, Numeric, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from rfq_service.db.tables.base import (
    NAME_LENGTH_MAX,
    Base,
    each_positive,
    finite,
    length,
    not_negative,
    positive,
    times,
    word_of,
)
from rfq_service.domain.quote import QuoteEndReason, QuoteState
from rfq_service.domain.units import Side


class QuoteRow(Base):
    """A quote as it was received. Append-only, partitioned by month of ``id``.

    ``dealer_firm_id`` is NULL for a quote received on another platform. Leg prices are NULL for a single leg, whose
    price is the price. Neither RFQ nor firm is referenced: measured, the keys of quote, leg, score and decision add two
    fifths to PostgreSQL's work for an evaluation (98 to 136 µs), and what they would catch cannot happen: an evaluation
    is one statement, and a dealer's quote is stored under the lock of its RFQ's row, which is never deleted.
    """

    __tablename__ = "quote"
    __table_args__ = (
        Index(None, "rfq_id"),
        Index(None, "client_firm_id", "id"),
        Index(None, "client_firm_id", "dealer_name", "id"),
        Index(None, "dealer_firm_id", "id", postgresql_where=text("dealer_firm_id IS NOT NULL")),
        length("dealer_name", NAME_LENGTH_MAX),
        *finite("bid_price", "ask_price"),
        *each_positive("bid_leg_prices", "ask_leg_prices"),
        *not_negative("quantity"),
        *times("received_at_ns", "valid_until_ns"),
        CheckConstraint("bid_leg_prices IS NULL OR bid_price IS NOT NULL", "bid_legs"),
        CheckConstraint("ask_leg_prices IS NULL OR ask_price IS NOT NULL", "ask_legs"),
        {"postgresql_partition_by": "RANGE (id)"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    rfq_id: Mapped[UUID]
    client_firm_id: Mapped[UUID]
    dealer_firm_id: Mapped[UUID | None]
    dealer_name: Mapped[str]
    bid_price: Mapped[Decimal | None]
    bid_leg_prices: Mapped[list[Decimal] | None] = mapped_column(ARRAY(Numeric))
    ask_price: Mapped[Decimal | None]
    ask_leg_prices: Mapped[list[Decimal] | None] = mapped_column(ARRAY(Numeric))
    quantity: Mapped[Decimal]
    received_at_ns: Mapped[int]
    valid_until_ns: Mapped[int]


class ActiveQuoteRow(Base):
    """Present exactly while a dealer's quote is active, so that expiry never searches the history.

    A trigger deletes it with the INSERT of the quote's end.
    """

    __tablename__ = "active_quote"
    __table_args__ = (Index(None, "valid_until_ns"), Index(None, "rfq_id"))

    quote_id: Mapped[UUID] = mapped_column(ForeignKey("quote.id"), primary_key=True)
    rfq_id: Mapped[UUID]
    valid_until_ns: Mapped[int]
    client_firm_id: Mapped[UUID]


class QuoteEndRow(Base):
    """The one end of a quote; the primary key is what makes it one. Append-only."""

    __tablename__ = "quote_end"
    __table_args__ = (
        CheckConstraint(
            "state IN ({})".format(", ".join(repr(s.value) for s in QuoteState if s is not QuoteState.ACTIVE)), "state"
        ),
        word_of("reason", QuoteEndReason),
        *times("ended_at_ns"),
    )

    quote_id: Mapped[UUID] = mapped_column(ForeignKey("quote.id"), primary_key=True)
    client_firm_id: Mapped[UUID]
    dealer_firm_id: Mapped[UUID | None]
    state: Mapped[str]
    reason: Mapped[str]
    ended_at_ns: Mapped[int]


class FillRow(Base):
    """A trade between client and dealer; a quote fills at most once. Append-only."""

    __tablename__ = "fill"
    __table_args__ = (
        UniqueConstraint("quote_id"),
        Index(None, "rfq_id"),
        Index(None, "client_firm_id", "id"),
        Index(None, "dealer_firm_id", "id"),
        word_of("side", Side),
        *positive("quantity"),
        *finite("price"),
        *times("filled_at_ns"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    rfq_id: Mapped[UUID] = mapped_column(ForeignKey("rfq.id"))
    quote_id: Mapped[UUID] = mapped_column(ForeignKey("quote.id"))
    client_firm_id: Mapped[UUID] = mapped_column(ForeignKey("firm.id"))
    dealer_firm_id: Mapped[UUID] = mapped_column(ForeignKey("firm.id"))
    side: Mapped[str]
    quantity: Mapped[Decimal]
    price: Mapped[Decimal]
    filled_at_ns: Mapped[int]


class FillLegRow(Base):
    """One leg of a fill: the client's side, the size in instrument units and the leg's price. Append-only."""

    __tablename__ = "fill_leg"
    __table_args__ = (
        Index(None, "dealer_firm_id", "instrument_id"),
        word_of("side", Side),
        *positive("quantity", "price"),
    )

    fill_id: Mapped[UUID] = mapped_column(ForeignKey("fill.id"), primary_key=True)
    position: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    client_firm_id: Mapped[UUID]
    dealer_firm_id: Mapped[UUID]
    instrument_id: Mapped[str] = mapped_column(ForeignKey("instrument.id"))
    side: Mapped[str]
    quantity: Mapped[Decimal]
    price: Mapped[Decimal]
