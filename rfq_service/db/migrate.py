"""Bring a database to a schema revision, and keep its partitions ahead of time.

The three functions are synchronous, for the command line and the tests. They run in a thread of their own, so that
they may be called while an event loop is running.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.util.exc import CommandError
from sqlalchemy import Connection, ForeignKeyConstraint, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from rfq_service.db.engine import Database, asyncpg_url
from rfq_service.db.roles import provision, role_secret
from rfq_service.domain.errors import ErrorCode, RfqError

T = TypeVar("T")

PARTITION_MONTHS = 13
_SCRIPTS = Path(__file__).resolve().parents[2] / "migrations"
# One number that no other program uses: two replicas that start together migrate one after the other.
_MIGRATION_LOCK = 0x52465101
_INSUFFICIENT_PRIVILEGE = "42501"
_PARTITION = re.compile(r"_(default|p\d{6})$")
_ENSURE_PARTITIONS = text("SELECT ensure_partitions((now() AT TIME ZONE 'UTC')::date, :months)")

_AGE_NUMBERED_EVENTS = text(
    "UPDATE event SET transaction_id = '0' WHERE transaction_id > '0' "
    "AND EXISTS (SELECT FROM event_leaf WHERE event_leaf.event_id = event.id)"
)
_RENEW_WAITING_EVENTS = text(
    "UPDATE event SET transaction_id = pg_current_xact_id(), position = waiting.position FROM ("
    " SELECT id, row_number() OVER (ORDER BY transaction_id, event.position, id) AS position FROM event"
    " WHERE NOT EXISTS (SELECT FROM event_leaf WHERE event_leaf.event_id = event.id)"
    ") AS waiting WHERE event.id = waiting.id"
)


def upgrade(dsn: str, revision: str = "head", secret: str = "") -> None:
    """Provide the login roles, migrate up to ``revision`` and make the partitions of this month and the next twelve.

    A user that may do none of it can still use a schema that is where it should be, with the roles that it needs: the
    owner of the tables makes partitions, and the default partition serves meanwhile.

    Args:
        dsn: of the owner of the tables.
        revision: of the schema.
        secret: what the roles' passwords follow from; by default the password in ``dsn``.

    Raises:
        RfqError: ``DATABASE_UNAVAILABLE`` when the database refuses, or does not know the revision or is ahead of it.
    """

    def work(connection: Connection) -> None:
        provision(connection, role_secret(dsn, secret))
        before = _revision(connection)
        command.upgrade(_config(connection), revision)
        has_function = text("SELECT to_regproc('ensure_partitions') IS NOT NULL")
        if not connection.execute(has_function).scalar_one():
            return
        try:
            with connection.begin_nested():
                connection.execute(_ENSURE_PARTITIONS, {"months": PARTITION_MONTHS})
        except DBAPIError as error:
            may_not = getattr(error.orig, "sqlstate", None) == _INSUFFICIENT_PRIVILEGE
            if not may_not or before != _revision(connection):
                raise

    _run(dsn, work)


def downgrade(dsn: str, revision: str) -> None:
    """Migrate down to ``revision``; ``base`` removes everything. The rows of dropped tables are gone.

    Raises:
        RfqError: as ``upgrade``.
    """
    _run(dsn, lambda connection: command.downgrade(_config(connection), revision))


def current(dsn: str) -> str | None:
    """The revision a database is at, ``None`` when it was never migrated."""
    return _run(dsn, _revision)


def rebase_sequencer(dsn: str) -> int:
    """Go on numbering events in another cluster, after a logical restore; returns how many events wait for a number.

    Transaction ids count per cluster, and the sequencer tells by them what it has numbered. What has its number gets an
    id older than all, what has none the id of this transaction, in its old order. To be run by the owner of the tables
    while no service is connected.

    Raises:
        RfqError: as ``upgrade``.
    """

    def work(connection: Connection) -> int:
        connection.execute(text("LOCK TABLE event, event_leaf, sequencer IN ACCESS EXCLUSIVE MODE"))
        connection.execute(text("ALTER TABLE event DISABLE TRIGGER refuse_change"))
        connection.execute(_AGE_NUMBERED_EVENTS)
        waiting = connection.execute(_RENEW_WAITING_EVENTS).rowcount
        connection.execute(text("ALTER TABLE event ENABLE TRIGGER refuse_change"))
        connection.execute(text("UPDATE sequencer SET below = pg_current_xact_id()"))
        return waiting

    return _run(dsn, work)


async def ensure_partitions(database: Database, months: int = PARTITION_MONTHS) -> int:
    """Make the monthly partitions from this month on that are missing, and commit; returns how many were made.

    To be called daily: rows of a month without partition go to the default one, which serves them but never shrinks.

    Raises:
        RfqError: ``DATABASE_UNAVAILABLE``, also when the tables were too busy; the next call tries again.
    """
    async with database.connect() as connection:
        # A waiting ALTER makes every later query wait behind it: rather give up.
        await connection.execute(text("SET LOCAL lock_timeout = '500ms'"))
        created: int = (await connection.execute(_ENSURE_PARTITIONS, {"months": months})).scalar_one()
        await connection.commit()
    return created


def is_compared(item: object, name: str | None, kind: str, _is_reflected: bool, _other: object) -> bool:
    """Whether Alembic compares an object with the tables in code.

    Partitions are left out, as they are made by month, and so are their copies of foreign keys to the whole table.
    """
    if kind == "table":
        return not _PARTITION.search(name or "")
    if isinstance(item, ForeignKeyConstraint):
        return not any(_PARTITION.search(key.target_fullname.split(".")[0]) for key in item.elements)
    return True


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.attributes["connection"] = connection
    return config


def _run(dsn: str, work: Callable[[Connection], T]) -> T:
    async def run() -> T:
        engine = create_async_engine(asyncpg_url(dsn), poolclass=NullPool)
        try:
            async with engine.begin() as connection:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
                return await connection.run_sync(work)
        except (DBAPIError, CommandError) as error:
            reason = error.orig if isinstance(error, DBAPIError) else error
            raise RfqError(ErrorCode.DATABASE_UNAVAILABLE, f"the schema cannot be used: {reason}") from error
        finally:
            await engine.dispose()

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, run()).result()
