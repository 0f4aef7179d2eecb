"""The stream over its socket: connects, renews the token, reconnects and resumes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Protocol, Self

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from rfq_service.client.errors import (
    UNREACHABLE,
    UNREADABLE,
    Forbidden,
    RateLimited,
    RfqServiceError,
    StreamRefused,
    Unavailable,
)
from rfq_service.client.exchange import Policy
from rfq_service.client.schemas.event import StreamItem, Topic
from rfq_service.client.stream_state import StreamState
from rfq_service.client.tokens import Token

STREAM_PATH = "/v1/stream"
# Heartbeats come every 5 s unless configured otherwise: who says nothing for so long is asked, then given up.
_SILENCE_S_MAX = 8.0
_FRAMES_MAX = 1_024
_FRAME_BYTES_MAX = 16 * 1024 * 1024
_CLOSE_TIMEOUT_S = 1.0
_BAD_MESSAGE, _UNAUTHENTICATED, _FORBIDDEN = 4400, 4401, 4403

# What another connection can cure.
_CURABLE = (OSError, TimeoutError, WebSocketException, msgspec.MsgspecError, Unavailable, RateLimited)

_log = logging.getLogger("rfq_service.client")
# The socket's own log shows headers and messages, and with them tokens, when it is allowed to say everything.
_socket_log = logging.getLogger("rfq_service.client.socket")
_socket_log.setLevel(logging.INFO)


class TokenSource(Protocol):
    """Where a stream gets its tokens."""

    async def token(self) -> Token:
        """A usable token; raises ``RfqServiceError``."""

    def reject(self, text: str) -> None:
        """The service has refused this token."""


class Stream:
    """Events and board updates, in order, each once, over as many connections as it takes.

    ``async with`` subscribes before its block begins; iterating without it subscribes first. Up to a thousand frames
    wait in the socket; who reads too slowly is disconnected by the service and resumes by himself.

    Args:
        url: of the service.
        tokens: where tokens come from.
        topics: what to subscribe to.
        after: number to resume after; ``None`` from now on.
        instruments: which markets of the board; empty for all.
        policy: pauses, and the deadline of the first connection; later ones are tried for ever.
    """

    def __init__(
        self,
        url: str,
        tokens: TokenSource,
        topics: Sequence[Topic],
        after: int | None = None,
        instruments: Sequence[str] = (),
        policy: Policy = Policy(),  # noqa: B008 - immutable
    ) -> None:
        self._url = "ws" + url.removeprefix("http") + STREAM_PATH
        self._tokens = tokens
        self._policy = policy
        self._state = StreamState(topics, after, instruments)
        self._socket: ClientConnection | None = None
        self._token: Token | None = None
        self._ready: list[StreamItem] = []
        self._opening: asyncio.Task[None] | None = None
        self._failures = 0
        self._pause_s = 0.0
        self._is_asked = False
        self._has_connected = False
        self._deadline_s = 0.0
        self._is_closed = False

    @property
    def number(self) -> int | None:
        """Everything up to this number has been handed over: resume ``after`` it. ``None`` before the start."""
        return self._state.number

    async def __aenter__(self) -> Self:
        try:
            await self.connect()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamItem:
        while not self._is_closed:
            if self._ready:
                return self._ready.pop(0)
            try:
                await self._receive(await self._connected())
            except _CURABLE as error:
                if not self._is_closed:
                    await self._lost(error)
        raise StopAsyncIteration

    async def next(self, timeout_s: float) -> StreamItem | None:
        """The next item, ``None`` when there is none in time, or none any more."""
        try:
            async with asyncio.timeout(timeout_s):
                return await anext(self, None)
        except TimeoutError:
            return None

    async def connect(self) -> None:
        """Subscribe now, so that nothing that happens from here on is missed; raises ``RfqServiceError``."""
        while self._socket is None:
            try:
                await self._connected()
            except _CURABLE as error:
                await self._lost(error)

    async def aclose(self) -> None:
        """Close; iterations end."""
        self._is_closed = True
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
        await self._drop()

    async def _connected(self) -> ClientConnection:
        """The open socket. Connecting goes on where a caller has stopped to wait for it, so that short waits add up."""
        if self._socket is None:
            self._deadline_s = self._deadline_s or time.monotonic() + self._policy.deadline_s
            if self._opening is None:
                self._opening = asyncio.create_task(self._open_in_time())
            opening = self._opening
            await asyncio.wait((opening,))
            self._opening = None
            if not opening.cancelled():
                opening.result()
        if self._socket is None:
            raise Unavailable(0, UNREACHABLE, "the stream was closed while it connected")
        return self._socket

    async def _open_in_time(self) -> None:
        await asyncio.sleep(self._pause_s)
        async with asyncio.timeout(self._policy.timeout_s):
            await self._open()

    async def _open(self) -> None:
        """Connect and wait until the service has taken the subscription."""
        self._token = await self._tokens.token()
        socket = await connect(
            self._url,
            additional_headers={"Authorization": f"Bearer {self._token.text}"},
            compression=None,
            open_timeout=None,
            close_timeout=_CLOSE_TIMEOUT_S,
            max_size=_FRAME_BYTES_MAX,
            max_queue=_FRAMES_MAX,
            logger=_socket_log,
        )
        try:
            await socket.send(self._state.connected())
            while not self._state.is_subscribed:
                self._take(await socket.recv())
        except BaseException:
            socket.transport.abort()
            raise
        self._socket = socket
        self._failures = 0
        self._has_connected = True

    async def _receive(self, socket: ClientConnection) -> None:
        """Wait for one frame, and for the next due renewal of the token meanwhile."""
        if self._state.must_subscribe:
            await socket.send(self._state.subscription())
            self._state.must_subscribe = False
        renew_in_s = 0.0 if self._token is None else self._token.renew_at_s - time.monotonic()
        if renew_in_s <= 0.0:
            token = await self._tokens.token()
            await socket.send(_message(op="auth", token=token.text))
            self._token = token
            return
        try:
            async with asyncio.timeout(min(renew_in_s, _SILENCE_S_MAX)):
                text = await socket.recv()
        except TimeoutError:
            if renew_in_s <= _SILENCE_S_MAX:
                return
            if self._is_asked:
                raise
            self._is_asked = True
            await socket.send(_message(op="ping"))
            return
        self._is_asked = False
        self._take(text)

    def _take(self, text: str | bytes) -> None:
        item = self._state.receive(text)
        if item is not None:
            self._ready.append(item)

    async def _lost(self, error: Exception) -> None:
        """See when the next attempt is made; raises ``RfqServiceError`` when there is none."""
        await self._drop()
        reason = self._state.complaint or str(error) or type(error).__name__
        self._check(error, reason)
        self._failures += 1
        self._pause_s = self._policy.pause(self._failures)
        self._is_asked = False
        if not self._has_connected and time.monotonic() + self._pause_s >= self._deadline_s:
            if isinstance(error, RfqServiceError):
                raise error
            raise Unavailable(0, UNREACHABLE, f"no stream: {reason}")
        _log.warning("stream lost (%s), resuming after %s in %.2f s", reason, self.number, self._pause_s)

    def _check(self, error: Exception, reason: str) -> None:
        if isinstance(error, msgspec.MsgspecError):
            raise RfqServiceError(0, UNREADABLE, f"a frame that is not understood: {error}")
        if isinstance(error, InvalidStatus):
            status = error.response.status_code
        elif isinstance(error, ConnectionClosed) and error.rcvd is not None:
            status = error.rcvd.code
        else:
            return
        if status in (HTTPStatus.UNAUTHORIZED, _UNAUTHENTICATED) and self._token is not None:
            self._tokens.reject(self._token.text)
        elif status in (HTTPStatus.FORBIDDEN, _FORBIDDEN):
            raise Forbidden(status, "FORBIDDEN", reason)
        elif status == _BAD_MESSAGE or (
            400 <= status < 500 and status not in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
        ):
            raise StreamRefused(status, "STREAM_REFUSED", reason)

    async def _drop(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()


def _message(**fields: str) -> str:
    return msgspec.json.encode(fields).decode()
