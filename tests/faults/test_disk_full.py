"""The disk is full: of data, which PostgreSQL refuses row by row, or of its log, at which it stops."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import pytest

from tests.faults.postgres import BreakablePostgres
from tests.faults.stage import Stage, open_stage
from tests.faults.volume import Volume, mounted
from tests.support.processes import wait_until_ready
from tests.support.waiting import blocking, execute, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
_ENOUGH = 100
_MIB = 1 << 20
_DATA_BYTES, _LOG_BYTES = 256 * _MIB, 160 * _MIB


@pytest.fixture
def volumes(fault_folder: Path) -> Iterator[tuple[Volume, Volume]]:
    """One for PostgreSQL's data and one for its log."""
    with ExitStack() as stack:
        try:
            data = stack.enter_context(mounted(fault_folder / "data-volume", _DATA_BYTES))
            log = stack.enter_context(mounted(fault_folder / "log-volume", _LOG_BYTES))
        except (PermissionError, FileNotFoundError) as error:
            pytest.skip(f"a volume can be mounted by root only, and needs `mount`: {error}")
        yield data, log


@pytest.fixture
def server(volumes: tuple[Volume, Volume]) -> Iterator[BreakablePostgres]:
    """A server of its own, with its log on the second volume."""
    data, log = volumes
    server = BreakablePostgres(data.path / "postgres")
    server.start()
    server.stop()
    ours, theirs = data.path / "postgres" / "cluster" / "pg_wal", log.path / "pg_wal"
    shutil.copytree(ours, theirs)
    owner = ours.stat()
    for path in (theirs, *theirs.rglob("*")):
        shutil.chown(path, owner.st_uid, owner.st_gid)
    shutil.rmtree(ours)
    ours.symlink_to(theirs)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def full_stage(server: BreakablePostgres, fault_folder: Path) -> Iterator[Stage]:
    with open_stage(server, fault_folder) as opened:
        yield opened


def test_data_volume_full(full_stage: Stage, volumes: tuple[Volume, Volume]) -> None:
    data, _ = volumes
    full_stage.add_service()
    with full_stage.load() as load:
        load.until_acknowledged(_ENOUGH)
        data.fill()
        until(lambda: full_stage.ledger.codes()["DATABASE_UNAVAILABLE"] >= 20, "changes are refused")
        data.free()
        wait_until_ready(full_stage.service.port)
        load.until_acknowledged(_ENOUGH)
    assert full_stage.findings() == []
    assert "INTERNAL" not in full_stage.ledger.codes()


def test_log_volume_full_stops_the_server_and_loses_nothing(
    full_stage: Stage, server: BreakablePostgres, volumes: tuple[Volume, Volume]
) -> None:
    _, log = volumes
    full_stage.add_service()
    with full_stage.load() as load:
        load.until_acknowledged(_ENOUGH)
        log.fill()
        until(lambda: _has_stopped(server), "the server panics for want of a log segment")
        until(lambda: full_stage.ledger.codes()["DATABASE_UNAVAILABLE"] >= 20, "changes are refused")
        log.free()
        server.start()
        wait_until_ready(full_stage.service.port)
        load.until_acknowledged(_ENOUGH)
    assert full_stage.findings() == []
    assert "INTERNAL" not in full_stage.ledger.codes()


def _has_stopped(server: BreakablePostgres) -> bool:
    """Whether the server has died; asks for a new log segment, which the load alone would fill too slowly."""
    try:
        blocking(
            execute(server.dsn("postgres"), "SELECT pg_switch_wal()", "SELECT pg_logical_emit_message(true, '', '')")
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        return not server.is_running()
    return False
