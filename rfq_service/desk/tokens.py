"""Signed access tokens (RFC 9068): made and checked with Ed25519 alone, whatever a token says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from rfq_service.domain.identifiers import TokenKeyId
from rfq_service.domain.identity import Role, TokenKey
from rfq_service.domain.units import NS_PER_S

ALGORITHM = "EdDSA"
TOKEN_TYPE = "at+jwt"  # noqa: S105 - a media type
TOKEN_LENGTH_MAX = 2_048
# Replicas' clocks disagree a little about the moment a token was made.
_LEEWAY_S = 5


class Claims(msgspec.Struct, frozen=True):
    """What a token says; times are UTC seconds, ``scope`` is a list with spaces between."""

    iss: str
    aud: str
    sub: UUID
    client_id: UUID
    role: Role
    scope: str
    jti: str
    iat: int
    nbf: int
    exp: int


@dataclass(frozen=True, slots=True)
class TokenTerms:
    """Who issues tokens, for whom, and for how long (``life_s`` seconds)."""

    issuer: str
    audience: str
    life_s: int


class TokenKeyRing:
    """The keys whose tokens are honoured, and the one that signs.

    Args:
        keys: newest first.
        own: a private key from a file; it signs instead of the newest of ``keys``.
    """

    def __init__(self, keys: Sequence[TokenKey], own: TokenKey | None = None) -> None:
        self._public = {str(key.key_id): Ed25519PublicKey.from_public_bytes(key.public_key) for key in keys}
        live = [key for key in keys if key.retired_at_ns is None and key.private_key is not None]
        signing = own or next(iter(live), None)
        self._private: Ed25519PrivateKey | None = None
        self._signing_id = ""
        if signing is not None and signing.private_key is not None:
            self._private = Ed25519PrivateKey.from_private_bytes(signing.private_key)
            self._signing_id = str(signing.key_id)
            self._public.setdefault(self._signing_id, self._private.public_key())

    @property
    def key_ids(self) -> frozenset[str]:
        """Ids of the keys whose tokens are honoured."""
        return frozenset(self._public)

    @property
    def can_sign(self) -> bool:
        """Whether there is a private key."""
        return self._private is not None

    def public_keys(self) -> dict[str, bytes]:
        """The raw public keys by id."""
        return {key_id: key.public_bytes_raw() for key_id, key in self._public.items()}

    def sign(self, claims: Claims) -> str:
        """A token; raises ``ValueError`` when there is no private key."""
        if self._private is None:
            raise ValueError("there is no key to sign with")
        headers = {"kid": self._signing_id, "typ": TOKEN_TYPE}
        return jwt.encode(msgspec.to_builtins(claims), self._private, algorithm=ALGORITHM, headers=headers)

    def key_id_of(self, token: str) -> str | None:
        """The key a token claims to be signed with; ``None`` when it is no token of ours."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError:
            return None
        key_id = header.get("kid")
        is_ours = header.get("alg") == ALGORITHM and header.get("typ") == TOKEN_TYPE and isinstance(key_id, str)
        return key_id if is_ours else None

    def claims_of(self, token: str, terms: TokenTerms, now_ns: int) -> Claims | None:
        """What a genuine token of ours says that is good now; ``None`` for any other."""
        key = self._public.get(self.key_id_of(token) or "")
        if key is None:
            return None
        try:
            content = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=terms.issuer,
                audience=terms.audience,
                options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},  # by our own clock, below
            )
            claims = msgspec.convert(content, Claims)
        except (jwt.InvalidTokenError, msgspec.ValidationError):
            return None
        now_s = now_ns // NS_PER_S
        is_due = claims.nbf - _LEEWAY_S <= now_s and claims.iat - _LEEWAY_S <= now_s
        return claims if is_due and now_s < claims.exp else None


def new_token_key(key_id: UUID, now_ns: int) -> TokenKey:
    """A fresh key pair."""
    return _token_key(key_id, Ed25519PrivateKey.generate(), now_ns)


def read_token_key(pem: bytes, now_ns: int) -> TokenKey:
    """The Ed25519 private key of a PEM file; its id follows from it, so that every replica calls it the same.

    Raises:
        ValueError: when it is no such key, or encrypted.
    """
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except (TypeError, ValueError) as error:
        raise ValueError("no PEM private key without password") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise ValueError("not an Ed25519 key; `openssl genpkey -algorithm ed25519` makes one")  # noqa: TRY004
    public = private.public_key().public_bytes_raw()
    return _token_key(UUID(bytes=public[:16], version=4), private, now_ns)


def _token_key(key_id: UUID, private: Ed25519PrivateKey, now_ns: int) -> TokenKey:
    return TokenKey(
        key_id=TokenKeyId(key_id),
        public_key=private.public_key().public_bytes_raw(),
        private_key=private.private_bytes_raw(),
        created_at_ns=now_ns,
        retired_at_ns=None,
    )
