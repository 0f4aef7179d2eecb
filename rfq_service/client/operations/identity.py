"""Public keys of tokens, and what operators do: firms, keys, audit grants. Tokens are fetched by the clients."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from rfq_service.client.call import Call, change, get, segment
from rfq_service.client.operations.buy_side import Number
from rfq_service.client.schemas.enums import Role, Scope
from rfq_service.client.schemas.identity import Firm, FirmPage, Grant, GrantPage, IssuedKey, Key, KeyPage, TokenKeys
from rfq_service.client.values import optional_decimal_text


def list_token_keys() -> Call[TokenKeys]:
    """The public keys that sign tokens."""
    return get("list_token_keys", "/.well-known/jwks.json", TokenKeys, is_public=True)


def list_firms(*, cursor: str | None = None, limit: int | None = None) -> Call[FirmPage]:
    """Every firm, newest first."""
    return get("list_firms", "/v1/admin/firms", FirmPage, cursor=cursor, limit=limit)


def add_firm(name: str, *, is_dealer: bool | None = None, idempotency_key: str | None = None) -> Call[Firm]:
    """Add a firm; dealers are asked when a client lets the service choose."""
    return change("add_firm", "/v1/admin/firms", Firm, idempotency_key, {"name": name, "is_dealer": is_dealer})


def list_keys(*, firm: str | None = None, cursor: str | None = None, limit: int | None = None) -> Call[KeyPage]:
    """Keys, newest first, ended ones included."""
    return get("list_keys", "/v1/admin/keys", KeyPage, firm=firm, cursor=cursor, limit=limit)


def add_key(
    firm: str,
    *,
    role: Role | str | None = None,
    scopes: Sequence[Scope | str] | None = None,
    label: str | None = None,
    expires_in_s: Number | None = None,
    idempotency_key: str | None = None,
) -> Call[IssuedKey]:
    """Create a key. Its secret is told once: without it in the reply, rotate the key."""
    body = {
        "firm": firm,
        "role": role,
        "scopes": None if scopes is None else list(scopes),
        "label": label,
        "expires_in_s": optional_decimal_text(expires_in_s),
    }
    return change("add_key", "/v1/admin/keys", IssuedKey, idempotency_key, body)


def rotate_key(
    key_id: UUID | str, *, overlap_s: Number | None = None, idempotency_key: str | None = None
) -> Call[IssuedKey]:
    """Replace a key; the old one goes on for the overlap."""
    body = {"overlap_s": optional_decimal_text(overlap_s)}
    return change("rotate_key", f"/v1/admin/keys/{segment(key_id)}/rotate", IssuedKey, idempotency_key, body)


def revoke_key(key_id: UUID | str, *, idempotency_key: str | None = None) -> Call[Key]:
    """Revoke a key, its tokens and its streams."""
    return change("revoke_key", f"/v1/admin/keys/{segment(key_id)}/revoke", Key, idempotency_key)


def list_audit_grants(*, cursor: str | None = None, limit: int | None = None) -> Call[GrantPage]:
    """Whom auditors may read, newest first, ended grants included."""
    return get("list_audit_grants", "/v1/admin/audit-grants", GrantPage, cursor=cursor, limit=limit)


def add_audit_grant(auditor: str, *, firm: str | None, idempotency_key: str | None = None) -> Call[Grant]:
    """Let an auditor read one firm, or every firm where ``firm`` is ``None``."""
    body = {"auditor": auditor, "firm": firm}
    return change("add_audit_grant", "/v1/admin/audit-grants", Grant, idempotency_key, body, keep_none=True)


def revoke_audit_grant(grant_id: UUID | str, *, idempotency_key: str | None = None) -> Call[Grant]:
    """End an auditor's leave to read."""
    path = f"/v1/admin/audit-grants/{segment(grant_id)}/revoke"
    return change("revoke_audit_grant", path, Grant, idempotency_key)
