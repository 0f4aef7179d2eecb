"""Everything a scenario needs: a database, replicas of the service, firms, a ledger, and the comparison at the end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg

from rfq_service import administration
from rfq_service.db.unit_of_work import UnitOfWork
from rfq_service.settings import Settings
from tests.faults.caller import Credentials, Floor
from tests.faults.load import CLIENTS, DEALERS, Load, settle
from tests.faults.postgres import BreakablePostgres
from tests.faults.subscriber import Subscriber
from tests.support.ledger import Ledger
from tests.support.ledger_check import Finding, check
from tests.support.processes import ServiceProcess
from tests.support.waiting import blocking, fetch_value, until

_log = logging.getLogger(__name__)
DEADLINE_MS = 2_000
_CATCH_UP_WITHIN_S = 30.0
_NUMBERED_WITHIN_S = 30.0
_SETTINGS = {
    "RFQ_MARKET_SOURCE": "simulated",
    "RFQ_HTTP_DEADLINE_MS": str(DEADLINE_MS),
    "RFQ_HTTP_RATE_PER_S": "100000",
    "RFQ_HTTP_RATE_BURST": "100000",
    "RFQ_LIFE_SWEEP_MS": "100",
}
_NUMBERED = "SELECT (SELECT count(*) FROM event) = (SELECT count(*) FROM event_leaf)"
# what a dead service may have left behind: statements that the server still executes
_BUSY = (
    "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
    " AND backend_xid IS NOT NULL"
)


@dataclass(slots=True)
class Stage:
    """One scenario.

    Attributes:
        dsn: the database as its owner, on the direct way: never through a proxy.
        service_dsn: the database as the services reach it.
    """

    postgres: BreakablePostgres
    folder: Path
    dsn: str
    service_dsn: str
    floor: Floor
    services: list[ServiceProcess] = field(default_factory=list)
    subscribers: list[Subscriber] = field(default_factory=list)

    @property
    def ledger(self) -> Ledger:
        """What the callers know."""
        return self.floor.ledger

    @property
    def service(self) -> ServiceProcess:
        """The first replica."""
        return self.services[0]

    def add_service(self, **environment: str) -> ServiceProcess:
        """Start one more replica and wait until it is ready."""
        service = ServiceProcess(self.service_dsn, {**_SETTINGS, **environment}, self.folder)
        self.services.append(service)
        service.start()
        self.floor.urls = [each.url for each in self.services]
        return service

    def subscribe(self, *parties: str) -> None:
        """Have these firms follow their streams during the load."""
        self.subscribers = [Subscriber(self.floor, party) for party in parties]

    def load(self, **options: Any) -> Load:
        """The firms at work."""
        return Load(self.floor, extra=[subscriber.follow for subscriber in self.subscribers], **options)

    def findings(self) -> list[Finding]:
        """Resolve what is unknown, wait for the numbers, and compare; before and after repeating anything."""
        until(lambda: self.value(_BUSY) == 0, "the transactions of the dead end")
        before = self.compare()
        blocking(settle(self.floor))
        return [*before, *self.compare(), *self._stream_findings()]

    def compare(self) -> list[Finding]:
        """The ledger against the database as it is."""
        return blocking(_compare(self.dsn, self.ledger))

    def value(self, query: str, *arguments: object) -> Any:
        """One value, read as the owner."""
        return blocking(fetch_value(self.dsn, query, *arguments))

    def _stream_findings(self) -> list[Finding]:
        """What each subscriber was told, against its stream; it may not have had the end of it yet."""
        found = []
        for subscriber in self.subscribers:
            stream = (subscriber.party, "client" if subscriber.party in CLIENTS else "dealer")
            last_number = self.value(_LAST_NUMBER, *stream)
            blocking(_catch_up(subscriber, last_number))
            stored = self.value(_TOLD, *stream, last_number)
            told = [f"{number} {event_id}" for number, event_id in subscriber.told if number <= last_number]
            if told != stored:
                wrong = next((pair for pair in zip(told, stored, strict=False) if pair[0] != pair[1]), None)
                detail = f"{subscriber.party}: {len(told)} of {len(stored)}, first difference {wrong}"
                found.append(Finding("the stream has no gap and no repeat", detail))
            found += [Finding("a cursor keeps working", text) for text in subscriber.complaints]
        return found


_STREAM = " FROM stream_entry s JOIN firm f ON f.id = s.firm_id WHERE f.name = $1 AND s.party = $2"
_LAST_NUMBER = f"SELECT coalesce(max(s.number), 0){_STREAM}"
_TOLD = (
    f"SELECT coalesce(array_agg(s.number || ' ' || s.event_id ORDER BY s.number), '{{}}'){_STREAM} AND s.number <= $3"
)


async def _catch_up(subscriber: Subscriber, last_number: int) -> None:
    """Let a subscriber go on until it has been told the last number, or a while has passed."""
    following = asyncio.create_task(subscriber.follow())
    deadline_s = time.monotonic() + _CATCH_UP_WITHIN_S
    while not (subscriber.told and subscriber.told[-1][0] >= last_number):
        if time.monotonic() > deadline_s:
            break
        await asyncio.sleep(0.02)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def _compare(dsn: str, ledger: Ledger) -> list[Finding]:
    """Compare at a moment when every event has its number: the sweeper goes on writing some."""
    connection = await asyncpg.connect(dsn)
    deadline_s = time.monotonic() + _NUMBERED_WITHIN_S
    try:
        while True:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                if await connection.fetchval(_NUMBERED) or time.monotonic() > deadline_s:
                    return await check(ledger, connection)
            await asyncio.sleep(0.02)
    finally:
        await connection.close()


class OwnerSession:
    """A connection of the database's owner that stays open between the steps of a scenario."""

    def __init__(self, dsn: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._connection = self._loop.run_until_complete(asyncpg.connect(dsn))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.run_until_complete(self._connection.close())
        self._loop.close()

    def execute(self, statement: str) -> None:
        """Run a statement in the session's transaction, if one was begun."""
        self._loop.run_until_complete(self._connection.execute(statement))

    def value(self, query: str) -> Any:
        """The one value of a query."""
        return self._loop.run_until_complete(self._connection.fetchval(query))


def add_firms(dsn: str) -> dict[str, Credentials]:
    """Every firm at work, with a key of its side."""

    async def work(uow: UnitOfWork) -> dict[str, Credentials]:
        credentials = {}
        for name in (*CLIENTS, *DEALERS):
            await administration.store_firm(uow, name, is_dealer=name in DEALERS)
            client_id, secret = await administration.store_key(uow, name, "faults")
            credentials[name] = Credentials(str(client_id), secret)
        return credentials

    return administration.in_transaction(Settings(), work, dsn)


@contextmanager
def open_stage(postgres: BreakablePostgres, folder: Path, service_port: int | None = None) -> Iterator[Stage]:
    """A fresh database with its firms; services reach it through ``service_port`` where one is given."""
    dsn = postgres.new_database()
    service_dsn = dsn if service_port is None else dsn.replace(f":{postgres.port}/", f":{service_port}/")
    stage = Stage(postgres, folder, dsn, service_dsn, Floor(Ledger(), [], add_firms(dsn)))
    try:
        yield stage
    finally:
        # the table of docs/faults.md is made of these lines; pytest --log-cli-level=INFO shows them
        _log.info("%s", stage.ledger.summary())
        for service in stage.services:
            service.stop()
