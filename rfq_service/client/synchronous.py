"""The client for programs without an event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from rfq_service.client.asynchronous import UNSENT
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
from rfq_service.client.schemas.event import StreamItem, Topic
from rfq_service.client.settings import CLIENT_ID_VARIABLE, CLIENT_SECRET_VARIABLE, given, given_url
from rfq_service.client.stream import Stream
from rfq_service.client.tokens import Token, Tokens

P = ParamSpec("P")
T = TypeVar("T")


def _method(build: Callable[P, Call[T]]) -> Callable[Concatenate[Client, P], T]:
    @wraps(build)
    def method(self: Client, /, *arguments: P.args, **named: P.kwargs) -> T:
        return self.send(build(*arguments, **named))

    return method


def _pages(build: Callable[P, Call[Page[T]]]) -> Callable[Concatenate[Client, P], Iterator[T]]:
    @wraps(build)
    def method(self: Client, /, *arguments: P.args, **named: P.kwargs) -> Iterator[T]:
        call = build(*arguments, **named)
        while True:
            page = self.send(call)
            yield from page.items
            if page.next_cursor is None:
                return
            call = call.from_cursor(page.next_cursor)

    return method


class Client:
    """``AsyncClient`` without ``await``: one key of one firm, for many threads at a time.

    Streams live in a thread of the client's own, which the first one starts.

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
        self._token_lock = threading.Lock()
        self._http = httpx.Client(base_url=self.url)
        self._background = _Background()

    def __repr__(self) -> str:
        return f"Client({self.url!r}, {self._tokens.client_id!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection; streams end."""
        self._background.close()
        self._http.close()

    def send(self, call: Call[T]) -> T:
        """Make a call that was built by a function of ``operations``, or that ``OutcomeUnknown`` carries."""
        return self._drive(exchange(call, self._tokens, self.policy, time.monotonic))

    def stream(
        self, topics: Sequence[Topic | str], *, after: int | None = None, instruments: Sequence[str] = ()
    ) -> SyncStream:
        """Events of ``topics`` from now on, or ``after`` a number, for ``for``; ``board`` for these markets."""
        stream = Stream(self.url, _Source(self), [Topic(topic) for topic in topics], after, instruments, self.policy)
        return SyncStream(stream, self._background)

    def token(self) -> Token:
        """A usable token, for what speaks to the service besides this library; raises ``RfqServiceError``."""
        return self._token(time.monotonic() + self.policy.deadline_s)

    def reject(self, text: str) -> None:
        """Forget a token that the service has refused."""
        self._tokens.reject(text)

    def _token(self, deadline_s: float) -> Token:
        with self._token_lock:
            token = self._tokens.current()
            if token is None:
                token = self._drive(fetch_token(self._tokens, self.policy, time.monotonic, deadline_s))
            return token

    def _drive(self, steps: Steps[T]) -> T:
        """Do what the steps say until they return."""
        try:
            step = next(steps)
            while True:
                try:
                    answer = self._perform(step)
                except RfqServiceError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    def _perform(self, step: Step) -> HttpReply | Failure | Token | None:
        if isinstance(step, HttpRequest):
            return self._request(step)
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        return self._token(step.deadline_s)

    def _request(self, request: HttpRequest) -> HttpReply | Failure:
        try:
            reply = self._http.request(
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


class _Source:
    """The client's tokens for streams, whose loop must not wait for the network."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def token(self) -> Token:
        return await asyncio.to_thread(self._client.token)

    def reject(self, text: str) -> None:
        self._client.reject(text)


class _Background:
    """An event loop in a thread of its own, started when it is needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self.is_closed = False
        self.streams: list[Stream] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do ``work`` there and wait for it; an interrupt here cancels it there."""
        future = asyncio.run_coroutine_threadsafe(work, self._started())
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Close the streams and end the thread, for good."""
        self.is_closed = True
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        for stream in self.streams:
            asyncio.run_coroutine_threadsafe(stream.aclose(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        self._loop = self._thread = None

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_run, args=(self._loop,), name="rfq-stream", daemon=True)
                self._thread.start()
            return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run until stopped, then let what is left come to its end."""
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


class SyncStream:
    """``Stream`` as an iterator of one thread. Between two items it does not read: frames wait in its socket."""

    def __init__(self, stream: Stream, background: _Background) -> None:
        self._stream = stream
        self._background = background
        background.streams.append(stream)

    @property
    def number(self) -> int | None:
        """Everything up to this number has been handed over: resume ``after`` it. ``None`` before the start."""
        return self._stream.number

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StreamItem:
        item = None if self._background.is_closed else self._background.run(self._item())
        if item is None:
            raise StopIteration
        return item

    def next(self, timeout_s: float) -> StreamItem | None:
        """The next item, ``None`` when there is none in time, or none any more."""
        return None if self._background.is_closed else self._background.run(self._stream.next(timeout_s))

    def connect(self) -> None:
        """Subscribe now, so that nothing that happens from here on is missed; raises ``RfqServiceError``."""
        self._background.run(self._stream.connect())

    def close(self) -> None:
        """Close; iterations end."""
        if self._stream in self._background.streams and not self._background.is_closed:
            self._background.streams.remove(self._stream)
            self._background.run(self._stream.aclose())

    async def _item(self) -> StreamItem | None:
        return await anext(self._stream, None)
