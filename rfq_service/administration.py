"""What an operator does from the command line: schema, firms, keys, reference data."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import msgspec
from sqlalchemy.exc import DBAPIError

from rfq_service.bootstrap import new_id
from rfq_service.db import migrate
from rfq_service.db.embedded import EmbeddedPostgres, EmbeddedPostgresError
from rfq_service.db.engine import Database
from rfq_service.db.unit_of_work import UnitOfWork
from rfq_service.desk.keys import digest_of, new_key
from rfq_service.desk.reference_data import store_instruments
from rfq_service.desk.terms import build_event
from rfq_service.domain.errors import ErrorCode, InvariantError, RfqError
from rfq_service.domain.history import EventKind, Firm
from rfq_service.domain.identifiers import ApiKeyId, FirmId
from rfq_service.domain.instrument import Instrument
from rfq_service.settings import Settings

T = TypeVar("T")
_NAME_MAX = 64
_LABEL_MAX = 100
_PREFIX_LENGTH = 10
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
        migrate.upgrade(dsn, revision)
        print(f"schema is at {migrate.current(dsn)}")
    return 0


def downgrade(settings: Settings, revision: str) -> int:
    """Take the schema back to ``revision``."""
    with open_postgres(settings) as dsn:
        migrate.downgrade(dsn, revision)
        print(f"schema is at {migrate.current(dsn) or 'base'}")
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


def add_key(settings: Settings, firm_name: str, label: str) -> int:
    """Create a key and print it, once."""
    key_id, key = in_transaction(settings, lambda uow: store_key(uow, firm_name, label))
    print(key)
    print(f"key {key_id} of {firm_name}; it is not stored and cannot be shown again", file=sys.stderr)
    return 0


def revoke_key(settings: Settings, key_id: str) -> int:
    """Revoke a key; running services notice within RFQ_HTTP_KEY_CACHE_S."""
    try:
        identifier = ApiKeyId(UUID(key_id))
    except ValueError:
        raise RfqError(ErrorCode.INVALID_FIELD, "a key id is a UUID", "key_id") from None

    if not in_transaction(settings, lambda uow: drop_key(uow, identifier)):
        raise RfqError(ErrorCode.NOT_FOUND, "no such key, or revoked already")
    print(f"key {key_id} is revoked")
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
    """Add a firm within a transaction.

    Raises:
        RfqError: ``INVALID_FIELD`` when the name is taken or unusable.
    """
    if not name.isprintable() or name != name.strip() or not 1 <= len(name) <= _NAME_MAX:
        raise RfqError(ErrorCode.INVALID_FIELD, f"1 to {_NAME_MAX} printable characters", "name")
    now_ns = time.time_ns()
    firm = Firm(firm_id=FirmId(new_id(now_ns)), name=name, is_dealer=is_dealer)
    if not await uow.firms.add(firm):
        raise RfqError(ErrorCode.INVALID_FIELD, f"there is a firm {name!r} already", "name")
    event = build_event(
        EventKind.FIRM_ADDED, new_id(now_ns), now_ns, {"is_dealer": is_dealer, "name": name}, client=firm.firm_id
    )
    await uow.events.add(event)
    return firm


async def store_key(uow: UnitOfWork, firm_name: str, label: str) -> tuple[ApiKeyId, str]:
    """Create a key of a firm within a transaction; return its id and the key itself.

    Raises:
        RfqError: ``NOT_FOUND`` when there is no such firm, ``INVALID_FIELD`` for an unusable label.
    """
    if not label.isprintable() or len(label) > _LABEL_MAX:
        raise RfqError(ErrorCode.INVALID_FIELD, f"at most {_LABEL_MAX} printable characters", "label")
    firm = (await uow.firms.by_name([firm_name])).get(firm_name)
    if firm is None:
        raise RfqError(ErrorCode.NOT_FOUND, f"there is no firm {firm_name!r}; `rfq firm list` shows them")
    now_ns = time.time_ns()
    key = new_key()
    key_id = ApiKeyId(new_id(now_ns))
    await uow.firms.add_key(key_id, firm.firm_id, digest_of(key), key[:_PREFIX_LENGTH], label, now_ns)
    event = build_event(
        EventKind.KEY_ADDED, new_id(now_ns), now_ns, {"key_id": key_id, "label": label}, client=firm.firm_id
    )
    await uow.events.add(event)
    return key_id, key


async def drop_key(uow: UnitOfWork, key_id: ApiKeyId) -> bool:
    """Revoke a key within a transaction; ``False`` when it is unknown or revoked already."""
    now_ns = time.time_ns()
    firm_id = await uow.firms.revoke_key(key_id, now_ns)
    if firm_id is None:
        return False
    event = build_event(EventKind.KEY_REVOKED, new_id(now_ns), now_ns, {"key_id": key_id}, client=firm_id)
    await uow.events.add(event)
    return True


def in_transaction(settings: Settings, work: Callable[[UnitOfWork], Awaitable[T]], dsn: str = "") -> T:
    """Run ``work`` in one committed transaction on a migrated database; ``dsn`` names one that is open already."""
    if dsn:
        return asyncio.run(_run(dsn, work))
    with open_postgres(settings) as opened:
        migrate.upgrade(opened)
        return asyncio.run(_run(opened, work))


async def _run(dsn: str, work: Callable[[UnitOfWork], Awaitable[T]]) -> T:
    database = Database(dsn, pool_size=1)
    try:
        async with database.begin() as uow:
            result = await work(uow)
            await uow.commit()
        return result
    finally:
        await database.close()
