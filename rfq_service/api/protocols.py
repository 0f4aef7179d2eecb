"""uvicorn's protocols, bounded before anybody has said who he is: what a connection may cost in memory and in time.

uvicorn itself waits for ever for the rest of a request and keeps as much of its head as is sent.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

# Of a request, what is not body: its line, headers, the framing of chunks, trailers. Above what the API refuses by 431.
OVERHEAD_BYTES_MAX = 65_536
# From the first byte (or the connection) to the last one of the request; the API's own deadline is shorter.
_REQUEST_TIMEOUT_S = 10.0
# For a client who does not read his answer.
_UNREAD_TIMEOUT_S = 30.0
# For a client who does not read: time to read what was sent before the end, when cut off and when the service stops.
_LINGER_S = 10.0
_LINGER_AT_STOP_S = 3.0
# Pieces of one message of a socket.
_FRAGMENTS_MAX = 1_000


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP: a request comes within its time and without endless headers, and its answer is read."""

    _overhead_bytes = 0
    _arriving: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._end_waiting()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take the next bytes; those of a body are taken off again by ``on_body``."""
        self._overhead_bytes += len(data)
        super().data_received(data)
        if self._overhead_bytes > OVERHEAD_BYTES_MAX and not self.transport.is_closing():
            self.logger.warning("A request with endless headers was cut off.")
            self.transport.abort()

    def on_message_begin(self) -> None:
        """Wait for the rest of a request."""
        super().on_message_begin()
        self._await_request()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body, which the API bounds."""
        self._overhead_bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is here."""
        self._end_waiting()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """From here on it is a socket."""
        self._end_waiting()
        super().handle_websocket_upgrade()

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._unread = self.loop.call_later(_UNREAD_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        """He does again."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _await_request(self) -> None:
        if self._arriving is None:
            self._arriving = self.loop.call_later(_REQUEST_TIMEOUT_S, self.transport.close)

    def _end_waiting(self) -> None:
        self._overhead_bytes = 0
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None


class StreamProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, for clients who do not read: the close frame is sent at once, and the end does not wait."""

    async def send(self, message: Any) -> None:
        """Send a message; a close frame goes behind what the client has not read yet, however much that is."""
        if message["type"] == "websocket.close":
            self.writable.set()
        await super().send(message)

    async def run_asgi(self) -> None:
        """Serve the socket; then give the client a little time to read what is left."""
        await super().run_asgi()
        self._abort_in(_LINGER_S)

    def handle_ping(self) -> None:
        """Answer a ping; one who sends them and does not read the answers must not hold our memory."""
        super().handle_ping()
        if not self.writable.is_set():
            self.transport.abort()

    def handle_cont(self, event: Frame) -> None:
        """Take a piece of a message, of which the size is bounded; empty pieces have none."""
        super().handle_cont(event)
        if len(self.frames) > _FRAGMENTS_MAX:
            self.transport.abort()

    def shutdown(self) -> None:
        """End the socket as the server goes down."""
        super().shutdown()
        self._abort_in(_LINGER_AT_STOP_S)

    def _abort_in(self, delay_s: float) -> None:
        self.loop.call_later(delay_s, self.transport.abort)
