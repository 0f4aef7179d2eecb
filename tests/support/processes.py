"""Processes of tests and benchmarks: pinned to a core, waited for, stopped or killed, and the CPU time they used."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_START_TIMEOUT_S = 60.0


def server_core() -> set[int]:
    """The core for service and Postgres: the first there is."""
    return {min(os.sched_getaffinity(0))}


def client_core() -> set[int]:
    """The core for the load generator: the last there is."""
    return {max(os.sched_getaffinity(0))}


@contextmanager
def pinned(cores: set[int]) -> Iterator[None]:
    """Run the block, and every process started in it, on ``cores``."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and of all its children, dead ones included."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    own = sum(int(fields[index]) for index in range(11, 15)) / _TICKS_PER_S
    return own + sum(_child_cpu_seconds(child) for child in _children(pid))


def _child_cpu_seconds(pid: int) -> float:
    """As ``cpu_seconds``; a child that has just ended counts with its parent."""
    try:
        return cpu_seconds(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8")
    return [int(child) for child in text.split()]


@contextmanager
def our_service(dsn: str, environment: dict[str, str], log: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """``rfq serve`` on a free port, warm and ready; yields the process and its port."""
    merged = {**os.environ, "RFQ_DATABASE_URL": dsn, "RFQ_HTTP_PORT": "0", **environment}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "rfq_service", "serve"], env=merged, stdout=output, stderr=output
        )
        try:
            port = wait_for_port(process, log)
            wait_until_ready(port)
            yield process, port
        finally:
            stop(process)


class ServiceProcess:
    """``rfq serve`` that can be killed, and started again on the same port.

    Args:
        dsn: database.
        environment: settings and whatever else the process is to see.
        folder: where its logs go, one for each start.
    """

    def __init__(self, dsn: str, environment: dict[str, str], folder: Path) -> None:
        self._environment = {**os.environ, "RFQ_DATABASE_URL": dsn, **environment}
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.logs: list[Path] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process of the last start."""
        if self._process is None:
            raise RuntimeError("the service has not been started")
        return self._process

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.launch()
        self.port = wait_for_port(self.process, self.logs[-1])
        wait_until_ready(self.port)

    def launch(self) -> None:
        """Start it without waiting."""
        log = self._folder / f"service-{os.urandom(4).hex()}.log"
        self.logs.append(log)
        environment = {**self._environment, "RFQ_HTTP_PORT": str(self.port)}
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "rfq_service", "serve"], env=environment, stdout=output, stderr=output
            )

    def kill(self) -> None:
        """Kill it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Interrupt it and wait for its end; does nothing where it never started."""
        if self._process is not None:
            stop(self._process)


@contextmanager
def bare_service(dsn: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The bare handler; yields the process and its port."""
    command = [sys.executable, "-m", "tests.benchmarks.bare_handler", dsn]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        if process.stdout is None:
            raise RuntimeError("the peer has no output")
        yield process, int(process.stdout.readline())
    finally:
        stop(process)
        if process.stdout is not None:
            process.stdout.close()


def wait_for_port(process: subprocess.Popen[bytes], log: Path) -> int:
    """Port of a service that writes JSON log lines to ``log``, once it listens."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines():
            if '"listening"' in line:
                return int(str(json.loads(line)["url"]).rpartition(":")[2])
        time.sleep(0.02)
    raise RuntimeError(f"the service did not start:\n{log.read_text(encoding='utf-8')[-2000:]}")


def wait_until_ready(port: int) -> None:
    """Wait for ``/health/ready``."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.02)
    raise RuntimeError("the service did not become ready")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a process and wait for its end."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
