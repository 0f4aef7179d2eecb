"""What an operator does from the command line: schema, firms, keys, reference data."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import msgspec
from sqlalchemy.exc import DBAPIError

from rfq_service.bootstrap import new_id, own_token_key
from rfq_service.db import migrate
from rfq_service.db.embedded import EmbeddedPostgres, EmbeddedPostgresError
from rfq_service.db.engine import Database
from rfq_service.db.roles import OPERATOR, role_dsn
from rfq_service.db.unit_of_work import UnitOfWork
from rfq_service.desk.parties import IssuedKey, KeyOrder, PartyRegister
from rfq_service.desk.reference_data import store_instruments
from rfq_service.desk.tokens import new_token_key
from rfq_service.domain.clock import format_timestamp
from rfq_service.domain.errors import ErrorCode, InvariantError, RfqError
from rfq_service.domain.history import Firm
from rfq_service.domain.identifiers import ApiKeyId, AuditGrantId, FirmId
from rfq_service.domain.identity import ApiKey, AuditGrant, Role, TokenKey
from rfq_service.domain.instrument import Instrument
from rfq_service.domain.units import NS_PER_S
from rfq_service.settings import Settings, seconds_to_ns

T = TypeVar("T")
_LISTED_MAX = 10_000
_OWN_TIMEOUT_S = 10.0


@contextlib.contextmanager
def open_postgres(settings: Settings, *, must_own: bool = False) -> Iterator[str]:
    """The DSN to use: the configured one, or the embedded server's, started here or joined if it runs already.

    Args:
        settings: where the database is.
        must_own: do not join a server that another process started: it would end with that process.

    Raises:
        EmbeddedPostgresError: when the server cannot be started, or owned.
    """
    if settings.database.url:
        yield settings.database.url
        return
    folder = settings.database.data_dir / "postgres"
    deadline_s = time.monotonic() + _OWN_TIMEOUT_S
    while True:
        with EmbeddedPostgres(folder) as server:
            if server.is_owner or not must_own:
                yield server.dsn
                return
        if time.monotonic() > deadline_s:
            raise EmbeddedPostgresError(
                f"another process runs the embedded PostgreSQL in {folder} and would take it along when it ends; "
                "stop it first, or give both a server of their own with DATABASE_URL"
            )
        time.sleep(0.1)  # a short command may be using it


def upgrade(settings: Settings, revision: str) -> int:
    """Bring the schema to ``revision``."""
    with open_postgres(settings) as dsn:
        migrate.upgrade(dsn, revision, settings.database.role_secret)
        print(f"schema is at {migrate.current(dsn)}")
    return 0


def downgrade(settings: Settings, revision: str) -> int:
    """Take the schema back to ``revision``."""
    with open_postgres(settings) as dsn:
        migrate.downgrade(dsn, revision)
        print(f"schema is at {migrate.current(dsn) or 'base'}")
    return 0


def rebase(settings: Settings) -> int:
    """After a logical restore: go on numbering events where the restored journal ends."""
    with open_postgres(settings) as dsn:
        print(f"{migrate.rebase_sequencer(dsn)} events wait for their numbers; the service gives them when it starts")
    return 0


def add_firm(settings: Settings, name: str, *, is_dealer: bool) -> int:
    """Add a firm and print its id."""
    firm = in_transaction(settings, lambda uow: store_firm(uow, name, is_dealer=is_dealer))
    print(f"{firm.firm_id}  {firm.name}")
    print(f"next: rfq key add {firm.name!r}", file=sys.stderr)
    return 0


def list_firms(settings: Settings) -> int:
    """Print every firm."""
    for firm in in_transaction(settings, lambda uow: uow.firms.list()):
        print(f"{firm.firm_id}  {firm.name}{'  dealer' if firm.is_dealer else ''}")
    return 0


def add_key(settings: Settings, order: KeyOrder) -> int:
    """Create a key and print its id and its secret, once."""
    issued = in_transaction(settings, lambda uow: _register(uow).add_key(order))
    _print_issued(issued)
    return 0


def rotate_key(settings: Settings, key_id: str, overlap_s: float | None) -> int:
    """Replace a key and print the new one's id and secret, once."""
    overlap_ns = seconds_to_ns(settings.auth.rotation_overlap_s if overlap_s is None else overlap_s)
    identifier = ApiKeyId(_id_of(key_id, "key_id"))
    issued = in_transaction(settings, lambda uow: _register(uow).rotate_key(identifier, overlap_ns))
    _print_issued(issued)
    print(f"key {key_id} ends in {overlap_ns / NS_PER_S:g} s, if not before", file=sys.stderr)
    return 0


def revoke_key(settings: Settings, key_id: str) -> int:
    """Revoke a key; running services notice within about a second."""
    identifier = ApiKeyId(_id_of(key_id, "key_id"))
    in_transaction(settings, lambda uow: _register(uow).revoke_key(identifier))
    print(f"key {key_id} is revoked")
    return 0


def list_keys(settings: Settings, firm_name: str | None) -> int:
    """Print every key, or those of one firm; never a secret."""

    async def work(uow: UnitOfWork) -> list[ApiKey]:
        firm_id = None if firm_name is None else (await _register(uow).firm(firm_name)).firm_id
        return list((await uow.identity.keys(firm_id, None, _LISTED_MAX)).items)

    now_ns = time.time_ns()
    for key in in_transaction(settings, work):
        state = "usable" if key.is_usable(now_ns) else "ended"
        scopes = " ".join(sorted(key.scopes))
        created = format_timestamp(key.created_at_ns)[:19]
        print(f"{key.key_id}  {key.prefix}…  {state}  {key.role}  {key.firm.name}  [{scopes}]  {created}  {key.label}")
    return 0


def add_grant(settings: Settings, auditor_name: str, firm_name: str | None) -> int:
    """Let an auditor read one firm, or every firm when none is named."""
    grant = in_transaction(settings, lambda uow: _register(uow).add_grant(auditor_name, firm_name))
    print(grant.grant_id)
    return 0


def list_grants(settings: Settings) -> int:
    """Print every grant."""

    async def work(uow: UnitOfWork) -> tuple[list[AuditGrant], dict[FirmId, str]]:
        names = {firm.firm_id: firm.name for firm in await uow.firms.list()}
        return list((await uow.identity.grants(None, _LISTED_MAX)).items), names

    grants, names = in_transaction(settings, work)
    for grant in grants:
        whom = "every firm" if grant.firm_id is None else names[grant.firm_id]
        state = "live" if grant.revoked_at_ns is None else "ended"
        print(f"{grant.grant_id}  {state}  {names[grant.auditor_firm_id]} reads {whom}")
    return 0


def revoke_grant(settings: Settings, grant_id: str) -> int:
    """End an auditor's leave to read."""
    identifier = AuditGrantId(_id_of(grant_id, "grant_id"))
    in_transaction(settings, lambda uow: _register(uow).revoke_grant(identifier))
    print(f"grant {grant_id} has ended")
    return 0


def rotate_token_key(settings: Settings, *, at_once: bool) -> int:
    """Sign tokens with a new key from now on (the configured file's, if there is one) and retire the others.

    Tokens of a retired key are honoured until they end, unless ``at_once``: then every caller must ask for a new one.
    """
    own = own_token_key(settings, time.time_ns())

    async def work(uow: UnitOfWork) -> TokenKey:
        await uow.identity.lock_token_keys()
        now_ns = time.time_ns()
        key = new_token_key(new_id(now_ns), now_ns) if own is None else replace(own, private_key=None)
        await uow.identity.add_token_key(key)
        await uow.identity.retire_token_keys(key.key_id, 1 if at_once else now_ns)
        return key

    key = in_transaction(settings, work)
    print(f"tokens are signed with {key.key_id}; running services notice within about a second")
    return 0


def add_instruments(settings: Settings, file: Path) -> int:
    """Add or change the instruments of a JSON file: one object or a list, fields as in ``Instrument``."""
    try:
        text = file.read_bytes().strip()
        many = text if text.startswith(b"[") else b"[" + text + b"]"
        instruments = msgspec.json.decode(many, type=list[Instrument])
    except (msgspec.MsgspecError, InvariantError) as error:
        raise RfqError(ErrorCode.INVALID_FIELD, f"{file}: {error}") from None
    try:
        changed = in_transaction(settings, lambda uow: store_instruments(uow, instruments, new_id))
    except DBAPIError as error:  # a text too long or a number too large for its column
        raise RfqError(ErrorCode.INVALID_FIELD, f"{file}: {error.orig}") from error
    print(f"{len(changed)} of {len(instruments)} instruments are new or changed; running services notice in seconds")
    return 0


async def store_firm(uow: UnitOfWork, name: str, *, is_dealer: bool) -> Firm:
    """Add a firm within a transaction; raises as ``PartyRegister.add_firm``."""
    return await _register(uow).add_firm(name, is_dealer=is_dealer)


async def store_key(uow: UnitOfWork, firm_name: str, label: str, role: Role | None = None) -> tuple[ApiKeyId, str]:
    """Create a key of a firm within a transaction; return its id and its secret.

    Raises:
        RfqError: as ``PartyRegister.add_key``.
    """
    issued = await _register(uow).add_key(KeyOrder(firm_name=firm_name, role=role, label=label))
    return issued.key.key_id, issued.secret


async def drop_key(uow: UnitOfWork, key_id: ApiKeyId) -> None:
    """Revoke a key within a transaction; raises as ``PartyRegister.revoke_key``."""
    await _register(uow).revoke_key(key_id)


def _register(uow: UnitOfWork) -> PartyRegister:
    return PartyRegister(uow, time.time_ns(), new_id)


def _print_issued(issued: IssuedKey) -> None:
    print(f"client_id={issued.key.key_id}")
    print(f"client_secret={issued.secret}")
    print(
        f"role {issued.key.role} of {issued.key.firm.name}; the secret is not stored and cannot be shown again",
        file=sys.stderr,
    )


def _id_of(text: str, field: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise RfqError(ErrorCode.INVALID_FIELD, "an id is a UUID", field) from None


def in_transaction(settings: Settings, work: Callable[[UnitOfWork], Awaitable[T]], dsn: str = "") -> T:
    """Run ``work`` in one committed transaction as the operator role, on a migrated database.

    Args:
        settings: where the database is.
        work: what to do.
        dsn: names a database that is open and migrated already.
    """
    secret = settings.database.role_secret
    if dsn:
        return asyncio.run(_run(role_dsn(dsn, OPERATOR, secret), work))
    with open_postgres(settings) as opened:
        migrate.upgrade(opened, secret=secret)
        return asyncio.run(_run(role_dsn(opened, OPERATOR, secret), work))


async def _run(dsn: str, work: Callable[[UnitOfWork], Awaitable[T]]) -> T:
    database = Database(dsn, pool_size=1)
    try:
        async with database.begin() as uow:
            result = await work(uow)
            await uow.commit()
        return result
    finally:
        await database.close()
