"""What auditors ask for and read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from rfq_service.api.schemas.quote import QuoteHistoryQuery
from rfq_service.api.schemas.wire import NameText, PageLimit, TimeText, WireIn, WireOut
from rfq_service.domain.clock import format_timestamp
from rfq_service.domain.history import ToldEvent
from rfq_service.domain.stream import Party

_FIRM = msgspec.Meta(description="The firm to read; one that you were granted.")
_NUMBER = msgspec.Meta(ge=0, le=9_223_372_036_854_775_807)


class AuditQuotesQuery(QuoteHistoryQuery, frozen=True, kw_only=True):
    """Whose quotes, and which of them; times are RFC 3339, ``from`` inclusive, ``to`` exclusive."""

    firm: Annotated[NameText, _FIRM]


class AuditEventsQuery(WireIn, frozen=True, kw_only=True):
    """Whose events, and from where on."""

    firm: Annotated[NameText, _FIRM]
    party: Annotated[Party, msgspec.Meta(description="Which desk of the firm.")] = Party.CLIENT
    after: Annotated[int, _NUMBER] | UnsetType = UNSET
    limit: PageLimit | UnsetType = UNSET


class ToldEventOut(WireOut, frozen=True):
    """An event as the firm was told it: `told_at` is when it got its number in the firm's stream."""

    number: int
    event_id: UUID
    kind: str
    occurred_at: TimeText
    told_at: TimeText
    rfq_id: UUID | None
    quote_id: UUID | None
    payload: Annotated[
        msgspec.Raw,
        msgspec.Meta(description="What was told.", extra_json_schema={"type": "object", "additionalProperties": True}),
    ]


class ToldEventPageOut(WireOut, frozen=True):
    """Events in the order the firm was told them; `next_after` continues, null at the end."""

    items: list[ToldEventOut]
    next_after: int | None


def told_event_page_out(events: Sequence[ToldEvent], limit: int) -> ToldEventPageOut:
    """Wire form of a page out of a query that asked for one event more."""
    items = [
        ToldEventOut(
            number=event.number,
            event_id=event.event_id,
            kind=event.kind,
            occurred_at=format_timestamp(event.occurred_at_ns),
            told_at=format_timestamp(event.told_at_ns),
            rfq_id=event.rfq_id,
            quote_id=event.quote_id,
            payload=msgspec.Raw(event.payload_json.encode()),
        )
        for event in events[:limit]
    ]
    return ToldEventPageOut(items, items[-1].number if len(events) > limit else None)
