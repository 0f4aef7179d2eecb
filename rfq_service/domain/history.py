"""What is written down: events, scores and decisions, and how the history is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar
from uuid import UUID

from rfq_service.domain.identifiers import (
    DecisionId,
    EvaluationId,
    EventId,
    FirmId,
    InstrumentId,
    InvitationId,
    QuoteId,
    RfqId,
)
from rfq_service.domain.quote import Quote, QuoteEndReason, QuoteState
from rfq_service.domain.rfq import RfqState, RfqTerms
from rfq_service.domain.units import Side

T = TypeVar("T")


class EventKind(StrEnum):
    """Every kind of change; one event row is written in the transaction of each."""

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
    KEY_REVOKED = "key.revoked"
    INSTRUMENT_STORED = "instrument.stored"


@dataclass(frozen=True, slots=True)
class Event:
    """One committed change. It may be read by the firms named in it, so ``payload_json`` holds nothing more secret.

    ``payload_json`` is canonical JSON text.
    """

    event_id: EventId
    kind: EventKind
    occurred_at_ns: int
    client_firm_id: FirmId | None
    dealer_firm_id: FirmId | None
    rfq_id: RfqId | None
    quote_id: QuoteId | None
    payload_json: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The score of one side of one quote, made once. The client's own: no dealer ever reads it.

    ``verdict`` and ``reasons`` are stable words, ``*_micro_bps`` are fixed-point 1e-6 bps, ``fairness_ppm`` 1e-6;
    ``None`` where the quote could not be scored. ``result_json`` is the whole score as canonical JSON.
    """

    evaluation_id: EvaluationId
    decision_id: DecisionId
    rfq_id: RfqId
    quote_id: QuoteId
    client_firm_id: FirmId
    side: Side
    verdict: str
    reasons: tuple[str, ...]
    cost_micro_bps: int | None
    fairness_ppm: int | None
    excess_micro_bps: int | None
    result_json: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The recommended action over all quotes live at one moment, with every input by value (``inputs_json``)."""

    decision_id: DecisionId
    rfq_id: RfqId
    client_firm_id: FirmId
    decided_at_ns: int
    action: str
    quote_id: QuoteId | None
    model: str
    is_fallback: bool
    inputs_json: str
    result_json: str


class InvitationState(StrEnum):
    """How an RFQ looks to a dealer; partial fills with rivals stay hidden."""

    OPEN = "open"
    CLOSED = "closed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class InvitationOutcome(StrEnum):
    """What a dealer is told after the end. The best loser learns ``COVER`` with its distance."""

    HIT = "hit"
    COVER = "cover"
    DONE_AWAY = "done_away"
    PASSED = "passed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Invitation:
    """One dealer's view of an RFQ: only what he may see. ``client_name`` is ``None`` when the client is anonymous."""

    invitation_id: InvitationId
    rfq_id: RfqId
    dealer_firm_id: FirmId
    client_name: str | None
    terms: RfqTerms
    state: InvitationState
    outcome: InvitationOutcome | None
    cover_distance_micro_bps: int | None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a listing, newest first; ``next_cursor`` continues it, ``None`` at the end."""

    items: tuple[T, ...]
    next_cursor: UUID | None


@dataclass(frozen=True, slots=True)
class QuoteFilter:
    """Which quotes of the history; ``None`` does not restrict. UTC ns, ``from_ns`` inclusive, ``to_ns`` exclusive."""

    rfq_id: RfqId | None = None
    dealer: str | None = None
    instrument_id: InstrumentId | None = None
    from_ns: int | None = None
    to_ns: int | None = None
    state: QuoteState | None = None
    verdict: str | None = None


@dataclass(frozen=True, slots=True)
class QuoteRecord:
    """A quote in the history with its RFQ's terms and, for the client only, its score."""

    quote: Quote
    terms: RfqTerms
    rfq_state: RfqState | None
    evaluations: tuple[Evaluation, ...]


@dataclass(frozen=True, slots=True)
class QuoteEnd:
    """The one end of a quote."""

    quote_id: QuoteId
    state: QuoteState
    reason: QuoteEndReason
    ended_at_ns: int


@dataclass(frozen=True, slots=True)
class Firm:
    """A party. ``is_dealer`` firms are asked when a client lets the service choose his panel."""

    firm_id: FirmId
    name: str
    is_dealer: bool
