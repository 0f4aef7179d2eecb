"""API keys: random, shown once, stored as SHA-256 digests, remembered for seconds once verified."""

from __future__ import annotations

import hashlib
import secrets

from rfq_service.db.engine import Database
from rfq_service.domain.clock import Clock
from rfq_service.domain.history import Firm

KEY_PREFIX = "rfqk_"
_CACHE_MAX = 10_000


def new_key() -> str:
    """A fresh key with 256 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def digest_of(key: str) -> bytes:
    """What is stored of a key. A random key needs no slow hash: it cannot be guessed from a list."""
    return hashlib.sha256(key.encode()).digest()


class KeyRing:
    """Tells which firm a key belongs to."""

    def __init__(self, database: Database, clock: Clock, cache_ns: int) -> None:
        self._database = database
        self._clock = clock
        self._cache_ns = cache_ns
        self._cache: dict[bytes, tuple[Firm | None, int]] = {}

    async def firm_of(self, key: str) -> Firm | None:
        """The firm of a key that is known and not revoked, else ``None``; revocation shows within the cache time."""
        if not key.startswith(KEY_PREFIX):
            return None
        digest = digest_of(key)
        now_ns = self._clock.monotonic_ns()
        known = self._cache.get(digest)
        if known is not None and now_ns < known[1]:
            return known[0]
        async with self._database.begin() as uow:
            found = await uow.firms.key_by_digest(digest)
        if len(self._cache) >= _CACHE_MAX:
            self._cache.clear()
        # unknown keys are remembered too: they are random, so none of them becomes known later
        firm = None if found is None else found[1]
        self._cache[digest] = (firm, now_ns + self._cache_ns)
        return firm
