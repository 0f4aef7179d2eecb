"""ORM rows: one class per table, used as Core tables; every query is in ``rfq_service.db.repositories``.

Who may read what is granted to the login roles of ``rfq_service/db/roles.py`` in the migrations, by row and by column:
the client firm (rfq, rfq_leg, evaluation, decision), one dealer firm (invitation), both (quote, active_quote,
quote_end, fill, fill_leg; the dealer without the client's id), the party that was told (stream_entry, stream_head), or
everybody (firm, instrument, market_bar).
"""

from rfq_service.db.tables.base import Base, table_of
from rfq_service.db.tables.evaluation import DecisionRow, EvaluationRow
from rfq_service.db.tables.event import EventLeafRow, EventRow, SequencerRow, StreamEntryRow, StreamHeadRow
from rfq_service.db.tables.firm import ApiKeyRow, AuditGrantRow, FirmRow, TokenKeyRow
from rfq_service.db.tables.idempotency import IdempotencyKeyRow
from rfq_service.db.tables.instrument import InstrumentRow, MarketBarRow
from rfq_service.db.tables.quote import ActiveQuoteRow, FillLegRow, FillRow, QuoteEndRow, QuoteRow
from rfq_service.db.tables.rfq import InvitationRow, RfqLegRow, RfqRow

__all__ = [
    "ActiveQuoteRow",
    "ApiKeyRow",
    "AuditGrantRow",
    "Base",
    "DecisionRow",
    "EvaluationRow",
    "EventLeafRow",
    "EventRow",
    "FillLegRow",
    "FillRow",
    "FirmRow",
    "IdempotencyKeyRow",
    "InstrumentRow",
    "InvitationRow",
    "MarketBarRow",
    "QuoteEndRow",
    "QuoteRow",
    "RfqLegRow",
    "RfqRow",
    "SequencerRow",
    "StreamEntryRow",
    "StreamHeadRow",
    "TokenKeyRow",
    "table_of",
]
