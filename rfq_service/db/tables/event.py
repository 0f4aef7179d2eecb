"""The journal, one row per change written in the change's own transaction, and the order it is told in."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import JSON, CheckConstraint, Index, Integer, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from rfq_service.db.tables.base import Base, TransactionId, times, word_of
from rfq_service.domain.history import Audience, EventKind

_PARTY = "party IN ('client', 'dealer')"


class EventRow(Base):
    """One committed change. Append-only, partitioned by month of ``id``.

    ``client_firm_id`` is the owner of the RFQ, ``audience`` says who is told. ``position`` orders the events of one
    transaction; ``transaction_id`` is the database's to give. It refers to nothing by foreign key: a journal outlives
    what it tells of.
    """

    __tablename__ = "event"
    __table_args__ = (
        Index(None, "transaction_id"),
        word_of("kind", EventKind),
        word_of("audience", Audience),
        CheckConstraint("client_firm_id IS NOT NULL OR audience NOT IN ('client', 'both')", "client_told"),
        CheckConstraint("dealer_firm_id IS NOT NULL OR audience NOT IN ('dealer', 'both')", "dealer_told"),
        *times("occurred_at_ns"),
        {"postgresql_partition_by": "RANGE (id)"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    occurred_at_ns: Mapped[int]
    client_firm_id: Mapped[UUID | None]
    dealer_firm_id: Mapped[UUID | None]
    rfq_id: Mapped[UUID | None]
    quote_id: Mapped[UUID | None]
    payload_json: Mapped[str] = mapped_column(JSON)
    audience: Mapped[str]
    position: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    transaction_id: Mapped[int] = mapped_column(TransactionId, server_default=text("pg_current_xact_id()"))


class EventLeafRow(Base):
    """The place of an event in the order of all, from 0 without a gap. Append-only; it never leaves the service."""

    __tablename__ = "event_leaf"
    __table_args__ = (UniqueConstraint("event_id"), CheckConstraint("leaf_index >= 0", "leaf_index"))

    leaf_index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    event_id: Mapped[UUID]
    client_firm_id: Mapped[UUID | None]


class StreamEntryRow(Base):
    """An event as one party of a firm is told it, numbered from 1 without a gap. Append-only until it is purged."""

    __tablename__ = "stream_entry"
    __table_args__ = (
        Index(None, "leaf_index"),
        CheckConstraint(_PARTY, "party"),
        CheckConstraint("number > 0", "number"),
    )

    firm_id: Mapped[UUID] = mapped_column(primary_key=True)
    party: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    leaf_index: Mapped[int]
    event_id: Mapped[UUID]
    kind: Mapped[str]
    occurred_at_ns: Mapped[int]
    rfq_id: Mapped[UUID | None]
    quote_id: Mapped[UUID | None]
    payload_json: Mapped[str] = mapped_column(JSON)
    sequenced_at_ns: Mapped[int]


class StreamHeadRow(Base):
    """The last number given to a party of a firm. Every step changes rows, so pages keep room for that."""

    __tablename__ = "stream_head"
    __table_args__ = (
        CheckConstraint(_PARTY, "party"),
        CheckConstraint("last_number > 0", "last_number"),
        {"postgresql_with": {"fillfactor": 50}},
    )

    firm_id: Mapped[UUID] = mapped_column(primary_key=True)
    party: Mapped[str] = mapped_column(primary_key=True)
    last_number: Mapped[int]


class SequencerRow(Base):
    """How far events have been numbered: the one row; every event of a transaction before ``below`` has its leaf."""

    __tablename__ = "sequencer"
    __table_args__ = (CheckConstraint("id = 1", "id"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    next_leaf_index: Mapped[int]
    below: Mapped[int] = mapped_column(TransactionId)
