"""What a call can end with besides its reply. Program against ``code``; the words may change."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from rfq_service.client.call import Call

UNREACHABLE = "UNREACHABLE"
UNREADABLE = "UNREADABLE"


class RfqServiceError(Exception):
    """The service did not do what was asked.

    Attributes:
        status: HTTP status, 0 where there was no answer.
        code: the service's stable code; ``UNREACHABLE`` without an answer, ``UNREADABLE`` for one that is none of its.
        detail: one sentence for a person.
        field: path of the field at fault, empty when no single one is.
        trace_id: what to name when asking the operators; empty without an answer.
        retry_after_s: how long the service asks to wait, ``None`` where it does not.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        field: str = "",
        trace_id: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {detail}" + (f" (at {field})" if field else ""))
        self.status = status
        self.code = code
        self.detail = detail
        self.field = field
        self.trace_id = trace_id
        self.retry_after_s = retry_after_s


class Refused(RfqServiceError):  # noqa: N818 - an answer, not a failure
    """The request was understood and refused; nothing has changed."""


class NotFound(Refused):
    """There is no such thing, or it is another firm's."""


class Conflict(Refused):
    """Right, but not as things stand: ended, expired, filled."""


class Unauthenticated(Refused):
    """The client id or secret is unknown, revoked or expired."""


class Forbidden(Refused):
    """The key's role or scopes do not allow it."""


class RateLimited(Refused):
    """Too many requests, for longer than the deadline of the call."""


class Unavailable(RfqServiceError):  # noqa: N818 - a state, not a failure
    """The service did not answer, or could not, before the deadline; nothing has changed by this call."""


class OutcomeUnknown(RfqServiceError):  # noqa: N818 - a state, not a failure
    """A change may or may not have been made: the deadline passed, or the answer says nothing about it.

    ``client.send(error.call)`` asks again with the same key: it gives the reply of the first effect or makes it now.
    After a restart call the same method with the same arguments and ``idempotency_key=error.idempotency_key``.

    Attributes:
        idempotency_key: the key of the change.
        call: the call itself.
    """

    def __init__(self, call: Call[Any], cause: RfqServiceError) -> None:
        detail = f"{call.name} may have taken effect; ask again with the same key. Last seen: {cause}"
        super().__init__(cause.status, cause.code, detail, "", cause.trace_id, cause.retry_after_s)
        self.call = call
        self.idempotency_key = call.idempotency_key


class StreamRefused(Refused):
    """The stream was closed for good, as the service does not allow what was asked."""


class _Problem(msgspec.Struct, frozen=True):
    code: str = ""
    detail: str = ""
    field: str = ""
    trace_id: str = ""
    error: str = ""
    error_description: str = ""


_BY_STATUS: dict[int, type[RfqServiceError]] = {
    HTTPStatus.UNAUTHORIZED: Unauthenticated,
    HTTPStatus.FORBIDDEN: Forbidden,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.TOO_MANY_REQUESTS: RateLimited,
    HTTPStatus.BAD_GATEWAY: Unavailable,
    HTTPStatus.SERVICE_UNAVAILABLE: Unavailable,
    HTTPStatus.GATEWAY_TIMEOUT: Unavailable,
}


def error_of(status: int, content: bytes, retry_after: str | None) -> RfqServiceError:
    """The error of an answer that is no success: problem+json, an OAuth2 error, or something from in between."""
    kind = _BY_STATUS.get(status, Refused if 400 <= status < 500 else RfqServiceError)
    wait_s = float(retry_after) if retry_after is not None and retry_after.isascii() and retry_after.isdigit() else None
    try:
        problem = msgspec.json.decode(content, type=_Problem)
    except msgspec.MsgspecError:
        problem = _Problem(code=UNREADABLE, detail=f"an answer that is none of the service's, status {status}")
    code = problem.code or problem.error.upper() or UNREADABLE
    detail = problem.detail or problem.error_description
    return kind(status, code, detail, problem.field, problem.trace_id, wait_s)
