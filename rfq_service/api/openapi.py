"""The OpenAPI document, made from the operations that are served and the examples that were really sent.

``openapi/openapi.json`` is this document, committed; ``openapi/examples`` holds one request and reply per operation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache
from http import HTTPStatus
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from rfq_service.api.operation import NoBody, Operation
from rfq_service.api.problems import PROBLEM_MEDIA_TYPE, STATUS
from rfq_service.api.routes import OPERATIONS
from rfq_service.api.schemas.problem import Problem
from rfq_service.desk.scores import DecisionResult, QuoteScore
from rfq_service.domain.errors import ErrorCode

Json = dict[str, Any]

EXAMPLES_DIR = Path(__file__).parents[2] / "openapi" / "examples"
_REFERENCE = "#/components/schemas/{name}"

_INTRODUCTION = """\
Request for quote, both sides: a client asks dealers, every quote is scored against the live market, the client trades;
a dealer sees his invitations, asks for a price and quotes.

- Prices and quantities are exact decimals in JSON strings; a number is refused. Figures in basis points are numbers.
- `*_micro_bps` and `*_ppm` are integers, 1e-6 basis points and 1e-6. Costs are positive when they hurt the client.
- Times are RFC 3339 in UTC with nine fraction digits, durations are seconds, ids are UUIDs.
- Unknown fields, unknown or repeated parameters and duplicate keys are errors, never ignored.
- A 2xx to a change means that it is committed. Another firm's data is answered with 404.
- Errors are `application/problem+json`; program against `code`."""

# What any operation of a kind can answer, besides its own problems.
_ANY = (ErrorCode.DEADLINE_EXCEEDED, ErrorCode.OVERLOADED, ErrorCode.INTERNAL)
_WITH_QUERY = (ErrorCode.UNKNOWN_PARAMETER, ErrorCode.REPEATED_PARAMETER, ErrorCode.INVALID_PARAMETER)
_WITH_KEY = (ErrorCode.UNAUTHENTICATED, ErrorCode.DATABASE_UNAVAILABLE)
_WITH_BODY = (
    *(ErrorCode.MALFORMED_BODY, ErrorCode.DUPLICATE_KEY, ErrorCode.NESTING_TOO_DEEP, ErrorCode.NUL_BYTE),
    *(ErrorCode.BODY_TOO_LARGE, ErrorCode.UNSUPPORTED_MEDIA_TYPE),
    *(ErrorCode.UNKNOWN_FIELD, ErrorCode.INVALID_FIELD, ErrorCode.NOT_FINITE, ErrorCode.OUT_OF_RANGE),
)


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request and the reply it got; ``reply`` is text where the operation answers no JSON."""

    path: dict[str, str]
    query: dict[str, str]
    body: dict[str, Any] | None
    status: int
    reply: dict[str, Any] | str


def openapi_document() -> Json:
    """The whole document as plain values, always the same for the same code and examples."""
    components, query_schemas = _schemas()
    paths: dict[str, Json] = {}
    for operation in OPERATIONS:
        query = query_schemas[operation.query.__name__]
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, query)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "RFQ service",
            "version": metadata.version("rfq-service"),
            "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"api_key": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in OPERATIONS)],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer <API key>`"},
                "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def openapi_json() -> str:
    """The document as it is committed and served."""
    return json.dumps(openapi_document(), indent=2, ensure_ascii=False) + "\n"


def write_openapi(path: Path) -> None:
    """Write the document to ``path``."""
    path.write_text(openapi_json(), encoding="utf-8")


@cache
def load_example(name: str) -> Example:
    """The example of an operation; raises ``FileNotFoundError`` when there is none."""
    return msgspec.json.decode((EXAMPLES_DIR / f"{name}.json").read_bytes(), type=Example)


def operation_problems(operation: Operation) -> list[ErrorCode]:
    """Every code that an operation can answer, without repetition."""
    codes = [*operation.problems, *_ANY, *_WITH_QUERY]
    if not operation.is_public:
        codes += _WITH_KEY
    if operation.method == "POST":
        codes += _WITH_BODY
    if "cursor" in operation.query.__struct_fields__:
        codes.append(ErrorCode.INVALID_CURSOR)
    return list(dict.fromkeys(codes))


def _schemas() -> tuple[dict[str, Json], dict[str, Json]]:
    """Schemas by name: those of bodies and replies, and those of query strings, which become parameters."""
    wire: set[type] = {Problem, QuoteScore, DecisionResult}
    for operation in OPERATIONS:
        wire |= {operation.body} - {NoBody}
        if not isinstance(operation.returns, str):
            wire.add(operation.returns)
    queries = {operation.query for operation in OPERATIONS}
    _, components = msgspec.json.schema_components(_by_name(wire | queries), ref_template=_REFERENCE)
    query_schemas = {query.__name__: components.pop(query.__name__) for query in queries}
    return components, query_schemas


def _by_name(types: Iterable[type]) -> list[type]:
    return sorted(types, key=lambda kind: kind.__name__)


def _operation(operation: Operation, query: Json) -> Json:
    example = load_example(operation.name)
    described: Json = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        "parameters": [*_path_parameters(operation, example), *_query_parameters(query, example)],
        "responses": {str(operation.status): _reply(operation, example), **_problem_replies(operation)},
    }
    if operation.is_public:
        described["security"] = []
    if operation.body is not NoBody:
        content = {"schema": _ref(operation.body), "example": example.body}
        described["requestBody"] = {"required": True, "content": {"application/json": content}}
    return described


def _ref(kind: type) -> Json:
    return {"$ref": _REFERENCE.format(name=kind.__name__)}


def _path_parameters(operation: Operation, example: Example) -> list[Json]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string"} if name == "instrument_id" else {"type": "string", "format": "uuid"},
            "example": example.path[name],
        }
        for name in re.findall(r"{(\w+)}", operation.path)
    ]


def _query_parameters(query: Json, example: Example) -> list[Json]:
    parameters = []
    for name, schema in query["properties"].items():
        parameter = {"name": name, "in": "query", "required": False, "schema": schema}
        if name in example.query:
            parameter["example"] = example.query[name]
        parameters.append(parameter)
    return parameters


def _reply(operation: Operation, example: Example) -> Json:
    if isinstance(operation.returns, str):
        media_type, schema = operation.returns, {"type": "string"}
    else:
        media_type, schema = "application/json", _ref(operation.returns)
    description = HTTPStatus(operation.status).phrase
    return {"description": description, "content": {media_type: {"schema": schema, "example": example.reply}}}


def _problem_replies(operation: Operation) -> dict[str, Json]:
    by_status: dict[int, list[ErrorCode]] = {}
    for code in operation_problems(operation):
        by_status.setdefault(int(STATUS[code]), []).append(code)
    return {str(status): _problem_reply(status, codes) for status, codes in sorted(by_status.items())}


def _problem_reply(status: int, codes: list[ErrorCode]) -> Json:
    listed = ", ".join(f"`{code}`" for code in codes)
    reply: Json = {
        "description": f"{HTTPStatus(status).phrase}: {listed}",
        "content": {PROBLEM_MEDIA_TYPE: {"schema": _ref(Problem)}},
    }
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        reply["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
    return reply
