"""Tokens, firms, keys and grants."""

from __future__ import annotations

from uuid import UUID

import msgspec

from rfq_service.client.schemas.enums import Role, Scope
from rfq_service.client.values import Reply, TimeNs


class TokenReply(Reply, frozen=True, kw_only=True):
    """An access token, RFC 6749 §5.1."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str = ""


class TokenKey(Reply, frozen=True, kw_only=True):
    """A public key by RFC 8037."""

    kid: str
    x: str
    kty: str = "OKP"
    crv: str = "Ed25519"
    alg: str = "EdDSA"
    use: str = "sig"


class TokenKeys(Reply, frozen=True, kw_only=True):
    """The keys that sign tokens, by RFC 7517."""

    keys: tuple[TokenKey, ...]


class Firm(Reply, frozen=True, kw_only=True):
    """A firm."""

    firm_id: UUID
    name: str
    is_dealer: bool


class FirmPage(Reply, frozen=True, kw_only=True):
    """Firms, newest first."""

    items: tuple[Firm, ...]
    next_cursor: str | None


class Key(Reply, frozen=True, kw_only=True):
    """A key, never its secret: ``prefix`` is how that begins."""

    key_id: UUID
    firm: str
    role: Role
    scopes: tuple[Scope, ...]
    label: str
    prefix: str
    created_at_ns: TimeNs = msgspec.field(name="created_at")
    expires_at_ns: TimeNs | None = msgspec.field(name="expires_at")
    revoked_at_ns: TimeNs | None = msgspec.field(name="revoked_at")
    replaced_by: UUID | None


class KeyPage(Reply, frozen=True, kw_only=True):
    """Keys, newest first."""

    items: tuple[Key, ...]
    next_cursor: str | None


class IssuedKey(Reply, frozen=True, kw_only=True):
    """A new key; ``client_secret`` is told once, ``None`` where a repeated request is answered."""

    key: Key
    client_id: UUID
    client_secret: str | None

    def __repr__(self) -> str:
        return f"IssuedKey({self.key!r})"


class Grant(Reply, frozen=True, kw_only=True):
    """Leave for an auditor to read one firm, or every firm where ``firm_id`` is ``None``."""

    grant_id: UUID
    auditor_firm_id: UUID
    firm_id: UUID | None
    granted_by: UUID | None
    granted_at_ns: TimeNs = msgspec.field(name="granted_at")
    revoked_at_ns: TimeNs | None = msgspec.field(name="revoked_at")


class GrantPage(Reply, frozen=True, kw_only=True):
    """Grants, newest first."""

    items: tuple[Grant, ...]
    next_cursor: str | None
