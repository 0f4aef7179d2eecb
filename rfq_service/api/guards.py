"""Who is calling. Roles will be looked at here too: every protected operation passes through ``authenticate``."""

from __future__ import annotations

from dataclasses import dataclass

from rfq_service.api.dependencies import Keys
from rfq_service.api.parsing import Headers
from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.history import Firm

_KEY_LENGTH_MAX = 256


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated caller of one request."""

    firm: Firm


async def authenticate(headers: Headers, keys: Keys) -> Principal:
    """Identify the caller by ``Authorization: Bearer <key>`` or ``X-API-Key: <key>``.

    Raises:
        RfqError: ``UNAUTHENTICATED`` when the key is absent, given in both ways, or nobody's. It never says which.
    """
    key = _presented_key(headers)
    firm = await keys.firm_of(key) if key and len(key) <= _KEY_LENGTH_MAX and key.isascii() else None
    if firm is None:
        raise RfqError(
            ErrorCode.UNAUTHENTICATED, "a valid API key is needed: Authorization: Bearer <key>, or X-API-Key"
        )
    return Principal(firm)


def _presented_key(headers: Headers) -> str:
    bearer = headers.get("authorization", "")
    plain = headers.get("x-api-key", "")
    scheme, _, key = bearer.partition(" ")
    if not bearer:
        return plain
    return key.strip() if scheme.lower() == "bearer" and not plain else ""
