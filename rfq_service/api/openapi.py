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

from rfq_service.api.idempotency import KEY_LENGTH_MAX
from rfq_service.api.operation import NoBody, Operation
from rfq_service.api.parsing import FORM
from rfq_service.api.problems import PROBLEM_MEDIA_TYPE, STATUS, TOKEN_PATH
from rfq_service.api.routes import OPERATIONS
from rfq_service.api.schemas.problem import OAuthProblem, Problem
from rfq_service.desk.scores import DecisionResult, QuoteScore
from rfq_service.domain.errors import ErrorCode
from rfq_service.domain.identity import Scope

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
- A key's id and secret buy a token at `/v1/oauth/token` (OAuth2 client credentials); only tokens open the API.
- Whatever changes something takes an `Idempotency-Key`: repeat a request whose reply was lost, with the same key, and
  it takes effect once and is answered the same. A 2xx to a change means that it is committed.
- Another firm's data is answered with 404. Every answer to a caller says in `RateLimit` what his key may still ask.
- Errors are `application/problem+json`; program against `code`."""

# What any operation of a kind can answer, besides its own problems.
_ANY = (
    *(ErrorCode.DEADLINE_EXCEEDED, ErrorCode.OVERLOADED, ErrorCode.INTERNAL),
    *(ErrorCode.HEADERS_TOO_LARGE, ErrorCode.REPEATED_PARAMETER),
)
_WITH_QUERY = (ErrorCode.UNKNOWN_PARAMETER, ErrorCode.INVALID_PARAMETER, ErrorCode.NUL_BYTE)
_WITH_TOKEN = (
    *(ErrorCode.UNAUTHENTICATED, ErrorCode.FORBIDDEN, ErrorCode.RATE_LIMITED),
    ErrorCode.DATABASE_UNAVAILABLE,
)
_WITH_BODY = (ErrorCode.MALFORMED_BODY, ErrorCode.BODY_TOO_LARGE, ErrorCode.UNSUPPORTED_MEDIA_TYPE)
_WITH_JSON = (
    *(ErrorCode.DUPLICATE_KEY, ErrorCode.NESTING_TOO_DEEP),
    *(ErrorCode.UNKNOWN_FIELD, ErrorCode.INVALID_FIELD, ErrorCode.NOT_FINITE, ErrorCode.OUT_OF_RANGE),
)
_WITH_CHANGE = (
    *(ErrorCode.IDEMPOTENCY_KEY_MISSING, ErrorCode.IDEMPOTENCY_KEY_INVALID),
    *(ErrorCode.IDEMPOTENCY_KEY_REUSED, ErrorCode.IDEMPOTENCY_IN_FLIGHT),
)

_SCOPES = {
    Scope.RFQ_READ: "Read RFQs, quotes and scores, or the invitations and quotes of a dealer.",
    Scope.RFQ_WRITE: "Open and cancel RFQs, have quotes scored, trade.",
    Scope.QUOTE_WRITE: "Quote, pass and withdraw.",
    Scope.PRICE_READ: "Ask what to quote.",
    Scope.AUDIT_READ: "Read the firms that were granted.",
    Scope.METRICS_READ: "Read the metrics.",
    Scope.ADMIN: "Firms, keys and grants.",
}
_IDEMPOTENCY_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "Yours, new for every change; the same again when a request is repeated.",
    "schema": {"type": "string", "pattern": f"^[!-~]{{1,{KEY_LENGTH_MAX}}}$"},
    "example": "8e03978e-40d5-43e8-bc93-6894a57f9324",
}
_REPLAYED: Json = {
    "Idempotency-Replayed": {
        "description": "`true` when the request had taken effect before and this is its reply again.",
        "schema": {"type": "string", "enum": ["true"]},
    }
}
_RATE_HEADERS: Json = {
    "RateLimit-Policy": {
        "description": "Quota `q` of the key, and the seconds `w` in which all of it comes back.",
        "schema": {"type": "string", "examples": ['"key";q=1000;w=2']},
    },
    "RateLimit": {
        "description": "Requests `r` left, and the seconds `t` until all are there again.",
        "schema": {"type": "string", "examples": ['"key";r=999;t=1']},
    },
}
_CHALLENGE: Json = {"WWW-Authenticate": {"description": "By RFC 6750.", "schema": {"type": "string"}}}
_RETRY_AFTER: Json = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}


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
        "security": [{"oauth2": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in OPERATIONS)],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {
                "oauth2": {
                    "type": "oauth2",
                    "description": "`Authorization: Bearer <token>`; a key's id and secret buy the token.",
                    "flows": {"clientCredentials": {"tokenUrl": TOKEN_PATH, "scopes": _SCOPES}},
                },
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
        codes += _WITH_TOKEN
    if operation.method == "POST":
        codes += _WITH_BODY
        codes += () if operation.media_type == FORM else _WITH_JSON
    if operation.changes:
        codes += _WITH_CHANGE
    if "cursor" in operation.query.__struct_fields__:
        codes.append(ErrorCode.INVALID_CURSOR)
    return list(dict.fromkeys(codes))


def _schemas() -> tuple[dict[str, Json], dict[str, Json]]:
    """Schemas by name: those of bodies and replies, and those of query strings, which become parameters."""
    wire: set[type] = {Problem, OAuthProblem, QuoteScore, DecisionResult}
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
        "parameters": [
            *_path_parameters(operation, example),
            *_query_parameters(query, example),
            *([_IDEMPOTENCY_KEY] if operation.changes else []),
        ],
        "responses": {str(operation.status): _reply(operation, example), **_problem_replies(operation)},
    }
    if operation.is_public:
        described["security"] = []
    else:
        described["security"] = [{"oauth2": [] if operation.scope is None else [operation.scope]}]
        described["x-roles"] = list(operation.roles)
    if operation.body is not NoBody:
        content = {"schema": _ref(operation.body), "example": example.body}
        described["requestBody"] = {"required": True, "content": {operation.media_type: content}}
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
        parameter = {"name": name, "in": "query", "required": name in query.get("required", ()), "schema": schema}
        if name in example.query:
            parameter["example"] = example.query[name]
        parameters.append(parameter)
    return parameters


def _reply(operation: Operation, example: Example) -> Json:
    if isinstance(operation.returns, str):
        media_type, schema = operation.returns, {"type": "string"}
    else:
        media_type, schema = "application/json", _ref(operation.returns)
    described: Json = {
        "description": HTTPStatus(operation.status).phrase,
        "content": {media_type: {"schema": schema, "example": example.reply}},
    }
    headers = _caller_headers(operation, operation.status) | (_REPLAYED if operation.changes else {})
    if headers:
        described["headers"] = headers
    return described


def _caller_headers(operation: Operation, status: int) -> Json:
    """Headers of every answer to a caller who is known by then."""
    if status == HTTPStatus.UNAUTHORIZED or (operation.is_public and operation.path != TOKEN_PATH):
        return {}
    return _RATE_HEADERS


def _problem_replies(operation: Operation) -> dict[str, Json]:
    by_status: dict[int, list[ErrorCode]] = {}
    for code in operation_problems(operation):
        by_status.setdefault(int(STATUS[code]), []).append(code)
    return {str(status): _problem_reply(operation, status, codes) for status, codes in sorted(by_status.items())}


def _problem_reply(operation: Operation, status: int, codes: list[ErrorCode]) -> Json:
    listed = ", ".join(f"`{code}`" for code in codes)
    schema = _ref(OAuthProblem if operation.path == TOKEN_PATH else Problem)
    reply: Json = {
        "description": f"{HTTPStatus(status).phrase}: {listed}",
        "content": {PROBLEM_MEDIA_TYPE: {"schema": schema}},
    }
    headers = dict(_caller_headers(operation, status))
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        headers |= _RETRY_AFTER
    if status == HTTPStatus.UNAUTHORIZED:
        headers |= _CHALLENGE
    if headers:
        reply["headers"] = headers
    return reply
