"""The client's scores and decisions: no dealer ever reads them."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import ARRAY, JSON, CheckConstraint, Index, Integer, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from rfq_service.db.tables.base import NAME_LENGTH_MAX, WORD_LENGTH_MAX, Base, length, times, word_of
from rfq_service.domain.units import Side


class EvaluationRow(Base):
    """The score of one side of one quote. Append-only, partitioned by month of ``id``.

    No foreign keys, for the reason given at ``QuoteRow``.
    """

    __tablename__ = "evaluation"
    __table_args__ = (
        Index(None, "quote_id"),
        Index(None, "client_firm_id", "verdict", "quote_id"),
        word_of("side", Side),
        length("verdict", WORD_LENGTH_MAX),
        {"postgresql_partition_by": "RANGE (id)"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    decision_id: Mapped[UUID]
    rfq_id: Mapped[UUID]
    quote_id: Mapped[UUID]
    client_firm_id: Mapped[UUID]
    side: Mapped[str]
    verdict: Mapped[str]
    reasons: Mapped[list[str]] = mapped_column(ARRAY(Text))
    cost_micro_bps: Mapped[int | None]
    fairness_ppm: Mapped[int | None]
    excess_micro_bps: Mapped[int | None]
    result_json: Mapped[str] = mapped_column(JSON)


class DecisionRow(Base):
    """What was recommended, with every input by value. Append-only, partitioned by month of ``id``.

    ``number`` grows with every decision on an RFQ, as they are made under its lock: the latest has the highest.
    """

    __tablename__ = "decision"
    __table_args__ = (
        Index(None, "rfq_id", "id"),
        *times("decided_at_ns"),
        CheckConstraint("number > 0", "number"),
        length("action", WORD_LENGTH_MAX),
        length("model", NAME_LENGTH_MAX),
        {"postgresql_partition_by": "RANGE (id)"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    rfq_id: Mapped[UUID]
    client_firm_id: Mapped[UUID]
    decided_at_ns: Mapped[int]
    action: Mapped[str]
    quote_id: Mapped[UUID | None]
    model: Mapped[str]
    is_fallback: Mapped[bool]
    inputs_json: Mapped[str] = mapped_column(JSON)
    result_json: Mapped[str] = mapped_column(JSON)
    number: Mapped[int] = mapped_column(Integer, server_default=text("1"))
