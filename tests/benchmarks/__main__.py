"""``make bench``: runs every benchmark, prints a table, writes ``build/bench.json``.

The exit status is 1 when a row that the goals name is missing. A goal that is missed is said and recorded.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks import book_building, durable_evaluation, protections, push, scoring, start
from tests.benchmarks.row import Row, load_goals

RESULT_PATH = Path("build/bench.json")
BENCHMARKS: dict[str, Callable[[], list[Row]]] = {
    "scoring": scoring.run,
    "book building": book_building.run,
    "start": start.run,
    "durable evaluation": durable_evaluation.run,
    "push": push.run,
    "protections": protections.run,
}


def main() -> int:
    """Run all, or those whose names are given."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    chosen = {name: run for name, run in BENCHMARKS.items() if not sys.argv[1:] or name in sys.argv[1:]}
    rows: list[Row] = []
    for name, run in chosen.items():
        console.print(f"- {name} …")
        rows += run()
    missing = sorted(set(load_goals()) - {row.name for row in rows}) if len(chosen) == len(BENCHMARKS) else []
    console.print(_table(rows))
    console.print(f"machine: {_machine()}; how each was measured: {RESULT_PATH}")
    RESULT_PATH.parent.mkdir(exist_ok=True)
    RESULT_PATH.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    for name in missing:
        console.print(f"[red]missing: {name}[/red]")
    missed = [row.name for row in rows if row.met is False]
    for name in missed:
        console.print(f"[red]goal missed: {name}[/red]")
    return 1 if missing else 0


def _table(rows: list[Row]) -> Table:
    table = Table(title="Benchmarks")
    for name in ("name", "value", "unit", "baseline", "ratio", "interval", "goal", "met"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.value:.4g}",
            row.unit,
            "-" if row.baseline is None else f"{row.baseline:.4g}",
            "-" if row.ratio is None else f"{row.ratio:.3g}",
            f"{row.interval[0]:.3g} … {row.interval[1]:.3g}",
            row.goal or "-",
            {None: "-", True: "yes", False: "NO"}[row.met],
        )
    return table


def _machine() -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {system}"


if __name__ == "__main__":
    sys.exit(main())
