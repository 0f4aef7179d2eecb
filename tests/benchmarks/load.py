"""A small HTTP load generator: closed loop for capacity, open loop for latency. It sends to this machine only."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send requests; ``build`` makes path, headers and body of the n-th one."""

    port: int
    build: Callable[[int], tuple[str, dict[str, str], bytes]]

    def request(self, number: int) -> bytes:
        """The n-th request as bytes."""
        path, headers, body = self.build(number)
        lines = [f"POST {path} HTTP/1.1", f"Host: {_LOOPBACK}:{self.port}", f"Content-Length: {len(body)}"]
        lines += ["Content-Type: application/json", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + body


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request in flight; ``body`` is that of the last answer."""

    def __init__(self) -> None:
        self.body = b""
        self._buffer = b""
        self._answer: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Collect an answer; it has a Content-Length."""
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        lower = head.lower()
        start = lower.index(b"content-length:") + len(b"content-length:")
        length = int(lower[start:].split(b"\r\n", 1)[0])
        if len(rest) >= length and self._answer is not None:
            status = int(head[9:12])
            self.body, self._buffer = rest[:length], rest[length:]
            answer, self._answer = self._answer, None
            answer.set_result(status)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the request in flight."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("the server closed the connection"))

    async def send(self, request: bytes) -> int:
        """Send one request and return the status of its answer."""
        self._answer = asyncio.get_running_loop().create_future()
        if self._transport is None:
            raise ConnectionError("not connected")
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


async def connect(port: int, count: int) -> list[Connection]:
    """Open ``count`` connections."""
    loop = asyncio.get_running_loop()
    pairs = [await loop.create_connection(Connection, _LOOPBACK, port) for _ in range(count)]
    return [connection for _, connection in pairs]


async def closed_loop(target: Target, connections: int, requests: int, offset: int) -> float:
    """Send ``requests`` as fast as they are answered; return how many a second. Every answer must be a success."""
    opened = await connect(target.port, connections)
    numbers = iter(range(offset, offset + requests))

    async def work(connection: Connection) -> None:
        for number in numbers:
            check_status(await connection.send(target.request(number)))

    started = time.perf_counter()
    await asyncio.gather(*(work(connection) for connection in opened))
    elapsed = time.perf_counter() - started
    for connection in opened:
        connection.close()
    return requests / elapsed


async def open_loop(
    target: Target, connections: int, rate: float, requests: int, seed: int, offset: int
) -> list[float]:
    """Send at Poisson arrivals of ``rate`` a second whatever the answers do; return seconds from arrival to answer.

    The clock of a request starts when it was due, not when a connection was free (no coordinated omission).
    """
    free = deque(await connect(target.port, connections))
    waiting: deque[asyncio.Future[Connection]] = deque()
    draws = random.Random(seed)
    latencies: list[float] = []

    async def one(number: int, due: float) -> None:
        if free:
            connection = free.popleft()
        else:
            future: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
            waiting.append(future)
            connection = await future
        check_status(await connection.send(target.request(number)))
        latencies.append(time.perf_counter() - due)
        if waiting:
            waiting.popleft().set_result(connection)
        else:
            free.append(connection)

    due = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(offset, offset + requests):
            due += draws.expovariate(rate)
            delay = due - time.perf_counter()
            if delay > 0:
                await asyncio.sleep(delay)
            group.create_task(one(number, due))
    for connection in free:
        connection.close()
    return latencies


def check_status(status: int) -> None:
    """A benchmark of failures measures nothing."""
    if not 200 <= status < 300:
        raise RuntimeError(f"the server answered {status}")
