"""Firms and the keys they call with."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from rfq_service.db.tables.base import NAME_LENGTH_MAX, Base, length, times


class FirmRow(Base):
    """A party: client, dealer or both. Every firm may read every name: the names are the market's directory."""

    __tablename__ = "firm"
    __table_args__ = (UniqueConstraint("name"), length("name", NAME_LENGTH_MAX))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    is_dealer: Mapped[bool]


class ApiKeyRow(Base):
    """A key, stored as the SHA-256 of its random secret; ``prefix`` lets a person recognise it in a list."""

    __tablename__ = "api_key"
    __table_args__ = (
        UniqueConstraint("digest"),
        Index(None, "firm_id"),
        CheckConstraint("octet_length(digest) = 32", "digest"),
        length("prefix", 20),
        length("label", NAME_LENGTH_MAX, 0),
        *times("created_at_ns", "revoked_at_ns"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    firm_id: Mapped[UUID] = mapped_column(ForeignKey("firm.id"))
    digest: Mapped[bytes]
    prefix: Mapped[str]
    label: Mapped[str]
    created_at_ns: Mapped[int]
    revoked_at_ns: Mapped[int | None]
