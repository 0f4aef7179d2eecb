"""The buy side's use cases: open an RFQ, see it scored, decide; or have quotes from elsewhere scored.

Each that changes something takes a ``Once`` and stores the reply it makes with the effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from uuid import UUID

from quote_eval.inputs import LegMarket
from rfq_service.db.group_commit import GroupCommitWriter
from rfq_service.db.unit_of_work import UnitOfWork
from rfq_service.desk import endings
from rfq_service.desk.once import Once, claim
from rfq_service.desk.orders import EvaluateOrder, RankedQuotes, RfqOrder, RfqView
from rfq_service.desk.ports import DeskContext
from rfq_service.desk.reference_data import FirmDirectory
from rfq_service.desk.scores import quote_ranks, stored_ranks
from rfq_service.desk.scoring import Scorer, Scoring
from rfq_service.desk.terms import bounded_life_ns, build_event, build_quote, build_rfq, build_terms
from rfq_service.domain.changes import Changes, RfqBook
from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.history import (
    Audience,
    Event,
    EventKind,
    Firm,
    Invitation,
    InvitationState,
    Page,
    QuoteEnd,
    QuoteFilter,
    QuoteRecord,
)
from rfq_service.domain.identifiers import FillId, FirmId, InvitationId, QuoteId, RfqId
from rfq_service.domain.quote import Fill, Quote, QuoteEndReason, QuoteState, check_accept, check_quote
from rfq_service.domain.rfq import ANONYMOUS_PANEL_MIN, Rfq, RfqEvent, RfqState
from rfq_service.domain.units import Side


class BuySideDesk:
    """One method per use case; each commits before it returns."""

    def __init__(
        self, context: DeskContext, scorer: Scorer, writer: GroupCommitWriter[Changes], firms: FirmDirectory
    ) -> None:
        self._context = context
        self._scorer = scorer
        self._writer = writer
        self._firms = firms

    async def open_rfq(self, caller: Firm, order: RfqOrder, once: Once) -> RfqView:
        """Open an RFQ and invite its panel.

        Raises:
            RfqError: for terms that cannot be traded, unknown dealers or a panel too small to be anonymous.
        """
        context = self._context
        now_ns = context.clock.now_ns()
        terms = build_terms(order, context.instruments(), context.rfq_life, now_ns)
        rfq = build_rfq(order, terms, RfqId(context.new_id(now_ns)), caller.firm_id, RfqState.OPEN)
        panel = await self._choose_panel(caller, order)
        invitations = [self._invitation(rfq, caller, dealer, now_ns) for dealer in panel]
        view = RfqView(rfq=rfq, panel=tuple(dealer.name for dealer in panel), fills=())
        changes = Changes(
            client_firm_id=caller.firm_id,
            new_rfq=rfq,
            panel=[dealer.firm_id for dealer in panel],
            invitations=invitations,
            events=self._opening_events(rfq, invitations, now_ns),
            record=once.record(view, now_ns),
        )
        await self._writer.write(changes)
        return view

    async def rfq(self, caller: Firm, rfq_id: RfqId) -> RfqView:
        """One of the caller's RFQs; raises ``RFQ_NOT_FOUND``."""
        async with self._context.database.client.read(caller.firm_id) as uow:
            return await self._view(uow, caller, await _own_rfq(uow, caller, rfq_id))

    async def rfqs(self, caller: Firm, state: RfqState | None, cursor: UUID | None, limit: int) -> Page[Rfq]:
        """The caller's RFQs, newest first."""
        async with self._context.database.client.read(caller.firm_id) as uow:
            return await uow.rfqs.list_of(caller.firm_id, state=state, cursor=cursor, limit=limit)

    async def cancel(self, caller: Firm, rfq_id: RfqId, once: Once) -> RfqView:
        """Cancel what has not traded; every quote still active ends.

        Raises:
            RfqError: ``RFQ_NOT_FOUND``, ``RFQ_NOT_OPEN`` or ``RFQ_EXPIRED``.
        """
        context = self._context
        async with (
            context.turns.at(rfq_id),
            context.database.desk.begin(firm=caller.firm_id, principal=caller.firm_id) as uow,
        ):
            book = await _lock_own_rfq(uow, caller, rfq_id, once)
            now_ns = context.clock.now_ns()
            book.rfq.check_quotable(now_ns)
            cancelled = book.rfq.apply(RfqEvent.CANCEL)
            changes = Changes(caller.firm_id)
            endings.end_rfq(context, changes, book, cancelled, now_ns)
            view = await self._view(uow, caller, cancelled)
            changes.record = once.record(view, now_ns)
            await uow.store([changes])
            await uow.commit()
        context.on_commit()
        return view

    async def ranked_quotes(self, caller: Firm, rfq_id: RfqId) -> RankedQuotes:
        """Every quote on the caller's RFQ with its score, and the latest decision. Reading never scores again."""
        async with self._context.database.client.read(caller.firm_id) as uow:
            rfq = await _own_rfq(uow, caller, rfq_id)
            quotes = await uow.quotes.for_rfq(caller.firm_id, rfq_id)
            evaluations = await uow.quotes.evaluations(caller.firm_id, rfq_id)
            decision = await uow.quotes.latest_decision(caller.firm_id, rfq_id)
        now_ns = self._context.clock.now_ns()
        ranks = {} if decision is None else stored_ranks(decision)
        book = RfqBook(rfq, (), tuple(quotes))
        active = {quote.quote_id for quote in book.active_at(now_ns)}
        return RankedQuotes(
            rfq=rfq,
            quotes=_best_first(quotes, ranks),
            evaluations=tuple(evaluations),
            decision=decision,
            is_current=decision is not None and ranks.keys() == active,
        )

    async def accept(
        self, caller: Firm, rfq_id: RfqId, quote_id: QuoteId, side: Side | None, quantity: Decimal | None, once: Once
    ) -> Fill:
        """Trade on a quote, exactly once. ``side`` is needed on a two-way RFQ; ``quantity`` defaults to all there is.

        Raises:
            RfqError: why it cannot trade; then nothing has changed.
        """
        context = self._context
        async with (
            context.turns.at(rfq_id),
            context.database.desk.begin(firm=caller.firm_id, principal=caller.firm_id) as uow,
        ):
            book = await _lock_own_rfq(uow, caller, rfq_id, once)
            quote = next((quote for quote in book.quotes if quote.quote_id == quote_id), None)
            if quote is None:
                raise RfqError(ErrorCode.QUOTE_NOT_FOUND, "no such quote on this RFQ", "quote_id")
            now_ns = context.clock.now_ns()
            fill = self._fill(book.rfq, quote, side, quantity, now_ns)
            changes = self._trade(book, quote, fill, now_ns)
            changes.record = once.record(fill, now_ns)
            await uow.store([changes])
            await uow.commit()
        context.on_commit()
        return fill

    def _trade(self, book: RfqBook, quote: Quote, fill: Fill, now_ns: int) -> Changes:
        """A fill with all that follows from it."""
        filled = book.rfq.fill(fill.quantity)
        changes = Changes(filled.client_firm_id)
        hit = QuoteEnd(quote.quote_id, QuoteState.ACCEPTED, QuoteEndReason.HIT, now_ns)
        endings.end_quote(self._context, changes, quote, hit)
        changes.fills.append((fill, filled.terms))
        changes.events.append(self._fill_event(fill))
        if filled.state is RfqState.FILLED:
            endings.end_rfq(self._context, changes, book, filled, now_ns, fill=fill)
        else:
            changes.saved_rfq = filled
            self.on_quotes_changed(changes, book, None, now_ns)
        return changes

    async def evaluate(self, caller: Firm, order: EvaluateOrder, once: Once) -> RankedQuotes:
        """Score quotes received on other platforms; stored like any other, answered after the commit.

        Raises:
            RfqError: for terms or quotes that cannot be, and ``NO_MARKET`` or ``STALE_MARKET`` when there is nothing to
                score against; then nothing is stored. (A quote on a live RFQ is stored all the same, unscored.)
        """
        context = self._context
        now_ns = context.clock.now_ns()
        instruments = context.instruments()
        terms = build_terms(order.rfq, instruments, context.rfq_life, now_ns)
        rfq = build_rfq(order.rfq, terms, RfqId(context.new_id(now_ns)), caller.firm_id, RfqState.EVALUATED)
        quotes = []
        for index, external in enumerate(order.quotes):
            try:
                life = bounded_life_ns(external.quote.ttl_ns, context.quote_life, ErrorCode.TTL_OUT_OF_RANGE, "ttl_s")
                quote_id = QuoteId(context.new_id(now_ns))
                quote = build_quote(rfq, external.quote, quote_id, None, external.dealer_name, now_ns, life)
                check_quote(terms, instruments, quote.bid, quote.ask, quote.quantity)
            except RfqError as error:
                raise error.at(f"quotes[{index}]") from None
            quotes.append(quote)
        scoring = self._scorer.score(rfq, quotes, quotes, now_ns)
        _check_markets(scoring.markets)
        event = build_event(
            EventKind.RFQ_EVALUATED,
            context.new_id(now_ns),
            now_ns,
            {**_decided(scoring), "quotes": [quote.quote_id for quote in quotes]},
            Audience.CLIENT,
            client=caller.firm_id,
            rfq_id=rfq.rfq_id,
        )
        best_first = _best_first(quotes, quote_ranks(scoring.weighed))
        ranked = RankedQuotes(rfq, best_first, tuple(scoring.evaluations), scoring.decision, is_current=True)
        changes = Changes(
            client_firm_id=caller.firm_id,
            new_rfq=rfq,
            quotes=quotes,
            evaluations=scoring.evaluations,
            decisions=[scoring.decision],
            events=[event],
            record=once.record(ranked, now_ns),
        )
        await self._writer.write(changes)
        return ranked

    async def quote_history(
        self, caller: Firm, wanted: QuoteFilter, cursor: UUID | None, limit: int
    ) -> Page[QuoteRecord]:
        """The quotes the caller has received, newest first, each with its score."""
        async with self._context.database.client.read(caller.firm_id) as uow:
            return await uow.quotes.history(caller.firm_id, wanted, cursor=cursor, limit=limit)

    def on_quotes_changed(self, changes: Changes, book: RfqBook, new: Quote | None, now_ns: int) -> None:
        """Score ``new`` and decide again over the quotes that ``changes`` leave live; its rows go into ``changes``."""
        book = book.after(changes)
        scoring = self._scorer.score(
            book.rfq,
            book.active_at(now_ns),
            [] if new is None else [new],
            now_ns,
            number=book.change_count,
            pending_dealers=book.pending_dealers,
        )
        changes.evaluations += scoring.evaluations
        changes.decisions.append(scoring.decision)
        changes.events.append(
            build_event(
                EventKind.DECISION_MADE,
                self._context.new_id(now_ns),
                now_ns,
                _decided(scoring),
                Audience.CLIENT,
                client=book.rfq.client_firm_id,
                rfq_id=book.rfq.rfq_id,
            )
        )

    def _fill(self, rfq: Rfq, quote: Quote, side: Side | None, quantity: Decimal | None, now_ns: int) -> Fill:
        context = self._context
        if side is None:
            sides = rfq.terms.side.sides
            if len(sides) != 1:
                raise RfqError(ErrorCode.QUOTE_SIDE_MISMATCH, "a two-way RFQ is accepted with a side", "side")
            side = sides[0]
        if quantity is None:
            quantity = min(quote.quantity, rfq.remaining_quantity)
        price = check_accept(rfq, quote, side, quantity, context.instruments(), now_ns)
        if quote.dealer_firm_id is None:
            raise RfqError(ErrorCode.QUOTE_NOT_ACTIVE, "a quote received elsewhere is accepted there")
        return Fill(
            fill_id=FillId(context.new_id(now_ns)),
            rfq_id=rfq.rfq_id,
            quote_id=quote.quote_id,
            client_firm_id=rfq.client_firm_id,
            dealer_firm_id=quote.dealer_firm_id,
            side=side,
            quantity=quantity,
            price=price,
            filled_at_ns=now_ns,
        )

    async def _view(self, uow: UnitOfWork, caller: Firm, rfq: Rfq) -> RfqView:
        panel = await uow.rfqs.panel(rfq.rfq_id)
        fills = await uow.quotes.fills(caller.firm_id, rfq.rfq_id)
        return RfqView(rfq=rfq, panel=tuple(panel), fills=tuple(fills))

    async def _choose_panel(self, caller: Firm, order: RfqOrder) -> list[Firm]:
        if order.panel:
            panel = await _named_dealers(self._firms, order.panel)
        else:
            panel = [firm for firm in await self._firms.dealers() if firm.firm_id != caller.firm_id]
        if not panel:
            raise RfqError(ErrorCode.PANEL_TOO_SMALL, "there is no dealer to ask", "panel")
        if caller.firm_id in {dealer.firm_id for dealer in panel}:
            raise RfqError(ErrorCode.UNKNOWN_DEALER, "a firm cannot ask itself", "panel")
        if order.anonymous and len(panel) < ANONYMOUS_PANEL_MIN:
            detail = f"anonymous requests need at least {ANONYMOUS_PANEL_MIN} dealers"
            raise RfqError(ErrorCode.PANEL_TOO_SMALL, detail, "panel")
        return panel

    def _invitation(self, rfq: Rfq, client: Firm, dealer: Firm, now_ns: int) -> Invitation:
        return Invitation(
            invitation_id=InvitationId(self._context.new_id(now_ns)),
            rfq_id=rfq.rfq_id,
            dealer_firm_id=dealer.firm_id,
            client_name=None if rfq.anonymous else client.name,
            terms=rfq.terms,
            state=InvitationState.OPEN,
            outcome=None,
            cover_distance_micro_bps=None,
        )

    def _opening_events(self, rfq: Rfq, invitations: Sequence[Invitation], now_ns: int) -> list[Event]:
        new_id = self._context.new_id
        payload = {
            "legs": [[leg.instrument_id, leg.side, leg.ratio] for leg in rfq.terms.legs],
            "quantity": rfq.terms.quantity,
            "side": rfq.terms.side,
        }
        opened = build_event(
            EventKind.RFQ_OPENED,
            new_id(now_ns),
            now_ns,
            {**payload, "panel": len(invitations)},
            Audience.CLIENT,
            client=rfq.client_firm_id,
            rfq_id=rfq.rfq_id,
        )
        return [opened] + [
            build_event(
                EventKind.INVITATION_SENT,
                new_id(now_ns),
                now_ns,
                payload,
                Audience.DEALER,
                client=rfq.client_firm_id,
                dealer=invitation.dealer_firm_id,
                rfq_id=rfq.rfq_id,
            )
            for invitation in invitations
        ]

    def _fill_event(self, fill: Fill) -> Event:
        payload = {"price": fill.price.price, "quantity": fill.quantity, "side": fill.side}
        return build_event(
            EventKind.FILL_BOOKED,
            self._context.new_id(fill.filled_at_ns),
            fill.filled_at_ns,
            payload,
            Audience.BOTH,
            client=fill.client_firm_id,
            dealer=fill.dealer_firm_id,
            rfq_id=fill.rfq_id,
            quote_id=fill.quote_id,
        )


async def _own_rfq(uow: UnitOfWork, caller: Firm, rfq_id: RfqId) -> Rfq:
    rfq = await uow.rfqs.get(caller.firm_id, rfq_id)
    if rfq is None:
        raise RfqError(ErrorCode.RFQ_NOT_FOUND, "no such RFQ")
    return rfq


async def _lock_own_rfq(uow: UnitOfWork, caller: Firm, rfq_id: RfqId, once: Once) -> RfqBook:
    """The caller's RFQ, which nobody else changes until the transaction ends; before anything is written."""
    await claim(uow, once)
    await uow.rfqs.lock(rfq_id)
    book = await uow.rfqs.book(caller.firm_id, rfq_id)
    if book is None:
        raise RfqError(ErrorCode.RFQ_NOT_FOUND, "no such RFQ")
    return book


def _decided(scoring: Scoring) -> dict[str, object]:
    """What a subscriber is told of a decision: all that he needs to act, with how every live quote stood."""
    decision = scoring.decision
    return {
        "action": decision.action,
        "decision_id": decision.decision_id,
        "number": decision.number,
        "quote_id": decision.quote_id,
        "scores": scoring.weighed,
    }


async def _named_dealers(firms: FirmDirectory, names: Sequence[str]) -> list[Firm]:
    known = await firms.named(names)
    panel: dict[FirmId, Firm] = {}
    for index, name in enumerate(names):
        dealer = known.get(name)
        if dealer is None or not dealer.is_dealer:
            raise RfqError(ErrorCode.UNKNOWN_DEALER, "no such dealer", f"panel[{index}]")
        if dealer.firm_id in panel:
            raise RfqError(ErrorCode.INVALID_FIELD, "named twice", f"panel[{index}]")
        panel[dealer.firm_id] = dealer
    return list(panel.values())


def _check_markets(markets: Sequence[LegMarket | None]) -> None:
    for index, market in enumerate(markets):
        if market is None:
            raise RfqError(ErrorCode.NO_MARKET, "there is no market to score against", f"legs[{index}].instrument_id")
        if market.age_ns > market.staleness_limit_ns:
            detail = "the market is too old to score against"
            raise RfqError(ErrorCode.STALE_MARKET, detail, f"legs[{index}].instrument_id")


def _best_first(quotes: Sequence[Quote], ranks: Mapping[UUID, int]) -> tuple[Quote, ...]:
    """In the order of the decision's ranking, its best side first; those it did not weigh after them, newest last."""
    return tuple(sorted(quotes, key=lambda quote: (ranks.get(quote.quote_id, len(quotes)), quote.quote_id)))
