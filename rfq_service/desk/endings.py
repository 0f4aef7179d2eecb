"""How an RFQ and its quotes end: one place, whoever ends them, so that every party is told the same story."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from rfq_service.desk.ports import DeskContext
from rfq_service.desk.terms import build_event
from rfq_service.domain.changes import Changes, RfqBook
from rfq_service.domain.errors import require
from rfq_service.domain.history import Audience, EventKind, InvitationOutcome, InvitationState, QuoteEnd
from rfq_service.domain.identifiers import FirmId
from rfq_service.domain.measures import price_gap_bps
from rfq_service.domain.quote import Fill, Quote, QuoteEndReason, QuoteState
from rfq_service.domain.rfq import Rfq, RfqState
from rfq_service.domain.units import EXACT, to_micro_bps

_HOW = {
    RfqState.FILLED: (EventKind.FILL_BOOKED, InvitationState.CLOSED, QuoteState.REJECTED, QuoteEndReason.DONE_AWAY),
    RfqState.CANCELLED: (
        EventKind.RFQ_CANCELLED,
        InvitationState.CANCELLED,
        QuoteState.CANCELLED,
        QuoteEndReason.RFQ_CANCELLED,
    ),
    RfqState.EXPIRED: (EventKind.RFQ_EXPIRED, InvitationState.EXPIRED, QuoteState.EXPIRED, QuoteEndReason.RFQ_EXPIRED),
}
_OUTCOME_OF_REASON = {
    QuoteEndReason.HIT: InvitationOutcome.HIT,
    QuoteEndReason.COVER: InvitationOutcome.COVER,
    QuoteEndReason.DONE_AWAY: InvitationOutcome.DONE_AWAY,
    QuoteEndReason.DEALER_PASSED: InvitationOutcome.PASSED,
    QuoteEndReason.RFQ_CANCELLED: InvitationOutcome.CANCELLED,
    QuoteEndReason.RFQ_EXPIRED: InvitationOutcome.EXPIRED,
}
# What was live at the end outweighs what had ended before, whatever the replicas' clocks made of the order of ids.
_WEIGHT = {
    QuoteEndReason.HIT: 3,
    QuoteEndReason.COVER: 2,
    QuoteEndReason.DONE_AWAY: 1,
    QuoteEndReason.RFQ_CANCELLED: 1,
    QuoteEndReason.RFQ_EXPIRED: 1,
}


def end_rfq(
    context: DeskContext, changes: Changes, book: RfqBook, rfq: Rfq, now_ns: int, *, fill: Fill | None = None
) -> None:
    """Add the end of an RFQ that reaches a final state: its row, its quotes, its invitations, its events.

    ``book`` is how it stood before ``changes``. ``fill`` is the trade that filled it; the losers then learn who was
    cover and who was done away.
    """
    kind, invitation_state, quote_state, reason = _HOW[rfq.state]
    book = book.after(changes)
    cover = _cover(book.active_at(now_ns), fill)
    for quote in book.quotes:
        if quote.end_reason is None:
            end = QuoteEnd(quote.quote_id, quote_state, reason, now_ns)
            if quote.valid_until_ns <= now_ns and quote.valid_until_ns < rfq.terms.expires_at_ns:
                end = QuoteEnd(quote.quote_id, QuoteState.EXPIRED, QuoteEndReason.TTL_ELAPSED, now_ns)
            elif quote is cover:
                end = replace(end, reason=QuoteEndReason.COVER)
            end_quote(context, changes, quote, end)
    ended = {end.quote_id: end.reason for _, end in changes.ends}
    quotes = [replace(quote, end_reason=ended.get(quote.quote_id, quote.end_reason)) for quote in book.quotes]
    outcomes = _outcomes(quotes, rfq.state)
    distance = None if cover is None or fill is None else _cover_distance_micro_bps(rfq, cover, fill)
    changes.saved_rfq = rfq
    changes.invitation_state = invitation_state
    changes.outcomes = {
        dealer: (outcome, distance if outcome is InvitationOutcome.COVER else None)
        for dealer, outcome in outcomes.items()
    }
    _add_closing_events(context, changes, book, rfq, kind, now_ns)


def end_quote(context: DeskContext, changes: Changes, quote: Quote, end: QuoteEnd) -> None:
    """Add the end of one quote, which is active, with its event."""
    require(quote.end_reason is None, "a quote ends once")
    changes.ends.append((quote, end))
    changes.events.append(
        build_event(
            EventKind.QUOTE_ENDED,
            context.new_id(end.ended_at_ns),
            end.ended_at_ns,
            {"reason": end.reason, "state": end.state},
            Audience.BOTH,
            client=changes.client_firm_id,
            dealer=quote.dealer_firm_id,
            rfq_id=quote.rfq_id,
            quote_id=quote.quote_id,
        )
    )


def _cover(losers: Sequence[Quote], fill: Fill | None) -> Quote | None:
    """The best losing quote for the side that traded; the earliest of equals."""
    if fill is None:
        return None
    rivals = [quote for quote in losers if quote.quote_id != fill.quote_id]
    priced = [quote for quote in rivals if (quote.ask if fill.side.sign > 0 else quote.bid) is not None]
    return min(
        priced,
        key=lambda quote: (
            EXACT.multiply(fill.side.sign, quote.side_price(fill.side).price),
            quote.received_at_ns,
            quote.quote_id,
        ),
        default=None,
    )


def _cover_distance_micro_bps(rfq: Rfq, cover: Quote, fill: Fill) -> int:
    gross = Decimal(0)
    for leg, price in zip(rfq.terms.legs, fill.price.leg_prices, strict=True):
        gross = EXACT.add(gross, EXACT.multiply(leg.ratio, price))
    gap_bps = price_gap_bps(fill.side, fill.price.price, cover.side_price(fill.side).price, gross)
    return max(0, to_micro_bps(gap_bps))  # zero too where the client took a quote that was not the best


def _outcomes(quotes: Sequence[Quote], state: RfqState) -> dict[FirmId, InvitationOutcome]:
    """What each dealer that answered is told: by his last quote, but a hit outranks whatever followed it."""
    lost = InvitationOutcome.DONE_AWAY if state is RfqState.FILLED else _OUTCOME_OF_REASON[_HOW[state][3]]
    told: dict[FirmId, QuoteEndReason] = {}
    for quote in sorted(quotes, key=lambda quote: quote.quote_id):
        dealer, reason = quote.dealer_firm_id, quote.end_reason
        if dealer is None or reason is None or reason is QuoteEndReason.REPLACED_BY_DEALER:
            continue
        if _WEIGHT.get(reason, 0) >= _WEIGHT.get(told.get(dealer, reason), 0):
            told[dealer] = reason
    return {dealer: _OUTCOME_OF_REASON.get(reason, lost) for dealer, reason in told.items()}


def _add_closing_events(
    context: DeskContext, changes: Changes, book: RfqBook, rfq: Rfq, kind: EventKind, now_ns: int
) -> None:
    if kind is not EventKind.FILL_BOOKED:  # a fill has its own event already
        changes.events.append(
            build_event(
                kind,
                context.new_id(now_ns),
                now_ns,
                {"filled_quantity": rfq.filled_quantity, "state": rfq.state},
                Audience.CLIENT,
                client=rfq.client_firm_id,
                rfq_id=rfq.rfq_id,
            )
        )
    for dealer in book.panel:
        outcome, distance = changes.outcomes.get(dealer, (None, None))
        changes.events.append(
            build_event(
                EventKind.INVITATION_CLOSED,
                context.new_id(now_ns),
                now_ns,
                {"cover_distance_micro_bps": distance, "outcome": outcome},
                Audience.DEALER,
                client=rfq.client_firm_id,
                dealer=dealer,
                rfq_id=rfq.rfq_id,
            )
        )
