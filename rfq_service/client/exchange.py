"""How a call is made: token, attempts, pauses and their end, told as steps. Whoever drives them does the I/O.

Both clients drive the same generator, so that there is one implementation of what must not go wrong.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec

from rfq_service.client.call import Call
from rfq_service.client.errors import UNREACHABLE, UNREADABLE, OutcomeUnknown, RfqServiceError, Unavailable, error_of
from rfq_service.client.tokens import Token, Tokens

T = TypeVar("T")

_IN_FLIGHT = "IDEMPOTENCY_IN_FLIGHT"
_OVERLOADED = "OVERLOADED"  # refused at the door
_TRY_AGAIN = {
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}
# What says nothing about an attempt that was made before.
_NOT_LOOKED_AT = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient a client is, in seconds.

    Attributes:
        deadline_s: for a whole call with all its attempts.
        timeout_s: for one attempt, and in it for each wait for the network.
        pause_s: between the first two attempts; doubled from one to the next, with jitter.
        pause_s_max: longest pause; a longer ``Retry-After`` is waited for.
    """

    deadline_s: float = 30.0
    timeout_s: float = 10.0
    pause_s: float = 0.05
    pause_s_max: float = 2.0

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row, at least one."""
        longest = min(self.pause_s_max, self.pause_s * 2.0 ** min(failures - 1, 30))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """Step: send this; the answer is an ``HttpReply`` or a ``Failure``."""

    method: str
    target: str
    headers: dict[str, str]
    content: bytes
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Step: wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class TokenWanted:
    """Step: a usable token, fetched by ``fetch_token`` where there is none; the answer is a ``Token``."""

    deadline_s: float


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What was answered."""

    status: int
    content: bytes
    retry_after: str | None


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer; ``sent`` when the request may have arrived."""

    reason: str
    sent: bool


Step = HttpRequest | Pause | TokenWanted
Answer = HttpReply | Failure | Token | None
Steps = Generator[Step, Any, T]


def exchange(call: Call[T], tokens: Tokens, policy: Policy, monotonic_s: Callable[[], float]) -> Steps[T]:
    """Make a call; the generator returns its reply.

    Raises:
        RfqServiceError: its subclass says what; ``OutcomeUnknown`` where a change may have been made.
    """
    attempts = _Attempts(call, policy, monotonic_s, monotonic_s() + policy.deadline_s)
    while True:
        headers, token = _headers(call), None
        if not call.is_public:
            try:
                token = yield TokenWanted(attempts.deadline_s)
            except RfqServiceError as error:
                raise attempts.end(error) from None
            headers["Authorization"] = f"Bearer {token.text}"
        answer = yield attempts.request(headers)
        if isinstance(answer, HttpReply) and (200 <= answer.status < 300 or answer.status in call.answers):
            reply: T = attempts.read(answer)
            return reply
        if _is_unauthenticated(answer) and token is not None and not attempts.has_renewed:
            attempts.has_renewed = True
            tokens.reject(token.text)
            continue
        yield Pause(attempts.pause(answer))


def fetch_token(tokens: Tokens, policy: Policy, monotonic_s: Callable[[], float], deadline_s: float) -> Steps[Token]:
    """Ask for a token until ``deadline_s``, a monotonic time; raises like ``exchange``."""
    call = tokens.call()
    attempts = _Attempts(call, policy, monotonic_s, deadline_s)
    while True:
        asked_at_s = monotonic_s()
        answer = yield attempts.request({**_headers(call), "Authorization": tokens.authorization()})
        if isinstance(answer, HttpReply) and answer.status == HTTPStatus.OK:
            return tokens.keep(attempts.read(answer), asked_at_s)
        yield Pause(attempts.pause(answer))


def _headers(call: Call[object]) -> dict[str, str]:
    headers = {"Accept": "application/json, application/problem+json, text/plain"}
    if call.body:
        headers["Content-Type"] = call.media_type
    if call.idempotency_key:
        headers["Idempotency-Key"] = call.idempotency_key
    return headers


def _is_unauthenticated(answer: Answer) -> bool:
    return isinstance(answer, HttpReply) and answer.status == HTTPStatus.UNAUTHORIZED


class _Attempts:
    """The attempts of one call: when the next one comes, and with what the last one ends."""

    def __init__(self, call: Call[Any], policy: Policy, monotonic_s: Callable[[], float], deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self.has_renewed = False
        self._call = call
        self._policy = policy
        self._monotonic_s = monotonic_s
        self._failures = 0
        self._may_have_effect = False

    def request(self, headers: dict[str, str]) -> HttpRequest:
        """The next attempt; each sends the same bytes."""
        left_s = max(self.deadline_s - self._monotonic_s(), 0.001)
        call = self._call
        return HttpRequest(call.method, call.target, headers, call.body, min(self._policy.timeout_s, left_s))

    def read(self, reply: HttpReply) -> Any:
        """The reply; raises ``RfqServiceError`` for one that this version of the library cannot read."""
        try:
            return self._call.read(reply.content)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._may_have_effect = True
            detail = f"the answer to {self._call.name} is not what was expected: {error}"
            raise self.end(RfqServiceError(reply.status, UNREADABLE, detail)) from None

    def pause(self, answer: Answer) -> float:
        """Seconds until the next attempt; raises the error of the call when there is none."""
        error, again, effect = _judge(answer)
        self._may_have_effect |= effect
        self._failures += 1
        pause_s = max(self._policy.pause(self._failures), error.retry_after_s or 0.0)
        if not again or self._monotonic_s() + pause_s >= self.deadline_s:
            raise self.end(error)
        return pause_s

    def end(self, error: RfqServiceError) -> RfqServiceError:
        """The error that the call ends with."""
        looked_at = 400 <= error.status < 500 and error.status not in _NOT_LOOKED_AT and error.code != _IN_FLIGHT
        if self._call.idempotency_key and self._may_have_effect and not looked_at:
            return OutcomeUnknown(self._call, error)
        return error


def _judge(answer: Answer) -> tuple[RfqServiceError, bool, bool]:
    """Of an answer that is no success: the error, whether to try again, whether a change may have been made."""
    if isinstance(answer, HttpReply):
        error = error_of(answer.status, answer.content, answer.retry_after)
        if error.code == _IN_FLIGHT:
            return error, True, True
        effect = answer.status >= 500 and error.code != _OVERLOADED
        return error, answer.status in _TRY_AGAIN, effect
    reason, sent = (answer.reason, answer.sent) if isinstance(answer, Failure) else ("no answer", True)
    return Unavailable(0, UNREACHABLE, reason), True, sent
