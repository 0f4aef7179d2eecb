"""From ``rfq serve`` to ready, once installed: a new process, an existing database, the simulated market warm."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from rfq_service.db.embedded import EmbeddedPostgres
from tests.benchmarks.row import Row, judge
from tests.support.data import recordings_path
from tests.support.processes import our_service

ROUNDS = 5


def run() -> list[Row]:
    """Start to ready with the recordings, where they are at hand, and simulated; the slower is judged."""
    with tempfile.TemporaryDirectory(prefix="rfq-bench-") as folder:
        sources = ["simulated"]
        if recordings_path().is_dir():
            sources.append(str(recordings_path()))
        with EmbeddedPostgres(Path(folder) / "postgres") as server:
            taken = {source: [] for source in sources}  # type: dict[str, list[float]]
            _start(server.dsn, sources[0], Path(folder))  # the first start migrates
            for _ in range(ROUNDS):
                for source in sources:
                    taken[source].append(_start(server.dsn, source, Path(folder)))
    slower = max(sources, key=lambda source: sorted(taken[source])[ROUNDS // 2])
    how = "process start to the first 200 of /health/ready, Postgres up, schema there, market warm"
    label = "simulated market" if slower == "simulated" else "all recordings"
    return [judge("start_to_ready", taken[slower], "s", f"{how}, {label}")]


def _start(dsn: str, source: str, folder: Path) -> float:
    started = time.perf_counter()
    with our_service(dsn, {"RFQ_MARKET_SOURCE": source}, folder / "service.log"):
        return time.perf_counter() - started
