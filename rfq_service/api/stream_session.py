"""One socket of ``/v1/stream``: who is behind it, what he subscribed to, and what has been sent."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import structlog
from litestar import WebSocket
from litestar.exceptions import WebSocketDisconnect
from msgspec import UNSET

from rfq_service.api.dependencies import Runtime
from rfq_service.api.parsing import Headers
from rfq_service.api.schemas.stream import (
    PONG_TEXT,
    AuthIn,
    HeartbeatOut,
    SubscribedOut,
    SubscribeIn,
    board_text,
    error_text,
    read_message,
    resync_text,
    text_of,
)
from rfq_service.api.sockets import CloseCode, SocketClosedError
from rfq_service.desk.stream_hub import Subscription
from rfq_service.domain.clock import format_timestamp
from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.identity import Principal, Scope
from rfq_service.domain.stream import PARTY_OF_ROLE, CursorGoneError, StreamKey, Topic
from rfq_service.domain.units import NS_PER_S
from rfq_service.monitoring.instruments import STREAM_RESYNCS

_COMMANDS_MAX = 64
_DATABASE_RETRY_S = 0.5
_CLOSE_OF_ERROR = {
    ErrorCode.UNAUTHENTICATED: CloseCode.UNAUTHENTICATED,
    ErrorCode.FORBIDDEN: CloseCode.FORBIDDEN,
    ErrorCode.RATE_LIMITED: CloseCode.TOO_MANY,
    ErrorCode.DATABASE_UNAVAILABLE: CloseCode.TRY_LATER,
    ErrorCode.OVERLOADED: CloseCode.TRY_LATER,
}
_log = structlog.get_logger(__name__)


class StreamSession:
    """Reads the client's messages in one task and writes to him in another; the first to end ends the other."""

    def __init__(self, runtime: Runtime, socket: WebSocket[Any, Any, Any]) -> None:
        self._runtime = runtime
        self._socket = socket
        self._settings = runtime.settings.stream
        self._principal: Principal | None = None
        self._commands: deque[str | SubscribeIn] = deque()
        self._work = asyncio.Event()
        self._cut: asyncio.Future[CloseCode] = asyncio.get_running_loop().create_future()
        self._topics: frozenset[Topic] = frozenset()
        self._instruments: frozenset[str] | None = None
        self._reader: Subscription | None = None
        # Everything up to here has been sent.
        self._number = 0
        self._board_version: int | None = None
        self._heartbeat_at_ns = 0

    async def serve(self, headers: Headers) -> None:
        """Talk until the client goes.

        Raises:
            SocketClosedError: when the socket is to be closed from our side.
        """
        try:
            self._principal = await self._identify(headers)
            try:
                await self._talk()
            finally:
                self._runtime.sockets.release(self._principal.key_id)
        except RfqError as error:
            raise SocketClosedError(_CLOSE_OF_ERROR.get(error.code, CloseCode.BAD_MESSAGE), error) from None
        except (OSError, WebSocketDisconnect):
            return
        finally:
            if self._reader is not None:
                self._runtime.stream.close(self._reader)

    @property
    def wants_board(self) -> bool:
        """Whether it is to be woken when the board has changed."""
        return Topic.BOARD in self._topics

    def wake(self) -> None:
        """There may be something to send."""
        self._work.set()

    def cut(self, code: CloseCode) -> None:
        """End it now, also when it is waiting for the client to read."""
        if not self._cut.done():
            self._cut.set_result(code)

    def look(self) -> None:
        """See whether the token still holds, and whether a heartbeat is due."""
        if self._principal is None:
            return
        if not self._runtime.identity.is_valid(self._principal):
            self.cut(CloseCode.UNAUTHENTICATED)
        if self._is_heartbeat_due():
            self.wake()

    # ------------------------------------------------------------------------------------------------------ the client

    async def _identify(self, headers: Headers) -> Principal:
        """By header or first message, with a place among the sockets of the key."""
        if "authorization" in headers:
            principal = await self._runtime.identity.authenticate(headers)
        else:
            try:
                with self._runtime.sockets.waiting():
                    async with asyncio.timeout(self._settings.auth_timeout_s):
                        message = read_message(await self._receive())
            except TimeoutError:
                raise RfqError(ErrorCode.UNAUTHENTICATED, "no token came in time") from None
            if not isinstance(message, AuthIn):
                raise RfqError(ErrorCode.UNAUTHENTICATED, "the first message must bring a token")
            principal = await self._runtime.identity.verify(message.token)
        if principal.role not in PARTY_OF_ROLE:
            raise RfqError(ErrorCode.FORBIDDEN, f"not for keys with the role {principal.role}")
        self._check_scope(principal)
        self._runtime.gate.count_request(principal.key_id, {})
        self._runtime.sockets.charge(principal.key_id)
        return principal

    async def _talk(self) -> None:
        tasks = [asyncio.create_task(job()) for job in (self._read_for_ever, self._write_for_ever)]
        try:
            waited: list[asyncio.Future[Any]] = [*tasks, self._cut]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._cut.done():
            raise SocketClosedError(self._cut.result())

    async def _receive(self) -> str:
        message = await self._socket.receive()
        if message["type"] != "websocket.receive":
            raise WebSocketDisconnect(detail="the client has gone")
        text = message.get("text")
        if text is None:
            raise RfqError(ErrorCode.MALFORMED_BODY, "messages are JSON text, not binary")
        return str(text)

    async def _read_for_ever(self) -> None:
        while True:
            message = read_message(await self._receive())
            self._runtime.gate.count_request(self._identified.key_id, {})
            if isinstance(message, AuthIn):
                await self._renew(message.token)
                continue
            if len(self._commands) >= _COMMANDS_MAX:
                raise SocketClosedError(CloseCode.TOO_SLOW)
            self._commands.append(message if isinstance(message, SubscribeIn) else PONG_TEXT)
            self.wake()

    @property
    def _identified(self) -> Principal:
        if self._principal is None:
            raise RfqError(ErrorCode.UNAUTHENTICATED, "nobody has been identified")
        return self._principal

    async def _renew(self, token: str) -> None:
        """Go on with another token of the same firm and role, of the same key or of its successor."""
        old, new = self._identified, await self._runtime.identity.verify(token)
        if (new.firm.firm_id, new.role) != (old.firm.firm_id, old.role):
            raise RfqError(ErrorCode.FORBIDDEN, "the token is of another firm or role")
        self._check_scope(new)
        if new.key_id != old.key_id:
            self._runtime.sockets.charge(new.key_id)
            self._runtime.sockets.release(old.key_id)
        self._principal = new

    @staticmethod
    def _check_scope(principal: Principal) -> None:
        if Scope.RFQ_READ not in principal.scopes:
            raise RfqError(ErrorCode.FORBIDDEN, f"the token lacks the scope {Scope.RFQ_READ}")

    # ------------------------------------------------------------------------------------------------ what he is told

    async def _write_for_ever(self) -> None:
        while True:
            self._work.clear()
            while self._commands:
                command = self._commands.popleft()
                await (self._send(command) if isinstance(command, str) else self._subscribe(command))
            is_more = await self._send_events()
            await self._send_board()
            await self._send_heartbeat()
            if not is_more:
                await self._work.wait()

    async def _subscribe(self, wanted: SubscribeIn) -> None:
        """Put one subscription in the place of another; one that cannot be leaves the old one as it is.

        It reads the database, so it counts as a request of the key.
        """
        instruments = None if wanted.instruments is UNSET else frozenset(wanted.instruments)
        unknown = sorted((instruments or frozenset()) - {item.instrument_id for item in self._runtime.instruments()})
        if unknown:
            await self._send(error_text(RfqError(ErrorCode.UNKNOWN_INSTRUMENT, f"no instrument {unknown[0]}")))
            return
        key = StreamKey(self._identified.firm.firm_id, PARTY_OF_ROLE[self._identified.role])
        after = None if wanted.after is UNSET else wanted.after
        try:
            self._runtime.gate.count_request(self._identified.key_id, {})
            reader = await self._runtime.stream.open(key, after, self.wake, lambda: self.cut(CloseCode.TOO_SLOW))
        except CursorGoneError as gone:
            await self._resync(gone)
            return
        except RfqError as error:
            await self._send(error_text(error))
            return
        self._unsubscribe()
        self._reader, self._number = reader, reader.number
        self._topics, self._instruments = frozenset(wanted.topics), instruments
        await self._send(text_of(SubscribedOut(topics=wanted.topics, number=reader.number)))
        self._set_heartbeat()

    def _unsubscribe(self) -> None:
        if self._reader is not None:
            self._runtime.stream.close(self._reader)
        self._reader, self._topics, self._board_version = None, frozenset(), None

    async def _resync(self, gone: CursorGoneError) -> None:
        """What he asked for cannot be had without a gap: he is told where things stand and subscribed to nothing."""
        self._unsubscribe()
        self._runtime.telemetry.count(STREAM_RESYNCS.name)
        await self._send(resync_text(gone.bounds))

    async def _send_events(self) -> bool:
        """Send what comes next; whether there may be more at once."""
        reader = self._reader
        if reader is None:
            return False
        try:
            messages = await reader.take()
        except CursorGoneError as gone:
            await self._resync(gone)
            return False
        except RfqError as error:
            _log.warning("stream_page_not_read", code=error.code)
            await asyncio.sleep(_DATABASE_RETRY_S)
            return True
        for message in messages:
            if message.topic in self._topics:
                await self._send(message.text)
        self._number = reader.number
        return bool(messages)

    async def _send_board(self) -> None:
        if not self.wants_board:
            return
        feed, before = self._runtime.sockets.board, self._board_version
        if before is None:
            feed.refresh()
            self._board_version = feed.version
            await self._send(board_text(feed.snapshot(self._instruments), is_snapshot=True))
        elif feed.version > before:
            self._board_version = feed.version
            rows = feed.changes(before, self._instruments)
            if rows:
                await self._send(board_text(rows, is_snapshot=False))

    async def _send_heartbeat(self) -> None:
        if self._is_heartbeat_due():
            self._set_heartbeat()
            time = format_timestamp(self._runtime.clock.now_ns())
            await self._send(text_of(HeartbeatOut(number=self._number, time=time)))

    def _is_heartbeat_due(self) -> bool:
        return self._reader is not None and self._runtime.clock.monotonic_ns() >= self._heartbeat_at_ns

    def _set_heartbeat(self) -> None:
        interval_ns = round(self._settings.heartbeat_s * NS_PER_S)
        self._heartbeat_at_ns = self._runtime.clock.monotonic_ns() + interval_ns

    async def _send(self, text: str) -> None:
        """Send a message, for as long as settings allow: one who does not read must not hold our memory."""
        try:
            async with asyncio.timeout(self._settings.send_timeout_s):
                await self._socket.send({"type": "websocket.send", "bytes": None, "text": text})
        except TimeoutError:
            raise SocketClosedError(CloseCode.TOO_SLOW) from None
