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

JSON, FORM = "application/json", "application/x-www-form-urlencoded"
_CHARSET = r"\s*(;\s*charset\s*=\s*\"?utf-8\"?\s*)?"
_MEDIA_TYPES = {kind: re.compile(re.escape(kind) + _CHARSET, re.IGNORECASE) for kind in (JSON, FORM)}
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CURSOR = re.compile(r"[A-Za-z0-9_-]{22}")
_WHERE = re.compile(r"(?P<reason>.*?)(?: - at `(?:key in )?\$\.?(?P<path>[^`]*)`)?", re.DOTALL)
_FIELD_NAME = re.compile(r"Object (?P<kind>contains unknown|missing required) field `(?P<name>.*)`", re.DOTALL)
_QUERY_FIELDS_MAX = 32
_QUERY_BYTES_MAX = 8_192
_HEADERS_MAX = 100
_HEADERS_BYTES_MAX = 32_768
# Headers on which we act: two of them could be read in two ways, here and by a proxy before us.
_SINGLE_HEADERS = ("authorization", "idempotency-key", "content-length", "content-type")


def headers_of(scope: Scope) -> Headers:
    """The headers of a request; of one that is repeated, the first."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(list(scope["headers"]))}


def check_headers(scope: Scope, headers: Headers) -> None:
    """Refuse what is too much or ambiguous.

    Raises:
        RfqError: ``HEADERS_TOO_LARGE``; ``REPEATED_PARAMETER`` for a header on which we act and that is there twice.
    """
    raw = list(scope["headers"])
    if len(raw) > _HEADERS_MAX or sum(len(name) + len(value) for name, value in raw) > _HEADERS_BYTES_MAX:
        detail = f"at most {_HEADERS_MAX} headers with {_HEADERS_BYTES_MAX} bytes in all"
        raise RfqError(ErrorCode.HEADERS_TOO_LARGE, detail)
    if len(raw) != len(headers):
        names = [name for name, _ in raw]
        for single in _SINGLE_HEADERS:
            if names.count(single.encode()) > 1:
                raise RfqError(ErrorCode.REPEATED_PARAMETER, "the header is given twice", single)


async def read_body(receive: Receive, headers: Headers, body_max_bytes: int, media_type: str = JSON) -> bytes:
    """The whole body, which is empty or declared as ``media_type``, one of ``JSON`` and ``FORM``.

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
    is_declared = _MEDIA_TYPES[media_type].fullmatch(headers.get("content-type", ""))
    if size and (not is_declared or "content-encoding" in headers):
        raise RfqError(ErrorCode.UNSUPPORTED_MEDIA_TYPE, f"the body must be {media_type} in UTF-8, not compressed")
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


def parse_form(body: bytes, kind: type[S]) -> S:
    """A struct from a form (``application/x-www-form-urlencoded``); parameters it does not know are passed over.

    Raises:
        RfqError: ``MALFORMED_BODY``, ``REPEATED_PARAMETER`` or ``NUL_BYTE``; a form is right or not well-formed.
    """
    try:
        pairs = _pairs(body)
    except ValueError:  # UnicodeDecodeError included
        raise RfqError(ErrorCode.MALFORMED_BODY, "not a form in UTF-8, or too long") from None
    values: dict[str, str] = {}
    for name, value in pairs:
        if name in values:
            raise RfqError(ErrorCode.REPEATED_PARAMETER, "the parameter is given twice", _printable(name))
        values[name] = check_text(value, _printable(name))
    known = {name: value for name, value in values.items() if name in kind.__struct_fields__}
    try:
        return msgspec.convert(known, kind)
    except msgspec.ValidationError as error:
        wrong = _validation_error(str(error))
        raise RfqError(ErrorCode.MALFORMED_BODY, wrong.detail, wrong.field) from None


def _query_pairs(query_string: bytes) -> list[tuple[str, str]]:
    try:
        return _pairs(query_string)
    except ValueError:  # UnicodeDecodeError included
        raise RfqError(ErrorCode.INVALID_PARAMETER, "the query string is malformed or too long") from None


def _pairs(encoded: bytes) -> list[tuple[str, str]]:
    """Names and values of a query string or form; raises ``ValueError`` when it is malformed or too long."""
    if not encoded:
        return []
    if len(encoded) > _QUERY_BYTES_MAX:
        raise ValueError("too long")
    return parse_qsl(
        encoded.decode("ascii"),
        keep_blank_values=True,
        strict_parsing=True,
        errors="strict",
        max_num_fields=_QUERY_FIELDS_MAX,
    )


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
