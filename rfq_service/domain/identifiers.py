"""Typed ids and the UUIDv7 layout (RFC 9562 §5.7): time-ordered, so range partitions and pages follow time."""

from __future__ import annotations

from typing import NewType
from uuid import UUID

FirmId = NewType("FirmId", UUID)
ApiKeyId = NewType("ApiKeyId", UUID)
TokenKeyId = NewType("TokenKeyId", UUID)
AuditGrantId = NewType("AuditGrantId", UUID)
RfqId = NewType("RfqId", UUID)
InvitationId = NewType("InvitationId", UUID)
QuoteId = NewType("QuoteId", UUID)
EvaluationId = NewType("EvaluationId", UUID)
DecisionId = NewType("DecisionId", UUID)
FillId = NewType("FillId", UUID)
EventId = NewType("EventId", UUID)
InstrumentId = NewType("InstrumentId", str)

_NS_PER_MS = 1_000_000


def uuid7(now_ns: int, entropy: int) -> UUID:
    """UUIDv7 of a UTC time; for the arguments see ``uuid7_bytes``."""
    return UUID(bytes=uuid7_bytes(now_ns, entropy))


def uuid7_bytes(now_ns: int, entropy: int) -> bytes:
    """The 16 bytes of a UUIDv7 of a UTC time.

    Args:
        now_ns: UTC nanoseconds; the millisecond fills the 48-bit field, the rest of it the 12 bits of ``rand_a``
            (method 3 of RFC 9562 §6.2), so ids sort to about 0.25 µs.
        entropy: at least 62 random bits, from the operating system.
    """
    milliseconds, rest_ns = divmod(now_ns, _NS_PER_MS)
    sub_millisecond = rest_ns * 4096 // _NS_PER_MS
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80
    value |= 0x7000 << 64 | sub_millisecond << 64
    value |= 0x8000_0000_0000_0000 | entropy & 0x3FFF_FFFF_FFFF_FFFF
    return value.to_bytes(16)


def uuid7_floor(at_ns: int) -> UUID:
    """Below every UUIDv7 of that millisecond, above all earlier ones; itself not a valid UUIDv7."""
    return UUID(int=((at_ns // _NS_PER_MS) & 0xFFFF_FFFF_FFFF) << 80)


def uuid7_time_ns(identifier: UUID) -> int:
    """UTC nanoseconds (to the millisecond) at which a UUIDv7 was made."""
    return (identifier.int >> 80) * _NS_PER_MS
