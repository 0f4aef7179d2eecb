"""RFQs that are about to change: those that quotes arrive for, locked and read, and those whose time has come.

On asyncpg itself, as the first happens with every quote and the second all the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import asyncpg

from rfq_service.db.repositories.conversion import to_side_price
from rfq_service.domain.changes import RfqBook
from rfq_service.domain.identifiers import FirmId, InstrumentId, QuoteId, RfqId
from rfq_service.domain.quote import Quote
from rfq_service.domain.rfq import Leg, Rfq, RfqState, RfqTerms, SizeMode
from rfq_service.domain.units import RequestSide, Side

_LOCK = "SELECT dealer_firm_id, rfq_id FROM lock_invited_rfqs($1, $2)"
# A row for each active quote; of those that have ended only how many there are and whose.
_READ = """
SELECT r.id, r.client_firm_id, r.side, r.quantity, r.size_mode, r.minimum_quantity, r.price_increment, r.created_at_ns,
    r.expires_at_ns, r.limit_price, r.client_reference, r.anonymous, r.state, r.filled_quantity, r.panel_firm_ids,
    legs.instrument_ids, legs.sides, legs.ratios, ever.quote_count, ever.dealer_ids,
    q.id AS quote_id, q.dealer_firm_id, q.dealer_name, q.bid_price, q.bid_leg_prices, q.ask_price, q.ask_leg_prices,
    q.quantity AS quote_quantity, q.received_at_ns, q.valid_until_ns
FROM rfq r
CROSS JOIN LATERAL (
    SELECT array_agg(l.instrument_id ORDER BY l.position) AS instrument_ids, array_agg(l.side ORDER BY l.position)
        AS sides, array_agg(l.ratio ORDER BY l.position) AS ratios
    FROM rfq_leg l WHERE l.rfq_id = r.id
) legs
CROSS JOIN LATERAL (
    SELECT count(*) AS quote_count, array_agg(DISTINCT e.dealer_firm_id) AS dealer_ids FROM quote e
    WHERE e.rfq_id = r.id
) ever
LEFT JOIN active_quote a ON a.rfq_id = r.id
LEFT JOIN quote q ON q.id = a.quote_id
WHERE r.id = ANY ($1)
ORDER BY r.id, q.id
"""
_DUE = "SELECT * FROM due_rfqs($1, $2) UNION SELECT * FROM due_quotes($1, $2)"


async def lock_invited(
    connection: asyncpg.Connection, pairs: Sequence[tuple[FirmId, RfqId]]
) -> dict[tuple[FirmId, RfqId], RfqBook]:
    """Lock the RFQs of several dealers' quotes, in an order that is the same for everybody, and read them.

    The books are without quotes that have ended. Pairs of a dealer and an RFQ he is not invited to are left out.
    Nothing is written before it in its transaction.
    """
    found = await connection.fetch(_LOCK, [dealer for dealer, _ in pairs], [rfq_id for _, rfq_id in pairs])
    if not found:
        return {}
    # a statement of its own: that of the locks sees the moment before them
    rows = await connection.fetch(_READ, list({rfq_id for _, rfq_id in found}))
    books = {rfq_id: _to_book(list(group)) for rfq_id, group in groupby(rows, key=lambda row: row["id"])}
    return {(dealer, rfq_id): books[rfq_id] for dealer, rfq_id in found}


async def find_due(connection: asyncpg.Connection, now_ns: int, most: int) -> list[tuple[RfqId, FirmId]]:
    """RFQs with their clients: up to ``most`` that are open beyond their time, and those of up to ``most`` quotes.

    A quote that is good until its RFQ ends goes with it.
    """
    return [(RfqId(rfq_id), FirmId(client)) for rfq_id, client in await connection.fetch(_DUE, now_ns, most)]


def _to_book(rows: Sequence[Any]) -> RfqBook:
    first = rows[0]
    rfq = _to_rfq(first)
    quotes = tuple([_to_quote(rfq.rfq_id, row) for row in rows if row["quote_id"] is not None])
    return RfqBook(
        rfq=rfq,
        panel=tuple(first["panel_firm_ids"]),
        quotes=quotes,
        ended_count=first["quote_count"] - len(quotes),
        ended_dealers=frozenset(first["dealer_ids"] or ()),
    )


def _to_rfq(row: Any) -> Rfq:
    legs = zip(row["instrument_ids"], row["sides"], row["ratios"], strict=True)
    return Rfq(
        rfq_id=RfqId(row["id"]),
        client_firm_id=FirmId(row["client_firm_id"]),
        terms=RfqTerms(
            legs=tuple([Leg(InstrumentId(name), Side(side), ratio) for name, side, ratio in legs]),
            side=RequestSide(row["side"]),
            quantity=row["quantity"],
            size_mode=SizeMode(row["size_mode"]),
            minimum_quantity=row["minimum_quantity"],
            price_increment=row["price_increment"],
            created_at_ns=row["created_at_ns"],
            expires_at_ns=row["expires_at_ns"],
        ),
        limit_price=row["limit_price"],
        client_reference=row["client_reference"],
        anonymous=row["anonymous"],
        state=RfqState(row["state"]),
        filled_quantity=row["filled_quantity"],
    )


def _to_quote(rfq_id: RfqId, row: Any) -> Quote:
    return Quote(
        quote_id=QuoteId(row["quote_id"]),
        rfq_id=rfq_id,
        dealer_firm_id=FirmId(row["dealer_firm_id"]),
        dealer_name=row["dealer_name"],
        bid=to_side_price(row["bid_price"], row["bid_leg_prices"]),
        ask=to_side_price(row["ask_price"], row["ask_leg_prices"]),
        quantity=row["quote_quantity"],
        received_at_ns=row["received_at_ns"],
        valid_until_ns=row["valid_until_ns"],
    )
