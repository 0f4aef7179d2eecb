"""The client for programs with an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar
from weakref import WeakSet

import httpx

from rfq_service.client.call import Call, Page
from rfq_service.client.errors import RfqServiceError
from rfq_service.client.exchange import (
    Failure,
    HttpReply,
    HttpRequest,
    Pause,
    Policy,
    Step,
    Steps,
    exchange,
    fetch_token,
)
from rfq_service.client.operations import audit, buy_side, health, identity, market, sell_side
from rfq_service.client.schemas.event import Topic
from rfq_service.client.settings import CLIENT_ID_VARIABLE, CLIENT_SECRET_VARIABLE, given, given_url
from rfq_service.client.stream import Stream
from rfq_service.client.tokens import Token, Tokens

P = ParamSpec("P")
T = TypeVar("T")

# Failures in which the request cannot have left.
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


def _method(
    build: Callable[P, Call[T]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    @wraps(build)
    async def method(self: AsyncClient, /, *arguments: P.args, **named: P.kwargs) -> T:
        return await self.send(build(*arguments, **named))

    return method


def _pages(build: Callable[P, Call[Page[T]]]) -> Callable[Concatenate[AsyncClient, P], AsyncIterator[T]]:
    @wraps(build)
    async def method(self: AsyncClient, /, *arguments: P.args, **named: P.kwargs) -> AsyncIterator[T]:
        call = build(*arguments, **named)
        while True:
            page = await self.send(call)
            for item in page.items:
                yield item
            if page.next_cursor is None:
                return
            call = call.from_cursor(page.next_cursor)

    return method


class AsyncClient:
    """One key of one firm. May be used by many tasks at a time; close it, or use it as a context manager.

    Every method raises ``RfqServiceError``. Calls are repeated while that can help, changes by one idempotency key, so
    that they happen once. The arguments' defaults are ``RFQ_URL``, ``RFQ_CLIENT_ID`` and ``RFQ_CLIENT_SECRET``.

    Args:
        url: address of the service, ``https://…``.
        client_id: id of the API key.
        client_secret: its secret.
        policy: deadlines and pauses.

    Raises:
        ValueError: for what is neither given nor in the environment, and for a URL that is none.
    """

    def __init__(
        self,
        url: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        *,
        policy: Policy = Policy(),  # noqa: B008 - immutable
    ) -> None:
        self.url = given_url(url)
        self.policy = policy
        secret = given(client_secret, CLIENT_SECRET_VARIABLE)
        self._tokens = Tokens(given(client_id, CLIENT_ID_VARIABLE), secret, time.monotonic)
        self._token_lock = asyncio.Lock()
        self._http = httpx.AsyncClient(base_url=self.url)
        self._streams: WeakSet[Stream] = WeakSet()

    def __repr__(self) -> str:
        return f"AsyncClient({self.url!r}, {self._tokens.client_id!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection; streams end."""
        for stream in list(self._streams):
            await stream.aclose()
        await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        """Make a call that was built by a function of ``operations``, or that ``OutcomeUnknown`` carries."""
        return await self._drive(exchange(call, self._tokens, self.policy, time.monotonic))

    def stream(
        self, topics: Sequence[Topic | str], *, after: int | None = None, instruments: Sequence[str] = ()
    ) -> Stream:
        """Events of ``topics`` from now on, or ``after`` a number, for ``async for``; ``board`` for these markets."""
        stream = Stream(self.url, self, [Topic(topic) for topic in topics], after, instruments, self.policy)
        self._streams.add(stream)
        return stream

    async def token(self) -> Token:
        """A usable token, for what speaks to the service besides this library; raises ``RfqServiceError``."""
        return await self._token(time.monotonic() + self.policy.deadline_s)

    def reject(self, text: str) -> None:
        """Forget a token that the service has refused."""
        self._tokens.reject(text)

    async def _token(self, deadline_s: float) -> Token:
        async with self._token_lock:
            token = self._tokens.current()
            if token is None:
                token = await self._drive(fetch_token(self._tokens, self.policy, time.monotonic, deadline_s))
            return token

    async def _drive(self, steps: Steps[T]) -> T:
        """Do what the steps say until they return."""
        try:
            step = next(steps)
            while True:
                try:
                    answer = await self._perform(step)
                except RfqServiceError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _perform(self, step: Step) -> HttpReply | Failure | Token | None:
        if isinstance(step, HttpRequest):
            return await self._request(step)
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        return await self._token(step.deadline_s)

    async def _request(self, request: HttpRequest) -> HttpReply | Failure:
        try:
            reply = await self._http.request(
                request.method,
                request.target,
                headers=request.headers,
                content=request.content or None,
                timeout=request.timeout_s,
            )
        except httpx.RequestError as error:
            return Failure(f"{type(error).__name__} {error}".strip(), not isinstance(error, UNSENT))
        return HttpReply(reply.status_code, reply.content, reply.headers.get("retry-after"))

    # markets
    list_instruments = _method(market.list_instruments)
    get_instrument = _method(market.get_instrument)
    list_board = _method(market.list_board)
    get_book = _method(market.get_book)
    # buy side
    open_rfq = _method(buy_side.open_rfq)
    list_rfqs = _method(buy_side.list_rfqs)
    each_rfq = _pages(buy_side.list_rfqs)
    get_rfq = _method(buy_side.get_rfq)
    cancel_rfq = _method(buy_side.cancel_rfq)
    get_ranked_quotes = _method(buy_side.get_ranked_quotes)
    accept_quote = _method(buy_side.accept_quote)
    evaluate_quotes = _method(buy_side.evaluate_quotes)
    list_quotes = _method(buy_side.list_quotes)
    each_quote = _pages(buy_side.list_quotes)
    # sell side
    list_invitations = _method(sell_side.list_invitations)
    each_invitation = _pages(sell_side.list_invitations)
    get_invitation = _method(sell_side.get_invitation)
    post_quote = _method(sell_side.post_quote)
    pass_rfq = _method(sell_side.pass_rfq)
    withdraw_quote = _method(sell_side.withdraw_quote)
    list_dealer_quotes = _method(sell_side.list_dealer_quotes)
    each_dealer_quote = _pages(sell_side.list_dealer_quotes)
    price_request = _method(sell_side.price_request)
    # auditors
    audit_quotes = _method(audit.audit_quotes)
    each_audited_quote = _pages(audit.audit_quotes)
    audit_events = _method(audit.audit_events)
    each_audited_event = _pages(audit.audit_events)
    # operators
    list_firms = _method(identity.list_firms)
    each_firm = _pages(identity.list_firms)
    add_firm = _method(identity.add_firm)
    list_keys = _method(identity.list_keys)
    each_key = _pages(identity.list_keys)
    add_key = _method(identity.add_key)
    rotate_key = _method(identity.rotate_key)
    revoke_key = _method(identity.revoke_key)
    list_audit_grants = _method(identity.list_audit_grants)
    each_audit_grant = _pages(identity.list_audit_grants)
    add_audit_grant = _method(identity.add_audit_grant)
    revoke_audit_grant = _method(identity.revoke_audit_grant)
    list_token_keys = _method(identity.list_token_keys)
    # operations
    live = _method(health.live)
    ready = _method(health.ready)
    metrics = _method(health.metrics)
