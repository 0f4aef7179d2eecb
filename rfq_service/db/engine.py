"""The connection pool, and the one place where a failing database becomes ``DATABASE_UNAVAILABLE``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import uuid4

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from rfq_service.db.unit_of_work import UnitOfWork
from rfq_service.domain.errors import ErrorCode, RfqError

_SCHEMES = ("postgresql+asyncpg://", "postgresql://", "postgres://")
# SQLSTATE classes that speak of the server's state and not of our statement: connection, transaction rollback
# (deadlock, serialisation), resources, operator intervention (shutdown, cancel, time limit), system, and a lock that
# was not to be had. 25006: a server that became a read-only standby.
_UNAVAILABLE_SQLSTATES = ("08", "40", "53", "57", "58", "55P03", "25006")


class Database:
    """A pool of connections to one PostgreSQL database.

    Args:
        dsn: ``postgresql://``, ``postgres://`` or ``postgresql+asyncpg://``.
        pool_size: most connections held at once, the group-commit writer's included.
        statement_cache_size: prepared statements kept per connection; 0 behind a pooler in transaction mode, where
            nothing may outlive a transaction: then no session setting is made either.
        command_timeout_s: longest single statement, here and, a little later, on the server.
        acquire_timeout_s: longest wait for a free connection, and for a new one to be made.

    Attributes:
        has_sessions: whether a connection here is a session of its own on the server, so that settings made on it stay.
    """

    def __init__(
        self,
        dsn: str,
        *,
        pool_size: int = 8,
        statement_cache_size: int = 256,
        command_timeout_s: float = 1.5,
        acquire_timeout_s: float = 1.0,
    ) -> None:
        self.has_sessions = statement_cache_size > 0
        session_settings = {
            "statement_timeout": str(round(command_timeout_s * 1_100)),
            "idle_in_transaction_session_timeout": "60000",
        }
        self._engine = create_async_engine(
            asyncpg_url(dsn),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=acquire_timeout_s,
            pool_use_lifo=True,
            # Statements fail into logs, and their values are limit prices and key digests.
            hide_parameters=True,
            # JSON columns hold canonical text, which is kept as it was written.
            json_serializer=_same_text,
            json_deserializer=_same_text,
            connect_args={
                "timeout": acquire_timeout_s,
                "command_timeout": command_timeout_s,
                "statement_cache_size": statement_cache_size,
                "prepared_statement_cache_size": statement_cache_size,
                # Behind a pooler two processes share a server connection: their statements must not share names.
                "prepared_statement_name_func": None if self.has_sessions else _unique_statement_name,
                "server_settings": {
                    "application_name": "rfq-service",
                    **(session_settings if self.has_sessions else {}),
                },
            },
        )
        event.listen(self._engine.sync_engine, "checkout", _refuse_closed)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[UnitOfWork]:
        """One transaction. Leaving the block without ``await uow.commit()`` rolls it back.

        Raises:
            RfqError: ``DATABASE_UNAVAILABLE`` when the database cannot be reached or gives up.
        """
        with unavailable_as_rfq_error():
            async with self._engine.connect() as connection:
                yield UnitOfWork(connection)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[UnitOfWork]:
        """A read-only transaction in which every query sees the same moment; a reader of several tables needs that.

        Raises:
            RfqError: ``DATABASE_UNAVAILABLE`` as ``begin``.
        """
        with unavailable_as_rfq_error():
            async with self._engine.connect() as connection:
                yield UnitOfWork(
                    await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                )

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:
        """A bare connection of the pool, for maintenance and for the group-commit writer; fails as ``begin`` does."""
        with unavailable_as_rfq_error():
            async with self._engine.connect() as connection:
                yield connection

    async def ping(self) -> None:
        """One round trip, for readiness.

        Raises:
            RfqError: ``DATABASE_UNAVAILABLE``.
        """
        async with self.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close every connection that is not in use."""
        await self._engine.dispose()


@contextmanager
def unavailable_as_rfq_error() -> Iterator[None]:
    """Turn every failure that is the database's, not the statement's, into ``DATABASE_UNAVAILABLE``.

    Statement errors (a broken constraint, a type) pass through: they are bugs of ours.
    """
    try:
        yield
    except (
        OSError,
        TimeoutError,
        PoolTimeoutError,
        asyncpg.InternalClientError,
        asyncpg.InterfaceError,
        asyncpg.PostgresError,
        DBAPIError,
    ) as error:
        if not _is_unavailable(error):
            raise
        raise RfqError(ErrorCode.DATABASE_UNAVAILABLE, "the database cannot be reached; try again") from error


def asyncpg_url(dsn: str) -> str:
    """The DSN in SQLAlchemy's spelling.

    Raises:
        ValueError: when it is no PostgreSQL DSN.
    """
    for scheme in _SCHEMES:
        if dsn.startswith(scheme):
            return _SCHEMES[0] + dsn.removeprefix(scheme)
    raise ValueError("the database address must start with postgresql://")


def _is_unavailable(error: BaseException) -> bool:
    cause = error.orig if isinstance(error, DBAPIError) else error
    sqlstate = getattr(cause, "sqlstate", None)
    if sqlstate is not None:
        return str(sqlstate).startswith(_UNAVAILABLE_SQLSTATES)
    # Without an SQLSTATE the server never judged the statement. What remains of our own making is an argument that
    # does not fit its column's type, which asyncpg refuses as a DataError before it is sent.
    return not isinstance(cause, ValueError | TypeError) and not isinstance(
        getattr(cause, "__cause__", None), ValueError
    )


def _refuse_closed(dbapi_connection: Any, _record: object, _proxy: object) -> None:
    """Have the pool replace a connection whose end is already known here: costs no round trip, unlike a ping."""
    if dbapi_connection.driver_connection.is_closed():
        raise DisconnectionError


def _unique_statement_name() -> str:
    return f"__rfq_{uuid4().hex}__"


def _same_text(text_value: str) -> str:
    return text_value
