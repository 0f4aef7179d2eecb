"""Every error a caller can provoke, with the stable code he can program against.

A broken request raises ``RfqError``; it is translated once, in ``api/problems.py``.
A broken promise of our own code raises ``InvariantError`` through ``require`` and is a bug.
"""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """Stable machine-readable codes; the value is what clients see and may rely on."""

    # the request itself
    MALFORMED_BODY = "MALFORMED_BODY"
    UNKNOWN_FIELD = "UNKNOWN_FIELD"
    INVALID_FIELD = "INVALID_FIELD"
    DUPLICATE_KEY = "DUPLICATE_KEY"
    UNKNOWN_PARAMETER = "UNKNOWN_PARAMETER"
    REPEATED_PARAMETER = "REPEATED_PARAMETER"
    INVALID_PARAMETER = "INVALID_PARAMETER"
    INVALID_CURSOR = "INVALID_CURSOR"
    BODY_TOO_LARGE = "BODY_TOO_LARGE"
    NESTING_TOO_DEEP = "NESTING_TOO_DEEP"
    NUL_BYTE = "NUL_BYTE"
    NOT_FINITE = "NOT_FINITE"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    HEADERS_TOO_LARGE = "HEADERS_TOO_LARGE"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    NOT_FOUND = "NOT_FOUND"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    UNSUPPORTED_GRANT_TYPE = "UNSUPPORTED_GRANT_TYPE"
    INVALID_SCOPE = "INVALID_SCOPE"
    FORBIDDEN = "FORBIDDEN"
    RATE_LIMITED = "RATE_LIMITED"
    IDEMPOTENCY_KEY_MISSING = "IDEMPOTENCY_KEY_MISSING"
    IDEMPOTENCY_KEY_INVALID = "IDEMPOTENCY_KEY_INVALID"
    IDEMPOTENCY_KEY_REUSED = "IDEMPOTENCY_KEY_REUSED"
    IDEMPOTENCY_IN_FLIGHT = "IDEMPOTENCY_IN_FLIGHT"
    # parties and their keys
    FIRM_NOT_FOUND = "FIRM_NOT_FOUND"
    KEY_NOT_FOUND = "KEY_NOT_FOUND"
    GRANT_NOT_FOUND = "GRANT_NOT_FOUND"
    NAME_TAKEN = "NAME_TAKEN"
    GRANT_EXISTS = "GRANT_EXISTS"
    # the trade
    UNKNOWN_INSTRUMENT = "UNKNOWN_INSTRUMENT"
    UNKNOWN_DEALER = "UNKNOWN_DEALER"
    INSTRUMENT_EXPIRED = "INSTRUMENT_EXPIRED"
    PACKAGE_NOT_PRICEABLE = "PACKAGE_NOT_PRICEABLE"
    PANEL_TOO_SMALL = "PANEL_TOO_SMALL"
    PRICE_OFF_TICK = "PRICE_OFF_TICK"
    PRICE_NOT_POSITIVE = "PRICE_NOT_POSITIVE"
    QUANTITY_OFF_LOT = "QUANTITY_OFF_LOT"
    QUANTITY_OUT_OF_RANGE = "QUANTITY_OUT_OF_RANGE"
    QUANTITY_EXCEEDS_REMAINING = "QUANTITY_EXCEEDS_REMAINING"
    QUANTITY_EXCEEDS_QUOTE = "QUANTITY_EXCEEDS_QUOTE"
    QUANTITY_BELOW_MINIMUM = "QUANTITY_BELOW_MINIMUM"
    QUANTITY_NOT_ALL = "QUANTITY_NOT_ALL"
    QUOTE_CROSSED = "QUOTE_CROSSED"
    QUOTE_SIDE_MISMATCH = "QUOTE_SIDE_MISMATCH"
    QUOTE_LEGS_MISMATCH = "QUOTE_LEGS_MISMATCH"
    EXPIRY_OUT_OF_RANGE = "EXPIRY_OUT_OF_RANGE"
    TTL_OUT_OF_RANGE = "TTL_OUT_OF_RANGE"
    RFQ_NOT_FOUND = "RFQ_NOT_FOUND"
    RFQ_EXPIRED = "RFQ_EXPIRED"
    RFQ_NOT_OPEN = "RFQ_NOT_OPEN"
    QUOTE_NOT_FOUND = "QUOTE_NOT_FOUND"
    QUOTE_EXPIRED = "QUOTE_EXPIRED"
    QUOTE_NOT_ACTIVE = "QUOTE_NOT_ACTIVE"
    STALE_MARKET = "STALE_MARKET"
    NO_MARKET = "NO_MARKET"
    # us
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"
    OVERLOADED = "OVERLOADED"
    INTERNAL = "INTERNAL"


class RfqError(Exception):
    """A request that cannot be served, and why.

    Args:
        code: stable code of the reason.
        detail: one sentence for a person; never contains another firm's data.
        field: path of the field at fault, as ``legs[0].quantity``; empty when no single field is.
    """

    def __init__(self, code: ErrorCode, detail: str, field: str = "") -> None:
        super().__init__(f"{code}: {detail}" + (f" (at {field})" if field else ""))
        self.code = code
        self.detail = detail
        self.field = field

    def at(self, prefix: str) -> RfqError:
        """Return the same error with ``prefix`` put before its field path."""
        path = f"{prefix}.{self.field}" if self.field and not self.field.startswith("[") else f"{prefix}{self.field}"
        return RfqError(self.code, self.detail, path)


class InvariantError(AssertionError):
    """Our own code broke a promise. Never caught on the way; ends the task with a 500 and an alarm."""


def require(condition: bool, message: str) -> None:
    """Raise ``InvariantError`` unless ``condition`` holds; unlike ``assert`` it survives ``-O``."""
    if not condition:
        raise InvariantError(message)
