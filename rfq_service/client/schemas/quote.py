"""Quotes, their scores, decisions and history."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import msgspec

from rfq_service.client.schemas.enums import Action, QuoteEndReason, QuoteState, ReasonCode, RfqState, Side, Verdict
from rfq_service.client.schemas.rfq import Rfq, Terms
from rfq_service.client.schemas.score import DecisionResult, QuoteScore
from rfq_service.client.values import Reply, TimeNs


class QuotedSide(Reply, frozen=True, kw_only=True):
    """One quoted side: net price, and the leg prices it follows from."""

    price: Decimal
    leg_prices: tuple[Decimal, ...]


class Quote(Reply, frozen=True, kw_only=True):
    """A quote as client and dealer both know it."""

    quote_id: UUID
    rfq_id: UUID
    dealer: str
    bid: QuotedSide | None
    ask: QuotedSide | None
    quantity: Decimal
    received_at_ns: TimeNs = msgspec.field(name="received_at")
    valid_until_ns: TimeNs = msgspec.field(name="valid_until")
    state: QuoteState
    end_reason: QuoteEndReason | None


class Evaluation(Reply, frozen=True, kw_only=True):
    """The score of one side of a quote, made once; figures are null where the reasons say why."""

    evaluation_id: UUID
    side: Side
    verdict: Verdict
    reasons: tuple[ReasonCode, ...]
    cost_bps: float | None
    fairness: float | None
    excess_bps: float | None
    score: QuoteScore


class RankedQuote(Reply, frozen=True, kw_only=True):
    """A quote with its scores: one, or one for each side of a two-way quote."""

    quote: Quote
    evaluations: tuple[Evaluation, ...]


class Decision(Reply, frozen=True, kw_only=True):
    """What to do over all quotes live at one moment."""

    decision_id: UUID
    decided_at_ns: TimeNs = msgspec.field(name="decided_at")
    action: Action
    quote_id: UUID | None
    model: str
    is_fallback: bool
    result: DecisionResult


class RankedQuotes(Reply, frozen=True, kw_only=True):
    """An RFQ with every quote, scored, and the latest decision."""

    rfq: Rfq
    quotes: tuple[RankedQuote, ...]
    decision: Decision | None
    is_current: bool


class QuoteRecord(Reply, frozen=True, kw_only=True):
    """A quote in its client's history."""

    quote: Quote
    terms: Terms
    rfq_state: RfqState | None
    evaluations: tuple[Evaluation, ...]


class QuoteHistory(Reply, frozen=True, kw_only=True):
    """Quotes a client received, newest first."""

    items: tuple[QuoteRecord, ...]
    next_cursor: str | None


class DealerQuoteRecord(Reply, frozen=True, kw_only=True):
    """A quote in its dealer's history; scores are the client's own and never here."""

    quote: Quote
    terms: Terms


class DealerQuoteHistory(Reply, frozen=True, kw_only=True):
    """Quotes a dealer gave, newest first."""

    items: tuple[DealerQuoteRecord, ...]
    next_cursor: str | None
