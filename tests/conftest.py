"""What every test may ask for."""

from __future__ import annotations

import os

# Before numpy is imported: one numerical thread per process, or parallel tests starve each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support.data import require_recordings
from tests.support.postgres import DatabaseServer

# The same examples on every run; HYPOTHESIS_PROFILE=explore looks for new ones. No deadline: the cores are shared.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Folder of the recorded market data."""
    return require_recordings()


@pytest.fixture(scope="session")
def database_server() -> Iterator[DatabaseServer]:
    """One PostgreSQL server per test process."""
    with DatabaseServer() as server:
        yield server


@pytest.fixture
def database_dsn(database_server: DatabaseServer) -> Iterator[str]:
    """Connection string of a fresh database with the newest schema."""
    with database_server.database(migrated=True) as dsn:
        yield dsn


@pytest.fixture
def empty_database_dsn(database_server: DatabaseServer) -> Iterator[str]:
    """Connection string of a fresh database without any schema."""
    with database_server.database(migrated=False) as dsn:
        yield dsn
