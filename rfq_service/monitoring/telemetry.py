"""Spans, metrics and logs of the service; the only module that imports OpenTelemetry.

Spans are built by hand and only when they will be kept: a use case draws its ids and notes its start, and at its end a
span is made from that if the use case was sampled or failed. An instrumented ASGI stack would cost most of the
throughput even at 0 % sampling. Ids exist for every use case, so every log line can name its trace.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import threading
import time
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.monitoring.instruments import INSTRUMENTS, REFUSALS, USE_CASE_DURATION, Kind, Outcome
from rfq_service.monitoring.logs import configure_logging
from rfq_service.monitoring.metrics import MetricRegistry, Reading, Series

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import (
        Gauge,
        Histogram,
        HistogramDataPoint,
        MetricExporter,
        MetricsData,
        NumberDataPoint,
        Sum,
    )
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

AttributeValue = str | bool | int | float

_EXPORT_TIMEOUT_S = 2.0
_OUR_FAILURES = frozenset(
    {ErrorCode.INTERNAL, ErrorCode.DEADLINE_EXCEEDED, ErrorCode.DATABASE_UNAVAILABLE, ErrorCode.OVERLOADED}
)
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED_FLAG = 1

# Ids need to be distinct, not secret; a generator of our own, so that nobody's seed repeats them.
_random = random.Random()  # noqa: S311
_log = logging.getLogger(__name__)
_current: ContextVar[UseCase | None] = ContextVar("current_use_case", default=None)


@dataclass(frozen=True, slots=True)
class TraceParent:
    """The caller's place in a trace, from the W3C ``traceparent`` header."""

    trace_id: int
    span_id: int
    sampled: bool

    @classmethod
    def parse(cls, header: str | None) -> TraceParent | None:
        """Read the header; anything malformed counts as absent, as the W3C recommendation says."""
        match = _TRACEPARENT.fullmatch(header) if header is not None else None
        if match is None:
            return None
        version, trace_id, span_id, flags, rest = match.groups()
        malformed = version == "ff" or (version == "00" and rest) or not int(trace_id, 16) or not int(span_id, 16)
        if malformed:
            return None
        return cls(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & _SAMPLED_FLAG))


class UseCase:
    """One run of a use case, used as a context manager; made by ``Telemetry.use_case``."""

    __slots__ = (
        *("attributes", "error", "name", "outcome", "parent_span_id", "sampled", "span_id", "trace_id"),
        *("_start_monotonic_ns", "_start_ns", "_telemetry", "_token"),
    )

    def __init__(self, telemetry: Telemetry, name: str, parent: TraceParent | UseCase | None) -> None:
        self._telemetry = telemetry
        self.name = name
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self.attributes: dict[str, AttributeValue] = {}
        # The OR keeps ids from being zero, which would mean "none".
        self.span_id = _random.getrandbits(64) | 1
        if parent is None:
            self.trace_id = _random.getrandbits(128) | 1
            self.parent_span_id = 0
            self.sampled = _random.random() < telemetry.sample_ratio
        else:
            self.trace_id, self.parent_span_id, self.sampled = parent.trace_id, parent.span_id, parent.sampled

    def set(self, key: str, value: AttributeValue) -> None:
        """Note an attribute for the span; never a secret, and never another firm's data."""
        self.attributes[key] = value

    def __enter__(self) -> Self:
        self._token: Token[UseCase | None] = _current.set(self)
        self._start_ns = time.time_ns()
        self._start_monotonic_ns = time.perf_counter_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        duration_ns = time.perf_counter_ns() - self._start_monotonic_ns
        _current.reset(self._token)
        self.error = error
        outcome = self.outcome or _outcome(error)
        self._telemetry.finish(self, outcome, self._start_ns, duration_ns)


class Telemetry:
    """What the rest of the service records with.

    Args:
        sample_ratio: share of use cases whose span is kept, 0…1; failures always are. A caller's decision in
            ``traceparent`` comes first.
        otlp_endpoint: base address of an OTLP/HTTP collector, as ``http://localhost:4318``; without it spans are not
            built and metrics are only read at ``/metrics``.
        log_level: lowest level shown, as ``info``.
        log_json: JSON lines, else text for people.
        span_exporter: where spans go instead of the collector, for tests.
        metric_interval_s: seconds between two exports of the metrics.

    Raises:
        ValueError: for a ratio outside 0…1 or an unknown log level.
    """

    def __init__(
        self,
        *,
        sample_ratio: float = 0.01,
        otlp_endpoint: str | None = None,
        service_name: str = "rfq-service",
        log_level: str = "info",
        log_json: bool = True,
        span_exporter: SpanExporter | None = None,
        metric_interval_s: float = 10.0,
    ) -> None:
        if not 0 <= sample_ratio <= 1:
            raise ValueError(f"sample_ratio {sample_ratio} is not between 0 and 1")
        self.sample_ratio = sample_ratio
        self._registry = MetricRegistry(INSTRUMENTS)
        self.count = self._registry.count
        self.observe = self._registry.observe
        self.gauge = self._registry.gauge
        self.watch = self._registry.watch
        self.prometheus_text = self._registry.prometheus_text
        self._log_level, self._log_json = log_level, log_json
        self._spans: _SpanBuilder | None = None
        self._metric_sender: _MetricSender | None = None
        if span_exporter is not None or otlp_endpoint:
            self._spans = _SpanBuilder(service_name, otlp_endpoint or "", span_exporter)
        if otlp_endpoint:
            self._metric_sender = _MetricSender(self._registry, service_name, otlp_endpoint, metric_interval_s)

    def start(self) -> None:
        """Configure the process's logs and begin to export."""
        configure_logging(self._log_level, as_json=self._log_json, trace_ids=current_trace_ids)
        if self._metric_sender is not None:
            self._metric_sender.start()

    def close(self) -> None:
        """Send what is left and stop the exporters; takes seconds at most, also without a collector."""
        if self._metric_sender is not None:
            self._metric_sender.close()
        if self._spans is not None:
            self._spans.close()

    def use_case(self, name: str, traceparent: str | None = None) -> UseCase:
        """Measure a use case: ``with telemetry.use_case("evaluate") as use_case: ...``.

        Args:
            name: its name, one of a few; ids belong into attributes.
            traceparent: the caller's W3C header; inside another use case that one is the parent.
        """
        return UseCase(self, name, _current.get() or TraceParent.parse(traceparent))

    def finish(self, use_case: UseCase, outcome: Outcome, start_ns: int, duration_ns: int) -> None:
        """Record a finished use case; called by ``UseCase`` alone."""
        self.observe(USE_CASE_DURATION.name, duration_ns / 1e9, use_case=use_case.name, outcome=outcome)
        if isinstance(use_case.error, RfqError):
            self.count(REFUSALS.name, use_case=use_case.name, code=use_case.error.code)
        if self._spans is not None and (use_case.sampled or outcome is Outcome.ERROR):
            self._spans.build(use_case, outcome, start_ns, start_ns + duration_ns)


def current_trace_ids() -> tuple[str, str] | None:
    """Trace id and span id of the running use case as hexadecimal text, or ``None`` outside of one."""
    use_case = _current.get()
    return None if use_case is None else (f"{use_case.trace_id:032x}", f"{use_case.span_id:016x}")


def current_traceparent() -> str | None:
    """The W3C header to send along with an outgoing request, or ``None`` outside of a use case."""
    use_case = _current.get()
    if use_case is None:
        return None
    return f"00-{use_case.trace_id:032x}-{use_case.span_id:016x}-{int(use_case.sampled):02x}"


def _outcome(error: BaseException | None) -> Outcome:
    if error is None:
        return Outcome.OK
    if isinstance(error, RfqError):
        return Outcome.ERROR if error.code in _OUR_FAILURES else Outcome.REFUSED
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt | SystemExit):
        return Outcome.CANCELLED
    return Outcome.ERROR


def _resource(service_name: str) -> Resource:
    from opentelemetry.sdk.resources import Resource

    return Resource.create({"service.name": service_name})


class _SpanBuilder:
    """Makes SDK spans from finished use cases, with the ids that these have drawn already."""

    def __init__(self, service_name: str, otlp_endpoint: str, exporter: SpanExporter | None) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider, sampling
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
        from opentelemetry.sdk.trace.id_generator import IdGenerator

        class PreparedIds(IdGenerator):
            """Hands out the ids of the use case that is being built."""

            span_id = 0
            trace_id = 0

            def generate_span_id(self) -> int:
                return self.span_id

            def generate_trace_id(self) -> int:
                return self.trace_id

        self._trace_api = trace
        self._ids = PreparedIds()
        self._lock = threading.Lock()
        # We have decided already, so the SDK keeps all it is given.
        self._provider: TracerProvider = TracerProvider(
            sampler=sampling.ALWAYS_ON, resource=_resource(service_name), id_generator=self._ids, shutdown_on_exit=False
        )
        if exporter is not None:
            self._provider.add_span_processor(SimpleSpanProcessor(exporter))
        else:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            to_collector = OTLPSpanExporter(f"{otlp_endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_TIMEOUT_S)
            self._provider.add_span_processor(BatchSpanProcessor(to_collector))
        self._tracer = self._provider.get_tracer("rfq_service")

    def build(self, use_case: UseCase, outcome: Outcome, start_ns: int, end_ns: int) -> None:
        """Make and hand over one span."""
        api = self._trace_api
        context = None
        if use_case.parent_span_id:
            parent = api.SpanContext(
                use_case.trace_id, use_case.parent_span_id, is_remote=True, trace_flags=api.TraceFlags(_SAMPLED_FLAG)
            )
            context = api.set_span_in_context(api.NonRecordingSpan(parent))
        with self._lock:
            self._ids.trace_id, self._ids.span_id = use_case.trace_id, use_case.span_id
            span = self._tracer.start_span(
                use_case.name, context=context, start_time=start_ns, attributes=dict(use_case.attributes)
            )
        span.set_attribute("outcome", outcome)
        if outcome is Outcome.ERROR:
            span.set_status(api.StatusCode.ERROR, str(use_case.error or ""))
            if use_case.error is not None:
                span.record_exception(use_case.error, timestamp=end_ns)
        span.end(end_ns)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


class _MetricSender:
    """Sends the registry's readings to the collector at a fixed interval, from a thread of its own."""

    def __init__(self, registry: MetricRegistry, service_name: str, otlp_endpoint: str, interval_s: float) -> None:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        endpoint = f"{otlp_endpoint.rstrip('/')}/v1/metrics"
        self._exporter: MetricExporter = OTLPMetricExporter(endpoint, timeout=_EXPORT_TIMEOUT_S)
        self._registry = registry
        self._resource = _resource(service_name)
        self._interval_s = interval_s
        self._start_ns = time.time_ns()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metric-sender", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def close(self) -> None:
        """Send once more and stop."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(2 * _EXPORT_TIMEOUT_S)
        self._exporter.shutdown(timeout_millis=_EXPORT_TIMEOUT_S * 1000)

    def _run(self) -> None:
        while not self._stopping.wait(self._interval_s):
            self._send()
        self._send()

    def _send(self) -> None:
        try:
            self._exporter.export(_metrics_data(self._registry.read(), self._resource, self._start_ns))
        except Exception:  # noqa: BLE001 - a gauge's callback may fail in any way; the thread must live on
            _log.exception("metrics could not be exported")


def _metrics_data(readings: list[Reading], resource: Resource, start_ns: int) -> MetricsData:
    """Our readings in the SDK's data model."""
    from opentelemetry.sdk.metrics.export import Metric, MetricsData, ResourceMetrics, ScopeMetrics
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    now_ns = time.time_ns()
    metrics = [
        Metric(
            reading.instrument.name,
            reading.instrument.description,
            reading.instrument.unit,
            _metric_points(reading, start_ns, now_ns),
        )
        for reading in readings
    ]
    scope = ScopeMetrics(InstrumentationScope("rfq_service"), metrics, "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _metric_points(reading: Reading, start_ns: int, now_ns: int) -> Sum | Gauge | Histogram:
    from opentelemetry.sdk.metrics.export import AggregationTemporality, Gauge, Histogram, Sum

    cumulative = AggregationTemporality.CUMULATIVE
    labels = reading.instrument.labels
    if reading.instrument.kind is Kind.HISTOGRAM:
        bounds = reading.instrument.buckets
        return Histogram([_histogram_point(s, labels, bounds, start_ns, now_ns) for s in reading.series], cumulative)
    points = [_number_point(series, labels, start_ns, now_ns) for series in reading.series]
    return Gauge(points) if reading.instrument.kind is Kind.GAUGE else Sum(points, cumulative, is_monotonic=True)


def _number_point(series: Series, labels: tuple[str, ...], start_ns: int, now_ns: int) -> NumberDataPoint:
    from opentelemetry.sdk.metrics.export import NumberDataPoint

    return NumberDataPoint(dict(zip(labels, series.labels, strict=True)), start_ns, now_ns, series.total)


def _histogram_point(
    series: Series, labels: tuple[str, ...], bounds: tuple[float, ...], start_ns: int, now_ns: int
) -> HistogramDataPoint:
    from opentelemetry.sdk.metrics.export import HistogramDataPoint

    return HistogramDataPoint(
        dict(zip(labels, series.labels, strict=True)),
        start_ns,
        now_ns,
        series.count,
        series.total,
        series.bucket_counts,
        bounds,
        series.smallest,
        series.largest,
    )
