"""One call of the API as a value: what is sent, and what the reply is. Nothing is sent here."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import quote, urlencode
from uuid import UUID

import msgspec

from rfq_service.client.values import decode, present

T = TypeVar("T")
_KEY = re.compile(r"[!-~]{1,255}")
T_co = TypeVar("T_co", covariant=True)


class Page(Protocol[T_co]):
    """One page of a listing; ``next_cursor`` continues it, ``None`` at the end."""

    @property
    def items(self) -> Sequence[T_co]:
        """What is on it."""

    @property
    def next_cursor(self) -> str | None:
        """Where it goes on."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """One call.

    Attributes:
        name: id of the operation in the OpenAPI document.
        reply: type of the reply; ``str`` for text.
        idempotency_key: only of calls that change something, which are made exactly once by it.
        body: JSON of the request; byte for byte the same at every attempt, as the key belongs to these bytes.
        is_public: needs no token.
        answers: statuses besides 2xx that carry the reply.
        media_type: of the body.
        cursor_parameter: which parameter continues a listing.
    """

    name: str
    method: str
    path: str
    reply: type[T_co]
    idempotency_key: str = ""
    body: bytes = b""
    query: Mapping[str, str] = field(default_factory=dict)
    is_public: bool = False
    answers: frozenset[int] = frozenset()
    media_type: str = "application/json"
    cursor_parameter: str = "cursor"

    @property
    def target(self) -> str:
        """Path and query string."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path

    def read(self, content: bytes) -> T_co:
        """The reply; raises ``msgspec.MsgspecError`` when the content is none."""
        if self.reply is str:
            return content.decode()  # type: ignore[return-value]  # mypy does not see that T_co is str here
        return decode(content, self.reply)

    def from_cursor(self, cursor: str) -> Call[T_co]:
        """The same listing from ``cursor`` on."""
        return replace(self, query={**self.query, self.cursor_parameter: cursor})


def get(name: str, path: str, reply: type[T], *, is_public: bool = False, **query: str | int | UUID | None) -> Call[T]:
    """A call that reads. A trailing underscore of a parameter's name is left off, as in ``from_``."""
    texts = {parameter.rstrip("_"): str(value) for parameter, value in present(query).items()}
    return Call(name, "GET", path, reply, query=texts, is_public=is_public)


def post(name: str, path: str, reply: type[T], body: Mapping[str, Any]) -> Call[T]:
    """A call with a body that changes nothing."""
    return Call(name, "POST", path, reply, body=msgspec.json.encode(present(body)))


def change(
    name: str,
    path: str,
    reply: type[T],
    idempotency_key: str | None,
    body: Mapping[str, Any] | None = None,
    *,
    keep_none: bool = False,
) -> Call[T]:
    """A call that changes something, with the caller's key or a new one; ``keep_none`` says ``null`` for ``None``.

    Raises:
        ValueError: for a key that is not 1 to 255 visible ASCII characters.
    """
    key = secrets.token_urlsafe(18) if idempotency_key is None else idempotency_key
    if not _KEY.fullmatch(key):
        raise ValueError("an idempotency key is 1 to 255 visible ASCII characters")
    content = b"" if body is None else msgspec.json.encode(body if keep_none else present(body))
    return Call(name, "POST", path, reply, key, content)


def segment(value: str | UUID) -> str:
    """A value in a path."""
    return quote(str(value), safe="")
