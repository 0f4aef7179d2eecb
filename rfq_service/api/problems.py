"""Every error as problem+json: the one place where codes become HTTP statuses."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException

from rfq_service.api.schemas.problem import OAuthProblem, Problem
from rfq_service.domain.errors import ErrorCode, RfqError

PROBLEM_MEDIA_TYPE = "application/problem+json"
TRACE_ID_KEY = "rfq_trace_id"
# Headers that an answer gets whatever becomes of the request: what is left of a rate, why a token is refused.
REPLY_HEADERS_KEY = "rfq_reply_headers"
RETRY_AFTER_S = 1
# Where RFC 6749 says how errors look: ours have its members too.
TOKEN_PATH = "/v1/oauth/token"  # noqa: S105 - a path

# 400: not well-formed. 422: well-formed and wrong. 409: right, but not as things stand. 503: try again.
STATUS: Mapping[ErrorCode, HTTPStatus] = {
    ErrorCode.MALFORMED_BODY: HTTPStatus.BAD_REQUEST,
    ErrorCode.UNKNOWN_FIELD: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.INVALID_FIELD: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.DUPLICATE_KEY: HTTPStatus.BAD_REQUEST,
    ErrorCode.UNKNOWN_PARAMETER: HTTPStatus.BAD_REQUEST,
    ErrorCode.REPEATED_PARAMETER: HTTPStatus.BAD_REQUEST,
    ErrorCode.INVALID_PARAMETER: HTTPStatus.BAD_REQUEST,
    ErrorCode.INVALID_CURSOR: HTTPStatus.BAD_REQUEST,
    ErrorCode.BODY_TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ErrorCode.NESTING_TOO_DEEP: HTTPStatus.BAD_REQUEST,
    ErrorCode.NUL_BYTE: HTTPStatus.BAD_REQUEST,
    ErrorCode.NOT_FINITE: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.OUT_OF_RANGE: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.HEADERS_TOO_LARGE: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    ErrorCode.METHOD_NOT_ALLOWED: HTTPStatus.METHOD_NOT_ALLOWED,
    ErrorCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    ErrorCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    ErrorCode.UNSUPPORTED_GRANT_TYPE: HTTPStatus.BAD_REQUEST,
    ErrorCode.INVALID_SCOPE: HTTPStatus.BAD_REQUEST,
    ErrorCode.FORBIDDEN: HTTPStatus.FORBIDDEN,
    ErrorCode.RATE_LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
    ErrorCode.IDEMPOTENCY_KEY_MISSING: HTTPStatus.BAD_REQUEST,
    ErrorCode.IDEMPOTENCY_KEY_INVALID: HTTPStatus.BAD_REQUEST,
    ErrorCode.IDEMPOTENCY_KEY_REUSED: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.IDEMPOTENCY_IN_FLIGHT: HTTPStatus.CONFLICT,
    ErrorCode.FIRM_NOT_FOUND: HTTPStatus.NOT_FOUND,
    ErrorCode.KEY_NOT_FOUND: HTTPStatus.NOT_FOUND,
    ErrorCode.GRANT_NOT_FOUND: HTTPStatus.NOT_FOUND,
    ErrorCode.NAME_TAKEN: HTTPStatus.CONFLICT,
    ErrorCode.GRANT_EXISTS: HTTPStatus.CONFLICT,
    ErrorCode.UNKNOWN_INSTRUMENT: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.UNKNOWN_DEALER: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.INSTRUMENT_EXPIRED: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.PACKAGE_NOT_PRICEABLE: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.PANEL_TOO_SMALL: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.PRICE_OFF_TICK: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.PRICE_NOT_POSITIVE: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.QUANTITY_OFF_LOT: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.QUANTITY_OUT_OF_RANGE: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.QUANTITY_EXCEEDS_REMAINING: HTTPStatus.CONFLICT,
    ErrorCode.QUANTITY_EXCEEDS_QUOTE: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.QUANTITY_BELOW_MINIMUM: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.QUANTITY_NOT_ALL: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.QUOTE_CROSSED: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.QUOTE_SIDE_MISMATCH: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.QUOTE_LEGS_MISMATCH: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.EXPIRY_OUT_OF_RANGE: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.TTL_OUT_OF_RANGE: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.RFQ_NOT_FOUND: HTTPStatus.NOT_FOUND,
    ErrorCode.RFQ_EXPIRED: HTTPStatus.CONFLICT,
    ErrorCode.RFQ_NOT_OPEN: HTTPStatus.CONFLICT,
    ErrorCode.QUOTE_NOT_FOUND: HTTPStatus.NOT_FOUND,
    ErrorCode.QUOTE_EXPIRED: HTTPStatus.CONFLICT,
    ErrorCode.QUOTE_NOT_ACTIVE: HTTPStatus.CONFLICT,
    ErrorCode.STALE_MARKET: HTTPStatus.CONFLICT,
    ErrorCode.NO_MARKET: HTTPStatus.CONFLICT,
    ErrorCode.DEADLINE_EXCEEDED: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorCode.DATABASE_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorCode.OVERLOADED: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorCode.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}

# What Litestar itself refuses before one of our operations runs.
_FRAMEWORK_CODES: Mapping[int, ErrorCode] = {
    HTTPStatus.BAD_REQUEST: ErrorCode.MALFORMED_BODY,
    HTTPStatus.NOT_FOUND: ErrorCode.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED: ErrorCode.METHOD_NOT_ALLOWED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ErrorCode.BODY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: ErrorCode.UNSUPPORTED_MEDIA_TYPE,
}

_log = structlog.get_logger(__name__)


def to_response(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer an error. Whatever we did not foresee is logged in full and told to the caller as ``INTERNAL`` only."""
    trace_id = request.scope.get(TRACE_ID_KEY) or secrets.token_hex(16)
    known = _as_rfq_error(error)
    if known.code is ErrorCode.INTERNAL:
        _log.error("request failed", path=request.scope["path"], request_trace_id=trace_id, exc_info=error)
    headers = dict(request.scope.get(REPLY_HEADERS_KEY) or {})  # type: ignore[call-overload]
    if known.code is ErrorCode.METHOD_NOT_ALLOWED and isinstance(error, HTTPException):
        headers |= error.headers or {}  # the methods that are: RFC 9110 §15.5.6 asks for them
    return _response(known, str(trace_id), headers, is_oauth=request.scope["path"] == TOKEN_PATH)


def _as_rfq_error(error: Exception) -> RfqError:
    if isinstance(error, RfqError):
        if error.code is ErrorCode.INTERNAL:
            return RfqError(ErrorCode.INTERNAL, _INTERNAL_DETAIL)
        return error
    code = _FRAMEWORK_CODES.get(error.status_code) if isinstance(error, HTTPException) else None
    if code is None:
        return RfqError(ErrorCode.INTERNAL, _INTERNAL_DETAIL)
    return RfqError(code, HTTPStatus(STATUS[code]).description or HTTPStatus(STATUS[code]).phrase)


_INTERNAL_DETAIL = "the service failed; nothing in the request explains it"


# RFC 6749 §5.2; what it has no word for is the request's fault below 500 and passing above.
_OAUTH_ERRORS: Mapping[ErrorCode, str] = {
    ErrorCode.UNAUTHENTICATED: "invalid_client",
    ErrorCode.UNSUPPORTED_GRANT_TYPE: "unsupported_grant_type",
    ErrorCode.INVALID_SCOPE: "invalid_scope",
    ErrorCode.RATE_LIMITED: "temporarily_unavailable",
}
_NOT_IN_DESCRIPTIONS = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")


def _response(error: RfqError, trace_id: str, headers: dict[str, str], *, is_oauth: bool) -> Response[bytes]:
    status = STATUS[error.code]
    problem = Problem(
        type=f"urn:rfq:problem:{error.code.lower().replace('_', '-')}",
        title=error.code.replace("_", " ").capitalize(),
        status=int(status),
        detail=error.detail,
        code=error.code,
        field=error.field,
        trace_id=trace_id,
    )
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers.setdefault("retry-after", str(RETRY_AFTER_S))
    if status is HTTPStatus.UNAUTHORIZED:
        headers.setdefault("www-authenticate", 'Basic realm="rfq", charset="UTF-8"' if is_oauth else "Bearer")
    if is_oauth:
        headers["cache-control"] = "no-store"
        problem = _as_oauth(problem)
    return Response(
        content=msgspec.json.encode(problem), status_code=int(status), media_type=PROBLEM_MEDIA_TYPE, headers=headers
    )


def _as_oauth(problem: Problem) -> OAuthProblem:
    passing = "temporarily_unavailable" if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request"
    return OAuthProblem(
        **msgspec.structs.asdict(problem),
        error=_OAUTH_ERRORS.get(problem.code, passing),
        error_description=_NOT_IN_DESCRIPTIONS.sub("'", problem.detail),
    )
