"""``rfq demo`` as a newcomer runs it: it ends well, shows what it promises and leaves nothing behind but its data."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    # not pytest's folder, which the unprivileged user of the embedded server cannot enter
    path = Path(tempfile.mkdtemp(prefix="rfq-demo-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def environment(folder: Path, source: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RFQ_", "DATABASE_URL"))}
    return {**kept, "RFQ_DATABASE_DATA_DIR": str(folder / "data"), "DEMO_DATA": source}


def run_demo(folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rfq_service", "demo"],
        env=environment(folder, source),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def processes_of(folder: Path) -> list[str]:
    """Command lines of running processes that name the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                environ = (entry / "environ").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(folder) in command + environ and int(entry.name) != os.getpid():
                found.append(command)
    return found


def check_output(output: str) -> None:
    for heading in ("reference mid", "cost bps", "fair range bps", "fairness", "verdict", "decision", "fill"):
        assert heading in output
    assert len(re.findall(r"│ \d+\. (?:buy|sell|two-way) ", output)) == 12
    assert "dealer-auto" in output
    assert re.search(r"\b(buy|sell) [\d,.]+", output.split("fill", 1)[1])
    assert "/docs" in output


def test_simulated_market_is_said_to_be_simulated(folder: Path) -> None:
    first = run_demo(folder, "simulated")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "SIMULATED" in first.stdout
    check_output(first.stdout)
    assert processes_of(folder) == []
    again = run_demo(folder, "simulated")
    assert again.returncode == 0, again.stdout + again.stderr


def test_recorded_market(folder: Path, recordings: Path) -> None:
    done = run_demo(folder, str(recordings))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "BINANCE.SPOT.NEXOUSDT" in done.stdout
    assert "SIMULATED" not in done.stdout
    check_output(done.stdout)
    assert processes_of(folder) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_demo_leaves_nothing_running(folder: Path, how: signal.Signals) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "rfq_service", "demo"],
        # a quiet log level and an address with colons must not keep the demo from finding its service
        env={**environment(folder, "simulated"), "RFQ_TELEMETRY_LOG_LEVEL": "ERROR", "RFQ_HTTP_HOST": "::1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert demo.stdout is not None
    for line in demo.stdout:
        if "RFQ 2 of" in line:
            break
    demo.send_signal(how)
    output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130, output
    deadline = time.monotonic() + 10
    while processes_of(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(folder) == []


def test_missing_recordings_are_named(folder: Path) -> None:
    done = run_demo(folder, "/no/such/recordings")
    assert done.returncode == 1
    assert "/no/such/recordings" in done.stderr
    assert "Traceback" not in done.stderr
