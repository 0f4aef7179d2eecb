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
from tests.support.postgres_tap import Chooser, CommitTap
from tests.support.proxy import TcpProxy
from tests.support.waiting import blocking, execute

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
def lossy_postgres(fault_folder: Path) -> Iterator[BreakablePostgres]:
    """A server of its own that writes its log for a commit that waits for it, and else only after a long while."""
    folder = Path(tempfile.mkdtemp(prefix="lossy-", dir=fault_folder))
    folder.chmod(0o755)
    server = BreakablePostgres(folder)
    server.start()
    settings = ("wal_writer_delay = '10s'", "wal_writer_flush_after = '1GB'", "bgwriter_lru_maxpages = 0")
    blocking(execute(server.dsn("postgres"), *(f"ALTER SYSTEM SET {setting}" for setting in settings)))
    blocking(execute(server.dsn("postgres"), "SELECT pg_reload_conf()"))
    yield server
    server.stop()


@pytest.fixture
def stage(postgres: BreakablePostgres, fault_folder: Path) -> Iterator[Stage]:
    with open_stage(postgres, fault_folder) as opened:
        yield opened


@pytest.fixture
def chooser() -> Chooser:
    """What becomes of each commit on the wire; all are kept until a scenario says otherwise."""
    return Chooser()


@pytest.fixture
def proxy(postgres: BreakablePostgres, chooser: Chooser) -> Iterator[TcpProxy]:
    """The wire between service and database."""
    with TcpProxy(postgres.port, lambda: CommitTap(chooser)) as wire:
        yield wire


@pytest.fixture
def wired_stage(postgres: BreakablePostgres, fault_folder: Path, proxy: TcpProxy) -> Iterator[Stage]:
    """A stage whose services reach the database over that wire."""
    with open_stage(postgres, fault_folder, proxy.port) as opened:
        yield opened
