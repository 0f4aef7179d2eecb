"""Operators: firms, their keys, and whom auditors may read. Every change writes an event with the operator's key."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from rfq_service.api.operation import Call, NoBody, NoQuery, operation
from rfq_service.api.schemas.identity import (
    FirmIn,
    FirmOut,
    FirmPageOut,
    GrantIn,
    GrantOut,
    GrantPageOut,
    IssuedKeyOut,
    KeyIn,
    KeyListQuery,
    KeyOut,
    KeyPageOut,
    PageQuery,
    RotateIn,
    firm_out,
    firm_page_out,
    grant_out,
    grant_page_out,
    issued_key_out,
    key_out,
    key_page_out,
)
from rfq_service.api.schemas.wire import optional_duration_ns
from rfq_service.desk.once import claim
from rfq_service.desk.parties import IssuedKey, PartyRegister
from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.identifiers import ApiKeyId, AuditGrantId
from rfq_service.domain.identity import Role, Scope
from rfq_service.settings import seconds_to_ns

TAG = "Administration"
T = TypeVar("T")


async def _change(
    call: Call[Any, Any], work: Callable[[PartyRegister], Awaitable[T]], wire: Callable[[T], msgspec.Struct]
) -> T:
    """Do ``work`` and store its reply, exactly once."""
    runtime = call.runtime
    once = call.once_as(wire)
    now_ns = runtime.clock.now_ns()
    async with runtime.databases.operator.begin(principal=call.caller.firm_id) as uow:
        await claim(uow, once)
        result = await work(PartyRegister(uow, now_ns, runtime.new_id, call.identified.key_id))
        await uow.idempotency.add(once.record(result, now_ns))
        await uow.commit()
    return result


async def _notice(refresh: Callable[[], Awaitable[object]]) -> None:
    """Let this replica know at once what all of them notice soon; the change is committed, so this may fail."""
    with contextlib.suppress(RfqError):
        await refresh()


def _issued_without_secret(issued: IssuedKey) -> IssuedKeyOut:
    return issued_key_out(issued.key, None)


def _show_once(call: Call[Any, Any], issued: IssuedKey) -> None:
    """Answer with the secret, which no cache on the way may keep."""
    call.shown_once = issued_key_out(issued.key, issued.secret)
    call.reply_headers["cache-control"] = "no-store"


def _key_id(call: Call[RotateIn, NoQuery] | Call[NoBody, NoQuery]) -> ApiKeyId:
    return ApiKeyId(call.path_id("key_id", ErrorCode.KEY_NOT_FOUND))


@operation(
    "GET",
    "/v1/admin/firms",
    tag=TAG,
    body=NoBody,
    query=PageQuery,
    returns=FirmPageOut,
    roles=(Role.OPERATOR,),
    scope=Scope.ADMIN,
)
async def list_firms(call: Call[NoBody, PageQuery]) -> FirmPageOut:
    """List the firms.

    Clients, dealers, auditors and operators, newest first.
    """
    cursor, limit = call.page(call.query.cursor, call.query.limit)
    async with call.runtime.databases.operator.read() as uow:
        return firm_page_out(await uow.firms.page(cursor, limit))


@operation(
    "POST",
    "/v1/admin/firms",
    tag=TAG,
    body=FirmIn,
    query=NoQuery,
    returns=FirmOut,
    status=201,
    problems=(ErrorCode.NAME_TAKEN,),
    roles=(Role.OPERATOR,),
    scope=Scope.ADMIN,
    changes=True,
)
async def add_firm(call: Call[FirmIn, NoQuery]) -> None:
    """Add a firm.

    Names are the market's directory: every firm may read them. Clients can ask a new dealer within seconds.
    """
    body = call.body
    await _change(call, lambda register: register.add_firm(body.name, is_dealer=body.is_dealer), firm_out)
    await _notice(call.runtime.firms.refresh)


@operation(
    "GET",
    "/v1/admin/keys",
    tag=TAG,
    body=NoBody,
    query=KeyListQuery,
    returns=KeyPageOut,
    problems=(ErrorCode.FIRM_NOT_FOUND,),
    roles=(Role.OPERATOR,),
    scope=Scope.ADMIN,
)
async def list_keys(call: Call[NoBody, KeyListQuery]) -> KeyPageOut:
    """List keys, never their secrets.

    Newest first, ended ones included.
    """
    runtime = call.runtime
    cursor, limit = call.page(call.query.cursor, call.query.limit)
    async with runtime.databases.operator.read() as uow:
        firm_id = None
        if call.query.firm is not UNSET:
            firm = await PartyRegister(uow, runtime.clock.now_ns(), runtime.new_id).firm(call.query.firm)
            firm_id = firm.firm_id
        return key_page_out(await uow.identity.keys(firm_id, cursor, limit))


@operation(
    "POST",
    "/v1/admin/keys",
    tag=TAG,
    body=KeyIn,
    query=NoQuery,
    returns=IssuedKeyOut,
    status=201,
    problems=(ErrorCode.FIRM_NOT_FOUND,),
    roles=(Role.OPERATOR,),
    scope=Scope.ADMIN,
    changes=True,
)
async def add_key(call: Call[KeyIn, NoQuery]) -> None:
    """Create a key of a firm.

    A key has one role: a firm that is client and dealer needs a key of each. Its secret is in this reply and nowhere
    else: a repetition of the request gets the same reply without it.
    """
    order = call.body.order()
    issued = await _change(call, lambda register: register.add_key(order), _issued_without_secret)
    _show_once(call, issued)


@operation(
    "POST",
    "/v1/admin/keys/{key_id}/rotate",
    tag=TAG,
    body=RotateIn,
    query=NoQuery,
    returns=IssuedKeyOut,
    status=201,
    problems=(ErrorCode.KEY_NOT_FOUND,),
    roles=(Role.OPERATOR,),
    scope=Scope.ADMIN,
    changes=True,
)
async def rotate_key(call: Call[RotateIn, NoQuery]) -> None:
    """Replace a key by a new one.

    With the same firm, role, scopes and label, and as long a life. The old one goes on for the overlap, its tokens no
    longer than itself; for one that has leaked the overlap is 0. The secret is shown as when a key is created.
    """
    overlap_ns = optional_duration_ns(call.body.overlap_s, "overlap_s")
    if overlap_ns is None:
        overlap_ns = seconds_to_ns(call.runtime.settings.auth.rotation_overlap_s)
    key_id = _key_id(call)
    issued = await _change(call, lambda register: register.rotate_key(key_id, overlap_ns), _issued_without_secret)
    _show_once(call, issued)
    await _notice(call.runtime.identity.poll)


@operation(
    "POST",
    "/v1/admin/keys/{key_id}/revoke",
    tag=TAG,
    body=NoBody,
    query=NoQuery,
    returns=KeyOut,
    problems=(ErrorCode.KEY_NOT_FOUND,),
    roles=(Role.OPERATOR,),
    scope=Scope.ADMIN,
    changes=True,
)
async def revoke_key(call: Call[NoBody, NoQuery]) -> None:
    """Revoke a key.

    Its tokens end with it, within about a second on every replica, and open streams within seconds.
    """
    key_id = _key_id(call)
    await _change(call, lambda register: register.revoke_key(key_id), key_out)
    await _notice(call.runtime.identity.poll)


@operation(
    "GET",
    "/v1/admin/audit-grants",
    tag=TAG,
    body=NoBody,
    query=PageQuery,
    returns=GrantPageOut,
    roles=(Role.OPERATOR,),
    scope=Scope.ADMIN,
)
async def list_audit_grants(call: Call[NoBody, PageQuery]) -> GrantPageOut:
    """List whom auditors may read.

    Newest first, ended grants included.
    """
    cursor, limit = call.page(call.query.cursor, call.query.limit)
    async with call.runtime.databases.operator.read() as uow:
        return grant_page_out(await uow.identity.grants(cursor, limit))


@operation(
    "POST",
    "/v1/admin/audit-grants",
    tag=TAG,
    body=GrantIn,
    query=NoQuery,
    returns=GrantOut,
    status=201,
    problems=(ErrorCode.FIRM_NOT_FOUND, ErrorCode.GRANT_EXISTS),
    roles=(Role.OPERATOR,),
    scope=Scope.ADMIN,
    changes=True,
)
async def add_audit_grant(call: Call[GrantIn, NoQuery]) -> None:
    """Let an auditor read a firm.

    One firm by name, or every firm when `firm` is null.
    """
    body = call.body
    await _change(call, lambda register: register.add_grant(body.auditor, body.firm), grant_out)


@operation(
    "POST",
    "/v1/admin/audit-grants/{grant_id}/revoke",
    tag=TAG,
    body=NoBody,
    query=NoQuery,
    returns=GrantOut,
    problems=(ErrorCode.GRANT_NOT_FOUND,),
    roles=(Role.OPERATOR,),
    scope=Scope.ADMIN,
    changes=True,
)
async def revoke_audit_grant(call: Call[NoBody, NoQuery]) -> None:
    """End an auditor's leave to read.

    From the next request on.
    """
    grant_id = AuditGrantId(call.path_id("grant_id", ErrorCode.GRANT_NOT_FOUND))
    await _change(call, lambda register: register.revoke_grant(grant_id), grant_out)
