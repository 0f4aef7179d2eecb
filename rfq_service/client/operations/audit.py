"""What auditors read of the firms that they were granted."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from rfq_service.client.call import Call, get
from rfq_service.client.operations.buy_side import list_quotes
from rfq_service.client.schemas.audit import ToldEventPage
from rfq_service.client.schemas.enums import Party, QuoteState, Verdict
from rfq_service.client.schemas.quote import QuoteHistory


def audit_quotes(
    firm: str,
    *,
    rfq_id: UUID | str | None = None,
    dealer: str | None = None,
    instrument_id: str | None = None,
    from_ns: int | None = None,
    to_ns: int | None = None,
    state: QuoteState | None = None,
    verdict: Verdict | None = None,
    cursor: str | None = None,
    limit: int | None = None,
) -> Call[QuoteHistory]:
    """The quotes a firm received, with terms and scores, as it reads them itself by ``list_quotes``."""
    own = list_quotes(
        rfq_id=rfq_id,
        dealer=dealer,
        instrument_id=instrument_id,
        from_ns=from_ns,
        to_ns=to_ns,
        state=state,
        verdict=verdict,
        cursor=cursor,
        limit=limit,
    )
    return replace(own, name="audit_quotes", path="/v1/audit/quotes", query={"firm": firm, **own.query})


def audit_events(
    firm: str, *, party: Party | str | None = None, after: int | None = None, limit: int | None = None
) -> Call[ToldEventPage]:
    """What a firm was told, and when: the numbered stream of one of its desks."""
    call = get("audit_events", "/v1/audit/events", ToldEventPage, firm=firm, party=party, after=after, limit=limit)
    return replace(call, cursor_parameter="after")
