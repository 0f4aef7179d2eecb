"""Finds the commits in a connection to PostgreSQL, so that a proxy can lose just their replies.

A commit is a simple query ``COMMIT``, or an execution outside any transaction block of a statement that writes: such a
statement commits by itself. The reply to lose is everything up to the next ReadyForQuery, which the server sends only
when the commit is durable.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum

from tests.support.proxy import Cut

_SSL_REQUEST, _GSS_REQUEST = 80_877_103, 80_877_104
_WRITING = ("INSERT INTO", "SEQUENCE_EVENTS")


class Fate(StrEnum):
    """What is to become of a commit."""

    KEEP = "keep"
    LOSE_REPLY = "lose_reply"
    LOSE_REQUEST = "lose_request"


class Chooser:
    """Decides the fate of every commit, and counts.

    Args:
        choose: asked at each commit, with the statement's text.
    """

    def __init__(self, choose: Callable[[str], Fate] = lambda _sql: Fate.KEEP) -> None:
        self.choose = choose
        self.counts: Counter[Fate] = Counter()

    def fate(self, sql: str) -> Fate:
        """The fate of this commit."""
        fate = self.choose(sql)
        self.counts[fate] += 1
        return fate


class CommitTap:
    """Watches one connection, and cuts it at the commits that ``chooser`` names."""

    def __init__(self, chooser: Chooser) -> None:
        self._chooser = chooser
        self._client, self._server = _Frames(has_types=False), _Frames(has_types=True)
        self._statements: dict[bytes, str] = {}
        self._is_in_transaction = False
        self._is_deaf = False
        self._plain_answers = 0

    def to_server(self, chunk: bytes) -> bytes:
        """Read the client's messages; a request that is to be lost ends the connection before it is sent."""
        for kind, payload in self._client.feed(chunk):
            if kind == b"":
                self._read_opening(payload)
                continue
            commit = self._commit_in(kind, payload)
            fate = Fate.KEEP if commit is None else self._chooser.fate(commit)
            if fate is Fate.LOSE_REQUEST:
                raise Cut
            self._is_deaf |= fate is Fate.LOSE_REPLY
        return chunk

    def to_client(self, chunk: bytes) -> bytes:
        """Read the server's messages; a reply that is to be lost is swallowed, and ends the connection."""
        rest = chunk
        while self._plain_answers and rest:  # one letter to each request for encryption
            self._plain_answers -= 1
            rest = rest[1:]
        for kind, payload in self._server.feed(rest):
            if kind == b"Z":
                self._is_in_transaction = payload != b"I"
                if self._is_deaf:
                    raise Cut
        return b"" if self._is_deaf else chunk

    def _read_opening(self, payload: bytes) -> None:
        code = struct.unpack("!i", payload[:4])[0]
        if code in (_SSL_REQUEST, _GSS_REQUEST):
            self._plain_answers += 1
        else:
            self._client.has_types = True

    def _commit_in(self, kind: bytes, payload: bytes) -> str | None:
        """The text of the statement that commits with this message, if it is one."""
        if kind == b"P":
            name, sql, _ = payload.split(b"\0", 2)
            self._statements[name] = sql.decode()
            return None
        if kind == b"Q":
            sql_text = payload.rstrip(b"\0").decode()
        elif kind == b"B":
            sql_text = self._statements.get(payload.split(b"\0", 2)[1], "")
        else:
            return None
        upper = sql_text.lstrip().upper()
        writes_alone = not self._is_in_transaction and any(word in upper for word in _WRITING)
        return sql_text if upper.startswith("COMMIT") or writes_alone else None


class _Frames:
    """Cuts a byte stream into messages: a type letter (empty before the start-up message), a length, a payload."""

    def __init__(self, *, has_types: bool) -> None:
        self.has_types = has_types
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> Iterator[tuple[bytes, bytes]]:
        self._buffer += chunk
        while True:
            start = 1 if self.has_types else 0
            if len(self._buffer) < start + 4:
                return
            length = struct.unpack_from("!i", self._buffer, start)[0]
            if len(self._buffer) < start + length:
                return
            kind, payload = bytes(self._buffer[:start]), bytes(self._buffer[start + 4 : start + length])
            del self._buffer[: start + length]
            yield kind, payload
