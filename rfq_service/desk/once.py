"""Exactly once: a request that is repeated with its ``Idempotency-Key`` is answered with the same bytes.

Success asks the database nothing first: the reply is stored in the transaction of the effect, and a key used before
makes that transaction fail. Only then, or when the request is refused, or when the outcome of an earlier try is not
known, is the stored reply looked up. Refusals have no effect and are not stored: a repetition is judged anew.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from rfq_service.db.engine import Databases
from rfq_service.db.repositories.idempotency import KeyUsedError
from rfq_service.db.unit_of_work import UnitOfWork
from rfq_service.domain.clock import Clock
from rfq_service.domain.errors import ErrorCode, InvariantError, RfqError
from rfq_service.domain.history import IdempotencyRecord
from rfq_service.domain.identifiers import FirmId
from rfq_service.domain.identity import Role

# After these nobody knows whether the request took effect; its repetition finds out.
_UNKNOWN_OUTCOMES = frozenset({ErrorCode.DATABASE_UNAVAILABLE, ErrorCode.DEADLINE_EXCEEDED, ErrorCode.INTERNAL})
_UNDECIDED_MAX = 10_000
_REMEMBERED_BYTES = 16 * 1024 * 1024

# Firm, operation and SHA-256 of the key: what a key is unique in.
OnceScope = tuple[FirmId, str, bytes]


@dataclass(slots=True)
class Once:
    """One request that takes effect at most once; the use case stores what ``record`` returns with its effect.

    Attributes:
        status: HTTP status of the reply.
        keep_ns: how long the reply is kept, ns.
        encode: makes the reply of the use case's result.
        stored: the reply as it is stored, once ``record`` was called.
    """

    firm_id: FirmId
    operation: str
    key_digest: bytes
    request_digest: bytes
    status: int
    keep_ns: int
    encode: Callable[[Any], bytes]
    stored: IdempotencyRecord | None = None

    @property
    def scope(self) -> OnceScope:
        """What the key is unique in."""
        return self.firm_id, self.operation, self.key_digest

    @property
    def lock_key(self) -> int:
        """Number of the key's advisory lock."""
        text = f"{self.firm_id} {self.operation} ".encode() + self.key_digest
        return int.from_bytes(hashlib.sha256(text).digest()[:8], signed=True)

    def record(self, result: object, now_ns: int) -> IdempotencyRecord:
        """The reply to ``result``, to be stored in the transaction of the effect; the last one made is the one."""
        self.stored = IdempotencyRecord(
            firm_id=self.firm_id,
            operation=self.operation,
            key_digest=self.key_digest,
            request_digest=self.request_digest,
            status=self.status,
            body=self.encode(result),
            created_at_ns=now_ns,
            expires_at_ns=now_ns + self.keep_ns,
        )
        return self.stored


@dataclass(frozen=True, slots=True)
class OnceAnswer:
    """What to answer; ``is_replay`` when the request had taken effect before."""

    status: int
    body: bytes
    is_replay: bool


async def claim(uow: UnitOfWork, once: Once) -> None:
    """Begin an own transaction with the request's key, before anything is locked or written.

    Raises:
        RfqError: ``IDEMPOTENCY_IN_FLIGHT`` while another replica works on a request with the same key.
    """
    if not await uow.idempotency.try_lock(once.lock_key):
        raise _in_flight()


class OnceDesk:
    """Decides whether a request runs or is answered as before.

    It remembers replies of this replica's own, up to ``remembered_bytes``, so that a repetition costs no work at all.
    """

    def __init__(self, databases: Databases, clock: Clock, remembered_bytes: int = _REMEMBERED_BYTES) -> None:
        self._databases = databases
        self._clock = clock
        self._in_flight: set[OnceScope] = set()
        self._undecided: OrderedDict[OnceScope, None] = OrderedDict()
        self._remembered: OrderedDict[OnceScope, IdempotencyRecord] = OrderedDict()
        self._room = remembered_bytes

    async def run(self, role: Role, once: Once, work: Callable[[Once], Awaitable[object]]) -> OnceAnswer:
        """Do ``work``, or answer as it was answered before.

        Raises:
            RfqError: ``IDEMPOTENCY_KEY_REUSED`` when the key came with another request, ``IDEMPOTENCY_IN_FLIGHT``
                while one with it is at work, and whatever ``work`` refuses.
        """
        known = self._remembered.get(once.scope)
        # what the database has forgotten by now must not be remembered here: every replica gives the same answer
        if known is not None and self._clock.now_ns() < known.expires_at_ns:
            return _replay(once, known)
        if once.scope in self._in_flight:
            raise _in_flight()
        self._in_flight.add(once.scope)
        try:
            if once.scope in self._undecided:
                known = await self._look_up(role, once)
                if known is not None:
                    return _replay(once, known)
            return await self._work(role, once, work)
        finally:
            self._in_flight.discard(once.scope)

    async def _work(self, role: Role, once: Once, work: Callable[[Once], Awaitable[object]]) -> OnceAnswer:
        try:
            await work(once)
        except KeyUsedError:
            known = await self._look_up(role, once)
            if known is None:  # it was kept for as long as it is promised, and went between the two
                raise _in_flight() from None
            return _replay(once, known)
        except RfqError as refusal:
            if refusal.code in _UNKNOWN_OUTCOMES:
                self._leave_undecided(once)
                raise
            if refusal.code is ErrorCode.OVERLOADED:
                raise
            known = await self._look_up(role, once)
            if known is None:
                raise
            return _replay(once, known)
        except asyncio.CancelledError:  # the deadline, which may have come in the middle of a commit
            self._leave_undecided(once)
            raise
        if once.stored is None:
            raise InvariantError("a change stores its reply with its effect")
        self._remember(once.scope, once.stored)
        return OnceAnswer(once.status, once.stored.body, is_replay=False)

    async def _look_up(self, role: Role, once: Once) -> IdempotencyRecord | None:
        databases = self._databases
        if role is Role.BUY_SIDE:
            opened = databases.client.read(once.firm_id)
        elif role is Role.DEALER:
            opened = databases.dealer.read(once.firm_id)
        else:
            opened = databases.operator.begin(principal=once.firm_id)
        async with opened as uow:
            return await uow.idempotency.find(once.firm_id, once.operation, once.key_digest)

    def _leave_undecided(self, once: Once) -> None:
        self._undecided[once.scope] = None
        if len(self._undecided) > _UNDECIDED_MAX:
            self._undecided.popitem(last=False)

    def _remember(self, scope: OnceScope, record: IdempotencyRecord) -> None:
        self._undecided.pop(scope, None)
        replaced = self._remembered.pop(scope, None)
        if replaced is not None:
            self._room += len(replaced.body)
        self._remembered[scope] = record
        self._room -= len(record.body)
        while self._room < 0:
            _, oldest = self._remembered.popitem(last=False)
            self._room += len(oldest.body)


def _replay(once: Once, known: IdempotencyRecord) -> OnceAnswer:
    if known.request_digest != once.request_digest:
        raise RfqError(ErrorCode.IDEMPOTENCY_KEY_REUSED, "this Idempotency-Key was used for another request")
    return OnceAnswer(known.status, known.body, is_replay=True)


def _in_flight() -> RfqError:
    return RfqError(ErrorCode.IDEMPOTENCY_IN_FLIGHT, "a request with this Idempotency-Key is at work; try again")
