"""Two clients, two dealers, an auditor and an operator, with a row of each client in every table, in plain SQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg

from rfq_service.db.roles import role_dsn

ANNA, BERT = UUID(int=0xA), UUID(int=0xB)  # clients
DORA, EMIL = UUID(int=0xD), UUID(int=0xE)  # dealers: Anna asks both, Bert asks Emil alone
AUDITOR, OPERATOR = UUID(int=0x1), UUID(int=0x2)
CLIENTS, DEALERS = (ANNA, BERT), (DORA, EMIL)


def identifier(table: int, client: UUID, number: int = 0) -> UUID:
    """A UUIDv7 of January 2027 that says what it is the id of."""
    return UUID(f"01a0b23c-{table:04x}-7000-8000-{client.int:04x}{number:08x}")


RFQ, INVITATION, QUOTE, EVALUATION, DECISION, FILL, EVENT, KEY = range(1, 9)

_FIRMS = """
    INSERT INTO firm SELECT id, 'Firm ' || right(id::text, 1), right(id::text, 1) IN ('d', 'e')
    FROM unnest($1::uuid[]) AS id
"""
_RFQ = """
    INSERT INTO rfq VALUES ($1, $2, 'buy', 1, 'any_part', NULL, 1, 1, 9, 7.77, 'reference', true, 'open', 0, $3)
"""
_LEG = "INSERT INTO rfq_leg VALUES ($1, 0, $2, 'ABC', 'buy', 1)"
_INVITATION = """
    INSERT INTO invitation VALUES ($1, $2, $3, NULL, 'buy', 1, 'any_part', NULL, 1, 1, 9, '[]', '{ABC}', 'open', NULL,
                                   NULL, $4)
"""
_QUOTE = "INSERT INTO quote VALUES ($1, $2, $3, $4, 'Dealer', NULL, NULL, 5, NULL, 1, 1, 8)"
_ACTIVE = "INSERT INTO active_quote VALUES ($1, $2, 8, $3)"
_END = "INSERT INTO quote_end VALUES ($1, $2, $3, 'accepted', 'hit', 2)"
_EVALUATION = "INSERT INTO evaluation VALUES ($1, $2, $3, $4, $5, 'buy', 'dear', '{}', 1, 1, 1, '{}')"
_DECISION = "INSERT INTO decision VALUES ($1, $2, $3, 1, 'accept', $4, 'model', false, '{}', '{}', 1)"
_FILL = "INSERT INTO fill VALUES ($1, $2, $3, $4, $5, 'buy', 1, 5, 2)"
_FILL_LEG = "INSERT INTO fill_leg VALUES ($1, 0, $2, $3, 'ABC', 'buy', 1, 5)"
_EVENT = """
    INSERT INTO event (id, kind, occurred_at_ns, client_firm_id, dealer_firm_id, rfq_id, quote_id, payload_json,
                       audience, position)
    VALUES ($1, 'fill.booked', 2, $2, $3, $4, $5, '{}', 'both', 0)
"""
_RECORD = "INSERT INTO idempotency_key VALUES ($1, $2, $3, $3, 200, 'reply', 1, 9)"
_API_KEY = "INSERT INTO api_key VALUES ($1, $2, $3, 'rfq_', '', 1, NULL, 'buy_side', '{rfq:read}', NULL, NULL, NULL)"


async def settle(owner: asyncpg.Connection) -> None:
    """Each client's first quote is filled, by Emil; Anna has one by Dora that is still active."""
    await owner.execute(_FIRMS, [*CLIENTS, *DEALERS, AUDITOR, OPERATOR])
    await owner.execute(
        "INSERT INTO instrument VALUES ('ABC', 'T', 'ABC', 'spot', 'linear', 'A', 'B', 'B', 1, 1, 1, 1, 9, 1, 0);"
        "INSERT INTO market_bar VALUES ('ABC', 1, 1, 1, 1, 1, 1, 1, 1, 1)"
    )
    for client in CLIENTS:
        await _settle_client(owner, client, [DORA, EMIL] if client == ANNA else [EMIL])
    quote_id = identifier(QUOTE, ANNA, 1)
    await owner.execute(_QUOTE, quote_id, identifier(RFQ, ANNA), ANNA, DORA)
    await owner.execute(_ACTIVE, quote_id, identifier(RFQ, ANNA), ANNA)
    await owner.execute(_ACTIVE, identifier(QUOTE, BERT), identifier(RFQ, BERT), BERT)
    await owner.execute("INSERT INTO token_key VALUES ($1, $2, $2, 1)", identifier(KEY, OPERATOR), bytes(32))
    await owner.execute("SELECT sequence_events(100, 3)")


async def _settle_client(owner: asyncpg.Connection, client: UUID, panel: list[UUID]) -> None:
    rfq_id, quote_id, decision_id = (identifier(table, client) for table in (RFQ, QUOTE, DECISION))
    await owner.execute(_RFQ, rfq_id, client, panel)
    await owner.execute(_LEG, rfq_id, client)
    for number, dealer in enumerate(panel):
        await owner.execute(_INVITATION, identifier(INVITATION, client, number), rfq_id, dealer, client)
    await owner.execute(_QUOTE, quote_id, rfq_id, client, EMIL)
    await owner.execute(_END, quote_id, client, EMIL)
    await owner.execute(_EVALUATION, identifier(EVALUATION, client), decision_id, rfq_id, quote_id, client)
    await owner.execute(_DECISION, decision_id, rfq_id, client, quote_id)
    await owner.execute(_FILL, identifier(FILL, client), rfq_id, quote_id, client, EMIL)
    await owner.execute(_FILL_LEG, identifier(FILL, client), client, EMIL)
    await owner.execute(_EVENT, identifier(EVENT, client), client, EMIL, rfq_id, quote_id)
    digest = client.bytes * 2
    for firm, operation in ((client, "accept_quote"), (EMIL if client == ANNA else DORA, "post_quote")):
        await owner.execute(_RECORD, firm, operation, digest)
    await owner.execute(_API_KEY, identifier(KEY, client), client, digest)


@asynccontextmanager
async def connected(dsn: str, role: str = "") -> AsyncIterator[asyncpg.Connection]:
    """A connection as a role, or as the owner."""
    connection = await asyncpg.connect(role_dsn(dsn, role) if role else dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def enter(connection: asyncpg.Connection, **settings: UUID | tuple[UUID, ...]) -> None:
    """Name firms to the policies, for the transaction that is open."""
    for name, value in settings.items():
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        await connection.execute("SELECT set_config($1, $2, true)", f"app.{name}", text)
