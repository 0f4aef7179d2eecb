"""Counts and histograms kept in memory, cheap enough for every request, and their Prometheus text.

The OpenTelemetry SDK's own histogram costs several times as much per value; its data model and exporter are still
used, in ``telemetry.py``, to send what is kept here.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from rfq_service.domain.errors import InvariantError, require
from rfq_service.monitoring.instruments import Instrument, Kind

# Label values and the value that goes with them, as many as there are.
Values = Iterable[tuple[tuple[str, ...], float]]

SERIES_MAX = 1000
_OVERFLOW = "other"


@dataclass(slots=True)
class Series:
    """The running total of one instrument under one set of label values; ``bucket_counts`` is empty for counters."""

    labels: tuple[str, ...]
    total: float = 0.0
    count: int = 0
    bucket_counts: list[int] = field(default_factory=list)
    smallest: float = math.inf
    largest: float = -math.inf


@dataclass(frozen=True, slots=True)
class Reading:
    """All series of one instrument at one moment."""

    instrument: Instrument
    series: tuple[Series, ...]


class MetricRegistry:
    """Running totals by instrument and labels; safe to use from any thread.

    Args:
        instruments: everything that may be recorded; any other name breaks an invariant.
    """

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self._instruments = {instrument.name: instrument for instrument in instruments}
        self._series: dict[str, dict[tuple[str, ...], Series]] = {name: {} for name in self._instruments}
        self._watched: dict[str, Callable[[], Values]] = {}
        # What callers pass, in their order of labels, so that the usual case is one look-up.
        self._found: dict[tuple[object, ...], Series] = {}
        self._lock = threading.Lock()

    def count(self, name: str, value: float = 1, **labels: str) -> None:
        """Add to a counter."""
        series = self._found.get((name, *labels.items())) or self._find(name, Kind.COUNTER, labels)
        with self._lock:
            series.total += value

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Put one value into a histogram."""
        series = self._found.get((name, *labels.items())) or self._find(name, Kind.HISTOGRAM, labels)
        bucket = bisect_left(self._instruments[name].buckets, value)
        with self._lock:
            series.total += value
            series.count += 1
            series.bucket_counts[bucket] += 1
            series.smallest = min(series.smallest, value)
            series.largest = max(series.largest, value)

    def gauge(self, name: str, callback: Callable[[], float]) -> None:
        """Read a gauge without labels from ``callback`` whenever somebody looks."""
        self._declared(name, Kind.GAUGE)
        self.watch(name, lambda: [((), callback())])

    def watch(self, name: str, callback: Callable[[], Values]) -> None:
        """Read all series of a gauge or counter that somebody else keeps; a later callback replaces an earlier one."""
        instrument = self._instruments.get(name)
        if instrument is None or instrument.kind is Kind.HISTOGRAM:
            raise InvariantError(f"{name} is not declared as a gauge or counter in monitoring/instruments.py")
        self._watched[name] = callback

    def read(self) -> list[Reading]:
        """A consistent copy of all that has been recorded."""
        with self._lock:
            copied = {
                name: tuple(
                    Series(s.labels, s.total, s.count, list(s.bucket_counts), s.smallest, s.largest)
                    for s in found.values()
                )
                for name, found in self._series.items()
            }
        for name, callback in self._watched.items():
            copied[name] = tuple(Series(labels, float(value)) for labels, value in callback())
        return [Reading(self._instruments[name], series) for name, series in copied.items() if series]

    def prometheus_text(self) -> bytes:
        """The Prometheus text format, version 0.0.4."""
        lines: list[str] = []
        for reading in self.read():
            instrument = reading.instrument
            lines.append(f"# HELP {instrument.name} {instrument.description}")
            lines.append(f"# TYPE {instrument.name} {instrument.kind}")
            for series in reading.series:
                lines.extend(_series_lines(instrument, series))
        return ("\n".join(lines) + "\n").encode()

    def _declared(self, name: str, kind: Kind) -> Instrument:
        instrument = self._instruments.get(name)
        if instrument is None or instrument.kind is not kind:
            raise InvariantError(f"{name} is not declared as a {kind} in monitoring/instruments.py")
        return instrument

    def _find(self, name: str, kind: Kind, labels: dict[str, str]) -> Series:
        """The series of these labels, new where needed; beyond the limit all share one called ``other``."""
        instrument = self._declared(name, kind)
        require(set(labels) == set(instrument.labels), f"{name} has the labels {instrument.labels}, not {set(labels)}")
        values = tuple(str(labels[label]) for label in instrument.labels)
        with self._lock:
            known = self._series[name]
            full = len(known) >= SERIES_MAX and values not in known
            if full:
                values = (_OVERFLOW,) * len(values)
            empty = [0] * (len(instrument.buckets) + 1) if kind is Kind.HISTOGRAM else []
            series = known.setdefault(values, Series(values, bucket_counts=empty))
            if not full:  # or the look-up table would grow without end
                self._found[name, *labels.items()] = series
        return series


def _series_lines(instrument: Instrument, series: Series) -> Iterable[str]:
    pairs = [f'{label}="{_escape(value)}"' for label, value in zip(instrument.labels, series.labels, strict=True)]
    if instrument.kind is not Kind.HISTOGRAM:
        yield f"{instrument.name}{_braces(pairs)} {_number(series.total)}"
        return
    cumulative = 0
    for bound, count in zip((*instrument.buckets, math.inf), series.bucket_counts, strict=True):
        cumulative += count
        le = f'le="{_number(bound)}"'
        yield f"{instrument.name}_bucket{_braces([*pairs, le])} {cumulative}"
    yield f"{instrument.name}_sum{_braces(pairs)} {_number(series.total)}"
    yield f"{instrument.name}_count{_braces(pairs)} {series.count}"


def _braces(pairs: list[str]) -> str:
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value.is_integer() else repr(value)
