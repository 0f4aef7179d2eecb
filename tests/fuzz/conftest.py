"""One running service for each kind of fuzzing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fuzz.stage import Stage, ToldClock, stage
from tests.support.postgres import DatabaseServer


@pytest.fixture(scope="session")
def service(database_server: DatabaseServer) -> Iterator[Stage]:
    with database_server.database(migrated=True) as dsn, stage(dsn) as staged:
        yield staged


@pytest.fixture(scope="session")
def told_clock() -> ToldClock:
    return ToldClock()


@pytest.fixture(scope="session")
def timed_service(database_server: DatabaseServer, told_clock: ToldClock) -> Iterator[Stage]:
    with database_server.database(migrated=True) as dsn, stage(dsn, told_clock) as staged:
        yield staged
