"""Real servers that misbehave as told: one that answers by a script, and a proxy that loses what the service said."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

TOKEN_PATH = "/v1/oauth/token"


@dataclass(frozen=True)
class Request:
    """What arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    at_s: float


Behaviour = Callable[[socket.socket], bool]


def answer(status: int, body: Any = None, **headers: str) -> Behaviour:
    """Answer with JSON, and keep the connection."""
    content = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
    named = {"Content-Type": "application/json", "Content-Length": str(len(content))}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in named.items()) + "\r\n"

    def behave(connection: socket.socket) -> bool:
        connection.sendall(head.encode() + content)
        return True

    return behave


def problem(status: int, code: str, **headers: str) -> Behaviour:
    """Answer with an error as the service words it."""
    fields = {"type": "urn:x", "title": "X", "status": status, "detail": "so it is", "code": code, "field": "a.b"}
    return answer(status, {**fields, "trace_id": "0" * 32}, **headers)


def drop(connection: socket.socket) -> bool:
    """Close without a word, though the request has been read."""
    return False


def half(connection: socket.socket) -> bool:
    """Close in the middle of the reply."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    return False


def late(delay_s: float, then: Behaviour) -> Behaviour:
    """Wait first."""

    def behave(connection: socket.socket) -> bool:
        time.sleep(delay_s)
        return then(connection)

    return behave


@dataclass
class Script:
    """What to do with the requests of each path, in turn; the last one is repeated."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    behaviours: dict[str, list[Behaviour]] = field(default_factory=lambda: defaultdict(list))
    token_life_s: int = 300
    tokens: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.target.split("?")[0] == path]

    def next(self, request: Request) -> Behaviour:
        with self.lock:
            self.requests.append(request)
            path = request.target.split("?")[0]
            told = self.behaviours[path]
            if path == TOKEN_PATH and not told:
                self.tokens += 1
                return answer(200, token_reply(f"token-{self.tokens}", self.token_life_s))
            return told.pop(0) if len(told) > 1 else told[0]


def token_reply(token: str, life_s: int = 300) -> dict[str, Any]:
    return {"access_token": token, "token_type": "Bearer", "expires_in": life_s, "scope": "rfq:read"}


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with self.request.makefile("rb") as stream:
            while (request := _read(stream)) is not None:
                try:
                    if not self.server.script.next(request)(self.request):
                        return
                except OSError:
                    return


def _read(stream: Any) -> Request | None:
    line = stream.readline()
    if not line:
        return None
    method, target, _ = line.decode().split(" ")
    headers: dict[str, str] = {}
    while (header := stream.readline().decode().strip()) != "":
        name, _, value = header.partition(":")
        headers[name.lower()] = value.strip()
    body = stream.read(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body, time.monotonic())


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    script: Script


@contextmanager
def scripted() -> Iterator[Script]:
    """An HTTP server on a free port that follows a script."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.script = Script(url=f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.script
        finally:
            server.shutdown()
            thread.join()


class LossyProxy:
    """Passes bytes on to a service. ``lose`` makes it cut the connection in place of the next replies to a path."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._to_lose: dict[bytes, int] = {}
        self._open: set[socket.socket] = set()
        self.lost = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def lose(self, path_end: str, times: int = 1) -> None:
        """Lose the next replies to requests whose path ends like this: they are made, but nobody hears of it."""
        with self._lock:
            self._to_lose[path_end.encode()] = times

    def cut(self) -> None:
        """Cut every connection now."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            _shut(connection)

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as upstream:
            with self._lock:
                self._open |= {client, upstream}
            losing = threading.Event()
            back = threading.Thread(target=self._back, args=(upstream, client, losing), daemon=True)
            back.start()
            while chunk := _receive(client):
                if self._is_to_lose(chunk):
                    losing.set()
                upstream.sendall(chunk)
            _shut(upstream)
            back.join()
            with self._lock:
                self._open -= {client, upstream}

    def _back(self, upstream: socket.socket, client: socket.socket, losing: threading.Event) -> None:
        while chunk := _receive(upstream):
            if losing.is_set():
                self.lost += 1
                break
            try:
                client.sendall(chunk)
            except OSError:
                break
        _shut(client)

    def _is_to_lose(self, chunk: bytes) -> bool:
        path = chunk.split(b" ", 2)[1] if chunk.startswith((b"POST ", b"GET ")) else b""
        with self._lock:
            for end, left in self._to_lose.items():
                if left and path.endswith(end):
                    self._to_lose[end] = left - 1
                    return True
        return False


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65_536)
    except OSError:
        return b""


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
