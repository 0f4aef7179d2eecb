"""One way in for every request: trace, deadline, bounds, caller, rate, rights, strict parsing, use case, reply.

In this order and in one place.

An ``Operation`` is a use-case function with what a caller must know about it. The routes and the OpenAPI document are
both made from it, so that they cannot disagree.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.types import Receive, Send
from litestar.types import Scope as AsgiScope
from msgspec import UNSET, UnsetType

from rfq_service.api.dependencies import Runtime
from rfq_service.api.guards import admit
from rfq_service.api.idempotency import answer_once
from rfq_service.api.parsing import (
    FORM,
    JSON,
    Headers,
    check_headers,
    headers_of,
    parse_body,
    parse_cursor,
    parse_form,
    parse_path_id,
    parse_query,
    read_body,
)
from rfq_service.api.problems import REPLY_HEADERS_KEY, TRACE_ID_KEY
from rfq_service.api.schemas.wire import WireIn
from rfq_service.desk.once import Once
from rfq_service.domain.errors import ErrorCode, InvariantError, RfqError
from rfq_service.domain.history import Firm
from rfq_service.domain.identity import Principal, Role, Scope

PAGE_DEFAULT = 50


class NoBody(WireIn, frozen=True):
    """Nothing, or an empty object."""


class NoQuery(WireIn, frozen=True):
    """No parameters."""


B = TypeVar("B", bound=WireIn)
Q = TypeVar("Q", bound=WireIn)


@dataclass(slots=True)
class Call(Generic[B, Q]):
    """One request, read and checked.

    Attributes:
        headers: of the request, by name in lower case.
        reply_headers: go out with the answer, whatever it is.
        shown_once: set where the first answer holds what is not stored; it is then sent instead of the stored one.
        once: of a request that changes something; see ``once_as``.
    """

    runtime: Runtime
    principal: Principal | None
    body: B
    query: Q
    path: Mapping[str, str]
    headers: Headers
    reply_headers: dict[str, str]
    shown_once: msgspec.Struct | None = None
    once: Once | None = None

    def once_as(self, wire: Callable[[Any], msgspec.Struct]) -> Once:
        """What makes this request take effect once; ``wire`` makes its reply of the use case's result."""
        if self.once is None:
            raise InvariantError("only an operation that changes something has an Idempotency-Key")
        self.once.encode = lambda result: msgspec.json.encode(wire(result))
        return self.once

    @property
    def identified(self) -> Principal:
        """Who calls; every operation with roles has one."""
        if self.principal is None:
            raise InvariantError("a public operation has no caller")
        return self.principal

    @property
    def caller(self) -> Firm:
        """The firm that calls."""
        return self.identified.firm

    def path_id(self, name: str, unknown: ErrorCode) -> UUID:
        """An id from the path; raises the error ``unknown`` when it is no UUID."""
        return parse_path_id(self.path[name], unknown)

    def page(self, cursor: str | UnsetType, limit: int | UnsetType) -> tuple[UUID | None, int]:
        """Where the page begins and how long it may be.

        Raises:
            RfqError: ``INVALID_CURSOR``, or ``INVALID_PARAMETER`` for a limit above the settings' maximum.
        """
        page_max = self.runtime.settings.http.page_max
        size = min(PAGE_DEFAULT, page_max) if limit is UNSET else limit
        if size > page_max:
            raise RfqError(ErrorCode.INVALID_PARAMETER, f"must be at most {page_max}", "limit")
        return None if cursor is UNSET else parse_cursor(cursor), size


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply, which sends itself: Litestar's own response spends more on headers and cookies than this one needs."""

    body: bytes
    media_type: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    async def __call__(self, _scope: AsgiScope, _receive: Receive, send: Send) -> None:
        """Send it; the ASGI application that Litestar runs last."""
        headers = {"content-type": self.media_type, "content-length": str(len(self.body)), **self.headers}
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": encoded})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


@dataclass(frozen=True, slots=True)
class Operation:
    """A use case and its contract.

    Attributes:
        name: operation id; also the name of its spans and metrics.
        returns: struct of the reply, or the media type of one that is no JSON.
        problems: codes of this operation besides those that every operation of its kind can answer.
        roles: whose keys may call it; empty for a public operation, which needs no token.
        scope: what the token must allow besides; ``None`` where the role is enough.
        changes: whether it changes something, and so takes an ``Idempotency-Key``.
        media_type: of its body.
    """

    name: str
    method: Literal["GET", "POST"]
    path: str
    tag: str
    status: int
    body: type[WireIn]
    query: type[WireIn]
    returns: type[msgspec.Struct] | str
    problems: tuple[ErrorCode, ...]
    roles: tuple[Role, ...]
    scope: Scope | None
    changes: bool
    media_type: str
    summary: str
    description: str
    run: Callable[[Call[Any, Any]], Awaitable[Any]]

    @property
    def is_public(self) -> bool:
        """Whether anybody may call it."""
        return not self.roles

    def handler(self, runtime: Runtime) -> HTTPRouteHandler:
        """The Litestar handler that serves this operation with the parts of ``runtime``."""

        async def handle(request: Request[Any, Any, Any]) -> Reply:
            return await self.respond(runtime, request)

        handle.__name__ = self.name
        path = self.path.replace("}", ":str}")
        return HTTPRouteHandler(path, http_method=[self.method], status_code=self.status, name=self.name)(handle)

    async def respond(self, runtime: Runtime, request: Request[Any, Any, Any]) -> Reply:
        """Serve one request; errors leave as exceptions for ``problems``.

        Raises:
            RfqError: for everything the caller can do wrong, and ``DEADLINE_EXCEEDED`` when it takes too long.
        """
        headers = headers_of(request.scope)
        reply_headers: dict[str, str] = {}
        request.scope[REPLY_HEADERS_KEY] = reply_headers  # type: ignore[literal-required]
        with runtime.telemetry.use_case(self.name, headers.get("traceparent")) as use_case:
            request.scope[TRACE_ID_KEY] = f"{use_case.trace_id:032x}"  # type: ignore[literal-required]
            deadline_s = runtime.settings.http.deadline_ms / 1_000
            try:
                async with asyncio.timeout(deadline_s):
                    with self._admission(runtime):
                        return await self._serve(runtime, request, headers, reply_headers)
            except TimeoutError:
                detail = f"no answer within {deadline_s:g} s; look whether it took effect before you repeat it"
                raise RfqError(ErrorCode.DEADLINE_EXCEEDED, detail) from None

    def _admission(self, runtime: Runtime) -> AbstractContextManager[object]:
        """The bound on requests at once. What has neither caller nor body is always answered: it tells of the load."""
        if self.is_public:
            return runtime.gate.public if self.method == "POST" else nullcontext()
        return runtime.gate.protected

    async def _serve(
        self, runtime: Runtime, request: Request[Any, Any, Any], headers: Headers, reply_headers: dict[str, str]
    ) -> Reply:
        check_headers(request.scope, headers)
        if self.is_public:
            return await self._perform(runtime, request, headers, reply_headers, None)
        principal = await admit(runtime, headers, self.roles, self.scope, reply_headers)
        with runtime.gate.firm(principal.firm.firm_id):
            return await self._perform(runtime, request, headers, reply_headers, principal)

    async def _perform(
        self,
        runtime: Runtime,
        request: Request[Any, Any, Any],
        headers: Headers,
        reply_headers: dict[str, str],
        principal: Principal | None,
    ) -> Reply:
        body: WireIn = _NO_BODY
        content = b""
        if self.method == "POST":
            content = await read_body(request.receive, headers, runtime.settings.http.body_max_bytes, self.media_type)
            body = self._parse(content, runtime.settings.http.json_depth_max)
        query = parse_query(request.scope["query_string"], self.query)
        call = Call(runtime, principal, body, query, request.path_params, headers, reply_headers)
        if self.changes:
            return await self._change(call, request.scope["path"], content)
        result = await self.run(call)
        if isinstance(result, Reply):
            reply_headers.update(result.headers)
            return replace(result, headers=reply_headers)
        return Reply(msgspec.json.encode(result), "application/json", self.status, reply_headers)

    async def _change(self, call: Call[Any, Any], path: str, content: bytes) -> Reply:
        """Serve a request that changes something: its reply is the one stored with the effect."""

        async def run(once: Once) -> None:
            call.once = once
            await self.run(call)

        done = await answer_once(self, call.runtime, call.identified, call.headers, path, content, run)
        call.reply_headers.update(done.headers)
        is_shown = call.shown_once is not None and not done.is_replay
        body = msgspec.json.encode(call.shown_once) if is_shown else done.body
        return Reply(body, "application/json", done.status, call.reply_headers)

    def _parse(self, content: bytes, depth_max: int) -> WireIn:
        if self.media_type == FORM:
            return parse_form(content, self.body)
        if content or self.body is not NoBody:
            return parse_body(content, self.body, depth_max)
        return _NO_BODY


_NO_BODY = NoBody()


def operation(
    method: Literal["GET", "POST"],
    path: str,
    *,
    tag: str,
    body: type[B],
    query: type[Q],
    returns: type[msgspec.Struct] | str,
    status: int = HTTPStatus.OK,
    problems: tuple[ErrorCode, ...] = (),
    roles: tuple[Role, ...] = (),
    scope: Scope | None = None,
    changes: bool = False,
    media_type: str = JSON,
) -> Callable[[Callable[[Call[B, Q]], Awaitable[Any]]], Operation]:
    """Make an operation of a use-case function; its docstring is the summary and description that callers read."""

    def decorate(run: Callable[[Call[B, Q]], Awaitable[Any]]) -> Operation:
        summary, _, description = (inspect.getdoc(run) or "").partition("\n")
        return Operation(
            name=run.__name__,
            method=method,
            path=path,
            tag=tag,
            status=int(status),
            body=body,
            query=query,
            returns=returns,
            problems=problems,
            roles=roles,
            scope=scope,
            changes=changes,
            media_type=media_type,
            summary=summary.rstrip("."),
            description=description.strip(),
            run=run,
        )

    return decorate
