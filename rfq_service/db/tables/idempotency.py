"""What changing requests were answered, so that a retry has the same effect and the same answer once."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import CheckConstraint, Index, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from rfq_service.db.tables.base import WORD_LENGTH_MAX, Base, length, times


class IdempotencyKeyRow(Base):
    """The reply to a request with a key, stored in the transaction of its effect. Append-only until it expires.

    Never partitioned, as uniqueness would end at the partition. The firm is part of the key, so that no firm can find
    out what another one uses.
    """

    __tablename__ = "idempotency_key"
    __table_args__ = (
        Index(None, "expires_at_ns"),
        length("operation", WORD_LENGTH_MAX),
        CheckConstraint("octet_length(key_digest) = 32", "key_digest"),
        CheckConstraint("octet_length(request_digest) = 32", "request_digest"),
        CheckConstraint("status BETWEEN 200 AND 299", "status"),
        *times("created_at_ns", "expires_at_ns"),
    )

    firm_id: Mapped[UUID] = mapped_column(primary_key=True)
    operation: Mapped[str] = mapped_column(primary_key=True)
    key_digest: Mapped[bytes] = mapped_column(primary_key=True)
    request_digest: Mapped[bytes]
    status: Mapped[int] = mapped_column(SmallInteger)
    body: Mapped[bytes]
    created_at_ns: Mapped[int]
    expires_at_ns: Mapped[int]
