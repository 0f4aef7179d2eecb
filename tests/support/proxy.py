"""A TCP proxy of the loopback that fails on demand: it refuses, cuts, delays, freezes, or loses just the right reply.

It lives in a thread with an event loop of its own, so that a test may drive it while it does something else.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

T = TypeVar("T")
_CHUNK_BYTES = 65_536
_TIMEOUT_S = 20.0
# close() then sends RST at once: what a cable, a firewall or a dying host does, not an orderly end
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Cut(Exception):  # noqa: N818 - an order, not a failure
    """Raised by a tap: end this connection now, without passing on the chunk at hand."""


class Tap(Protocol):
    """Watches one connection. Each method returns what is to be passed on, or raises ``Cut``."""

    def to_server(self, chunk: bytes) -> bytes:
        """Look at what the client sent."""
        ...

    def to_client(self, chunk: bytes) -> bytes:
        """Look at what the server answered."""
        ...


class PlainTap:
    """Passes everything on."""

    def to_server(self, chunk: bytes) -> bytes:
        """Everything."""
        return chunk

    def to_client(self, chunk: bytes) -> bytes:
        """Everything."""
        return chunk


@dataclass(slots=True)
class _Direction:
    """One way through the proxy: whether it flows now and how long each chunk is held, in seconds."""

    flows: asyncio.Event = field(default_factory=asyncio.Event)
    delay_s: float = 0.0


class TcpProxy:
    """Forwards a port of 127.0.0.1 to another.

    Args:
        target_port: where to.
        new_tap: called for each connection; its tap sees all that passes.
    """

    def __init__(self, target_port: int, new_tap: Callable[[], Tap] = PlainTap) -> None:
        self._target_port = target_port
        self._new_tap = new_tap
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tcp-proxy", daemon=True)
        self._ways = {"to_server": _Direction(), "to_client": _Direction()}
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._is_refusing = False
        self.port = 0

    def __enter__(self) -> Self:
        for way in self._ways.values():
            way.flows.set()
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_TIMEOUT_S)
        self._loop.close()

    def refuse(self, *, is_refusing: bool) -> None:
        """Reset every new connection at once, or serve them again."""
        self._is_refusing = is_refusing

    def cut(self) -> int:
        """Reset every connection there is; return how many."""
        return self._do(self._cut())

    def freeze(self, *directions: str) -> None:
        """Hold what flows ``to_server`` or ``to_client``, without closing anything; both when none is named."""
        for name in directions or self._ways:
            self._loop.call_soon_threadsafe(self._ways[name].flows.clear)

    def thaw(self) -> None:
        """Let everything flow again, what was held first."""
        for way in self._ways.values():
            self._loop.call_soon_threadsafe(way.flows.set)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Nothing passes within the block."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def delay(self, direction: str, delay_s: float) -> None:
        """Hold each chunk of a direction for some seconds; 0 ends it."""
        self._ways[direction].delay_s = delay_s

    def _do(self, work: Awaitable[T]) -> T:
        async def run() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(_TIMEOUT_S)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for way in self._ways.values():
            way.flows.set()
        await self._cut()
        # they end by themselves: a cancelled one would be logged as an error by asyncio's server
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _cut(self) -> int:
        writers = list(self._open)
        for writer in writers:
            _reset(writer)
        return len(writers) // 2

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side, the tap or the test ends it."""
        task = asyncio.current_task()
        if task is not None:  # always: start_server runs this as a task
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._open.add(writer)
        with contextlib.suppress(OSError):
            if not self._is_refusing:
                await self._join(reader, writer)
        self._open.discard(writer)
        _reset(writer)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._open.add(server_writer)
        tap = self._new_tap()
        pumps = [
            asyncio.create_task(self._pump("to_server", reader, server_writer, tap.to_server)),
            asyncio.create_task(self._pump("to_client", server_reader, writer, tap.to_client)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._open.discard(server_writer)
            _reset(server_writer)

    async def _pump(
        self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, look: Callable[[bytes], bytes]
    ) -> None:
        direction = self._ways[way]
        with contextlib.suppress(OSError, Cut):
            while chunk := await reader.read(_CHUNK_BYTES):
                if direction.delay_s:
                    await asyncio.sleep(direction.delay_s)
                await direction.flows.wait()
                writer.write(look(chunk))
                await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    raw: Any = writer.get_extra_info("socket")
    if raw is not None and not writer.is_closing():
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
