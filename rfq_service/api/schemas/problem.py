"""The one shape of every error."""

from __future__ import annotations

from typing import Annotated

import msgspec

from rfq_service.api.schemas.wire import WireOut
from rfq_service.domain.errors import ErrorCode


class Problem(WireOut, frozen=True):
    """An error by RFC 9457 (``application/problem+json``). Program against ``code``; the words may change."""

    type: Annotated[str, msgspec.Meta(examples=["urn:rfq:problem:quantity-off-lot"])]
    title: str
    status: Annotated[int, msgspec.Meta(ge=400, le=599)]
    detail: str
    code: ErrorCode
    field: Annotated[
        str, msgspec.Meta(description="Path of the field or parameter at fault; empty when there is none.")
    ]
    trace_id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$", description="Name it when you ask us.")]


class OAuthProblem(Problem, frozen=True):
    """An error of the token endpoint: the same, with the members that RFC 6749 asks for."""

    error: Annotated[str, msgspec.Meta(examples=["invalid_client"])]
    error_description: str
