"""Quotes, their scores and their history on the wire."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from quote_eval.results import Verdict
from rfq_service.api.parsing import format_cursor
from rfq_service.api.schemas.rfq import RfqOut, TermsIn, TermsOut, rfq_out, terms_out
from rfq_service.api.schemas.wire import (
    Bps,
    CursorText,
    DecimalText,
    DurationText,
    InstrumentText,
    NameText,
    PageLimit,
    Share,
    TimeInText,
    TimeText,
    WireIn,
    WireOut,
    decimal_text,
    decimals_of,
    documented_as,
    micro,
    optional_decimal_of,
    optional_duration_ns,
)
from rfq_service.desk.orders import EvaluateOrder, ExternalQuote, QuoteOrder, RankedQuotes, SideOrder
from rfq_service.domain.clock import format_timestamp, parse_timestamp
from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.history import Decision, Evaluation, Page, QuoteFilter, QuoteRecord
from rfq_service.domain.identifiers import InstrumentId, RfqId
from rfq_service.domain.quote import Quote, QuoteEndReason, QuoteState, SidePrice
from rfq_service.domain.rfq import LEGS_MAX, RfqState
from rfq_service.domain.units import Side

QUOTES_MAX = 50


class SideIn(WireIn, frozen=True):
    """One quoted side: ``price`` of a single leg, ``leg_prices`` of a package (``price`` is then its net, checked)."""

    price: DecimalText | None = None
    leg_prices: Annotated[tuple[DecimalText, ...], msgspec.Meta(max_length=LEGS_MAX)] = ()

    def order(self, field: str) -> SideOrder:
        """What the desk is told; raises ``RfqError`` for numbers that are none."""
        if self.price is None and not self.leg_prices:
            raise RfqError(ErrorCode.INVALID_FIELD, "needs price or leg_prices", field)
        leg_prices = decimals_of(self.leg_prices, f"{field}.leg_prices") if self.leg_prices else ()
        return SideOrder(price=optional_decimal_of(self.price, f"{field}.price"), leg_prices=leg_prices)


class QuoteIn(WireIn, frozen=True, kw_only=True):
    """A quote: ``bid`` is where you buy (the client sells), ``ask`` where you sell. A two-way RFQ needs both."""

    bid: SideIn | None = None
    ask: SideIn | None = None
    quantity: Annotated[DecimalText | None, msgspec.Meta(description="How much it is good for; by default all.")] = None
    ttl_s: DurationText | None = None

    def order(self) -> QuoteOrder:
        """What the desk is told; raises ``RfqError`` for numbers that are none."""
        return QuoteOrder(
            bid=None if self.bid is None else self.bid.order("bid"),
            ask=None if self.ask is None else self.ask.order("ask"),
            quantity=optional_decimal_of(self.quantity, "quantity"),
            ttl_ns=optional_duration_ns(self.ttl_s, "ttl_s"),
        )


class ExternalQuoteIn(QuoteIn, frozen=True, kw_only=True):
    """A quote received elsewhere."""

    dealer: NameText


class EvaluationIn(TermsIn, frozen=True, kw_only=True):
    """An RFQ negotiated on another platform, with the quotes received there."""

    quotes: Annotated[list[ExternalQuoteIn], msgspec.Meta(min_length=1, max_length=QUOTES_MAX)]

    def order(self) -> EvaluateOrder:
        """What the desk is asked for; raises ``RfqError`` for numbers that are none."""
        quotes = []
        for index, quote in enumerate(self.quotes):
            try:
                quotes.append(ExternalQuote(quote.dealer, quote.order()))
            except RfqError as error:
                raise error.at(f"quotes[{index}]") from None
        return EvaluateOrder(rfq=self.to_order(anonymous=False, panel=(), expires_in_ns=None), quotes=tuple(quotes))


class DealerQuoteHistoryQuery(WireIn, frozen=True, kw_only=True):
    """Which of a dealer's quotes; times are RFC 3339, ``from`` inclusive, ``to`` exclusive."""

    rfq_id: UUID | UnsetType = UNSET
    instrument_id: InstrumentText | UnsetType = UNSET
    from_: TimeInText | UnsetType = msgspec.field(default=UNSET, name="from")
    to: TimeInText | UnsetType = UNSET
    state: QuoteState | UnsetType = UNSET
    cursor: CursorText | UnsetType = UNSET
    limit: PageLimit | UnsetType = UNSET

    def filter(self, dealer: str | None = None, verdict: str | None = None) -> QuoteFilter:
        """What to look for; raises ``INVALID_PARAMETER`` for a time that is none or a span that is empty."""
        from_ns, to_ns = _time_ns(self.from_, "from"), _time_ns(self.to, "to")
        if from_ns is not None and to_ns is not None and from_ns >= to_ns:
            raise RfqError(ErrorCode.INVALID_PARAMETER, "must be before to", "from")
        return QuoteFilter(
            rfq_id=None if self.rfq_id is UNSET else RfqId(self.rfq_id),
            dealer=dealer,
            instrument_id=None if self.instrument_id is UNSET else InstrumentId(self.instrument_id),
            from_ns=from_ns,
            to_ns=to_ns,
            state=None if self.state is UNSET else self.state,
            verdict=verdict,
        )


class QuoteHistoryQuery(DealerQuoteHistoryQuery, frozen=True, kw_only=True):
    """Which of the quotes a client received; times are RFC 3339, ``from`` inclusive, ``to`` exclusive."""

    dealer: NameText | UnsetType = UNSET
    verdict: Verdict | UnsetType = UNSET

    def client_filter(self) -> QuoteFilter:
        """What to look for; raises like ``filter``."""
        dealer = None if self.dealer is UNSET else self.dealer
        return self.filter(dealer, None if self.verdict is UNSET else self.verdict.value)


class SideOut(WireOut, frozen=True):
    """One quoted side: net price, and the leg prices it follows from."""

    price: DecimalText
    leg_prices: list[DecimalText]


class QuoteOut(WireOut, frozen=True):
    """A quote as client and dealer both know it."""

    quote_id: UUID
    rfq_id: UUID
    dealer: str
    bid: SideOut | None
    ask: SideOut | None
    quantity: DecimalText
    received_at: TimeText
    valid_until: TimeText
    state: QuoteState
    end_reason: QuoteEndReason | None


_SCORE: Any = documented_as("QuoteScore", "The whole score, as it is stored.")
_DECISION: Any = documented_as("DecisionResult", "Every action considered, with cost, risk and reasons.")


class EvaluationOut(WireOut, frozen=True):
    """The score of one side of a quote, made once; figures are null where the reasons say why."""

    evaluation_id: UUID
    side: Side
    verdict: str
    reasons: list[str]
    cost_bps: Bps | None
    fairness: Annotated[
        Share | None, msgspec.Meta(description="P(fair charge ≥ cost): 0.5 is the fair median, near 0 dear.")
    ]
    excess_bps: Bps | None
    score: _SCORE


class RankedQuoteOut(WireOut, frozen=True):
    """A quote with its scores: one, or one for each side of a two-way quote."""

    quote: QuoteOut
    evaluations: list[EvaluationOut]


class DecisionOut(WireOut, frozen=True):
    """What to do over all quotes live at one moment."""

    decision_id: UUID
    decided_at: TimeText
    action: Annotated[str, msgspec.Meta(description="accept, counter, work, split or wait.", examples=["accept"])]
    quote_id: UUID | None
    model: str
    is_fallback: bool
    result: _DECISION


class RankedQuotesOut(WireOut, frozen=True):
    """An RFQ with every quote, scored, and the latest decision."""

    rfq: RfqOut
    quotes: list[RankedQuoteOut]
    decision: DecisionOut | None
    is_current: Annotated[bool, msgspec.Meta(description="Whether the decision weighed exactly the live quotes.")]


class QuoteRecordOut(WireOut, frozen=True):
    """A quote in its client's history."""

    quote: QuoteOut
    terms: TermsOut
    rfq_state: RfqState | None
    evaluations: list[EvaluationOut]


class QuoteHistoryOut(WireOut, frozen=True):
    """Quotes a client received, newest first."""

    items: list[QuoteRecordOut]
    next_cursor: CursorText | None


class DealerQuoteRecordOut(WireOut, frozen=True):
    """A quote in its dealer's history; scores are the client's own and never here."""

    quote: QuoteOut
    terms: TermsOut


class DealerQuoteHistoryOut(WireOut, frozen=True):
    """Quotes a dealer gave, newest first."""

    items: list[DealerQuoteRecordOut]
    next_cursor: CursorText | None


def _time_ns(text: str | UnsetType, name: str) -> int | None:
    if text is UNSET:
        return None
    try:
        return parse_timestamp(text, name)
    except RfqError as error:
        raise RfqError(ErrorCode.INVALID_PARAMETER, error.detail, name) from None


def _side_out(side: SidePrice | None) -> SideOut | None:
    if side is None:
        return None
    return SideOut(decimal_text(side.price), [decimal_text(price) for price in side.leg_prices])


def quote_out(quote: Quote) -> QuoteOut:
    """Wire form of a quote; it names no client, who may be anonymous to its dealer."""
    return QuoteOut(
        quote_id=quote.quote_id,
        rfq_id=quote.rfq_id,
        dealer=quote.dealer_name,
        bid=_side_out(quote.bid),
        ask=_side_out(quote.ask),
        quantity=decimal_text(quote.quantity),
        received_at=format_timestamp(quote.received_at_ns),
        valid_until=format_timestamp(quote.valid_until_ns),
        state=quote.state,
        end_reason=quote.end_reason,
    )


def evaluation_out(evaluation: Evaluation) -> EvaluationOut:
    """Wire form of a score; the stored JSON goes out as it is."""
    return EvaluationOut(
        evaluation_id=evaluation.evaluation_id,
        side=evaluation.side,
        verdict=evaluation.verdict,
        reasons=list(evaluation.reasons),
        cost_bps=micro(evaluation.cost_micro_bps),
        fairness=micro(evaluation.fairness_ppm),
        excess_bps=micro(evaluation.excess_micro_bps),
        score=msgspec.Raw(evaluation.result_json.encode()),
    )


def _decision_out(decision: Decision) -> DecisionOut:
    return DecisionOut(
        decision_id=decision.decision_id,
        decided_at=format_timestamp(decision.decided_at_ns),
        action=decision.action,
        quote_id=decision.quote_id,
        model=decision.model,
        is_fallback=decision.is_fallback,
        result=msgspec.Raw(decision.result_json.encode()),
    )


def ranked_quotes_out(ranked: RankedQuotes) -> RankedQuotesOut:
    """Wire form of an RFQ with its scored quotes, in the desk's order."""
    scores: dict[UUID, list[EvaluationOut]] = {quote.quote_id: [] for quote in ranked.quotes}
    for evaluation in ranked.evaluations:
        scores[evaluation.quote_id].append(evaluation_out(evaluation))
    return RankedQuotesOut(
        rfq=rfq_out(ranked.rfq),
        quotes=[RankedQuoteOut(quote_out(quote), scores[quote.quote_id]) for quote in ranked.quotes],
        decision=None if ranked.decision is None else _decision_out(ranked.decision),
        is_current=ranked.is_current,
    )


def quote_history_out(page: Page[QuoteRecord]) -> QuoteHistoryOut:
    """Wire form of a page of a client's history."""
    items = [
        QuoteRecordOut(
            quote=quote_out(record.quote),
            terms=terms_out(record.terms),
            rfq_state=record.rfq_state,
            evaluations=[evaluation_out(evaluation) for evaluation in record.evaluations],
        )
        for record in page.items
    ]
    return QuoteHistoryOut(items=items, next_cursor=format_cursor(page.next_cursor))


def dealer_quote_history_out(page: Page[QuoteRecord]) -> DealerQuoteHistoryOut:
    """Wire form of a page of a dealer's history."""
    items = [DealerQuoteRecordOut(quote_out(record.quote), terms_out(record.terms)) for record in page.items]
    return DealerQuoteHistoryOut(items=items, next_cursor=format_cursor(page.next_cursor))
