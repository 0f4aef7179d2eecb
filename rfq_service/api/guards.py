"""Who calls, how often, and whether he may: every protected operation passes through ``admit``."""

from __future__ import annotations

from collections.abc import Collection

from rfq_service.api.dependencies import Runtime
from rfq_service.api.parsing import Headers
from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.identity import Principal, Role, Scope


async def admit(
    runtime: Runtime, headers: Headers, roles: Collection[Role], scope: Scope | None, reply_headers: dict[str, str]
) -> Principal:
    """The caller of a protected operation, counted against his key's rate.

    Args:
        runtime: who knows tokens and counts requests.
        headers: of the request, by name in lower case.
        roles: whose keys may call the operation.
        scope: what the token must allow besides; ``None`` where the role is enough.
        reply_headers: gets what the caller is told with every answer, errors included.

    Raises:
        RfqError: ``UNAUTHENTICATED``, ``RATE_LIMITED``, ``FORBIDDEN``; ``DATABASE_UNAVAILABLE`` when nobody can tell.
    """
    try:
        principal = await runtime.identity.authenticate(headers)
    except RfqError as error:
        if error.code is ErrorCode.UNAUTHENTICATED and "authorization" in headers:
            reply_headers["www-authenticate"] = 'Bearer error="invalid_token"'  # RFC 6750
        raise
    runtime.gate.count_request(principal.key_id, reply_headers)
    if principal.role not in roles:
        raise RfqError(ErrorCode.FORBIDDEN, f"not for keys with the role {principal.role}")
    if scope is not None and scope not in principal.scopes:
        reply_headers["www-authenticate"] = f'Bearer error="insufficient_scope", scope="{scope}"'
        raise RfqError(ErrorCode.FORBIDDEN, f"the token lacks the scope {scope}")
    return principal
