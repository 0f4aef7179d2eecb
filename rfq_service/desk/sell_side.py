"""The sell side's use cases: see an invitation, have it priced, answer it.

Information barrier: everything that is read for a dealer or for a price is read with the dealers' database role, which
has no right to an evaluation, a limit price, a panel or a rival's quote. What happens on the buy side when a quote is
stored is behind ``QuoteListener``, which returns nothing.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from uuid import UUID

from pricing.defaults import default_parameters
from pricing.inputs import AdverseSelectionForecast, LegInputs, PricingInputs
from pricing.limits import Decline, DeclineReason
from pricing.quoter import QuoteProposal, SideQuote, price_rfq
from rfq_service.db.group_commit import GroupCommitWriter, QuoteWrite
from rfq_service.db.unit_of_work import UnitOfWork
from rfq_service.desk import endings
from rfq_service.desk.once import Once, claim
from rfq_service.desk.orders import PriceAnswer, PriceOrder, QuoteOrder, SideMarkup
from rfq_service.desk.ports import DeskContext, QuoteListener
from rfq_service.desk.predictions import Forecaster
from rfq_service.desk.terms import bounded_life_ns, build_event, build_quote, quote_payload
from rfq_service.domain.changes import Changes, RfqBook
from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.history import (
    Audience,
    EventKind,
    Firm,
    Invitation,
    InvitationState,
    Page,
    QuoteEnd,
    QuoteFilter,
    QuoteRecord,
)
from rfq_service.domain.identifiers import InstrumentId, QuoteId, RfqId
from rfq_service.domain.market import MarketSnapshot
from rfq_service.domain.quote import Quote, QuoteEndReason, QuoteEvent, QuoteState, check_quote, next_quote_state
from rfq_service.domain.rfq import Leg, Rfq, RfqTerms, SizeMode, check_terms
from rfq_service.domain.units import Side


class SellSideDesk:
    """One method per use case; each that changes something commits before it returns."""

    def __init__(
        self,
        context: DeskContext,
        forecaster: Forecaster,
        listener: QuoteListener,
        writer: GroupCommitWriter[QuoteWrite],
    ) -> None:
        self._context = context
        self._forecaster = forecaster
        self._listener = listener
        self._writer = writer

    async def inbound(
        self, caller: Firm, state: InvitationState | None, cursor: UUID | None, limit: int
    ) -> Page[Invitation]:
        """The RFQs the caller is invited to answer, newest first."""
        async with self._context.database.dealer.read(caller.firm_id) as uow:
            return await uow.rfqs.invitations(caller.firm_id, state=state, cursor=cursor, limit=limit)

    async def invitation(self, caller: Firm, rfq_id: RfqId) -> Invitation:
        """One of them; raises ``RFQ_NOT_FOUND``."""
        async with self._context.database.dealer.read(caller.firm_id) as uow:
            return await _own_invitation(uow, caller, rfq_id)

    async def post_quote(self, caller: Firm, rfq_id: RfqId, order: QuoteOrder, once: Once) -> None:
        """Answer an RFQ; a dealer's new quote replaces his old one. It is scored in the same transaction.

        Raises:
            RfqError: why it is no answer to this RFQ; then nothing has changed.
        """

        def prepare(book: RfqBook) -> Changes:
            return self._quote(caller, book, order, once)

        await self._writer.write(QuoteWrite(caller.firm_id, rfq_id, prepare))

    def _quote(self, caller: Firm, book: RfqBook, order: QuoteOrder, once: Once) -> Changes:
        context, rfq = self._context, book.rfq
        now_ns = context.clock.now_ns()
        rfq.check_quotable(now_ns)
        ttl_ns = bounded_life_ns(order.ttl_ns, context.quote_life, ErrorCode.TTL_OUT_OF_RANGE, "ttl_s")
        quote_id = QuoteId(context.new_id(now_ns))
        quote = build_quote(rfq, order, quote_id, caller.firm_id, caller.name, now_ns, ttl_ns)
        check_quote(rfq.terms, context.instruments(), quote.bid, quote.ask, quote.quantity)
        changes = Changes(rfq.client_firm_id)
        self._replace_old(changes, book, caller, now_ns)
        self._add(changes, quote, EventKind.QUOTE_POSTED, quote_payload(quote))
        self._listener.on_quotes_changed(changes, book, quote, now_ns)
        changes.record = once.record(quote, now_ns)
        return changes

    async def withdraw(self, caller: Firm, quote_id: QuoteId, once: Once) -> Quote:
        """Withdraw an active quote.

        Raises:
            RfqError: ``QUOTE_NOT_FOUND``, or ``QUOTE_NOT_ACTIVE`` when it has ended, by an accept for one.
        """
        context = self._context
        async with context.database.dealer.read(caller.firm_id) as uow:
            known = await uow.quotes.get_for_dealer(caller.firm_id, quote_id)
        if known is None:
            raise RfqError(ErrorCode.QUOTE_NOT_FOUND, "no such quote")
        async with (
            context.turns.at(known.rfq_id),
            context.database.desk.begin(principal=caller.firm_id) as uow,
        ):
            book = await _lock_invited_rfq(uow, caller, known.rfq_id, once)
            now_ns = context.clock.now_ns()
            quote = next(quote for quote in book.quotes if quote.quote_id == quote_id)
            next_quote_state(quote.state, QuoteEvent.CANCEL)
            if now_ns >= quote.valid_until_ns:
                raise RfqError(ErrorCode.QUOTE_NOT_ACTIVE, "the quote has expired")
            changes = Changes(book.rfq.client_firm_id)
            end = QuoteEnd(quote_id, QuoteState.CANCELLED, QuoteEndReason.WITHDRAWN_BY_DEALER, now_ns)
            endings.end_quote(context, changes, quote, end)
            self._listener.on_quotes_changed(changes, book, None, now_ns)
            withdrawn = replace(quote, state=end.state, end_reason=end.reason)
            changes.record = once.record(withdrawn, now_ns)
            await uow.store([changes])
            await uow.commit()
        context.on_commit()
        return withdrawn

    async def pass_rfq(self, caller: Firm, rfq_id: RfqId, once: Once) -> Quote:
        """Decline to quote; an active quote of the caller ends with it.

        Raises:
            RfqError: ``RFQ_NOT_FOUND``, ``RFQ_NOT_OPEN`` or ``RFQ_EXPIRED``.
        """
        context = self._context
        async with context.turns.at(rfq_id), context.database.desk.begin(principal=caller.firm_id) as uow:
            book = await _lock_invited_rfq(uow, caller, rfq_id, once)
            now_ns = context.clock.now_ns()
            book.rfq.check_quotable(now_ns)
            changes = Changes(book.rfq.client_firm_id)
            self._replace_old(changes, book, caller, now_ns)
            passed = self._pass(changes, book.rfq, caller, now_ns)
            self._listener.on_quotes_changed(changes, book, None, now_ns)
            changes.record = once.record(passed, now_ns)
            await uow.store([changes])
            await uow.commit()
        context.on_commit()
        return passed

    def _pass(self, changes: Changes, rfq: Rfq, caller: Firm, now_ns: int) -> Quote:
        """Add the empty quote that records a pass, which ends at birth."""
        context = self._context
        empty = QuoteOrder(bid=None, ask=None, quantity=rfq.terms.quantity, ttl_ns=None)
        quote_id = QuoteId(context.new_id(now_ns))
        quote = build_quote(rfq, empty, quote_id, caller.firm_id, caller.name, now_ns, context.quote_life.min_ns)
        self._add(changes, quote, EventKind.QUOTE_PASSED, {"dealer": caller.name})
        end = QuoteEnd(quote_id, QuoteState.PASSED, QuoteEndReason.DEALER_PASSED, now_ns)
        endings.end_quote(context, changes, quote, end)
        return replace(quote, state=end.state, end_reason=end.reason)

    def _add(self, changes: Changes, quote: Quote, kind: EventKind, payload: object) -> None:
        """Add a new quote with the event that tells client and dealer of it."""
        now_ns = quote.received_at_ns
        changes.quotes.append(quote)
        changes.events.append(
            build_event(
                kind,
                self._context.new_id(now_ns),
                now_ns,
                payload,
                Audience.BOTH,
                client=changes.client_firm_id,
                dealer=quote.dealer_firm_id,
                rfq_id=quote.rfq_id,
                quote_id=quote.quote_id,
            )
        )

    async def price(self, caller: Firm, order: PriceOrder) -> PriceAnswer:
        """What the auto-pricer would quote the caller's client now, given the caller's own inventory.

        Raises:
            RfqError: for a request that cannot be traded. A refusal to quote is an answer, not an error.
        """
        context = self._context
        async with context.database.dealer.read(caller.firm_id) as uow:
            terms = await self._terms_to_price(uow, caller, order)
            positions = [await uow.quotes.position(caller.firm_id, leg.instrument_id) for leg in terms.legs]
        now_ns = context.clock.now_ns()
        if order.rfq_id is not None and now_ns >= terms.expires_at_ns:
            raise RfqError(ErrorCode.RFQ_EXPIRED, "the RFQ has expired")
        legs = []
        for leg, position in zip(terms.legs, positions, strict=True):
            built = self._leg_inputs(terms, leg, position)
            if isinstance(built, Decline):
                return _declined(terms, positions[0], built)
            legs.append(built)
        answer = price_rfq(PricingInputs(terms=terms, quantity=terms.quantity, legs=tuple(legs), now_ns=now_ns))
        if isinstance(answer, Decline):
            return _declined(terms, positions[0], answer)
        return _proposed(answer, legs[0].market, positions[0])

    async def quote_history(
        self, caller: Firm, wanted: QuoteFilter, cursor: UUID | None, limit: int
    ) -> Page[QuoteRecord]:
        """The quotes the caller has given, newest first; never a score."""
        async with self._context.database.dealer.read(caller.firm_id) as uow:
            return await uow.quotes.history_for_dealer(caller.firm_id, wanted, cursor=cursor, limit=limit)

    def _replace_old(self, changes: Changes, book: RfqBook, caller: Firm, now_ns: int) -> None:
        """End the caller's active quote on the RFQ, if there is one."""
        for quote in book.active_at(now_ns):
            if quote.dealer_firm_id == caller.firm_id:
                end = QuoteEnd(quote.quote_id, QuoteState.REPLACED, QuoteEndReason.REPLACED_BY_DEALER, now_ns)
                endings.end_quote(self._context, changes, quote, end)

    async def _terms_to_price(self, uow: UnitOfWork, caller: Firm, order: PriceOrder) -> RfqTerms:
        if order.rfq_id is not None:
            invitation = await _own_invitation(uow, caller, order.rfq_id)
            if invitation.state is not InvitationState.OPEN:
                raise RfqError(ErrorCode.RFQ_NOT_OPEN, f"the RFQ is {invitation.state}")
            return invitation.terms
        if order.instrument_id is None or order.side is None or order.quantity is None:
            raise RfqError(ErrorCode.INVALID_FIELD, "give rfq_id, or instrument_id with side and quantity", "rfq_id")
        return self._hypothetical_terms(order.instrument_id, order)

    def _hypothetical_terms(self, instrument_id: InstrumentId, order: PriceOrder) -> RfqTerms:
        instruments = self._context.instruments()
        instrument = instruments.get(instrument_id)
        if instrument is None:
            raise RfqError(ErrorCode.UNKNOWN_INSTRUMENT, "no such instrument", "instrument_id")
        if order.side is None or order.quantity is None:
            raise RfqError(ErrorCode.INVALID_FIELD, "side and quantity are needed", "side")
        now_ns = self._context.clock.now_ns()
        terms = RfqTerms(
            legs=(Leg(instrument_id, Side.BUY, Decimal(1)),),
            side=order.side,
            quantity=order.quantity,
            size_mode=SizeMode.ALL_OR_NONE,
            minimum_quantity=None,
            price_increment=instrument.tick_size,
            created_at_ns=now_ns,
            expires_at_ns=now_ns + self._context.quote_life.default_ns,
        )
        check_terms(terms, instruments)
        return terms

    def _leg_inputs(self, terms: RfqTerms, leg: Leg, position: Decimal) -> LegInputs | Decline:
        instrument = self._context.instruments()[leg.instrument_id]
        market = self._context.market.snapshot(leg.instrument_id)
        if market is None:
            return Decline(DeclineReason.STALE_MARKET, f"{leg.instrument_id}: there is no market")
        # only the information move is used, which is the same for both sides of a leg
        side = leg.side if terms.side.sides[0] is Side.BUY else leg.side.opposite
        forecast = self._forecaster.predict(instrument, market, terms.leg_quantity(leg), side)
        if forecast is None:
            detail = f"{leg.instrument_id}: too little market seen to measure volatility and volume"
            return Decline(DeclineReason.VOLATILITY_UNKNOWN, detail)
        return LegInputs(
            instrument=instrument,
            market=market,
            inventory=position,
            parameters=default_parameters(market, instrument),
            adverse_selection=AdverseSelectionForecast(
                expected_bps=float(forecast.information_bps.mean()),
                sd_bps=float(forecast.information_bps.std()),
                source=forecast.model,
            ),
        )


async def _own_invitation(uow: UnitOfWork, caller: Firm, rfq_id: RfqId) -> Invitation:
    invitation = await uow.rfqs.invitation(caller.firm_id, rfq_id)
    if invitation is None:
        raise RfqError(ErrorCode.RFQ_NOT_FOUND, "no such RFQ")
    return invitation


async def _lock_invited_rfq(uow: UnitOfWork, caller: Firm, rfq_id: RfqId, once: Once) -> RfqBook:
    """The service's own view of the RFQ, locked for the commit of an invited dealer's answer; never shown to him."""
    await claim(uow, once)
    client_firm_id = await uow.rfqs.enter_as_invited(caller.firm_id, rfq_id)
    book = None if client_firm_id is None else await uow.rfqs.book(client_firm_id, rfq_id)
    if book is None:
        raise RfqError(ErrorCode.RFQ_NOT_FOUND, "no such RFQ")
    return book


def _declined(terms: RfqTerms, inventory: Decimal, decline: Decline) -> PriceAnswer:
    return PriceAnswer(
        sides=(),
        quantity=terms.quantity,
        reference_mid=None,
        inventory=inventory,
        valid_until_ns=terms.expires_at_ns,
        model="",
        is_fallback=False,
        decline_code=decline.reason.value,
        decline_detail=decline.detail,
    )


def _proposed(proposal: QuoteProposal, market: MarketSnapshot, inventory: Decimal) -> PriceAnswer:
    sides = [quote for quote in (proposal.bid, proposal.ask) if quote is not None]
    return PriceAnswer(
        sides=tuple(_side_markup(quote) for quote in sides),
        quantity=proposal.quantity,
        reference_mid=market.mid,
        inventory=inventory,
        valid_until_ns=proposal.valid_until_ns,
        model=f"{proposal.model} + {', '.join(proposal.adverse_selection_source)}",
        is_fallback=True,
        decline_code="",
        decline_detail="",
    )


def _side_markup(quote: SideQuote) -> SideMarkup:
    parts = quote.attribution
    return SideMarkup(
        side=quote.side,
        price=quote.price.price,
        leg_prices=quote.price.leg_prices,
        markup_bps=quote.markup_bps,
        win_probability=quote.win_probability,
        expected_pnl_bps=quote.expected_pnl_bps,
        attribution_bps=(
            ("fair_value", parts.fair_value_bps),
            ("processing", parts.processing_bps),
            ("adverse_selection", parts.adverse_selection_bps),
            ("uncertainty", parts.uncertainty_bps),
            ("inventory", parts.inventory_bps),
            ("margin", parts.margin_bps),
            ("rounding", parts.rounding_bps),
        ),
    )
