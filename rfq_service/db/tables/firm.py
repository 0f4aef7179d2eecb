"""Firms, the keys they call with, what signs their tokens, and whom auditors may read."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from rfq_service.db.tables.base import NAME_LENGTH_MAX, Base, length, times, word_of
from rfq_service.domain.identity import Role, Scope

_SCOPES = ", ".join(repr(scope.value) for scope in Scope)


class FirmRow(Base):
    """A party: client, dealer or both. Every firm may read every name: the names are the market's directory."""

    __tablename__ = "firm"
    __table_args__ = (UniqueConstraint("name"), length("name", NAME_LENGTH_MAX))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    is_dealer: Mapped[bool]


class ApiKeyRow(Base):
    """A key, stored as the SHA-256 of its random secret; ``prefix`` lets a person recognise it in a list.

    ``replaced_by`` is the key it was rotated to; ``created_by`` the operator's key, NULL from the command line.
    """

    __tablename__ = "api_key"
    __table_args__ = (
        UniqueConstraint("digest"),
        Index(None, "firm_id"),
        CheckConstraint("octet_length(digest) = 32", "digest"),
        length("prefix", 20),
        length("label", NAME_LENGTH_MAX, 0),
        word_of("role", Role),
        CheckConstraint(f"cardinality(scopes) > 0 AND scopes <@ ARRAY[{_SCOPES}]", "scopes"),
        *times("created_at_ns", "revoked_at_ns", "expires_at_ns"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    firm_id: Mapped[UUID] = mapped_column(ForeignKey("firm.id"))
    digest: Mapped[bytes]
    prefix: Mapped[str]
    label: Mapped[str]
    created_at_ns: Mapped[int]
    revoked_at_ns: Mapped[int | None]
    role: Mapped[str]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    expires_at_ns: Mapped[int | None]
    replaced_by: Mapped[UUID | None] = mapped_column(ForeignKey("api_key.id"))
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("api_key.id"))


class TokenKeyRow(Base):
    """An Ed25519 key that signs tokens; ``id`` is its ``kid``. Without its private half it only checks old tokens."""

    __tablename__ = "token_key"
    __table_args__ = (
        CheckConstraint("octet_length(public_key) = 32", "public_key"),
        CheckConstraint("octet_length(private_key) = 32", "private_key"),
        *times("created_at_ns", "retired_at_ns"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    public_key: Mapped[bytes]
    private_key: Mapped[bytes | None]
    created_at_ns: Mapped[int]
    retired_at_ns: Mapped[int | None]


class AuditGrantRow(Base):
    """Leave for an auditor to read a firm, or every firm where ``firm_id`` is NULL; one live grant per pair.

    ``granted_by`` is the operator's key, NULL from the command line.
    """

    __tablename__ = "audit_grant"
    __table_args__ = (
        Index(
            "audit_grant_live_idx",
            "auditor_firm_id",
            "firm_id",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=text("revoked_at_ns IS NULL"),
        ),
        *times("granted_at_ns", "revoked_at_ns"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    auditor_firm_id: Mapped[UUID] = mapped_column(ForeignKey("firm.id"))
    firm_id: Mapped[UUID | None] = mapped_column(ForeignKey("firm.id"))
    granted_by: Mapped[UUID | None]
    granted_at_ns: Mapped[int]
    revoked_at_ns: Mapped[int | None]
