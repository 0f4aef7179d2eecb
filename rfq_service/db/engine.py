"""The connection pools, one per role, and the one place where a failing database becomes an error of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, fields
from typing import Any, cast
from uuid import UUID, uuid4

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from rfq_service.db import roles
from rfq_service.db.unit_of_work import UnitOfWork
from rfq_service.domain.errors import ErrorCode, RfqError, require

_SCHEMES = ("postgresql+asyncpg://", "postgresql://", "postgres://")
# SQLSTATE classes that speak of the server's state and not of our statement: connection, transaction rollback
# (deadlock, serialisation), resources, operator intervention (shutdown, cancel, time limit), system, and a lock that
# was not to be had. 25006: a server that became a read-only standby. 28: the role's password is not the server's.
_UNAVAILABLE_SQLSTATES = ("08", "28", "40", "53", "57", "58", "55P03", "25006")
_SIDE_POOL_SIZE = 2
_WRITER_POOL_SIZE = 3  # two group commits keep one each
# Roles whose few statements are asked all the time: planned once, as planning costs more than most of them.
_PLANNED_ONCE = (roles.WRITER, roles.SEQUENCER, roles.STREAMER)


class _Connection(asyncpg.Connection):  # type: ignore[misc] # published without types
    """A connection whose transactions can begin with a statement, in the round trip of their BEGIN."""

    __slots__ = ("after_begin",)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.after_begin = ""

    async def execute(self, query: str, *arguments: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109 - asyncpg's own
        """As asyncpg's, which sends its BEGIN through here."""
        if self.after_begin and query.startswith("BEGIN"):
            query += self.after_begin
        tag: str = await super().execute(query, *arguments, timeout=timeout)
        return tag


class Database:
    """A pool of connections to one PostgreSQL database.

    Args:
        dsn: ``postgresql://``, ``postgres://`` or ``postgresql+asyncpg://``.
        pool_size: most connections held at once, the group-commit writer's included.
        statement_cache_size: prepared statements kept per connection; 0 behind a pooler in transaction mode, where
            nothing may outlive a transaction: then no session setting is made either.
        command_timeout_s: longest single statement, here and, a little later, on the server.
        acquire_timeout_s: longest wait for a free connection, and for a new one to be made.
        plans_once: whether the plan of a statement does not depend on its values.

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
        plans_once: bool = False,
    ) -> None:
        self.has_sessions = statement_cache_size > 0
        session_settings = {
            "statement_timeout": str(round(command_timeout_s * 1_100)),
            # longer than any request: a replica that hangs holds up the RFQs it has locked, and the numbering
            "idle_in_transaction_session_timeout": "10000",
            # What is planned while a table is empty would read it from end to end until statistics say otherwise.
            "enable_seqscan": "off",
            "jit": "off",
            "plan_cache_mode": "force_generic_plan" if plans_once else "auto",
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
                "connection_class": _Connection,
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
        event.listen(self._engine.sync_engine, "checkout", _make_ready)

    @asynccontextmanager
    async def begin(
        self, *, firm: UUID | None = None, principal: UUID | None = None, firms: Iterable[UUID] = ()
    ) -> AsyncIterator[UnitOfWork]:
        """One transaction. Leaving the block without ``await uow.commit()`` rolls it back.

        Args:
            firm: whose rows the role's policies let through; none but everybody's without it.
            principal: the calling firm, where its own rows are touched beside those of ``firm``.
            firms: for the roles that act for several firms at once.

        Raises:
            RfqError: ``DATABASE_UNAVAILABLE`` when the database cannot be reached or gives up, ``OVERLOADED`` when no
                connection of the pool becomes free in time.
        """
        with unavailable_as_rfq_error():
            async with self._engine.connect() as connection:
                _enter(connection, firm, principal, firms)
                yield UnitOfWork(connection)

    @asynccontextmanager
    async def read(self, firm: UUID | None = None, *, firms: Iterable[UUID] = ()) -> AsyncIterator[UnitOfWork]:
        """A read-only transaction in which every query sees the same moment; a reader of several tables needs that.

        ``firm`` and ``firms`` as in ``begin``, and what it raises.
        """
        with unavailable_as_rfq_error():
            async with self._engine.connect() as connection:
                _enter(connection, firm, None, firms)
                yield UnitOfWork(
                    await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                )

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:
        """A bare connection of the pool, for maintenance and for the group commit; fails as ``begin`` does."""
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


@dataclass(frozen=True, slots=True)
class Databases:
    """The pools of all roles (``rfq_service/db/roles.py``); a connection is made when it is first needed."""

    client: Database
    dealer: Database
    desk: Database
    writer: Database
    auditor: Database
    sequencer: Database
    streamer: Database
    operator: Database

    @classmethod
    def open(cls, dsn: str, secret: str = "", *, pool_size: int = 8, **options: Any) -> Databases:
        """Pools on the database that ``dsn`` names.

        Args:
            dsn: of the database; its user is replaced by the roles.
            secret: what the roles' passwords follow from; by default the password in ``dsn``.
            pool_size: connections of the three roles that serve requests; the others have two or three.
            options: as of ``Database``.

        Raises:
            RfqError: ``DATABASE_UNAVAILABLE`` when there is no secret.
        """
        sizes = {**dict.fromkeys((roles.CLIENT, roles.DEALER, roles.DESK), pool_size), roles.WRITER: _WRITER_POOL_SIZE}
        return cls(
            *(
                Database(
                    roles.role_dsn(dsn, role, secret),
                    pool_size=sizes.get(role, _SIDE_POOL_SIZE),
                    plans_once=role in _PLANNED_ONCE,
                    **options,
                )
                for role in roles.ROLES
            )
        )

    async def ping(self) -> None:
        """Whether every role is let in, for readiness; a pool that is merely busy is.

        Raises:
            RfqError: ``DATABASE_UNAVAILABLE``.
        """
        outcomes = await asyncio.gather(*(pool.ping() for pool in self._pools()), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, RfqError) and outcome.code is ErrorCode.OVERLOADED:
                continue
            if outcome is not None:
                raise outcome

    async def close(self) -> None:
        """Close every connection that is not in use."""
        await asyncio.gather(*(pool.close() for pool in self._pools()))

    def _pools(self) -> list[Database]:
        return [getattr(self, item.name) for item in fields(self)]


def scope_statement(firm: UUID | None = None, principal: UUID | None = None, firms: Iterable[UUID] = ()) -> str:
    """SQL that names the firms of a transaction to the row policies; it ends with the transaction.

    The values are literals, so that it can travel with BEGIN: ids, never text of a caller.
    """
    named = {"firm": [firm] if firm else [], "principal": [principal] if principal else [], "firms": list(firms)}
    require(all(isinstance(one, UUID) for ids in named.values() for one in ids), "firms are named by their ids")
    calls = [f"set_config('app.{name}', '{','.join(map(str, ids))}', true)" for name, ids in named.items() if ids]
    return f"SELECT {', '.join(calls)};" if calls else ""


@contextmanager
def unavailable_as_rfq_error() -> Iterator[None]:
    """Turn every failure that is the database's, not the statement's, into ``DATABASE_UNAVAILABLE``.

    A pool without a free connection is ``OVERLOADED``. Statement errors (a broken constraint, a type, a row policy)
    pass through: they are bugs of ours.
    """
    try:
        yield
    except PoolTimeoutError as error:
        raise RfqError(ErrorCode.OVERLOADED, "every database connection is in use; try again") from error
    except (
        OSError,
        TimeoutError,
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


def _make_ready(dbapi_connection: Any, _record: object, _proxy: object) -> None:
    """Have the pool replace a connection whose end is already known here: costs no round trip, unlike a ping."""
    connection: _Connection = dbapi_connection.driver_connection
    if connection.is_closed():
        raise DisconnectionError
    connection.after_begin = ""  # the last user's firm


def _enter(connection: AsyncConnection, firm: UUID | None, principal: UUID | None, firms: Iterable[UUID]) -> None:
    """Have every transaction of this use of the connection begin with its firms."""
    sync_connection = connection.sync_connection
    handle = None if sync_connection is None else sync_connection.connection.driver_connection
    require(isinstance(handle, _Connection), "a connection of the pool is open")
    cast("_Connection", handle).after_begin = scope_statement(firm, principal, firms)


def _unique_statement_name() -> str:
    return f"__rfq_{uuid4().hex}__"


def _same_text(text_value: str) -> str:
    return text_value
