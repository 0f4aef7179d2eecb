"""The journal: one row per change, written in the change's own transaction."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import JSON
from sqlalchemy.orm import Mapped, mapped_column

from rfq_service.db.tables.base import Base, times, word_of
from rfq_service.domain.history import EventKind


class EventRow(Base):
    """One committed change, readable by the firms it names. Append-only, partitioned by month of ``id``.

    It refers to nothing by foreign key: a journal outlives what it tells of.
    """

    __tablename__ = "event"
    __table_args__ = (
        word_of("kind", EventKind),
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
