"""Firms, their keys and auditors' grants: made and ended within one transaction, each with its event.

The command line and the API for operators do the same through here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from rfq_service.db.unit_of_work import UnitOfWork
from rfq_service.desk.keys import digest_of, new_secret
from rfq_service.desk.terms import build_event
from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.history import Audience, EventKind, Firm
from rfq_service.domain.identifiers import ApiKeyId, AuditGrantId, FirmId
from rfq_service.domain.identity import SCOPES_OF_ROLE, ApiKey, AuditGrant, Role, Scope, check_role, check_scopes

NAME_MAX = 64
LABEL_MAX = 64
_PREFIX_LENGTH = 10
_COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True)
class KeyOrder:
    """A key to be made: by default with the firm's own role, all scopes of it, and a life until it is revoked."""

    firm_name: str
    role: Role | None = None
    scopes: frozenset[Scope] = frozenset()
    label: str = ""
    life_ns: int | None = None


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key with its secret, which exists nowhere else."""

    key: ApiKey
    secret: str


class PartyRegister:
    """What an operator changes, within one transaction.

    Args:
        uow: the transaction; the caller commits it.
        now_ns: UTC time of the changes.
        new_id: makes a UUIDv7 of a UTC time in nanoseconds.
        by: the operator's key; ``None`` for the command line.
    """

    def __init__(self, uow: UnitOfWork, now_ns: int, new_id: Callable[[int], UUID], by: ApiKeyId | None = None) -> None:
        self._uow = uow
        self._now_ns = now_ns
        self._new_id = new_id
        self._by = by

    async def add_firm(self, name: str, *, is_dealer: bool) -> Firm:
        """Add a firm.

        Raises:
            RfqError: ``INVALID_FIELD`` when the name is unusable, ``NAME_TAKEN``.
        """
        if not name.isprintable() or name != name.strip() or not 1 <= len(name) <= NAME_MAX:
            raise RfqError(ErrorCode.INVALID_FIELD, f"1 to {NAME_MAX} printable characters", "name")
        firm = Firm(firm_id=FirmId(self._new_id(self._now_ns)), name=name, is_dealer=is_dealer)
        if not await self._uow.firms.add(firm):
            raise RfqError(ErrorCode.NAME_TAKEN, f"there is a firm {name!r} already", "name")
        await self._note(EventKind.FIRM_ADDED, firm, {"is_dealer": is_dealer, "name": name})
        return firm

    async def add_key(self, order: KeyOrder) -> IssuedKey:
        """Create a key.

        Raises:
            RfqError: ``FIRM_NOT_FOUND``, ``INVALID_FIELD`` for a role, scope or label that cannot be.
        """
        firm = await self.firm(order.firm_name)
        role = check_role(order.role or (Role.DEALER if firm.is_dealer else Role.BUY_SIDE), firm)
        scopes = check_scopes(order.scopes, SCOPES_OF_ROLE[role], ErrorCode.INVALID_FIELD, "scopes")
        if not order.label.isprintable() or len(order.label) > LABEL_MAX:
            raise RfqError(ErrorCode.INVALID_FIELD, f"at most {LABEL_MAX} printable characters", "label")
        expires_at_ns = None if order.life_ns is None else self._now_ns + order.life_ns
        issued = await self._store_key(firm, role, scopes, order.label, expires_at_ns)
        await self._note(EventKind.KEY_ADDED, firm, _described(issued.key), role)
        return issued

    async def rotate_key(self, key_id: ApiKeyId, overlap_ns: int) -> IssuedKey:
        """Replace a key by a new one of the same rights; the old one ends after ``overlap_ns``.

        Raises:
            RfqError: ``KEY_NOT_FOUND`` for a key that is unknown, ended or replaced already.
        """
        old = await self._uow.identity.key(key_id, lock=True)
        if old is None or not old.is_usable(self._now_ns) or old.replaced_by is not None:
            raise RfqError(ErrorCode.KEY_NOT_FOUND, "no such key, or it has ended or been rotated")
        life_ns = None if old.expires_at_ns is None else old.expires_at_ns - old.created_at_ns
        expires_at_ns = None if life_ns is None else self._now_ns + life_ns
        issued = await self._store_key(old.firm, old.role, old.scopes, old.label, expires_at_ns)
        ends_at_ns = self._now_ns + overlap_ns
        if old.expires_at_ns is not None:
            ends_at_ns = min(ends_at_ns, old.expires_at_ns)
        await self._uow.identity.replace_key(key_id, issued.key.key_id, ends_at_ns)
        payload = {**_described(issued.key), "replaces": key_id, "replaced_ends_at_ns": ends_at_ns}
        await self._note(EventKind.KEY_ROTATED, old.firm, payload, old.role)
        return issued

    async def revoke_key(self, key_id: ApiKeyId) -> ApiKey:
        """Revoke a key.

        Raises:
            RfqError: ``KEY_NOT_FOUND`` when it is unknown or revoked already.
        """
        key = await self._uow.identity.revoke_key(key_id, self._now_ns)
        if key is None:
            raise RfqError(ErrorCode.KEY_NOT_FOUND, "no such key, or revoked already")
        await self._note(EventKind.KEY_REVOKED, key.firm, {"key_id": key_id}, key.role)
        return key

    async def add_grant(self, auditor_name: str, firm_name: str | None) -> AuditGrant:
        """Let an auditor read one firm, or every firm when none is named.

        Raises:
            RfqError: ``FIRM_NOT_FOUND``, ``GRANT_EXISTS`` when the same grant is live.
        """
        auditor = await self.firm(auditor_name, "auditor")
        firm = None if firm_name is None else await self.firm(firm_name)
        grant = AuditGrant(
            grant_id=AuditGrantId(self._new_id(self._now_ns)),
            auditor_firm_id=auditor.firm_id,
            firm_id=None if firm is None else firm.firm_id,
            granted_by=self._by,
            granted_at_ns=self._now_ns,
            revoked_at_ns=None,
        )
        if not await self._uow.identity.add_grant(grant):
            raise RfqError(ErrorCode.GRANT_EXISTS, "the auditor has this grant already")
        await self._note(EventKind.GRANT_ADDED, auditor, {"firm_id": grant.firm_id, "grant_id": grant.grant_id})
        return grant

    async def revoke_grant(self, grant_id: AuditGrantId) -> AuditGrant:
        """End a grant.

        Raises:
            RfqError: ``GRANT_NOT_FOUND`` when it is unknown or has ended already.
        """
        grant = await self._uow.identity.revoke_grant(grant_id, self._now_ns)
        if grant is None:
            raise RfqError(ErrorCode.GRANT_NOT_FOUND, "no such grant, or it has ended already")
        auditor = await self._uow.firms.get(grant.auditor_firm_id)
        if auditor is not None:
            await self._note(EventKind.GRANT_REVOKED, auditor, {"firm_id": grant.firm_id, "grant_id": grant_id})
        return grant

    async def firm(self, name: str, field: str = "firm") -> Firm:
        """A firm by name; raises ``FIRM_NOT_FOUND``."""
        firm = (await self._uow.firms.by_name([name])).get(name)
        if firm is None:
            raise RfqError(ErrorCode.FIRM_NOT_FOUND, "no such firm", field)
        return firm

    async def _store_key(
        self, firm: Firm, role: Role, scopes: frozenset[Scope], label: str, expires_at_ns: int | None
    ) -> IssuedKey:
        secret = new_secret()
        key = ApiKey(
            key_id=ApiKeyId(self._new_id(self._now_ns)),
            firm=firm,
            role=role,
            scopes=scopes,
            prefix=secret[:_PREFIX_LENGTH],
            label=label,
            created_at_ns=self._now_ns,
            expires_at_ns=expires_at_ns,
            revoked_at_ns=None,
            replaced_by=None,
        )
        await self._uow.identity.add_key(key, digest_of(secret), self._by)
        return IssuedKey(key, secret)

    async def _note(self, kind: EventKind, firm: Firm, payload: dict[str, object], role: Role | None = None) -> None:
        """Write the event, with who did it, for the firm it is about: for the desk that a key of ``role`` serves."""
        payload = {**payload, "by": self._by or _COMMAND_LINE}
        event_id = self._new_id(self._now_ns)
        is_for_dealer = firm.is_dealer if role is None else role is Role.DEALER
        if is_for_dealer:
            event = build_event(kind, event_id, self._now_ns, payload, Audience.DEALER, dealer=firm.firm_id)
        else:
            event = build_event(kind, event_id, self._now_ns, payload, Audience.CLIENT, client=firm.firm_id)
        await self._uow.events.add(event)


def _described(key: ApiKey) -> dict[str, object]:
    return {
        "expires_at_ns": key.expires_at_ns,
        "key_id": key.key_id,
        "label": key.label,
        "role": key.role,
        "scopes": sorted(key.scopes),
    }
