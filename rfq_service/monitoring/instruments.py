"""Names of every span and metric: one table to read, and nothing is recorded that is not in it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

DURATION_BUCKETS_S = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)


class Kind(StrEnum):
    """How values of one instrument are put together; the value is Prometheus' word for it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Outcome(StrEnum):
    """How a use case ended: as asked, refused with a reason, cut off by the caller, or by our own failure."""

    OK = "ok"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric.

    Attributes:
        name: Prometheus name, unit last; counters end in ``_total``.
        labels: the labels every value carries, in this order.
        unit: UCUM unit for OpenTelemetry, as ``s``; empty for plain numbers.
        buckets: upper bounds of a histogram's buckets, ascending, without the last, infinite one.
    """

    name: str
    kind: Kind
    description: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    buckets: tuple[float, ...] = ()


USE_CASE_DURATION = Instrument(
    "rfq_use_case_duration_seconds",
    Kind.HISTOGRAM,
    "Time a use case took, from its first line to its commit.",
    ("use_case", "outcome"),
    "s",
    DURATION_BUCKETS_S,
)
REFUSALS = Instrument(
    "rfq_refusals_total", Kind.COUNTER, "Use cases that ended with an error code, by code.", ("use_case", "code")
)
BACKGROUND_FAILURES = Instrument(
    "rfq_background_failures_total", Kind.COUNTER, "Background work that failed, by task.", ("task",)
)
COMMIT_QUEUE = Instrument("rfq_commit_queue_requests", Kind.GAUGE, "Requests that wait for a group commit.")
MARKET_MESSAGES = Instrument(
    "rfq_market_messages_total", Kind.COUNTER, "Market data messages taken in, by kind.", ("instrument", "kind")
)
MARKET_FAULTS = Instrument(
    "rfq_market_faults_total", Kind.COUNTER, "Gaps and bad messages; each costs the book.", ("instrument", "fault")
)
MARKET_USABLE = Instrument("rfq_market_usable", Kind.GAUGE, "1 where the book can be used, else 0.", ("instrument",))
MARKET_AGE = Instrument(
    "rfq_market_age_seconds", Kind.GAUGE, "Time since the last event of the instrument.", ("instrument",), "s"
)
SEQUENCER_LAG = Instrument(
    "rfq_sequencer_lag_seconds",
    Kind.GAUGE,
    "No committed event without its number is older than this; above 0.2 is worth an alarm.",
    (),
    "s",
)
EVENTS_NUMBERED = Instrument("rfq_events_numbered_total", Kind.COUNTER, "Events that this replica has numbered.")
STREAM_SOCKETS = Instrument("rfq_stream_sockets", Kind.GAUGE, "Sockets open on this replica.")
STREAM_CLOSED = Instrument(
    "rfq_stream_sockets_closed_total", Kind.COUNTER, "Sockets that this replica closed, by reason.", ("reason",)
)
STREAM_RESYNCS = Instrument(
    "rfq_stream_resyncs_total", Kind.COUNTER, "Readers whose number was no longer kept, or never given."
)

INSTRUMENTS = (
    *(USE_CASE_DURATION, REFUSALS, BACKGROUND_FAILURES, COMMIT_QUEUE),
    *(SEQUENCER_LAG, EVENTS_NUMBERED, STREAM_SOCKETS, STREAM_CLOSED, STREAM_RESYNCS),
    *(MARKET_MESSAGES, MARKET_FAULTS, MARKET_USABLE, MARKET_AGE),
)
