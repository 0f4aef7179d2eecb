"""A real PostgreSQL with fsync that can be stopped, killed and frozen under the service that uses it."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rfq_service.db import migrate
from rfq_service.db.embedded import EmbeddedPostgres
from tests.support.waiting import blocking, execute

_GONE_WITHIN_S = 30.0
_TEMPLATE = "template_migrated"


class BreakablePostgres:
    """One server on one port, and a fresh database for each scenario.

    Args:
        folder: where the cluster lives.
    """

    def __init__(self, folder: Path) -> None:
        self._server = EmbeddedPostgres(folder, port=_free_port())
        self._made = 0
        self.port = 0

    def start(self) -> None:
        """Start it, after a crash with recovery, and wait until it takes connections."""
        self._server.start()
        self.port = self._server.port

    def stop(self) -> None:
        """Stop it in order."""
        self._server.stop()

    def stop_immediately(self) -> None:
        """Stop as ``pg_ctl stop -m immediate``: no checkpoint, no farewell to anybody."""
        pids = self.processes()
        os.kill(self._server.pid, signal.SIGQUIT)
        _wait_until_gone(pids)

    def kill(self) -> None:
        """SIGKILL for the postmaster and all its processes, as a crash of the host's container."""
        pids = self.processes()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _wait_until_gone(pids)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """SIGSTOP for all of it within the block: sockets stay open and nobody answers."""
        pids = self.processes()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def is_running(self) -> bool:
        """Whether the postmaster lives."""
        try:
            return Path(f"/proc/{self._server.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def processes(self) -> list[int]:
        """The postmaster and everything it has started."""
        postmaster = self._server.pid
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        return [postmaster, *map(int, children)]

    def dsn(self, database: str) -> str:
        """Address of one database, as its owner."""
        return self._server.dsn.rpartition("/")[0] + f"/{database}"

    def new_database(self) -> str:
        """A database with the newest schema; its address, as its owner."""
        if self._made == 0:
            blocking(execute(self.dsn("postgres"), f"CREATE DATABASE {_TEMPLATE} TEMPLATE template0"))
            migrate.upgrade(self.dsn(_TEMPLATE))
        self._made += 1
        name = f"scenario_{self._made}"
        blocking(execute(self.dsn("postgres"), f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}"))
        return self.dsn(name)


def _wait_until_gone(pids: list[int]) -> None:
    """Wait until none of the processes runs: a server started while a backend lives would not come up."""
    deadline_s = time.monotonic() + _GONE_WITHIN_S
    while any(_runs(pid) for pid in pids):
        if time.monotonic() > deadline_s:
            raise RuntimeError("the server's processes do not end")
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
