"""Secrets of API keys: random, shown once, stored as SHA-256 digests."""

from __future__ import annotations

import hashlib
import secrets

KEY_PREFIX = "rfqk_"


def new_secret() -> str:
    """A fresh secret with 256 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def digest_of(secret: str) -> bytes:
    """What is stored of a secret. A random one needs no slow hash: it cannot be guessed from a list."""
    return hashlib.sha256(secret.encode()).digest()
