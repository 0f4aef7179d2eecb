"""Quotes, how they end, what they scored, what was decided and what traded."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

from sqlalchemy import ColumnElement, case, delete, func, insert, literal, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from rfq_service.db.repositories.conversion import (
    decision_values,
    evaluation_values,
    quote_values,
    to_evaluation,
    to_quote,
)
from rfq_service.db.repositories.history import HistoryQueries, select_quotes
from rfq_service.db.tables import (
    ActiveQuoteRow,
    DecisionRow,
    EvaluationRow,
    FillLegRow,
    FillRow,
    QuoteEndRow,
    QuoteRow,
    RfqRow,
    table_of,
)
from rfq_service.domain.errors import ErrorCode, RfqError, require
from rfq_service.domain.history import Decision, Evaluation, Page, QuoteEnd, QuoteFilter, QuoteRecord
from rfq_service.domain.identifiers import DecisionId, FillId, FirmId, InstrumentId, QuoteId, RfqId
from rfq_service.domain.quote import Fill, Quote, SidePrice
from rfq_service.domain.rfq import RfqTerms
from rfq_service.domain.units import Side

_quote = table_of(QuoteRow)
_active = table_of(ActiveQuoteRow)
_end = table_of(QuoteEndRow)
_evaluation = table_of(EvaluationRow)
_decision = table_of(DecisionRow)
_fill = table_of(FillRow)
_fill_leg = table_of(FillLegRow)
_rfq = table_of(RfqRow)


class QuoteRepository:
    """Queries on quotes, scores, decisions and fills."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._history = HistoryQueries(connection)

    async def add(self, quote: Quote) -> None:
        """Store a new quote. A dealer's own is active from now on; one received elsewhere never ends here."""
        require(quote.end_reason is None, "a quote is stored active; its end is a row of its own")
        await self._connection.execute(insert(_quote), quote_values(quote))
        if quote.dealer_firm_id is not None:
            await self._connection.execute(
                insert(_active).values(
                    quote_id=quote.quote_id, rfq_id=quote.rfq_id, valid_until_ns=quote.valid_until_ns
                )
            )

    async def get_for_client(self, client_firm_id: FirmId, quote_id: QuoteId) -> Quote | None:
        """A quote on one of the client's RFQs."""
        return await self._get(_quote.c.client_firm_id == client_firm_id, _quote.c.id == quote_id)

    async def get_for_dealer(self, dealer_firm_id: FirmId, quote_id: QuoteId) -> Quote | None:
        """A quote of the dealer's own."""
        return await self._get(_quote.c.dealer_firm_id == dealer_firm_id, _quote.c.id == quote_id)

    async def for_rfq(self, client_firm_id: FirmId, rfq_id: RfqId) -> Sequence[Quote]:
        """Every quote on the client's RFQ, oldest first, ended ones included."""
        statement = (
            select_quotes()
            .where(_quote.c.rfq_id == rfq_id, _quote.c.client_firm_id == client_firm_id)
            .order_by(_quote.c.id)
        )
        return [to_quote(row) for row in await self._connection.execute(statement)]

    async def end(self, end: QuoteEnd, quote: Quote, *, may_have_ended: bool = False) -> bool:
        """End a quote, once: of any number of callers one succeeds. Return whether this was the one.

        Raises:
            RfqError: ``QUOTE_NOT_ACTIVE`` when it had already ended, unless ``may_have_ended``.
        """
        # Deleting the active row waits for whoever is ending the quote right now, and finds nothing after his commit.
        gone = delete(_active).where(_active.c.quote_id == end.quote_id).returning(_active.c.quote_id).cte("gone")
        columns = [_end.c.quote_id, _end.c.client_firm_id, _end.c.dealer_firm_id]
        columns += [_end.c.state, _end.c.reason, _end.c.ended_at_ns]
        values = select(
            gone.c.quote_id,
            literal(quote.client_firm_id, _end.c.client_firm_id.type),
            literal(quote.dealer_firm_id, _end.c.dealer_firm_id.type),
            literal(end.state),
            literal(end.reason),
            literal(end.ended_at_ns, _end.c.ended_at_ns.type),
        )
        statement = postgresql.insert(_end).from_select(columns, values).on_conflict_do_nothing()
        has_ended = (await self._connection.execute(statement)).rowcount == 1
        if not has_ended and not may_have_ended:
            raise RfqError(ErrorCode.QUOTE_NOT_ACTIVE, "the quote has already ended")
        return has_ended

    async def claim_expired(self, now_ns: int, limit: int) -> Sequence[Quote]:
        """Lock up to ``limit`` active quotes whose time has come, with their RFQs; those in use are left for later.

        Quotes good until the RFQ itself ends are left to its end, which tells their dealers more.
        """
        due = (
            select(_active.c.quote_id, _active.c.rfq_id)
            .join(_rfq, _rfq.c.id == _active.c.rfq_id)
            .where(_active.c.valid_until_ns <= now_ns, _active.c.valid_until_ns < _rfq.c.expires_at_ns)
            .order_by(_active.c.valid_until_ns)
            .limit(limit)
            .cte("due")
        )
        locked = (
            select(_rfq.c.id)
            .where(_rfq.c.id.in_(select(due.c.rfq_id)))
            .order_by(_rfq.c.id)
            .with_for_update(key_share=True, skip_locked=True)
            .cte("locked")
        )
        claimed = (
            select(_active.c.quote_id)
            .join(locked, locked.c.id == _active.c.rfq_id)
            .where(_active.c.quote_id.in_(select(due.c.quote_id)))
            .with_for_update(of=_active, skip_locked=True)
            .cte("claimed")
        )
        statement = select_quotes().join(claimed, claimed.c.quote_id == _quote.c.id).order_by(_quote.c.id)
        return [to_quote(row) for row in await self._connection.execute(statement)]

    async def add_evaluations(self, evaluations: Sequence[Evaluation]) -> None:
        """Store scores, each made once."""
        if evaluations:
            await self._connection.execute(insert(_evaluation), [evaluation_values(item) for item in evaluations])

    async def add_decision(self, decision: Decision) -> None:
        """Store a decision."""
        await self._connection.execute(insert(_decision), decision_values(decision))

    async def latest_decision(self, client_firm_id: FirmId, rfq_id: RfqId) -> Decision | None:
        """The newest decision on the client's RFQ."""
        statement = (
            select(_decision)
            .where(_decision.c.rfq_id == rfq_id, _decision.c.client_firm_id == client_firm_id)
            .order_by(_decision.c.id.desc())
            .limit(1)
        )
        row = (await self._connection.execute(statement)).first()
        if row is None:
            return None
        return Decision(
            decision_id=DecisionId(row.id),
            rfq_id=RfqId(row.rfq_id),
            client_firm_id=FirmId(row.client_firm_id),
            decided_at_ns=row.decided_at_ns,
            action=row.action,
            quote_id=None if row.quote_id is None else QuoteId(row.quote_id),
            model=row.model,
            is_fallback=row.is_fallback,
            inputs_json=row.inputs_json,
            result_json=row.result_json,
        )

    async def evaluations(self, client_firm_id: FirmId, rfq_id: RfqId) -> Sequence[Evaluation]:
        """Every score on the client's RFQ, oldest first."""
        quote_ids = select(_quote.c.id).where(_quote.c.rfq_id == rfq_id, _quote.c.client_firm_id == client_firm_id)
        statement = (
            select(_evaluation)
            .where(_evaluation.c.quote_id.in_(quote_ids), _evaluation.c.client_firm_id == client_firm_id)
            .order_by(_evaluation.c.id)
        )
        return [to_evaluation(row) for row in await self._connection.execute(statement)]

    async def history(
        self, client_firm_id: FirmId, wanted: QuoteFilter, *, cursor: UUID | None = None, limit: int
    ) -> Page[QuoteRecord]:
        """The client's quotes with their RFQ and scores, newest first."""
        return await self._history.of_client(client_firm_id, wanted, cursor, limit)

    async def history_for_dealer(
        self, dealer_firm_id: FirmId, wanted: QuoteFilter, *, cursor: UUID | None = None, limit: int
    ) -> Page[QuoteRecord]:
        """The dealer's own quotes with the terms he was told, newest first; never a score."""
        return await self._history.of_dealer(dealer_firm_id, wanted, cursor, limit)

    async def add_fill(self, fill: Fill, terms: RfqTerms) -> None:
        """Store a trade and its legs; ``terms`` are those of its RFQ."""
        values = {
            "id": fill.fill_id,
            "rfq_id": fill.rfq_id,
            "quote_id": fill.quote_id,
            "client_firm_id": fill.client_firm_id,
            "dealer_firm_id": fill.dealer_firm_id,
            "side": fill.side,
            "quantity": fill.quantity,
            "price": fill.price.price,
            "filled_at_ns": fill.filled_at_ns,
        }
        await self._connection.execute(insert(_fill), values)
        legs = [
            {
                "fill_id": fill.fill_id,
                "position": position,
                "client_firm_id": fill.client_firm_id,
                "dealer_firm_id": fill.dealer_firm_id,
                "instrument_id": leg.instrument_id,
                "side": (leg.side if fill.side is Side.BUY else leg.side.opposite).value,
                "quantity": terms.leg_quantity(leg, fill.quantity),
                "price": price,
            }
            for position, (leg, price) in enumerate(zip(terms.legs, fill.price.leg_prices, strict=True))
        ]
        await self._connection.execute(insert(_fill_leg), legs)

    async def fills(self, client_firm_id: FirmId, rfq_id: RfqId) -> Sequence[Fill]:
        """What traded on the client's RFQ, oldest first."""
        leg_prices = (
            select(func.array_agg(postgresql.aggregate_order_by(_fill_leg.c.price, _fill_leg.c.position)))
            .where(_fill_leg.c.fill_id == _fill.c.id)
            .scalar_subquery()
        )
        statement = (
            select(_fill, leg_prices.label("leg_prices"))
            .where(_fill.c.rfq_id == rfq_id, _fill.c.client_firm_id == client_firm_id)
            .order_by(_fill.c.id)
        )
        return [
            Fill(
                fill_id=FillId(row.id),
                rfq_id=RfqId(row.rfq_id),
                quote_id=QuoteId(row.quote_id),
                client_firm_id=FirmId(row.client_firm_id),
                dealer_firm_id=FirmId(row.dealer_firm_id),
                side=Side(row.side),
                quantity=row.quantity,
                price=SidePrice(row.price, tuple(row.leg_prices)),
                filled_at_ns=row.filled_at_ns,
            )
            for row in await self._connection.execute(statement)
        ]

    async def position(self, dealer_firm_id: FirmId, instrument_id: InstrumentId) -> Decimal:
        """The dealer's net inventory from his fills, instrument units: what clients sold him less what they bought."""
        bought = _fill_leg.c.side == Side.SELL.value
        signed = case((bought, _fill_leg.c.quantity), else_=-_fill_leg.c.quantity)
        statement = select(func.sum(signed)).where(
            _fill_leg.c.dealer_firm_id == dealer_firm_id, _fill_leg.c.instrument_id == instrument_id
        )
        total: Decimal | None = (await self._connection.execute(statement)).scalar_one()
        return Decimal(0) if total is None else total

    async def _get(self, *conditions: ColumnElement[bool]) -> Quote | None:
        row = (await self._connection.execute(select_quotes().where(*conditions))).first()
        return None if row is None else to_quote(row)
