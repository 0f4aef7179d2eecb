"""``rfq replay``, ``rfq ingest`` and ``rfq calibrate``: what is done with recordings outside the server."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from rfq_service.administration import in_transaction
from rfq_service.bootstrap import choose_market, new_id
from rfq_service.db.unit_of_work import UnitOfWork
from rfq_service.desk.reference_data import store_instruments
from rfq_service.domain.identifiers import InstrumentId
from rfq_service.market_data.bars import MarketBar, summarise
from rfq_service.market_data.feeds import MessageStream
from rfq_service.market_data.replay import ReplayReport, replay
from rfq_service.settings import Settings
from rfq_service.terminal import make_console

# An hour of bars: making them must not outlast the time a transaction may idle.
_BATCH = 60
_LOG_EVERY_S = 5.0
SIMULATED_LENGTH_S = 7_200.0  # a generated market is endless; this much of it is played


def replay_command(settings: Settings, data: str | None) -> int:
    """Play recordings as fast as possible; exit status 1 when a sequence number is missing."""
    console = make_console()
    recordings = choose_market(data or settings.market.source, SIMULATED_LENGTH_S)
    with _progress(console) as progress:
        task = progress.add_task("", total=None)
        last_log_s = time.monotonic()

        def tell(instrument_id: InstrumentId, messages: int) -> None:
            nonlocal last_log_s
            progress.update(task, description=instrument_id, completed=messages)
            if not console.is_terminal and time.monotonic() - last_log_s > _LOG_EVERY_S:
                last_log_s = time.monotonic()
                console.print(f"{instrument_id}: {messages} messages")

        reports = replay(recordings, tell)
    console.print(_report_table(reports))
    broken = sum(report.breaks for report in reports)
    console.print(f"{broken} sequence breaks" if broken else "no sequence breaks")
    return 1 if broken else 0


def ingest_command(settings: Settings, data: str | None) -> int:
    """Build every book and store its minute bars; a recording may be ingested again, its bars are replaced."""
    console = make_console()
    recordings = choose_market(data or settings.market.source, SIMULATED_LENGTH_S)
    streams = [stream for recording in recordings for stream in recording.streams]
    stored = 0
    with _progress(console) as progress:
        task = progress.add_task("", total=len(streams))
        for stream in streams:
            progress.update(task, description=stream.instrument.instrument_id)
            count = in_transaction(settings, _Storing(stream))
            stored += count
            progress.advance(task)
            if not console.is_terminal:
                console.print(f"{stream.instrument.instrument_id}: {count} minute bars stored")
    console.print(f"{stored} minute bars of {len(streams)} instruments are in table market_bar")
    return 0


def calibrate_command(data: Path, out: Path) -> int:
    """Measure the closed forms' parameters anew; minutes of work, one line per step."""
    # only this command needs the calibration's libraries
    from models.calibration import calibrate

    console = make_console()
    calibrate(data, out, console.print)
    console.print("next: compare the manifest with models/artifacts/default and commit the artifact if it is wanted")
    return 0


class _Storing:
    """Stores one stream's instrument and bars within a transaction."""

    def __init__(self, stream: MessageStream) -> None:
        self._stream = stream

    async def __call__(self, uow: UnitOfWork) -> int:
        await store_instruments(uow, [self._stream.instrument], new_id)
        stored = 0
        for batch in _batches(summarise(self._stream)):
            stored += await uow.market.add_bars(batch)
        return stored


def _batches(bars: Iterator[MarketBar]) -> Iterator[list[MarketBar]]:
    while batch := list(itertools.islice(bars, _BATCH)):
        yield batch


def _progress(console: Console) -> Progress:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:32}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _report_table(reports: Sequence[ReplayReport]) -> Table:
    table = Table(title="Replay")
    for name in ("instrument", "messages", "diffs", "trades", "breaks", "market s", "taken s", "x real time"):
        table.add_column(name, justify="left" if name == "instrument" else "right")
    for report in reports:
        table.add_row(
            report.instrument_id,
            f"{report.messages}",
            f"{report.diffs}",
            f"{report.trades}",
            f"{report.breaks}",
            f"{report.market_s:.0f}",
            f"{report.taken_s:.2f}",
            f"{report.realtime_factor:.0f}",
        )
    return table
