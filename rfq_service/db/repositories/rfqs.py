"""RFQs as their client sees them, and the invitations that are all a dealer sees of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import Row, Select, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from rfq_service.db.repositories.conversion import (
    invitation_terms,
    leg_values,
    legs_to_json,
    rfq_values,
    rfqs_from_rows,
    terms_columns,
    to_page,
)
from rfq_service.db.tables import ActiveQuoteRow, FirmRow, InvitationRow, RfqLegRow, RfqRow, table_of
from rfq_service.domain.errors import require
from rfq_service.domain.history import Invitation, InvitationOutcome, InvitationState, Page
from rfq_service.domain.identifiers import FirmId, InvitationId, RfqId
from rfq_service.domain.rfq import QUOTABLE_STATES, Rfq, RfqState

_rfq = table_of(RfqRow)
_leg = table_of(RfqLegRow)
_invitation = table_of(InvitationRow)
_firm = table_of(FirmRow)
_active = table_of(ActiveQuoteRow)
# Written out in claims, so that the planner sees that the partial index on expiry applies.
_CAN_EXPIRE = _rfq.c.state.in_(sorted(state.value for state in QUOTABLE_STATES))


class RfqRepository:
    """Queries on RFQs and invitations."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, rfq: Rfq, invitations: Sequence[Invitation]) -> None:
        """Store a new RFQ and the invitations of its panel, in the client's order."""
        panel = [invitation.dealer_firm_id for invitation in invitations]
        await self._connection.execute(insert(_rfq), rfq_values(rfq, panel))
        await self._connection.execute(insert(_leg), leg_values(rfq))
        if invitations:
            await self._connection.execute(insert(_invitation), [_invitation_values(item) for item in invitations])

    async def get(self, client_firm_id: FirmId, rfq_id: RfqId, *, lock: bool = False) -> Rfq | None:
        """The client's RFQ; with ``lock`` nobody else can lock it until the transaction ends."""
        chosen = select(_rfq).where(_rfq.c.client_firm_id == client_firm_id, _rfq.c.id == rfq_id)
        found = await self._fetch(chosen.with_for_update(key_share=True) if lock else chosen)
        return found[0] if found else None

    async def list(
        self, client_firm_id: FirmId, *, state: RfqState | None = None, cursor: UUID | None = None, limit: int
    ) -> Page[Rfq]:
        """The client's RFQs, newest first."""
        chosen = select(_rfq).where(_rfq.c.client_firm_id == client_firm_id)
        if state is not None:
            chosen = chosen.where(_rfq.c.state == state.value)
        if cursor is not None:
            chosen = chosen.where(_rfq.c.id < cursor)
        found = await self._fetch(chosen.order_by(_rfq.c.id.desc()).limit(limit + 1))
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
        statement = select(_invitation).where(
            _invitation.c.dealer_firm_id == dealer_firm_id, _invitation.c.rfq_id == rfq_id
        )
        row = (await self._connection.execute(statement)).first()
        return None if row is None else _to_invitation(row)

    async def invitations(
        self, dealer_firm_id: FirmId, *, state: InvitationState | None = None, cursor: UUID | None = None, limit: int
    ) -> Page[Invitation]:
        """The dealer's inbound RFQs, newest first."""
        statement = select(_invitation).where(_invitation.c.dealer_firm_id == dealer_firm_id)
        if state is not None:
            statement = statement.where(_invitation.c.state == state.value)
        if cursor is not None:
            statement = statement.where(_invitation.c.id < cursor)
        rows = await self._connection.execute(statement.order_by(_invitation.c.id.desc()).limit(limit + 1))
        return to_page([_to_invitation(row) for row in rows], limit, lambda item: item.invitation_id)

    async def rfq_for_dealer_lock(self, dealer_firm_id: FirmId, rfq_id: RfqId) -> Rfq | None:
        """The RFQ a dealer is invited to, locked for the commit of his answer. The service's own view, never his."""
        is_invited = (
            select(_invitation.c.id)
            .where(_invitation.c.dealer_firm_id == dealer_firm_id, _invitation.c.rfq_id == rfq_id)
            .exists()
        )
        found = await self._fetch(select(_rfq).where(_rfq.c.id == rfq_id, is_invited).with_for_update(key_share=True))
        return found[0] if found else None

    async def close_invitations(
        self,
        rfq_id: RfqId,
        state: InvitationState,
        outcomes: Mapping[FirmId, tuple[InvitationOutcome, int | None]],
    ) -> None:
        """Close the open invitations of an RFQ whose row the caller has locked.

        ``outcomes`` is what each dealer that answered is told: the outcome, and the cover's distance in 1e-6 bps.
        """
        is_open = (_invitation.c.rfq_id == rfq_id) & (_invitation.c.state == InvitationState.OPEN.value)
        for dealer_firm_id, (outcome, cover_distance_micro_bps) in sorted(outcomes.items()):
            await self._connection.execute(
                update(_invitation)
                .where(is_open, _invitation.c.dealer_firm_id == dealer_firm_id)
                .values(state=state.value, outcome=outcome.value, cover_distance_micro_bps=cover_distance_micro_bps)
            )
        await self._connection.execute(update(_invitation).where(is_open).values(state=state.value))

    async def is_due(self, now_ns: int) -> tuple[bool, bool]:
        """Whether an open RFQ, and whether an active quote, has come to its time: the cheap question before a claim."""
        rfqs = select(_rfq.c.id).where(_CAN_EXPIRE, _rfq.c.expires_at_ns <= now_ns).exists()
        quotes = select(_active.c.quote_id).where(_active.c.valid_until_ns <= now_ns).exists()
        row = (await self._connection.execute(select(rfqs.label("rfqs"), quotes.label("quotes")))).one()
        return row.rfqs, row.quotes

    async def claim_expired(self, now_ns: int, limit: int) -> Sequence[Rfq]:
        """Lock up to ``limit`` open RFQs whose time has come; those that somebody else holds are left for later."""
        chosen = select(_rfq).where(_CAN_EXPIRE, _rfq.c.expires_at_ns <= now_ns).order_by(_rfq.c.expires_at_ns)
        return await self._fetch(chosen.limit(limit).with_for_update(key_share=True, skip_locked=True))

    async def _fetch(self, chosen: Select[tuple[object, ...]]) -> Sequence[Rfq]:
        rfqs = chosen.cte("chosen")
        statement = (
            select(rfqs, _leg.c.position, _leg.c.instrument_id, _leg.c.side.label("leg_side"), _leg.c.ratio)
            .join(_leg, _leg.c.rfq_id == rfqs.c.id)
            .order_by(rfqs.c.id.desc(), _leg.c.position)
        )
        return rfqs_from_rows((await self._connection.execute(statement)).all())


def _invitation_values(invitation: Invitation) -> dict[str, object]:
    return {
        "id": invitation.invitation_id,
        "rfq_id": invitation.rfq_id,
        "dealer_firm_id": invitation.dealer_firm_id,
        "client_name": invitation.client_name,
        **terms_columns(invitation.terms),
        "legs_json": legs_to_json(invitation.terms.legs),
        "instrument_ids": [leg.instrument_id for leg in invitation.terms.legs],
        "state": invitation.state,
        "outcome": None if invitation.outcome is None else invitation.outcome.value,
        "cover_distance_micro_bps": invitation.cover_distance_micro_bps,
    }


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
