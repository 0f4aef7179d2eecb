"""ORM rows: one class per table, used as Core tables; every query is in ``rfq_service.db.repositories``.

Who may read a table is one answer for all its columns: the client firm (rfq, rfq_leg, evaluation, decision), one dealer
firm (invitation), both (quote, active_quote, quote_end, fill, fill_leg, event), or everybody (firm, instrument,
market_bar). ``api_key`` is read by the service alone.
"""

from rfq_service.db.tables.base import Base, table_of
from rfq_service.db.tables.evaluation import DecisionRow, EvaluationRow
from rfq_service.db.tables.event import EventRow
from rfq_service.db.tables.firm import ApiKeyRow, FirmRow
from rfq_service.db.tables.instrument import InstrumentRow, MarketBarRow
from rfq_service.db.tables.quote import ActiveQuoteRow, FillLegRow, FillRow, QuoteEndRow, QuoteRow
from rfq_service.db.tables.rfq import InvitationRow, RfqLegRow, RfqRow

__all__ = [
    "ActiveQuoteRow",
    "ApiKeyRow",
    "Base",
    "DecisionRow",
    "EvaluationRow",
    "EventRow",
    "FillLegRow",
    "FillRow",
    "FirmRow",
    "InstrumentRow",
    "InvitationRow",
    "MarketBarRow",
    "QuoteEndRow",
    "QuoteRow",
    "RfqLegRow",
    "RfqRow",
    "table_of",
]
