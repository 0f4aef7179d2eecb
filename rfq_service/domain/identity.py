"""Who calls: roles, the scopes that each may hold, and the authenticated caller of one request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from rfq_service.domain.history import Firm
from rfq_service.domain.identifiers import ApiKeyId


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
    ADMIN = "admin"


# The most that a key of a role may hold; a key may hold less.
SCOPES_OF_ROLE: Mapping[Role, frozenset[Scope]] = {
    Role.BUY_SIDE: frozenset({Scope.RFQ_READ, Scope.RFQ_WRITE}),
    Role.DEALER: frozenset({Scope.RFQ_READ, Scope.QUOTE_WRITE, Scope.PRICE_READ}),
    Role.AUDITOR: frozenset({Scope.AUDIT_READ}),
    Role.OPERATOR: frozenset({Scope.ADMIN}),
}


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated caller of one request: a firm, by one of its keys, with a token that ends."""

    firm: Firm
    key_id: ApiKeyId
    role: Role
    scopes: frozenset[Scope]
    expires_at_ns: int
