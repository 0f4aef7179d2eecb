"""Tokens, firms, keys and grants on the wire."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from rfq_service.api.parsing import format_cursor
from rfq_service.api.schemas.wire import (
    CursorText,
    DurationText,
    NameText,
    PageLimit,
    TimeText,
    WireIn,
    WireOut,
    optional_duration_ns,
)
from rfq_service.desk.parties import LABEL_MAX, KeyOrder
from rfq_service.domain.clock import format_timestamp
from rfq_service.domain.history import Firm, Page
from rfq_service.domain.identity import ApiKey, AuditGrant, Role, Scope

_SECRET = "Shown once: it is not stored. Null when the request is repeated; rotate the key if the reply was lost."  # noqa: S105
_OVERLAP = "Seconds for which the old key goes on; by default what the settings say, 3600 unless configured otherwise."
_LIFE = "Seconds until the key ends; it lives until it is revoked when nothing is said."
_CREDENTIAL = msgspec.Meta(description="Where HTTP Basic is not used.", max_length=256)

FirmNameText = Annotated[NameText, msgspec.Meta(description="Name of a firm.")]


class TokenIn(WireIn, frozen=True, kw_only=True):
    """A request for an access token, by RFC 6749 §4.4; parameters that are not known are passed over."""

    grant_type: Annotated[str, msgspec.Meta(max_length=64, extra_json_schema={"enum": ["client_credentials"]})]
    scope: Annotated[
        str, msgspec.Meta(max_length=256, description="What is wanted, with spaces between; all of the key's if empty.")
    ] = ""
    client_id: Annotated[str, _CREDENTIAL] = ""
    client_secret: Annotated[str, _CREDENTIAL] = ""


class TokenOut(WireOut, frozen=True):
    """An access token; send it as `Authorization: Bearer <token>`."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: Annotated[int, msgspec.Meta(description="Seconds.", ge=0)]
    scope: str


class TokenKeyOut(WireOut, frozen=True):
    """A public key by RFC 8037."""

    kid: str
    x: str
    kty: Literal["OKP"] = "OKP"
    crv: Literal["Ed25519"] = "Ed25519"
    alg: Literal["EdDSA"] = "EdDSA"
    use: Literal["sig"] = "sig"


class TokenKeysOut(WireOut, frozen=True):
    """The keys that sign tokens, by RFC 7517."""

    keys: list[TokenKeyOut]


class PageQuery(WireIn, frozen=True, kw_only=True):
    """Which page."""

    cursor: CursorText | UnsetType = UNSET
    limit: PageLimit | UnsetType = UNSET


class KeyListQuery(PageQuery, frozen=True, kw_only=True):
    """Whose keys, and which page."""

    firm: FirmNameText | UnsetType = UNSET


class FirmIn(WireIn, frozen=True, kw_only=True):
    """A new firm."""

    name: NameText
    is_dealer: Annotated[bool, msgspec.Meta(description="Asked when a client lets the service choose.")] = False


class FirmOut(WireOut, frozen=True):
    """A firm."""

    firm_id: UUID
    name: str
    is_dealer: bool


class FirmPageOut(WireOut, frozen=True):
    """Firms, newest first."""

    items: list[FirmOut]
    next_cursor: CursorText | None


class KeyIn(WireIn, frozen=True, kw_only=True):
    """A new key. ``role`` defaults to dealer for a dealer firm, else buy_side; ``scopes`` to all of the role."""

    firm: FirmNameText
    role: Role | None = None
    scopes: Annotated[tuple[Scope, ...], msgspec.Meta(max_length=len(Scope))] = ()
    label: Annotated[str, msgspec.Meta(max_length=LABEL_MAX, description="What it is for.")] = ""
    expires_in_s: Annotated[DurationText | None, msgspec.Meta(description=_LIFE)] = None

    def order(self) -> KeyOrder:
        """What is asked for; raises ``RfqError`` for a duration that is none."""
        return KeyOrder(
            firm_name=self.firm,
            role=self.role,
            scopes=frozenset(self.scopes),
            label=self.label,
            life_ns=optional_duration_ns(self.expires_in_s, "expires_in_s"),
        )


class RotateIn(WireIn, frozen=True, kw_only=True):
    """How a key is replaced."""

    overlap_s: Annotated[DurationText | None, msgspec.Meta(description=_OVERLAP)] = None


class KeyOut(WireOut, frozen=True):
    """A key, never its secret: ``prefix`` is how that begins."""

    key_id: UUID
    firm: str
    role: Role
    scopes: list[Scope]
    label: str
    prefix: str
    created_at: TimeText
    expires_at: TimeText | None
    revoked_at: TimeText | None
    replaced_by: UUID | None


class KeyPageOut(WireOut, frozen=True):
    """Keys, newest first."""

    items: list[KeyOut]
    next_cursor: CursorText | None


class IssuedKeyOut(WireOut, frozen=True):
    """A new key: its id is the OAuth2 client id."""

    key: KeyOut
    client_id: UUID
    client_secret: Annotated[str | None, msgspec.Meta(description=_SECRET)]


class GrantIn(WireIn, frozen=True, kw_only=True):
    """Leave for an auditor to read."""

    auditor: Annotated[NameText, msgspec.Meta(description="The auditor's firm.")]
    firm: Annotated[NameText | None, msgspec.Meta(description="Whom he may read; null means every firm.")]


class GrantOut(WireOut, frozen=True):
    """Leave for an auditor to read one firm, or every firm when ``firm_id`` is null."""

    grant_id: UUID
    auditor_firm_id: UUID
    firm_id: UUID | None
    granted_by: Annotated[UUID | None, msgspec.Meta(description="The operator's key; null for the command line.")]
    granted_at: TimeText
    revoked_at: TimeText | None


class GrantPageOut(WireOut, frozen=True):
    """Grants, newest first."""

    items: list[GrantOut]
    next_cursor: CursorText | None


def firm_out(firm: Firm) -> FirmOut:
    """Wire form of a firm."""
    return FirmOut(firm.firm_id, firm.name, firm.is_dealer)


def firm_page_out(page: Page[Firm]) -> FirmPageOut:
    """Wire form of a page of firms."""
    return FirmPageOut([firm_out(firm) for firm in page.items], format_cursor(page.next_cursor))


def key_out(key: ApiKey) -> KeyOut:
    """Wire form of a key."""
    return KeyOut(
        key_id=key.key_id,
        firm=key.firm.name,
        role=key.role,
        scopes=sorted(key.scopes),
        label=key.label,
        prefix=key.prefix,
        created_at=format_timestamp(key.created_at_ns),
        expires_at=_optional_time(key.expires_at_ns),
        revoked_at=_optional_time(key.revoked_at_ns),
        replaced_by=key.replaced_by,
    )


def key_page_out(page: Page[ApiKey]) -> KeyPageOut:
    """Wire form of a page of keys."""
    return KeyPageOut([key_out(key) for key in page.items], format_cursor(page.next_cursor))


def issued_key_out(key: ApiKey, secret: str | None) -> IssuedKeyOut:
    """Wire form of a new key, with its secret or without."""
    return IssuedKeyOut(key_out(key), key.key_id, secret)


def grant_out(grant: AuditGrant) -> GrantOut:
    """Wire form of a grant."""
    return GrantOut(
        grant_id=grant.grant_id,
        auditor_firm_id=grant.auditor_firm_id,
        firm_id=grant.firm_id,
        granted_by=grant.granted_by,
        granted_at=format_timestamp(grant.granted_at_ns),
        revoked_at=_optional_time(grant.revoked_at_ns),
    )


def grant_page_out(page: Page[AuditGrant]) -> GrantPageOut:
    """Wire form of a page of grants."""
    return GrantPageOut([grant_out(grant) for grant in page.items], format_cursor(page.next_cursor))


def _optional_time(time_ns: int | None) -> str | None:
    return None if time_ns is None else format_timestamp(time_ns)
