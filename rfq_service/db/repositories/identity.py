"""Keys, token keys and audit grants. The secret of a key is known by its SHA-256 digest only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from rfq_service.db.repositories.conversion import to_page
from rfq_service.db.tables import ApiKeyRow, AuditGrantRow, FirmRow, TokenKeyRow, table_of
from rfq_service.domain.history import Firm, Page
from rfq_service.domain.identifiers import ApiKeyId, AuditGrantId, FirmId, TokenKeyId
from rfq_service.domain.identity import ApiKey, AuditGrant, Role, Scope, TokenKey

_firm = table_of(FirmRow)
_key = table_of(ApiKeyRow)
_grant = table_of(AuditGrantRow)
_token_key = table_of(TokenKeyRow)

# One number that no other program uses: of two replicas that start on a new database one makes the signing key.
_TOKEN_KEY_LOCK = 0x52465102


class IdentityRepository:
    """Queries on keys, token keys and grants."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add_key(self, key: ApiKey, digest: bytes, created_by: ApiKeyId | None) -> None:
        """Store a new key; ``digest`` is the SHA-256 of its secret, ``created_by`` the operator's key."""
        values = {
            "id": key.key_id,
            "firm_id": key.firm.firm_id,
            "digest": digest,
            "prefix": key.prefix,
            "label": key.label,
            "role": key.role,
            "scopes": sorted(key.scopes),
            "created_at_ns": key.created_at_ns,
            "expires_at_ns": key.expires_at_ns,
            "created_by": created_by,
        }
        await self._connection.execute(postgresql.insert(_key).values(values))

    async def key(self, key_id: ApiKeyId, *, lock: bool = False) -> ApiKey | None:
        """A key with its firm, ended or not; ``lock`` holds it for this transaction to change."""
        statement = _select_keys().where(_key.c.id == key_id)
        if lock:
            statement = statement.with_for_update(of=_key)
        row = (await self._connection.execute(statement)).first()
        return None if row is None else _to_key(row)

    async def key_with_digest(self, key_id: ApiKeyId) -> tuple[ApiKey, bytes] | None:
        """A key with the digest of its secret."""
        row = (await self._connection.execute(_select_keys().where(_key.c.id == key_id))).first()
        return None if row is None else (_to_key(row), row.digest)

    async def keys(self, firm_id: FirmId | None, cursor: UUID | None, limit: int) -> Page[ApiKey]:
        """Keys of one firm or of all, newest first, ended ones included."""
        statement = _select_keys().order_by(_key.c.id.desc()).limit(limit + 1)
        if firm_id is not None:
            statement = statement.where(_key.c.firm_id == firm_id)
        if cursor is not None:
            statement = statement.where(_key.c.id < cursor)
        found = [_to_key(row) for row in await self._connection.execute(statement)]
        return to_page(found, limit, lambda key: key.key_id)

    async def revoke_key(self, key_id: ApiKeyId, revoked_at_ns: int) -> ApiKey | None:
        """Revoke a key and return it; ``None`` when it is unknown or already revoked."""
        statement = (
            update(_key)
            .where(_key.c.id == key_id, _key.c.revoked_at_ns.is_(None))
            .values(revoked_at_ns=revoked_at_ns)
            .returning(_key.c.id)
        )
        found = (await self._connection.execute(statement)).scalar_one_or_none()
        return None if found is None else await self.key(key_id)

    async def replace_key(self, key_id: ApiKeyId, replaced_by: ApiKeyId, expires_at_ns: int) -> None:
        """Note the successor of a key, and when the key ends."""
        values = {"replaced_by": replaced_by, "expires_at_ns": expires_at_ns}
        await self._connection.execute(update(_key).where(_key.c.id == key_id).values(values))

    async def ended_keys(self, from_ns: int, to_ns: int) -> dict[ApiKeyId, int]:
        """Keys that were revoked since ``from_ns`` (end 0: whatever the clocks say) or expire between the two."""
        statement = select(_key.c.id, _key.c.revoked_at_ns, _key.c.expires_at_ns).where(
            or_(_key.c.revoked_at_ns >= from_ns, and_(_key.c.expires_at_ns >= from_ns, _key.c.expires_at_ns < to_ns))
        )
        rows = await self._connection.execute(statement)
        return {ApiKeyId(row.id): row.expires_at_ns if row.revoked_at_ns is None else 0 for row in rows}

    async def token_keys(self, retired_since_ns: int) -> Sequence[TokenKey]:
        """Keys whose tokens may be about: live ones, newest first, and those retired since then."""
        statement = (
            select(_token_key)
            .where(or_(_token_key.c.retired_at_ns.is_(None), _token_key.c.retired_at_ns >= retired_since_ns))
            .order_by(_token_key.c.created_at_ns.desc(), _token_key.c.id)
        )
        return [_to_token_key(row) for row in await self._connection.execute(statement)]

    async def lock_token_keys(self) -> None:
        """Make others who would add or retire token keys wait until this transaction ends."""
        await self._connection.execute(select(func.pg_advisory_xact_lock(_TOKEN_KEY_LOCK)))

    async def add_token_key(self, key: TokenKey) -> None:
        """Store a key pair; one that is there stays as it is."""
        values = {
            "id": key.key_id,
            "public_key": key.public_key,
            "private_key": key.private_key,
            "created_at_ns": key.created_at_ns,
        }
        await self._connection.execute(postgresql.insert(_token_key).values(values).on_conflict_do_nothing())

    async def retire_token_keys(self, kept: TokenKeyId, retired_at_ns: int) -> int:
        """Retire every key but one that is not retired by then, and erase its private half; returns how many."""
        statement = (
            update(_token_key)
            .where(
                _token_key.c.id != kept,
                or_(_token_key.c.retired_at_ns.is_(None), _token_key.c.retired_at_ns > retired_at_ns),
            )
            .values(retired_at_ns=retired_at_ns, private_key=None)
        )
        return int((await self._connection.execute(statement)).rowcount)

    async def add_grant(self, grant: AuditGrant) -> bool:
        """Store a grant; ``False``, and nothing changed, when the same one is live."""
        values = {
            "id": grant.grant_id,
            "auditor_firm_id": grant.auditor_firm_id,
            "firm_id": grant.firm_id,
            "granted_by": grant.granted_by,
            "granted_at_ns": grant.granted_at_ns,
        }
        statement = postgresql.insert(_grant).values(values).on_conflict_do_nothing()
        return (await self._connection.execute(statement)).rowcount == 1

    async def revoke_grant(self, grant_id: AuditGrantId, revoked_at_ns: int) -> AuditGrant | None:
        """End a grant and return it; ``None`` when it is unknown or already ended."""
        statement = (
            update(_grant)
            .where(_grant.c.id == grant_id, _grant.c.revoked_at_ns.is_(None))
            .values(revoked_at_ns=revoked_at_ns)
            .returning(_grant)
        )
        row = (await self._connection.execute(statement)).first()
        return None if row is None else _to_grant(row)

    async def grants(self, cursor: UUID | None, limit: int) -> Page[AuditGrant]:
        """Every grant, newest first, ended ones included."""
        statement = select(_grant).order_by(_grant.c.id.desc()).limit(limit + 1)
        if cursor is not None:
            statement = statement.where(_grant.c.id < cursor)
        found = [_to_grant(row) for row in await self._connection.execute(statement)]
        return to_page(found, limit, lambda grant: grant.grant_id)


def _select_keys() -> Any:
    return select(_key, _firm.c.name, _firm.c.is_dealer).join(_firm, _firm.c.id == _key.c.firm_id)


def _to_key(row: Any) -> ApiKey:
    return ApiKey(
        key_id=ApiKeyId(row.id),
        firm=Firm(firm_id=FirmId(row.firm_id), name=row.name, is_dealer=row.is_dealer),
        role=Role(row.role),
        scopes=frozenset(Scope(scope) for scope in row.scopes),
        prefix=row.prefix,
        label=row.label,
        created_at_ns=row.created_at_ns,
        expires_at_ns=row.expires_at_ns,
        revoked_at_ns=row.revoked_at_ns,
        replaced_by=None if row.replaced_by is None else ApiKeyId(row.replaced_by),
    )


def _to_token_key(row: Any) -> TokenKey:
    return TokenKey(
        key_id=TokenKeyId(row.id),
        public_key=row.public_key,
        private_key=row.private_key,
        created_at_ns=row.created_at_ns,
        retired_at_ns=row.retired_at_ns,
    )


def _to_grant(row: Any) -> AuditGrant:
    return AuditGrant(
        grant_id=AuditGrantId(row.id),
        auditor_firm_id=FirmId(row.auditor_firm_id),
        firm_id=None if row.firm_id is None else FirmId(row.firm_id),
        granted_by=None if row.granted_by is None else ApiKeyId(row.granted_by),
        granted_at_ns=row.granted_at_ns,
        revoked_at_ns=row.revoked_at_ns,
    )
