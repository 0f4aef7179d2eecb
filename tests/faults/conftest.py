"""A real PostgreSQL with fsync for all scenarios, and a stage for each."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.postgres import BreakablePostgres
from tests.faults.stage import Stage, open_stage

# a line for every request would bury the ledgers' summaries
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def fault_folder() -> Iterator[Path]:
    # not pytest's folder, which the unprivileged user of the embedded server cannot enter
    path = Path(tempfile.mkdtemp(prefix="rfq-faults-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def one_postgres(fault_folder: Path) -> Iterator[BreakablePostgres]:
    server = BreakablePostgres(fault_folder / "postgres")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def postgres(one_postgres: BreakablePostgres) -> BreakablePostgres:
    # a scenario that failed may have left it down
    one_postgres.start()
    return one_postgres


@pytest.fixture
def stage(postgres: BreakablePostgres, fault_folder: Path) -> Iterator[Stage]:
    with open_stage(postgres, fault_folder) as opened:
        yield opened
