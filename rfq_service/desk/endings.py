"""How an RFQ and its quotes end: one place, whoever ends them, so that every party is told the same story."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from rfq_service.db.unit_of_work import UnitOfWork
from rfq_service.desk.ports import DeskContext
from rfq_service.desk.terms import active_at, build_event
from rfq_service.domain.history import EventKind, InvitationOutcome, InvitationState, QuoteEnd
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


async def end_rfq(context: DeskContext, uow: UnitOfWork, rfq: Rfq, now_ns: int, *, fill: Fill | None = None) -> None:
    """Write the end of an RFQ that has just reached a final state: its row, its quotes, its invitations, its events.

    ``fill`` is the trade that filled it; the losers then learn who was cover and who was done away.
    The caller holds the lock on the RFQ's row.
    """
    kind, invitation_state, quote_state, reason = _HOW[rfq.state]
    await uow.rfqs.save(rfq)
    quotes = await uow.quotes.for_rfq(rfq.client_firm_id, rfq.rfq_id)
    losers = active_at(quotes, now_ns)
    cover = _cover(losers, fill)
    ended = {quote.quote_id: quote for quote in quotes}
    for quote in quotes:
        if quote.end_reason is None:
            end = QuoteEnd(quote.quote_id, quote_state, reason, now_ns)
            if quote.valid_until_ns <= now_ns and quote.valid_until_ns < rfq.terms.expires_at_ns:
                end = QuoteEnd(quote.quote_id, QuoteState.EXPIRED, QuoteEndReason.TTL_ELAPSED, now_ns)
            elif quote is cover:
                end = replace(end, reason=QuoteEndReason.COVER)
            if await end_quote(context, uow, quote, end, may_have_ended=True):
                ended[quote.quote_id] = replace(quote, state=end.state, end_reason=end.reason)
    outcomes = _outcomes(list(ended.values()), rfq.state)
    distance = None if cover is None or fill is None else _cover_distance_micro_bps(rfq, cover, fill)
    await uow.rfqs.close_invitations(
        rfq.rfq_id,
        invitation_state,
        {
            dealer: (outcome, distance if outcome is InvitationOutcome.COVER else None)
            for dealer, outcome in outcomes.items()
        },
    )
    await _add_closing_events(context, uow, rfq, kind, outcomes, distance, now_ns)


async def end_quote(
    context: DeskContext, uow: UnitOfWork, quote: Quote, end: QuoteEnd, *, may_have_ended: bool = False
) -> bool:
    """End one quote, once, with its event. Return whether this call was the one that ended it.

    Raises:
        RfqError: ``QUOTE_NOT_ACTIVE`` when it had already ended, unless ``may_have_ended``.
    """
    if not await uow.quotes.end(end, quote, may_have_ended=may_have_ended):
        return False
    await uow.events.add(
        build_event(
            EventKind.QUOTE_ENDED,
            context.new_id(end.ended_at_ns),
            end.ended_at_ns,
            {"reason": end.reason, "state": end.state},
            client=quote.client_firm_id,
            dealer=quote.dealer_firm_id,
            rfq_id=quote.rfq_id,
            quote_id=quote.quote_id,
        )
    )
    return True


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
    outcomes: dict[FirmId, InvitationOutcome] = {}
    lost = InvitationOutcome.DONE_AWAY if state is RfqState.FILLED else _OUTCOME_OF_REASON[_HOW[state][3]]
    for quote in sorted(quotes, key=lambda quote: quote.quote_id):
        if quote.dealer_firm_id is None or quote.end_reason is None:
            continue
        if outcomes.get(quote.dealer_firm_id) is not InvitationOutcome.HIT:
            outcomes[quote.dealer_firm_id] = _OUTCOME_OF_REASON.get(quote.end_reason, lost)
    return outcomes


async def _add_closing_events(
    context: DeskContext,
    uow: UnitOfWork,
    rfq: Rfq,
    kind: EventKind,
    outcomes: dict[FirmId, InvitationOutcome],
    distance: int | None,
    now_ns: int,
) -> None:
    events = []
    if kind is not EventKind.FILL_BOOKED:  # a fill has its own event already
        events.append(
            build_event(
                kind,
                context.new_id(now_ns),
                now_ns,
                {"filled_quantity": rfq.filled_quantity, "state": rfq.state},
                client=rfq.client_firm_id,
                rfq_id=rfq.rfq_id,
            )
        )
    for dealer in await uow.rfqs.invited(rfq.rfq_id):
        outcome = outcomes.get(dealer)
        payload = {
            "cover_distance_micro_bps": distance if outcome is InvitationOutcome.COVER else None,
            "outcome": outcome,
        }
        events.append(
            build_event(
                EventKind.INVITATION_CLOSED,
                context.new_id(now_ns),
                now_ns,
                payload,
                dealer=dealer,
                rfq_id=rfq.rfq_id,
            )
        )
    await uow.events.add(*events)
