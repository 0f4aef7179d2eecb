# Who has no key, or one, and floods: raw bytes against the real server. Nobody else may notice.
from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import os

import httpx
import pytest

from rfq_service.api import protocols
from rfq_service.domain.identity import Role
from tests.stream.service import closed, eventually, say, serving, subscribe

HEAD = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
PING, TEXT, CONTINUATION = 0x9, 0x1, 0x0


async def dial(service):
    return await asyncio.open_connection("127.0.0.1", service.port)


async def is_ended(reader, timeout_s=5.0):
    """Whether the service ends the connection in time, whatever it says before."""
    try:
        async with asyncio.timeout(timeout_s):
            while await reader.read(65_536):
                pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


async def flood(writer, piece, most_bytes):
    """Bytes sent until the service ends the connection; ``most_bytes`` when it does not."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(10):
            while sent < most_bytes and not writer.is_closing():
                writer.write(piece)
                await writer.drain()
                sent += len(piece)
    return sent


async def shake_hands(service):
    reader, writer = await dial(service)
    key = base64.b64encode(os.urandom(16))
    upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key
    writer.write(b"GET /v1/stream HTTP/1.1\r\nHost: x\r\n" + upgrade + b"\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    return reader, writer


def frame(opcode, payload=b"", *, is_last=True):
    return bytes([(0x80 if is_last else 0) | opcode, 0x80 | len(payload)]) + bytes(4) + payload


@pytest.mark.parametrize(
    "start, piece",
    [
        (HEAD + b"X: ", b"a" * 16_384),
        (HEAD, b"X: y\r\n" * 2_000),
        (b"GET /", b"a" * 16_384),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 2_000),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"a" * 16_384),
    ],
    ids=["one endless header", "endless headers", "an endless address", "endless trailers", "an endless chunk"],
)
async def test_a_request_without_end_is_cut_off(database_dsn, start, piece):
    async with serving(database_dsn) as service:
        _, writer = await dial(service)
        writer.write(start)
        assert await flood(writer, piece, 64_000_000) < 16_000_000  # what the kernel's buffers hold beyond the bound
        writer.close()


async def test_headers_within_the_bound_are_answered(database_dsn):
    async with serving(database_dsn) as service:
        reader, writer = await dial(service)
        writer.write(HEAD + b"X: " + b"a" * (protocols.OVERHEAD_BYTES_MAX - 1_000) + b"\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 431")
        writer.close()


@pytest.mark.parametrize(
    "start, drop",
    [
        (b"", b""),
        (HEAD, b"X: y\r\n"),
        (HEAD + b"Content-Length: 100000\r\n\r\n", b"a"),
        (HEAD + b"\r\n" + HEAD, b"X: y\r\n"),
    ],
    ids=["nothing", "a header at a time", "a body that trickles", "a second request that trickles"],
)
async def test_a_connection_that_dawdles_is_ended(database_dsn, monkeypatch, start, drop):
    monkeypatch.setattr(protocols, "_REQUEST_TIMEOUT_S", 0.5)
    async with serving(database_dsn) as service:
        reader, writer = await dial(service)
        writer.write(start)

        async def trickle():
            with contextlib.suppress(ConnectionError):
                while drop:
                    writer.write(drop)
                    await asyncio.sleep(0.05)

        task = asyncio.create_task(trickle())
        assert await is_ended(reader)
        task.cancel()
        writer.close()
        await eventually(lambda: not service.server.server_state.connections)


async def test_a_connection_that_is_used_stays(database_dsn, monkeypatch):
    monkeypatch.setattr(protocols, "_REQUEST_TIMEOUT_S", 0.5)
    async with serving(database_dsn) as service:
        reader, writer = await dial(service)
        for _ in range(4):
            writer.write(HEAD + b"\r\n")
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.3)
        writer.close()
        token = await service.token(await service.firm("Alder"))
        async with service.open(token) as connection:
            await asyncio.sleep(0.8)
            assert (await subscribe(connection, "quotes"))["type"] == "subscribed"


async def test_an_answer_that_nobody_reads_is_dropped(database_dsn, monkeypatch):
    monkeypatch.setattr(protocols, "_UNREAD_TIMEOUT_S", 0.5)
    async with serving(database_dsn) as service:
        _, writer = await dial(service)
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(3):
                while True:  # the document is long: a few hundred fill every buffer on the way
                    writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
                    await writer.drain()
                    await asyncio.sleep(0.001)
        await eventually(lambda: not service.server.server_state.connections)
        writer.close()


@pytest.mark.parametrize(
    "start, piece",
    [(b"", frame(PING, b"p" * 125) * 1_000), (frame(TEXT, is_last=False), frame(CONTINUATION, is_last=False) * 2_000)],
    ids=["pings whose answers are not read", "a message of empty pieces"],
)
async def test_a_socket_that_floods_is_cut_off(database_dsn, start, piece):
    async with serving(database_dsn, auth_timeout_s=30.0) as service:
        _, writer = await shake_hands(service)
        writer.write(start)
        assert await flood(writer, piece, 64_000_000) < 32_000_000
        writer.close()


async def test_sockets_without_a_token_leave_room_for_those_with_one(database_dsn):
    async with serving(database_dsn, sockets_max=8, auth_timeout_s=30.0) as service:
        token = await service.token(await service.firm("Alder"))
        async with service.open() as first, service.open() as second:
            await eventually(lambda: service.runtime.sockets.open == 2)
            async with service.open() as one_more:
                assert await closed(one_more) == 4409
            async with service.open(token) as known:
                assert (await subscribe(known, "quotes"))["type"] == "subscribed"
            await say(first, op="auth", token=token)
            assert (await subscribe(first, "quotes"))["type"] == "subscribed"
            async with service.open() as again:  # a place is free once one has said who he is
                await say(again, op="auth", token=token)
                assert (await subscribe(again, "quotes"))["type"] == "subscribed"
            await second.close()


async def test_subscriptions_count_as_requests_of_the_key(database_dsn):
    async with serving(database_dsn) as service:
        token = await service.token(await service.firm("Alder"))
        most = service.runtime.settings.http.rate_burst
        async with service.open(token) as connection:
            for number in itertools.count():
                told = await subscribe(connection, "quotes")
                if told["type"] == "error":
                    break
                assert number < 100 * most
            assert told["code"] == "RATE_LIMITED"


async def test_one_firm_that_sends_slowly_leaves_room_for_others(database_dsn):
    async with serving(database_dsn) as service:
        slow = await service.token(await service.firm("Alder"))
        other = await service.token(await service.firm("Birch", is_dealer=True), Role.DEALER)
        head = f"POST /v1/rfqs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {slow}\r\n".encode()
        most = service.runtime.settings.http.in_flight_max
        writers = []
        for number in range(most + 20):
            _, writer = await dial(service)
            writer.write(head + b"Idempotency-Key: %d\r\nContent-Length: 100\r\n\r\n{" % number)
            writers.append(writer)
        await eventually(lambda: service.runtime.gate.protected.in_flight >= most // 2)
        await asyncio.sleep(0.3)
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {other}"}) as http:
            assert (await http.get(f"http://127.0.0.1:{service.port}/v1/dealer/rfqs")).status_code == 200
        for writer in writers:
            writer.close()
