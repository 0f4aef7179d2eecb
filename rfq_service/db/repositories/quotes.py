"""Quotes, what they scored, what was decided and what traded. They are written by ``rfq_service.db.append``."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from rfq_service.db.repositories.conversion import to_evaluation, to_quote
from rfq_service.db.repositories.history import HistoryQueries, select_quotes
from rfq_service.db.tables import DecisionRow, EvaluationRow, FillLegRow, FillRow, QuoteRow, table_of
from rfq_service.domain.history import Decision, Evaluation, Page, QuoteFilter, QuoteRecord
from rfq_service.domain.identifiers import DecisionId, FillId, FirmId, InstrumentId, QuoteId, RfqId
from rfq_service.domain.quote import Fill, Quote, SidePrice
from rfq_service.domain.units import Side

_quote = table_of(QuoteRow)
_evaluation = table_of(EvaluationRow)
_decision = table_of(DecisionRow)
_fill = table_of(FillRow)
_fill_leg = table_of(FillLegRow)


class QuoteRepository:
    """Queries on quotes, scores, decisions and fills."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._history = HistoryQueries(connection)

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

    async def latest_decision(self, client_firm_id: FirmId, rfq_id: RfqId) -> Decision | None:
        """The last decision on the client's RFQ, in the order in which they were made."""
        statement = (
            select(_decision)
            .where(_decision.c.rfq_id == rfq_id, _decision.c.client_firm_id == client_firm_id)
            .order_by(_decision.c.number.desc(), _decision.c.id.desc())
            .limit(1)
        )
        row = (await self._connection.execute(statement)).first()
        if row is None:
            return None
        return Decision(
            decision_id=DecisionId(row.id),
            rfq_id=RfqId(row.rfq_id),
            client_firm_id=FirmId(row.client_firm_id),
            number=row.number,
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
