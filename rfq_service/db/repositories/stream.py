"""The numbering of committed events and the reading of streams; on asyncpg itself, as both happen all the time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from rfq_service.db.engine import scope_statement
from rfq_service.domain.identifiers import EventId, FirmId, QuoteId, RfqId
from rfq_service.domain.stream import Party, StreamBounds, StreamEntry, StreamKey

# Told by every step that has numbered something, with the last leaf index as its text.
CHANNEL = "rfq_stream"

_COLUMNS = "firm_id, party, number, leaf_index, event_id, kind, occurred_at_ns, rfq_id, quote_id, payload_json"
_STEP = "SELECT numbered, is_pending, last_leaf_index, oldest_pending_ns FROM sequence_events($1, $2)"
_PURGE = "SELECT purge_stream($1, $2)"
# One round trip: the firms are named by what the entries are joined to, so before the policies look at any of them.
_SINCE = (
    "WITH scope AS MATERIALIZED (SELECT set_config('app.firms', $1, true) AS firms, $2::bigint AS cursor) "  # noqa: S608
    f"SELECT found.* FROM scope CROSS JOIN LATERAL (SELECT {_COLUMNS} FROM stream_entry "
    "WHERE leaf_index > scope.cursor ORDER BY leaf_index LIMIT $3) AS found"
)
_AFTER = (
    f"SELECT {_COLUMNS} FROM stream_entry WHERE firm_id = $1 AND party = $2 AND number > $3 "  # noqa: S608
    "ORDER BY number LIMIT $4"
)
_BOUNDS = (
    "SELECT (SELECT min(number) FROM stream_entry WHERE firm_id = $1 AND party = $2) AS first, "
    "(SELECT last_number FROM stream_head WHERE firm_id = $1 AND party = $2) AS last"
)


@dataclass(frozen=True, slots=True)
class SequencerStep:
    """What one step did.

    Attributes:
        is_pending: whether committed events are left that it could not, or was not to, number yet.
        oldest_pending_ns: when the first of them occurred, UTC ns.
    """

    numbered: int
    is_pending: bool
    last_leaf_index: int
    oldest_pending_ns: int | None


async def sequence_events(connection: asyncpg.Connection, most: int, now_ns: int) -> SequencerStep:
    """Number committed events, at most so many, wholly or not at all."""
    return SequencerStep(*await connection.fetchrow(_STEP, most, now_ns))


async def purge_stream(connection: asyncpg.Connection, before_ns: int, most: int) -> int:
    """Remove the oldest entries numbered before a time; return how many."""
    purged: int = await connection.fetchval(_PURGE, before_ns, most)
    return purged


class StreamReader:
    """Reads streams on one connection; each read names the firms it is for, and sees no others."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def since(self, firms: Iterable[UUID], leaf_index: int, most: int) -> list[StreamEntry]:
        """Entries of these firms beyond a leaf index, in the order of their numbering."""
        named = ",".join(map(str, firms))
        return [_to_entry(row) for row in await self._connection.fetch(_SINCE, named, leaf_index, most)]

    async def after(self, key: StreamKey, number: int, most: int) -> list[StreamEntry]:
        """Entries of one stream beyond a number."""
        rows = await self._fetch([key.firm_id], _AFTER, key.firm_id, key.party.value, number, most)
        return [_to_entry(row) for row in rows]

    async def bounds(self, key: StreamKey) -> StreamBounds:
        """What is kept of one stream."""
        ((first, last),) = await self._fetch([key.firm_id], _BOUNDS, key.firm_id, key.party.value)
        last = last or 0
        return StreamBounds(first=last + 1 if first is None else first, last=last)

    async def _fetch(self, firms: Iterable[UUID], statement: str, *arguments: object) -> Sequence[Any]:
        self._connection.after_begin = scope_statement(firms=firms)
        async with self._connection.transaction(readonly=True):
            rows: Sequence[Any] = await self._connection.fetch(statement, *arguments)
        return rows


def _to_entry(row: Any) -> StreamEntry:
    return StreamEntry(
        key=StreamKey(FirmId(row["firm_id"]), Party(row["party"])),
        number=row["number"],
        leaf_index=row["leaf_index"],
        event_id=EventId(row["event_id"]),
        kind=row["kind"],
        occurred_at_ns=row["occurred_at_ns"],
        rfq_id=None if row["rfq_id"] is None else RfqId(row["rfq_id"]),
        quote_id=None if row["quote_id"] is None else QuoteId(row["quote_id"]),
        payload_json=row["payload_json"],
    )
