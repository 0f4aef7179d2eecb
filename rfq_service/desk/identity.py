"""Who calls: secrets buy tokens, tokens open the API until they end or their key does.

A token is verified once and remembered by its digest. Every replica asks the database each second which keys have ended
and which keys sign, so a revoked key's tokens are refused everywhere within about a second. When that cannot be asked
for longer than the settings allow, nobody is let in: a revocation might have been missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn
from uuid import UUID

import structlog

from rfq_service.db.engine import Database
from rfq_service.desk.keys import digest_of
from rfq_service.desk.tokens import TOKEN_LENGTH_MAX, Claims, TokenKeyRing, TokenTerms, new_token_key
from rfq_service.domain.clock import Clock
from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.identifiers import ApiKeyId
from rfq_service.domain.identity import ApiKey, Principal, Scope, TokenKey, check_scopes
from rfq_service.domain.units import NS_PER_S

_POLL_S = 1.0
_CACHE_MAX = 10_000
# Beyond a token's life: replicas' clocks disagree, and a revocation is dated before its commit.
_MARGIN_NS = 60 * NS_PER_S
_SECRET_LENGTH_MAX = 256
_NO_DIGEST = bytes(32)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new access token and whom it stands for."""

    token: str
    principal: Principal
    life_s: int


class Identity:
    """Issues and verifies tokens.

    Args:
        database: the operator role's, the only one that may read keys.
        new_id: makes a UUIDv7 of a UTC time in nanoseconds.
        blind_max_ns: longest time without news of revocations; beyond it every token is refused.
        own_key: signs instead of the database's key.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        new_id: Callable[[int], UUID],
        terms: TokenTerms,
        *,
        blind_max_ns: int,
        own_key: TokenKey | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._new_id = new_id
        self._terms = terms
        self._blind_max_ns = blind_max_ns
        self._own_key = own_key
        self._token_keys = TokenKeyRing([], own_key)
        self._known: OrderedDict[bytes, Principal] = OrderedDict()
        self._reading: dict[bytes, asyncio.Future[Principal]] = {}
        self._good_secrets: OrderedDict[UUID, bytes] = OrderedDict()
        self._key_ends: Mapping[ApiKeyId, int] = {}
        self._polled_at_ns: int | None = None
        self._looking = asyncio.Lock()
        self._looked_at_ns: int | None = None

    async def start(self) -> None:
        """See that there is a signing key, and learn which keys have ended.

        Raises:
            RfqError: ``DATABASE_UNAVAILABLE``.
        """
        async with self._database.begin() as uow:
            if self._own_key is not None:
                public = TokenKey(self._own_key.key_id, self._own_key.public_key, None, self._clock.now_ns(), None)
                await uow.identity.add_token_key(public)
            else:
                await uow.identity.lock_token_keys()
                now_ns = self._clock.now_ns()
                known = await uow.identity.token_keys(now_ns)
                if not TokenKeyRing(known).can_sign:
                    await uow.identity.add_token_key(new_token_key(self._new_id(now_ns), now_ns))
            await uow.commit()
        await self.poll()

    async def run(self) -> None:
        """Keep up with revocations and token keys until cancelled."""
        while True:
            await asyncio.sleep(_POLL_S)
            try:
                await self.poll()
            except RfqError as error:
                _log.warning("revocations_not_read", code=error.code, detail=error.detail)

    async def poll(self) -> None:
        """Read which keys have ended and which sign; raises ``DATABASE_UNAVAILABLE``."""
        asked_at_ns = self._clock.monotonic_ns()
        now_ns = self._clock.now_ns()
        span_ns = self._terms.life_s * NS_PER_S + _MARGIN_NS
        async with self._database.read() as uow:
            ends = await uow.identity.ended_keys(now_ns - span_ns, now_ns + span_ns)
            token_keys = TokenKeyRing(await uow.identity.token_keys(now_ns - span_ns), self._own_key)
        if self._polled_at_ns is not None and asked_at_ns < self._polled_at_ns:
            return  # overtaken by another poll
        if self._token_keys.key_ids - token_keys.key_ids:
            self._known.clear()  # tokens of a key that was withdrawn at once
        self._key_ends, self._token_keys, self._polled_at_ns = ends, token_keys, asked_at_ns

    async def authenticate(self, headers: Mapping[str, str]) -> Principal:
        """The caller, by ``Authorization: Bearer <token>``.

        Args:
            headers: by name in lower case.

        Raises:
            RfqError: ``UNAUTHENTICATED``, never saying why; ``DATABASE_UNAVAILABLE`` while revocations are unknown.
        """
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            _refuse()
        return await self.verify(token)

    async def verify(self, token: str) -> Principal:
        """The caller by his token; raises as ``authenticate``."""
        if len(token) > TOKEN_LENGTH_MAX or not token.isascii():
            _refuse()
        if self._is_blind():
            await self._look()
        digest = hashlib.sha256(token.encode()).digest()
        principal = self._known.get(digest)
        if principal is None:
            principal = await self._read_once(digest, token)
        else:
            self._known.move_to_end(digest)
        if self._has_ended(principal):
            self._known.pop(digest, None)
            _refuse()
        return principal

    def is_valid(self, principal: Principal) -> bool:
        """Whether an authenticated caller may go on: his token and key have not ended, and we would know."""
        return not self._is_blind() and not self._has_ended(principal)

    async def issue(self, client_id: UUID, secret: str, asked: frozenset[Scope]) -> IssuedToken:
        """A token for a key's secret.

        Args:
            client_id: of the key.
            secret: of the key.
            asked: scopes wanted; empty for all of the key's.

        Raises:
            RfqError: ``UNAUTHENTICATED`` for a wrong id or secret or an ended key, ``INVALID_SCOPE``.
        """
        async with self._database.read() as uow:
            found = await uow.identity.key_with_digest(ApiKeyId(client_id))
        key, expected = found or (None, _NO_DIGEST)
        # compared in every case, so that an unknown id takes as long as a wrong secret
        digest = digest_of(secret)
        is_right = hmac.compare_digest(digest, expected)
        now_ns = self._clock.now_ns()
        if key is None or not is_right or not key.is_usable(now_ns):
            raise RfqError(ErrorCode.UNAUTHENTICATED, "wrong client id or secret, or the key has ended")
        scopes = check_scopes(asked, key.scopes, ErrorCode.INVALID_SCOPE, "scope")
        self._good_secrets[client_id] = digest
        if len(self._good_secrets) > _CACHE_MAX:
            self._good_secrets.popitem(last=False)
        issued = self._sign(key, scopes, now_ns)
        # its first use asks the database nothing: many clients that begin at once do not wait for each other
        self._remember(hashlib.sha256(issued.token.encode()).digest(), issued.principal)
        return issued

    def state(self) -> str:
        """``ok``, or why nobody is let in; for readiness."""
        return "revoked keys cannot be read" if self._is_blind() else "ok"

    def is_known_secret(self, client_id: UUID, secret: str) -> bool:
        """Whether this secret was right the last time; it may be wrong by now."""
        return hmac.compare_digest(self._good_secrets.get(client_id, _NO_DIGEST), digest_of(secret))

    def public_keys(self) -> dict[str, bytes]:
        """Raw Ed25519 public keys by id, for those who verify tokens themselves."""
        return self._token_keys.public_keys()

    def _sign(self, key: ApiKey, scopes: frozenset[Scope], now_ns: int) -> IssuedToken:
        issued_s = now_ns // NS_PER_S
        expires_s = issued_s + self._terms.life_s
        if key.expires_at_ns is not None:
            expires_s = min(expires_s, key.expires_at_ns // NS_PER_S)
        claims = Claims(
            iss=self._terms.issuer,
            aud=self._terms.audience,
            sub=key.firm.firm_id,
            client_id=key.key_id,
            role=key.role,
            scope=" ".join(sorted(scopes)),
            jti=self._new_id(now_ns).hex,
            iat=issued_s,
            nbf=issued_s,
            exp=expires_s,
        )
        principal = Principal(key.firm, key.key_id, key.role, scopes, expires_s * NS_PER_S)
        return IssuedToken(self._token_keys.sign(claims), principal, expires_s - issued_s)

    def _remember(self, digest: bytes, principal: Principal) -> None:
        self._known[digest] = principal
        if len(self._known) > _CACHE_MAX:
            self._known.popitem(last=False)

    async def _read_once(self, digest: bytes, token: str) -> Principal:
        """Read a token for everybody who presents it at this moment."""
        reading = self._reading.get(digest)
        if reading is None:
            reading = self._reading[digest] = asyncio.ensure_future(self._read_and_remember(digest, token))
            reading.add_done_callback(lambda _: self._reading.pop(digest, None))
        # shielded: the deadline of one of them is not that of the others
        return await asyncio.shield(reading)

    async def _read_and_remember(self, digest: bytes, token: str) -> Principal:
        principal = await self._read(token)
        # at once: a poll in between could withdraw the key that signed it, and would not find it here
        self._remember(digest, principal)
        return principal

    async def _read(self, token: str) -> Principal:
        """A token seen for the first time: its signature, then its key and firm as they are now."""
        now_ns = self._clock.now_ns()
        claims = self._token_keys.claims_of(token, self._terms, now_ns)
        if claims is None and self._may_be_signed_by_a_newer_key(token):
            await self.poll()
            claims = self._token_keys.claims_of(token, self._terms, now_ns)
        if claims is None:
            _refuse()
        async with self._database.read() as uow:
            key = await uow.identity.key(ApiKeyId(claims.client_id))
        is_same = key is not None and key.role is claims.role and key.firm.firm_id == claims.sub
        is_withdrawn = self._token_keys.key_id_of(token) not in self._token_keys.key_ids  # while we waited
        if key is None or not is_same or is_withdrawn or not key.is_usable(now_ns):
            _refuse()
        scopes = key.scopes & frozenset(claims.scope.split())
        return Principal(key.firm, key.key_id, key.role, frozenset(map(Scope, scopes)), claims.exp * NS_PER_S)

    def _may_be_signed_by_a_newer_key(self, token: str) -> bool:
        """Whether to look for token keys now; not more than ten times a second, whoever asks."""
        key_id = self._token_keys.key_id_of(token)
        if key_id is None or key_id in self._token_keys.key_ids or self._polled_at_ns is None:
            return False
        return self._clock.monotonic_ns() - self._polled_at_ns > NS_PER_S // 10

    def _has_ended(self, principal: Principal) -> bool:
        now_ns = self._clock.now_ns()
        return now_ns >= principal.expires_at_ns or now_ns >= self._key_ends.get(principal.key_id, now_ns + 1)

    def _is_blind(self) -> bool:
        polled_at_ns = self._polled_at_ns
        return polled_at_ns is None or self._clock.monotonic_ns() - polled_at_ns > self._blind_max_ns

    async def _look(self) -> None:
        """Poll now, as this process may just have been held up; one try a second, for whoever waits for it."""
        async with self._looking:
            now_ns = self._clock.monotonic_ns()
            if self._is_blind() and (self._looked_at_ns is None or now_ns - self._looked_at_ns > NS_PER_S):
                self._looked_at_ns = now_ns
                with contextlib.suppress(RfqError):
                    await self.poll()
        if self._is_blind():
            raise RfqError(ErrorCode.DATABASE_UNAVAILABLE, "revoked keys cannot be read, so none is trusted; try again")


def _refuse() -> NoReturn:
    raise RfqError(ErrorCode.UNAUTHENTICATED, "a valid access token is needed: Authorization: Bearer <token>")
