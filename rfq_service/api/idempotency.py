"""The ``Idempotency-Key`` of a request that changes something, and the answer that it gets exactly once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from rfq_service.api.dependencies import Runtime
from rfq_service.api.parsing import Headers
from rfq_service.desk.once import Once
from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.identity import Principal
from rfq_service.settings import seconds_to_ns

if TYPE_CHECKING:  # it imports this module
    from rfq_service.api.operation import Operation

KEY_HEADER = "idempotency-key"
REPLAYED_HEADER = "idempotency-replayed"
KEY_LENGTH_MAX = 255
_KEY = re.compile(rf"[!-~]{{1,{KEY_LENGTH_MAX}}}")


@dataclass(frozen=True, slots=True)
class OnceReply:
    """A reply that is, or is as, the one stored with the effect."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    is_replay: bool


async def answer_once(
    operation: Operation,
    runtime: Runtime,
    principal: Principal,
    headers: Headers,
    path: str,
    body: bytes,
    run: Callable[[Once], Awaitable[object]],
) -> OnceReply:
    """Serve a request that changes something: ``run`` it, or answer as it was answered before.

    Raises:
        RfqError: ``IDEMPOTENCY_KEY_MISSING``, ``…_INVALID``, ``…_REUSED`` or ``IDEMPOTENCY_IN_FLIGHT``, and whatever
            ``run`` refuses.
    """
    once = Once(
        firm_id=principal.firm.firm_id,
        operation=operation.name,
        key_digest=hashlib.sha256(parse_key(headers)).digest(),
        request_digest=request_digest(operation.method, path, principal.role, body),
        status=operation.status,
        keep_ns=seconds_to_ns(runtime.settings.http.idempotency_keep_s),
        encode=msgspec.json.encode,
    )
    answer = await runtime.once.run(principal.role, once, run)
    replayed = {REPLAYED_HEADER: "true"} if answer.is_replay else {}
    return OnceReply(answer.status, answer.body, replayed, answer.is_replay)


def parse_key(headers: Headers) -> bytes:
    """The key of a request.

    Raises:
        RfqError: ``IDEMPOTENCY_KEY_MISSING``, or ``IDEMPOTENCY_KEY_INVALID`` unless it is 1 to 255 visible ASCII
            characters.
    """
    key = headers.get(KEY_HEADER)
    if key is None:
        raise RfqError(ErrorCode.IDEMPOTENCY_KEY_MISSING, "a request that changes something needs an Idempotency-Key")
    if not _KEY.fullmatch(key):
        detail = f"the Idempotency-Key must be 1 to {KEY_LENGTH_MAX} visible ASCII characters"
        raise RfqError(ErrorCode.IDEMPOTENCY_KEY_INVALID, detail)
    return key.encode("ascii")


def request_digest(method: str, path: str, role: str, body: bytes) -> bytes:
    """SHA-256 of what makes two requests the same; only the last part can hold a line break, so no two run together."""
    return hashlib.sha256(f"{method}\n{path!r}\n{role}\n".encode() + body).digest()
