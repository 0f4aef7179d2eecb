"""The sockets of one replica: how many there may be, when each is looked at, and why they are closed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Protocol

from rfq_service.api.board_feed import BoardFeed
from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.identifiers import ApiKeyId
from rfq_service.settings import StreamSettings

_LOOK_EVERY_S = 0.5
# Of all sockets, the share that may wait for their token: those who bring it with the connection find room beside them.
_WAITING_SHARE = 4


class CloseCode(IntEnum):
    """Why the service closes a socket."""

    GOING_DOWN = 1012
    FAILURE = 1011
    TRY_LATER = 1013
    BAD_MESSAGE = 4400
    UNAUTHENTICATED = 4401
    FORBIDDEN = 4403
    TOO_SLOW = 4408
    TOO_MANY = 4409


class SocketClosedError(Exception):
    """Ends a socket.

    Attributes:
        error: what the client is told before, where it can be told anything.
    """

    def __init__(self, code: CloseCode, error: RfqError | None = None) -> None:
        super().__init__(code.name)
        self.code = code
        self.error = error


class Session(Protocol):
    """One socket."""

    @property
    def wants_board(self) -> bool:
        """Whether it is to be woken when the board has changed."""

    def look(self) -> None:
        """See whether it may go on and whether it is due to say something."""

    def wake(self) -> None:
        """There may be something to send."""

    def cut(self, code: CloseCode) -> None:
        """End it now, whatever it is doing."""


class Sockets:
    """Counts sockets and looks at each in turn.

    Attributes:
        board: what they are told of the market.
    """

    def __init__(self, settings: StreamSettings, board: BoardFeed) -> None:
        self.board = board
        self._settings = settings
        self._sessions: set[Session] = set()
        self._of_key: Counter[ApiKeyId] = Counter()
        self._waiting = 0

    @property
    def open(self) -> int:
        """How many there are, those included that have not said who they are."""
        return len(self._sessions)

    @contextmanager
    def place(self, session: Session) -> Iterator[None]:
        """A place among the sockets of the replica; raises ``SocketClosedError`` when there is none."""
        if len(self._sessions) >= self._settings.sockets_max:
            raise _too_many("this replica serves no more sockets; try another, or later")
        self._sessions.add(session)
        try:
            yield
        finally:
            self._sessions.discard(session)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A place among those that have yet to send their token; raises as ``place``."""
        if self._waiting >= max(1, self._settings.sockets_max // _WAITING_SHARE):
            raise _too_many("too many sockets wait for a token; send it in the header Authorization")
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    def charge(self, key_id: ApiKeyId) -> None:
        """Count a socket of a key; raises as ``place`` when it has too many."""
        if self._of_key[key_id] >= self._settings.sockets_per_key:
            raise _too_many(f"one key may have {self._settings.sockets_per_key} sockets")
        self._of_key[key_id] += 1

    def release(self, key_id: ApiKeyId) -> None:
        """Count a socket of a key no longer."""
        self._of_key[key_id] -= 1
        if not self._of_key[key_id]:
            del self._of_key[key_id]

    async def run(self) -> None:
        """Look after the sockets for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_board())
            group.create_task(self._look_at_all())

    def close(self) -> None:
        """End all of them: the service is going down."""
        for session in tuple(self._sessions):
            session.cut(CloseCode.GOING_DOWN)

    async def _follow_board(self) -> None:
        told = 0
        while True:
            await asyncio.sleep(self._settings.board_ms / 1_000)
            listening = [session for session in self._sessions if session.wants_board]
            if listening:
                self.board.refresh()
            # not by what the refresh says: a newcomer, who refreshes too, may have seen the change first
            if self.board.version != told:
                told = self.board.version
                for session in listening:
                    session.wake()

    async def _look_at_all(self) -> None:
        while True:
            await asyncio.sleep(min(_LOOK_EVERY_S, self._settings.heartbeat_s / 2))
            for session in tuple(self._sessions):
                session.look()


def _too_many(detail: str) -> SocketClosedError:
    return SocketClosedError(CloseCode.TOO_MANY, RfqError(ErrorCode.RATE_LIMITED, detail))
