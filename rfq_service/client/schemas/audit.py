"""What auditors read."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec

from rfq_service.client.values import Reply, TimeNs


class ToldEvent(Reply, frozen=True, kw_only=True):
    """An event as a firm was told it; ``told_at_ns`` is when it got its number in the firm's stream."""

    number: int
    event_id: UUID
    kind: str
    occurred_at_ns: TimeNs = msgspec.field(name="occurred_at")
    told_at_ns: TimeNs = msgspec.field(name="told_at")
    rfq_id: UUID | None
    quote_id: UUID | None
    payload: dict[str, Any]


class ToldEventPage(Reply, frozen=True, kw_only=True):
    """Events in the order the firm was told them; ``next_after`` continues, ``None`` at the end."""

    items: tuple[ToldEvent, ...]
    next_after: int | None

    @property
    def next_cursor(self) -> str | None:
        """Where the next page begins."""
        return None if self.next_after is None else str(self.next_after)
