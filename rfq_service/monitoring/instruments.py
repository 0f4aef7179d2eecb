"""Names of every span and metric: one table to read, and nothing is recorded that is not in it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

DURATION_BUCKETS_S = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
ROW_BUCKETS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)


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
HTTP_RESPONSES = Instrument(
    "rfq_http_responses_total", Kind.COUNTER, "HTTP answers by route template and status.", ("route", "status")
)
QUOTES_SCORED = Instrument("rfq_quotes_scored_total", Kind.COUNTER, "Quotes scored, by verdict.", ("verdict",))
QUOTES_PRICED = Instrument("rfq_quotes_priced_total", Kind.COUNTER, "Prices asked of us, by result.", ("result",))
FALLBACKS = Instrument(
    "rfq_fallbacks_total", Kind.COUNTER, "Answers from a labelled fallback instead of a model.", ("component", "reason")
)
MARKET_MESSAGES = Instrument(
    "rfq_market_messages_total", Kind.COUNTER, "Market data messages taken in.", ("instrument", "kind")
)
MARKET_SEQUENCE_BREAKS = Instrument(
    "rfq_market_sequence_breaks_total", Kind.COUNTER, "Gaps in the depth stream; each rebuilds a book.", ("instrument",)
)
MARKET_INSTRUMENTS = Instrument("rfq_market_instruments", Kind.GAUGE, "Instruments with a usable book on the board.")
DATABASE_ERRORS = Instrument(
    "rfq_database_errors_total", Kind.COUNTER, "Failed database work, by kind of failure.", ("kind",)
)
COMMIT_BATCH_ROWS = Instrument(
    "rfq_commit_batch_requests",
    Kind.HISTOGRAM,
    "Requests that shared one transaction of the group commit.",
    (),
    "",
    ROW_BUCKETS,
)
COMMIT_QUEUE = Instrument("rfq_commit_queue_requests", Kind.GAUGE, "Requests that wait for the group commit.")
BACKGROUND_FAILURES = Instrument(
    "rfq_background_failures_total", Kind.COUNTER, "Failures of background work, by task.", ("task",)
)

BACKGROUND_FAILURES = Instrument(
    "rfq_background_failures_total", Kind.COUNTER, "Background work that failed, by task.", ("task",)
)

INSTRUMENTS = (
    *(USE_CASE_DURATION, HTTP_RESPONSES, QUOTES_SCORED, QUOTES_PRICED, FALLBACKS),
    *(MARKET_MESSAGES, MARKET_SEQUENCE_BREAKS, MARKET_INSTRUMENTS),
    *(DATABASE_ERRORS, COMMIT_BATCH_ROWS, COMMIT_QUEUE, BACKGROUND_FAILURES),
)
