"""The quote history: keyset pages, newest first, for the client with scores and for the dealer without."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from rfq_service.db.repositories.conversion import (
    invitation_terms,
    rfqs_from_rows,
    to_evaluation,
    to_page,
    to_quote,
)
from rfq_service.db.tables import (
    EvaluationRow,
    InvitationRow,
    QuoteEndRow,
    QuoteRow,
    RfqLegRow,
    RfqRow,
    table_of,
)
from rfq_service.domain.errors import require
from rfq_service.domain.history import Evaluation, Page, QuoteFilter, QuoteRecord
from rfq_service.domain.identifiers import FirmId, uuid7_floor
from rfq_service.domain.quote import QuoteState
from rfq_service.domain.rfq import Rfq, RfqTerms
from rfq_service.domain.units import NS_PER_S

_quote = table_of(QuoteRow)
_end = table_of(QuoteEndRow)
_evaluation = table_of(EvaluationRow)
_rfq = table_of(RfqRow)
_leg = table_of(RfqLegRow)
_invitation = table_of(InvitationRow)

# Ids carry the time too, so they bound the search; the exact test is on the time itself. The margin covers clocks that
# disagree between the making of the id and the reading of the time.
_ID_MARGIN_NS = 60 * NS_PER_S

Rows = Select[tuple[Any, ...]]


class HistoryQueries:
    """The two histories; part of the quote repository."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def of_client(
        self, client_firm_id: FirmId, wanted: QuoteFilter, cursor: UUID | None, limit: int
    ) -> Page[QuoteRecord]:
        """See ``QuoteRepository.history``."""
        statement = _filtered(wanted, cursor).where(_quote.c.client_firm_id == client_firm_id)
        if wanted.dealer is not None:
            statement = statement.where(_quote.c.dealer_name == wanted.dealer)
        if wanted.instrument_id is not None:
            has_leg = select(_leg.c.rfq_id).where(
                _leg.c.client_firm_id == client_firm_id, _leg.c.instrument_id == wanted.instrument_id
            )
            statement = statement.where(has_leg.where(_leg.c.rfq_id == _quote.c.rfq_id).exists())
        if wanted.verdict is not None:
            has_verdict = select(_evaluation.c.id).where(
                _evaluation.c.client_firm_id == client_firm_id, _evaluation.c.verdict == wanted.verdict
            )
            statement = statement.where(has_verdict.where(_evaluation.c.quote_id == _quote.c.id).exists())
        rows = await self._newest(statement, limit)
        rfqs = await self._rfqs(client_firm_id, rows)
        evaluations = await self._evaluations(client_firm_id, rows)
        records = [
            QuoteRecord(to_quote(row), rfqs[row.rfq_id].terms, rfqs[row.rfq_id].state, tuple(evaluations[row.id]))
            for row in rows
        ]
        return to_page(records, limit, lambda record: record.quote.quote_id)

    async def of_dealer(
        self, dealer_firm_id: FirmId, wanted: QuoteFilter, cursor: UUID | None, limit: int
    ) -> Page[QuoteRecord]:
        """See ``QuoteRepository.history_for_dealer``."""
        require(wanted.verdict is None, "a dealer cannot ask for a client's verdicts")
        require(wanted.dealer is None, "a dealer sees his own quotes only")
        statement = _filtered(wanted, cursor).where(_quote.c.dealer_firm_id == dealer_firm_id)
        if wanted.instrument_id is not None:
            is_invited = select(_invitation.c.id).where(
                _invitation.c.dealer_firm_id == dealer_firm_id,
                _invitation.c.rfq_id == _quote.c.rfq_id,
                _invitation.c.instrument_ids.contains([wanted.instrument_id]),
            )
            statement = statement.where(is_invited.exists())
        rows = await self._newest(statement, limit)
        terms = await self._invitation_terms(dealer_firm_id, rows)
        records = [QuoteRecord(to_quote(row), terms[row.rfq_id], None, ()) for row in rows]
        return to_page(records, limit, lambda record: record.quote.quote_id)

    async def _newest(self, statement: Rows, limit: int) -> Sequence[Row[tuple[Any, ...]]]:
        return (await self._connection.execute(statement.order_by(_quote.c.id.desc()).limit(limit + 1))).all()

    async def _rfqs(self, client_firm_id: FirmId, quotes: Sequence[Any]) -> dict[UUID, Rfq]:
        statement = (
            select(_rfq, _leg.c.position, _leg.c.instrument_id, _leg.c.side.label("leg_side"), _leg.c.ratio)
            .join(_leg, _leg.c.rfq_id == _rfq.c.id)
            .where(_rfq.c.client_firm_id == client_firm_id, _rfq.c.id.in_({row.rfq_id for row in quotes}))
            .order_by(_rfq.c.id, _leg.c.position)
        )
        return {rfq.rfq_id: rfq for rfq in rfqs_from_rows((await self._connection.execute(statement)).all())}

    async def _evaluations(self, client_firm_id: FirmId, quotes: Sequence[Any]) -> dict[UUID, list[Evaluation]]:
        statement = (
            select(_evaluation)
            .where(
                _evaluation.c.client_firm_id == client_firm_id, _evaluation.c.quote_id.in_([row.id for row in quotes])
            )
            .order_by(_evaluation.c.id)
        )
        found: dict[UUID, list[Evaluation]] = defaultdict(list)
        for row in await self._connection.execute(statement):
            found[row.quote_id].append(to_evaluation(row))
        return found

    async def _invitation_terms(self, dealer_firm_id: FirmId, quotes: Sequence[Any]) -> dict[UUID, RfqTerms]:
        statement = select_invitations().where(
            _invitation.c.dealer_firm_id == dealer_firm_id, _invitation.c.rfq_id.in_({row.rfq_id for row in quotes})
        )
        return {row.rfq_id: invitation_terms(row) for row in await self._connection.execute(statement)}


def select_quotes() -> Rows:
    """Quotes with the state and reason of their end, NULL while active; without the client, whom no dealer may read."""
    columns = [column for column in _quote.columns if column.name != "client_firm_id"]
    return select(*columns, _end.c.state.label("end_state"), _end.c.reason.label("end_reason")).outerjoin(
        _end, _end.c.quote_id == _quote.c.id
    )


def select_invitations() -> Rows:
    """Invitations without the client, whom no dealer may read."""
    return select(*(column for column in _invitation.columns if column.name != "client_firm_id"))


def _filtered(wanted: QuoteFilter, cursor: UUID | None) -> Rows:
    """The conditions that client and dealer have in common."""
    statement = select_quotes()
    if cursor is not None:
        statement = statement.where(_quote.c.id < cursor)
    if wanted.rfq_id is not None:
        statement = statement.where(_quote.c.rfq_id == wanted.rfq_id)
    if wanted.from_ns is not None:
        lowest = uuid7_floor(max(0, wanted.from_ns - _ID_MARGIN_NS))
        statement = statement.where(_quote.c.id >= lowest, _quote.c.received_at_ns >= wanted.from_ns)
    if wanted.to_ns is not None:
        highest = uuid7_floor(wanted.to_ns + _ID_MARGIN_NS)
        statement = statement.where(_quote.c.id < highest, _quote.c.received_at_ns < wanted.to_ns)
    if wanted.state is QuoteState.ACTIVE:
        statement = statement.where(_end.c.quote_id.is_(None))
    elif wanted.state is not None:
        statement = statement.where(_end.c.state == wanted.state.value)
    return statement
