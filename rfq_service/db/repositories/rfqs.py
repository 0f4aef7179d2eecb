"""RFQs as their client sees them, and the invitations that are all a dealer sees of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Row, Select, Text, Uuid, cast, column, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from rfq_service.db.repositories.conversion import invitation_terms, rfqs_from_rows, to_page, to_quote
from rfq_service.db.repositories.history import select_invitations, select_quotes
from rfq_service.db.tables import FirmRow, InvitationRow, QuoteRow, RfqLegRow, RfqRow, table_of
from rfq_service.domain.changes import RfqBook
from rfq_service.domain.errors import require
from rfq_service.domain.history import Invitation, InvitationOutcome, InvitationState, Page
from rfq_service.domain.identifiers import FirmId, InvitationId, RfqId
from rfq_service.domain.quote import Quote
from rfq_service.domain.rfq import Rfq, RfqState

T = TypeVar("T")
_rfq = table_of(RfqRow)
_leg = table_of(RfqLegRow)
_quote = table_of(QuoteRow)
_invitation = table_of(InvitationRow)
_firm = table_of(FirmRow)


class RfqRepository:
    """Queries on RFQs and invitations."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, client_firm_id: FirmId, rfq_id: RfqId) -> Rfq | None:
        """The client's RFQ."""
        found = await self._fetch(
            select(_rfq).where(_rfq.c.client_firm_id == client_firm_id, _rfq.c.id == rfq_id), rfqs_from_rows
        )
        return found[0] if found else None

    async def lock(self, rfq_id: RfqId) -> None:
        """Wait for whoever changes the RFQ, and keep it until the transaction ends. Nothing is written before it."""
        await self._connection.execute(select(func.lock_rfq(rfq_id)))

    async def try_lock(self, rfq_id: RfqId) -> bool:
        """As ``lock``, but ``False`` instead of waiting."""
        key = func.hashtextextended(cast(cast(rfq_id, Uuid), Text), cast(0, BigInteger))
        return bool((await self._connection.execute(select(func.pg_try_advisory_xact_lock(key)))).scalar_one())

    async def enter_as_invited(self, dealer_firm_id: FirmId, rfq_id: RfqId) -> FirmId | None:
        """Lock the RFQ for a dealer who is invited to it, as ``lock``, and act for its client from now on.

        Returns the client, which is the service's own knowledge and never the dealer's; ``None`` when not invited.
        """
        found = (await self._connection.execute(select(func.enter_as_invited(dealer_firm_id, rfq_id)))).scalar_one()
        return None if found is None else FirmId(found)

    async def book(self, client_firm_id: FirmId, rfq_id: RfqId) -> RfqBook | None:
        """The client's RFQ with its quotes; the caller has locked it."""
        chosen = select(_rfq).where(_rfq.c.client_firm_id == client_firm_id, _rfq.c.id == rfq_id)
        # the row too: it says to the database itself that the RFQ is about to change
        books = await self._books(chosen.with_for_update(key_share=True))
        return books[0] if books else None

    async def list_of(
        self, client_firm_id: FirmId, *, state: RfqState | None = None, cursor: UUID | None = None, limit: int
    ) -> Page[Rfq]:
        """The client's RFQs, newest first."""
        chosen = select(_rfq).where(_rfq.c.client_firm_id == client_firm_id)
        if state is not None:
            chosen = chosen.where(_rfq.c.state == state.value)
        if cursor is not None:
            chosen = chosen.where(_rfq.c.id < cursor)
        found = await self._fetch(chosen.order_by(_rfq.c.id.desc()).limit(limit + 1), rfqs_from_rows)
        return to_page(found, limit, lambda rfq: rfq.rfq_id)

    async def save(self, rfq: Rfq) -> None:
        """Store the state and the filled quantity of an RFQ whose row the caller has locked."""
        statement = (
            update(_rfq)
            .where(_rfq.c.client_firm_id == rfq.client_firm_id, _rfq.c.id == rfq.rfq_id)
            .values(state=rfq.state, filled_quantity=rfq.filled_quantity)
        )
        changed = (await self._connection.execute(statement)).rowcount
        require(changed == 1, "a saved RFQ exists")

    async def panel(self, rfq_id: RfqId) -> Sequence[str]:
        """Names of the dealers the client asked, in his order; for the client alone."""
        firm_ids = await self.invited(rfq_id)
        rows = await self._connection.execute(select(_firm.c.id, _firm.c.name).where(_firm.c.id.in_(firm_ids)))
        names = {row.id: row.name for row in rows}
        return [names[firm_id] for firm_id in firm_ids]

    async def invited(self, rfq_id: RfqId) -> Sequence[FirmId]:
        """The dealers the client asked, in his order; for the client alone."""
        statement = select(_rfq.c.panel_firm_ids).where(_rfq.c.id == rfq_id)
        panel = (await self._connection.execute(statement)).scalar_one_or_none()
        return [FirmId(firm_id) for firm_id in panel or ()]

    async def invitation(self, dealer_firm_id: FirmId, rfq_id: RfqId) -> Invitation | None:
        """The dealer's own invitation to an RFQ."""
        statement = select_invitations().where(
            _invitation.c.dealer_firm_id == dealer_firm_id, _invitation.c.rfq_id == rfq_id
        )
        row = (await self._connection.execute(statement)).first()
        return None if row is None else _to_invitation(row)

    async def invitations(
        self, dealer_firm_id: FirmId, *, state: InvitationState | None = None, cursor: UUID | None = None, limit: int
    ) -> Page[Invitation]:
        """The dealer's inbound RFQs, newest first."""
        statement = select_invitations().where(_invitation.c.dealer_firm_id == dealer_firm_id)
        if state is not None:
            statement = statement.where(_invitation.c.state == state.value)
        if cursor is not None:
            statement = statement.where(_invitation.c.id < cursor)
        rows = await self._connection.execute(statement.order_by(_invitation.c.id.desc()).limit(limit + 1))
        return to_page([_to_invitation(row) for row in rows], limit, lambda item: item.invitation_id)

    async def close_invitations(
        self,
        rfq_id: RfqId,
        state: InvitationState,
        outcomes: Mapping[FirmId, tuple[InvitationOutcome, int | None]],
    ) -> None:
        """Close the open invitations of an RFQ that the caller has locked.

        ``outcomes`` is what each dealer that answered is told: the outcome, and the cover's distance in 1e-6 bps.
        """
        told = [(dealer, outcome.value, distance) for dealer, (outcome, distance) in sorted(outcomes.items())]
        columns = (column("dealer", Uuid), column("outcome", Text), column("distance", BigInteger))
        arrays = (
            cast([dealer for dealer, _, _ in told], ARRAY(Uuid)),
            cast([outcome for _, outcome, _ in told], ARRAY(Text)),
            cast([distance for _, _, distance in told], ARRAY(BigInteger)),
        )
        given = func.unnest(*arrays).table_valued(*columns).render_derived(name="given")
        found = select(given.c.outcome).where(given.c.dealer == _invitation.c.dealer_firm_id)
        statement = (
            update(_invitation)
            .where(_invitation.c.rfq_id == rfq_id, _invitation.c.state == InvitationState.OPEN.value)
            .values(
                state=state.value,
                outcome=found.with_only_columns(given.c.outcome).scalar_subquery(),
                cover_distance_micro_bps=found.with_only_columns(given.c.distance).scalar_subquery(),
            )
        )
        await self._connection.execute(statement)

    async def _books(self, chosen: Select[Any]) -> list[RfqBook]:
        def panels_from_rows(rows: Sequence[Any]) -> list[tuple[Rfq, tuple[FirmId, ...]]]:
            panels = {row.id: tuple(FirmId(firm_id) for firm_id in row.panel_firm_ids) for row in rows}
            return [(rfq, panels[rfq.rfq_id]) for rfq in rfqs_from_rows(rows)]

        found = await self._fetch(chosen, panels_from_rows)
        statement = select_quotes().where(_quote.c.rfq_id.in_([rfq.rfq_id for rfq, _ in found])).order_by(_quote.c.id)
        quotes: dict[RfqId, list[Quote]] = defaultdict(list)
        for row in await self._connection.execute(statement):
            quotes[row.rfq_id].append(to_quote(row))
        return [RfqBook(rfq, panel, tuple(quotes[rfq.rfq_id])) for rfq, panel in found]

    async def _fetch(self, chosen: Select[Any], read: Callable[[Sequence[Any]], Sequence[T]]) -> Sequence[T]:
        rfqs = chosen.cte("chosen")
        statement = (
            select(rfqs, _leg.c.position, _leg.c.instrument_id, _leg.c.side.label("leg_side"), _leg.c.ratio)
            .join(_leg, _leg.c.rfq_id == rfqs.c.id)
            .order_by(rfqs.c.id.desc(), _leg.c.position)
        )
        return read((await self._connection.execute(statement)).all())


def _to_invitation(row: Row[tuple[object, ...]]) -> Invitation:
    return Invitation(
        invitation_id=InvitationId(row.id),
        rfq_id=RfqId(row.rfq_id),
        dealer_firm_id=FirmId(row.dealer_firm_id),
        client_name=row.client_name,
        terms=invitation_terms(row),
        state=InvitationState(row.state),
        outcome=None if row.outcome is None else InvitationOutcome(row.outcome),
        cover_distance_micro_bps=row.cover_distance_micro_bps,
    )
