"""What is written down: events, scores and decisions, and how the history is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar
from uuid import UUID

import msgspec

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
    KEY_ROTATED = "key.rotated"
    KEY_REVOKED = "key.revoked"
    GRANT_ADDED = "grant.added"
    GRANT_REVOKED = "grant.revoked"
    INSTRUMENT_STORED = "instrument.stored"


class Audience(StrEnum):
    """Which of the firms named in an event receive it; each of them by its key of that side."""

    CLIENT = "client"
    DEALER = "dealer"
    BOTH = "both"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Event:
    """One committed change, told to its ``audience``, so ``payload_json`` holds nothing more secret than they may know.

    ``client_firm_id`` is the owner of the RFQ, also where only a dealer is told: who owns it is never sent to him.
    ``payload_json`` is canonical JSON text. Its place in its transaction is given when it is stored.
    """

    event_id: EventId
    kind: EventKind
    occurred_at_ns: int
    audience: Audience
    client_firm_id: FirmId | None
    dealer_firm_id: FirmId | None
    rfq_id: RfqId | None
    quote_id: QuoteId | None
    payload_json: str


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """What a request with an ``Idempotency-Key`` was answered, stored in the transaction of its effect.

    Key and request are known by their SHA-256; ``body`` is the reply byte for byte, kept until ``expires_at_ns``.
    """

    firm_id: FirmId
    operation: str
    key_digest: bytes
    request_digest: bytes
    status: int
    body: bytes
    created_at_ns: int
    expires_at_ns: int


@dataclass(frozen=True, slots=True)
class ToldEvent:
    """An event as one party of a firm was told it; ``told_at_ns`` is when it got its ``number`` in that stream."""

    number: int
    event_id: EventId
    kind: str
    occurred_at_ns: int
    told_at_ns: int
    rfq_id: RfqId | None
    quote_id: QuoteId | None
    payload_json: str


class Evaluation(msgspec.Struct, frozen=True, gc=False):
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


class Decision(msgspec.Struct, frozen=True, gc=False):
    """The recommended action over all quotes live at one moment, with every input by value (``inputs_json``).

    ``number`` grows from one decision of an RFQ to the next: how many quotes and ends of quotes it had seen, under the
    RFQ's lock. Times cannot tell which of two is newer where replicas' clocks disagree.
    """

    decision_id: DecisionId
    rfq_id: RfqId
    client_firm_id: FirmId
    number: int
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
