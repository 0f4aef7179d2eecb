"""Who comes next at an RFQ."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

from rfq_service.domain.identifiers import RfqId


class Turns:
    """One change of an RFQ at a time in this replica, before it takes a database connection.

    The database's lock decides between replicas and would do so here too, but a crowd that waits for it at one RFQ
    would hold the connections that all firms share.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[RfqId, asyncio.Lock] = WeakValueDictionary()

    def at(self, rfq_id: RfqId) -> asyncio.Lock:
        """To be held, by ``async with``, around a transaction that changes the RFQ."""
        return self._locks.setdefault(rfq_id, asyncio.Lock())
