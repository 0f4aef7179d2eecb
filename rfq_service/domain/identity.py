"""Who calls: roles, the scopes that each may hold, and the authenticated caller of one request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.history import Firm
from rfq_service.domain.identifiers import ApiKeyId, AuditGrantId, FirmId, TokenKeyId


class Role(StrEnum):
    """What a key is for. A firm that is client and dealer holds a key of each role: its two desks share nothing."""

    BUY_SIDE = "buy_side"
    DEALER = "dealer"
    AUDITOR = "auditor"
    OPERATOR = "operator"


class Scope(StrEnum):
    """What a token allows; the value is what OAuth2 clients ask for."""

    RFQ_READ = "rfq:read"
    RFQ_WRITE = "rfq:write"
    QUOTE_WRITE = "quote:write"
    PRICE_READ = "price:read"
    AUDIT_READ = "audit:read"
    METRICS_READ = "metrics:read"
    ADMIN = "admin"


# The most that a key of a role may hold; a key may hold less.
SCOPES_OF_ROLE: Mapping[Role, frozenset[Scope]] = {
    Role.BUY_SIDE: frozenset({Scope.RFQ_READ, Scope.RFQ_WRITE}),
    Role.DEALER: frozenset({Scope.RFQ_READ, Scope.QUOTE_WRITE, Scope.PRICE_READ}),
    Role.AUDITOR: frozenset({Scope.AUDIT_READ}),
    Role.OPERATOR: frozenset({Scope.METRICS_READ, Scope.ADMIN}),
}


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated caller of one request: a firm, by one of its keys, with a token that ends."""

    firm: Firm
    key_id: ApiKeyId
    role: Role
    scopes: frozenset[Scope]
    expires_at_ns: int


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored, which is also an OAuth2 client: its secret is known by its digest only.

    Attributes:
        prefix: first characters of the secret, by which a person recognises it.
        expires_at_ns: end of its life, UTC ns; ``None`` for a key that lives until it is revoked.
        replaced_by: the key that a rotation made in its place.
    """

    key_id: ApiKeyId
    firm: Firm
    role: Role
    scopes: frozenset[Scope]
    prefix: str
    label: str
    created_at_ns: int
    expires_at_ns: int | None
    revoked_at_ns: int | None
    replaced_by: ApiKeyId | None

    def is_usable(self, now_ns: int) -> bool:
        """Whether it opens anything at ``now_ns``."""
        return self.revoked_at_ns is None and (self.expires_at_ns is None or now_ns < self.expires_at_ns)


@dataclass(frozen=True, slots=True)
class AuditGrant:
    """Leave for an auditor firm to read one firm, or every firm where ``firm_id`` is ``None``."""

    grant_id: AuditGrantId
    auditor_firm_id: FirmId
    firm_id: FirmId | None
    granted_by: ApiKeyId | None
    granted_at_ns: int
    revoked_at_ns: int | None


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A key pair that signs tokens. ``private_key`` is ``None`` where the database does not hold it (a key file)."""

    key_id: TokenKeyId
    public_key: bytes
    private_key: bytes | None
    created_at_ns: int
    retired_at_ns: int | None


def check_scopes(asked: frozenset[Scope], allowed: frozenset[Scope], code: ErrorCode, field: str) -> frozenset[Scope]:
    """The scopes asked for, or all that are allowed when none is asked for.

    Raises:
        RfqError: with ``code`` when one is not allowed.
    """
    too_many = sorted(asked - allowed)
    if too_many:
        raise RfqError(code, f"{', '.join(too_many)}: not allowed; {', '.join(sorted(allowed)) or 'none'} is", field)
    return asked or allowed


def check_role(role: Role, firm: Firm) -> Role:
    """The role itself.

    Raises:
        RfqError: ``INVALID_FIELD`` for the dealer role at a firm that is no dealer: nobody could ask it for a quote.
    """
    if role is Role.DEALER and not firm.is_dealer:
        raise RfqError(ErrorCode.INVALID_FIELD, f"{firm.name} is no dealer firm", "role")
    return role
