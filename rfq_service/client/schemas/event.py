"""What the stream sends: events with what they tell, board updates, and when to read the state anew."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from rfq_service.client.schemas.enums import (
    Action,
    InvitationOutcome,
    QuoteEndReason,
    QuoteState,
    RequestSide,
    RfqState,
    Side,
)
from rfq_service.client.schemas.market import BoardRow
from rfq_service.client.values import OpenEnum, Reply, TimeNs


class Topic(OpenEnum):
    """What can be subscribed to. All but ``BOARD`` are numbered and can be resumed."""

    RFQS = "rfqs"
    QUOTES = "quotes"
    EVALUATIONS = "evaluations"
    FILLS = "fills"
    CONTROLS = "controls"
    BOARD = "board"


class EventKind(OpenEnum):
    """Every kind of change that a firm is told."""

    RFQ_OPENED = "rfq.opened"
    RFQ_EVALUATED = "rfq.evaluated"
    RFQ_CANCELLED = "rfq.cancelled"
    RFQ_EXPIRED = "rfq.expired"
    INVITATION_SENT = "invitation.sent"
    INVITATION_CLOSED = "invitation.closed"
    QUOTE_POSTED = "quote.posted"
    QUOTE_PASSED = "quote.passed"
    QUOTE_ENDED = "quote.ended"
    DECISION_MADE = "decision.made"
    FILL_BOOKED = "fill.booked"
    FIRM_ADDED = "firm.added"
    KEY_ADDED = "key.added"
    KEY_ROTATED = "key.rotated"
    KEY_REVOKED = "key.revoked"
    GRANT_ADDED = "grant.added"
    GRANT_REVOKED = "grant.revoked"


class EventLeg(Reply, frozen=True, array_like=True):
    """A leg of a request."""

    instrument_id: str
    side: Side
    ratio: Decimal


class RequestMade(Reply, frozen=True, kw_only=True):
    """``rfq.opened`` and, without ``panel``, ``invitation.sent``: what is asked; ``panel`` is how many were."""

    legs: tuple[EventLeg, ...]
    quantity: Decimal
    side: RequestSide
    panel: int | None = None


class RfqClosed(Reply, frozen=True, kw_only=True):
    """``rfq.cancelled``, ``rfq.expired``."""

    state: RfqState
    filled_quantity: Decimal


class InvitationClosed(Reply, frozen=True, kw_only=True):
    """``invitation.closed``: how it went for the dealer."""

    outcome: InvitationOutcome | None
    cover_distance_micro_bps: int | None


class QuotePassed(Reply, frozen=True, kw_only=True):
    """``quote.passed``: the dealer declines."""

    dealer: str


class QuoteGiven(Reply, frozen=True, kw_only=True):
    """``quote.posted``."""

    dealer: str
    bid: Decimal | None
    ask: Decimal | None
    quantity: Decimal
    valid_until_ns: int


class QuoteEnded(Reply, frozen=True, kw_only=True):
    """``quote.ended``."""

    state: QuoteState
    reason: QuoteEndReason


class DecisionMade(Reply, frozen=True, kw_only=True):
    """``decision.made``: the quotes have been scored; read them with ``get_ranked_quotes``."""

    decision_id: UUID
    action: Action
    quote_id: UUID | None


class FillBooked(Reply, frozen=True, kw_only=True):
    """``fill.booked``; ``side`` is the client's."""

    side: Side
    quantity: Decimal
    price: Decimal


Payload = (
    RequestMade | RfqClosed | InvitationClosed | QuoteGiven | QuoteEnded | DecisionMade | FillBooked | Mapping[str, Any]
)

PAYLOADS: Mapping[EventKind, type[Reply]] = {
    EventKind.RFQ_OPENED: RequestMade,
    EventKind.INVITATION_SENT: RequestMade,
    EventKind.RFQ_CANCELLED: RfqClosed,
    EventKind.RFQ_EXPIRED: RfqClosed,
    EventKind.INVITATION_CLOSED: InvitationClosed,
    EventKind.QUOTE_POSTED: QuoteGiven,
    EventKind.QUOTE_PASSED: QuotePassed,
    EventKind.QUOTE_ENDED: QuoteEnded,
    EventKind.DECISION_MADE: DecisionMade,
    EventKind.FILL_BOOKED: FillBooked,
}


class Event(Reply, frozen=True, kw_only=True):
    """One committed change.

    Attributes:
        number: the firm's own count over all topics; where to resume ``after``.
        payload: the struct that belongs to ``kind``; the plain mapping for kinds that have none.
    """

    number: int
    topic: Topic
    kind: EventKind
    event_id: UUID
    occurred_at_ns: TimeNs
    rfq_id: UUID | None
    quote_id: UUID | None
    payload: Payload


class BoardUpdate(Reply, frozen=True, kw_only=True):
    """Markets: all that were asked for in a snapshot, else those that have changed."""

    items: tuple[BoardRow, ...]
    is_snapshot: bool


class Resync(Reply, frozen=True, kw_only=True):
    """The number to resume from is no longer kept: read the state by REST; what happens after ``last`` follows."""

    first: int
    last: int


StreamItem = Event | BoardUpdate | Resync
