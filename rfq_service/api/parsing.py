"""Strict reading of requests: what is unknown, repeated, ambiguous or not exactly representable is refused by name.

Litestar's own conversion is lenient (numbers from strings, unknown and repeated keys in silence), so bodies and query
strings are read here, in one pass each.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, TypeVar
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
from litestar.types import Receive, Scope

from rfq_service.domain.errors import ErrorCode, RfqError

S = TypeVar("S", bound=msgspec.Struct)
# By name in lower case.
Headers = Mapping[str, str]

_MEDIA_TYPE = re.compile(r"application/json\s*(;\s*charset\s*=\s*\"?utf-8\"?\s*)?", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CURSOR = re.compile(r"[A-Za-z0-9_-]{22}")
_WHERE = re.compile(r"(?P<reason>.*?)(?: - at `(?:key in )?\$\.?(?P<path>[^`]*)`)?", re.DOTALL)
_FIELD_NAME = re.compile(r"Object (?P<kind>contains unknown|missing required) field `(?P<name>.*)`", re.DOTALL)
_QUERY_FIELDS_MAX = 32


def headers_of(scope: Scope) -> Headers:
    """The headers of a request; of one that is repeated, the first."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(list(scope["headers"]))}


async def read_body(receive: Receive, headers: Headers, body_max_bytes: int) -> bytes:
    """The whole body, which is empty or declared as JSON.

    Raises:
        RfqError: ``UNSUPPORTED_MEDIA_TYPE``; ``BODY_TOO_LARGE`` as soon as the length, declared or seen, is too large.
    """
    declared = headers.get("content-length", "0")
    if not declared.isascii() or not declared.isdigit() or len(declared) > 18:
        raise RfqError(ErrorCode.MALFORMED_BODY, "the Content-Length is not a number")
    if int(declared) > body_max_bytes:
        _refuse_size(body_max_bytes)
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise RfqError(ErrorCode.MALFORMED_BODY, "the connection was closed before the body was complete")
        chunk = message["body"]
        size += len(chunk)
        if size > body_max_bytes:
            _refuse_size(body_max_bytes)
        chunks.append(chunk)
        more = message["more_body"]
    if size and (not _MEDIA_TYPE.fullmatch(headers.get("content-type", "")) or "content-encoding" in headers):
        raise RfqError(ErrorCode.UNSUPPORTED_MEDIA_TYPE, "the body must be application/json in UTF-8, not compressed")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _refuse_size(body_max_bytes: int) -> NoReturn:
    raise RfqError(ErrorCode.BODY_TOO_LARGE, f"at most {body_max_bytes} bytes")


def parse_body(body: bytes, kind: type[S], depth_max: int) -> S:
    """A request struct from JSON bytes.

    Raises:
        RfqError: ``MALFORMED_BODY``, ``DUPLICATE_KEY``, ``NESTING_TOO_DEEP``, ``NUL_BYTE``, ``UNKNOWN_FIELD`` or
            ``INVALID_FIELD``, the last two with the path of the field.
    """
    tree = parse_json(body, depth_max)
    try:
        return msgspec.convert(tree, kind)
    except msgspec.ValidationError as error:
        raise _validation_error(str(error)) from None


def parse_json(body: bytes, depth_max: int) -> dict[str, Any]:
    """A JSON object without duplicate keys, NULs, lone surrogates or deep nesting; raises like ``parse_body``."""
    try:
        tree = _decoder.decode(body.decode())
    except RecursionError:
        raise RfqError(ErrorCode.NESTING_TOO_DEEP, f"at most {depth_max} levels") from None
    except ValueError as error:  # UnicodeDecodeError, JSONDecodeError, and integers of thousands of digits
        raise RfqError(ErrorCode.MALFORMED_BODY, f"not valid JSON in UTF-8: {error}") from None
    if not isinstance(tree, dict):
        raise RfqError(ErrorCode.MALFORMED_BODY, "the body must be a JSON object")
    # The brackets bound the depth and only an escape can hide a NUL or half a character: walk the tree when in doubt.
    if body.count(b"{") + body.count(b"[") > depth_max or b"\\u" in body:
        _check_tree(tree, depth_max)
    return tree


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        name = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise RfqError(ErrorCode.DUPLICATE_KEY, "the key is given twice", _printable(name))
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise RfqError(ErrorCode.NOT_FINITE, f"{name} is not JSON and no number here")


_decoder = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)


def _check_tree(tree: Any, depth_max: int) -> None:
    level = [tree]
    for _ in range(depth_max + 1):
        level = [child for node in level for child in _children(node)]
        if not level:
            return
    raise RfqError(ErrorCode.NESTING_TOO_DEEP, f"at most {depth_max} levels")


def _children(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        yield from node
        yield from node.values()
    elif isinstance(node, list):
        yield from node
    elif isinstance(node, str):
        check_text(node)


def check_text(text: str, field: str = "") -> str:
    """Refuse what no database text can hold: ``NUL_BYTE``, and ``MALFORMED_BODY`` for half a UTF-16 pair."""
    if "\x00" in text:
        raise RfqError(ErrorCode.NUL_BYTE, "text must not contain the character U+0000", field)
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise RfqError(ErrorCode.MALFORMED_BODY, "text must not contain half a surrogate pair", field)
    return text


def _validation_error(message: str) -> RfqError:
    """Msgspec's refusal with our code and path: ``… - at `$.legs[0].ratio``` is the field ``legs[0].ratio``."""
    match = _WHERE.fullmatch(message)
    reason, path = (match["reason"], match["path"] or "") if match else (message, "")
    named = _FIELD_NAME.fullmatch(reason)
    if named is None:
        return RfqError(ErrorCode.INVALID_FIELD, reason, path)
    field = f"{path}.{named['name']}" if path else named["name"]
    if named["kind"] == "missing required":
        return RfqError(ErrorCode.INVALID_FIELD, "is required", field)
    return RfqError(ErrorCode.UNKNOWN_FIELD, "no such field", _printable(field))


def _printable(name: str) -> str:
    """A name the caller made up, fit to be sent back."""
    return name[:200].encode("ascii", "backslashreplace").decode()


def parse_query(query_string: bytes, kind: type[S]) -> S:
    """A struct from the query string; every parameter known, given once and valid.

    Raises:
        RfqError: ``UNKNOWN_PARAMETER``, ``REPEATED_PARAMETER``, ``INVALID_PARAMETER`` or ``NUL_BYTE``.
    """
    values: dict[str, str] = {}
    for name, value in _query_pairs(query_string):
        if name in values:
            raise RfqError(ErrorCode.REPEATED_PARAMETER, "the parameter is given twice", _printable(name))
        values[name] = check_text(value, _printable(name))
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        wrong = _validation_error(str(error))
        is_unknown = wrong.code is ErrorCode.UNKNOWN_FIELD
        code = ErrorCode.UNKNOWN_PARAMETER if is_unknown else ErrorCode.INVALID_PARAMETER
        raise RfqError(code, "no such parameter" if is_unknown else wrong.detail, wrong.field) from None


def _query_pairs(query_string: bytes) -> list[tuple[str, str]]:
    if not query_string:
        return []
    try:
        return parse_qsl(
            query_string.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_QUERY_FIELDS_MAX,
        )
    except ValueError:  # UnicodeDecodeError included
        raise RfqError(ErrorCode.INVALID_PARAMETER, "the query string is malformed or too long") from None


def parse_path_id(text: str, unknown: ErrorCode) -> UUID:
    """An id from the path. What is no UUID names nothing, so it is answered with ``unknown`` too."""
    if not _UUID.fullmatch(text):
        raise RfqError(unknown, "no such id")
    return UUID(text)


def parse_cursor(text: str) -> UUID:
    """Where a page goes on; raises ``INVALID_CURSOR`` for anything that ``format_cursor`` did not make."""
    try:
        cursor = UUID(bytes=base64.urlsafe_b64decode(f"{text}==")) if _CURSOR.fullmatch(text) else None
    except (ValueError, binascii.Error):
        cursor = None
    if cursor is None or format_cursor(cursor) != text:
        raise RfqError(ErrorCode.INVALID_CURSOR, "take it from next_cursor of the page before", "cursor")
    return cursor


def format_cursor(last: UUID | None) -> str | None:
    """An opaque cursor of the last id on a page."""
    return None if last is None else base64.urlsafe_b64encode(last.bytes).decode().rstrip("=")
