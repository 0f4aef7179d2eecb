"""``/v1/stream``: the caller's own events and the board, over a WebSocket; ``docs/stream.md`` has the protocol."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from litestar import WebSocket
from litestar.exceptions import WebSocketDisconnect
from litestar.handlers import WebsocketRouteHandler

from rfq_service.api.dependencies import Runtime
from rfq_service.api.parsing import Headers, check_headers, headers_of
from rfq_service.api.schemas.stream import error_text
from rfq_service.api.sockets import CloseCode, SocketClosedError
from rfq_service.api.stream_session import StreamSession
from rfq_service.domain.errors import RfqError
from rfq_service.monitoring.instruments import STREAM_CLOSED

STREAM_PATH = "/v1/stream"
_GOODBYE_TIMEOUT_S = 1.0
_REASON_LENGTH_MAX = 120
_log = structlog.get_logger(__name__)


def stream_handler(runtime: Runtime) -> WebsocketRouteHandler:
    """The Litestar handler that serves sockets with the parts of ``runtime``."""

    async def stream(socket: WebSocket[Any, Any, Any]) -> None:
        await _serve(runtime, socket)

    return WebsocketRouteHandler(STREAM_PATH, name="stream")(stream)


async def _serve(runtime: Runtime, socket: WebSocket[Any, Any, Any]) -> None:
    headers = headers_of(socket.scope)
    if not _is_origin_allowed(headers, runtime.settings.stream.origins):
        _count(runtime, CloseCode.FORBIDDEN)
        await socket.receive()
        await socket.close(CloseCode.FORBIDDEN)  # before it is accepted: 403
        return
    try:
        await socket.accept()
        session = StreamSession(runtime, socket)
        try:
            check_headers(socket.scope, headers)
            with runtime.sockets.place(session):
                await session.serve(headers)
        except SocketClosedError as closed:
            await _close(runtime, socket, closed)
        except RfqError as error:
            await _close(runtime, socket, SocketClosedError(CloseCode.BAD_MESSAGE, error))
        except Exception:  # noqa: BLE001 - told below, and to nobody else
            _log.exception("stream_failed")
            await _close(runtime, socket, SocketClosedError(CloseCode.FAILURE))
    except (OSError, WebSocketDisconnect, TimeoutError):
        return  # the client has gone, or reads nothing


def _is_origin_allowed(headers: Headers, allowed: str) -> bool:
    """Browsers name the page that connects, programs do not: a page must be one of ours."""
    origin = headers.get("origin")
    return origin is None or origin in {name.strip() for name in allowed.split(",") if name.strip()}


async def _close(runtime: Runtime, socket: WebSocket[Any, Any, Any], closed: SocketClosedError) -> None:
    _count(runtime, closed.code)
    async with asyncio.timeout(_GOODBYE_TIMEOUT_S):
        if closed.error is not None:
            await socket.send({"type": "websocket.send", "bytes": None, "text": error_text(closed.error)})
        reason = "" if closed.error is None else closed.error.code
        await socket.send({"type": "websocket.close", "code": int(closed.code), "reason": reason[:_REASON_LENGTH_MAX]})


def _count(runtime: Runtime, code: CloseCode) -> None:
    runtime.telemetry.count(STREAM_CLOSED.name, reason=code.name.lower())
