# Spans and metrics arrive at a collector: a real HTTP server that reads OTLP with the official message types.
from __future__ import annotations

import gzip
import logging
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import structlog
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from rfq_service.monitoring.telemetry import Telemetry


class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.received.append((self.path, body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def collector():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    server.received = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def _restored_logging():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_spans_and_metrics_arrive(collector):
    address = f"http://127.0.0.1:{collector.server_address[1]}"
    telemetry = Telemetry(sample_ratio=1, otlp_endpoint=address, service_name="under-test")
    telemetry.start()
    telemetry.watch("rfq_market_age_seconds", lambda: [(("BINANCE.SPOT.BTCUSDT",), 7)])
    telemetry.count("rfq_background_failures_total", 5, task="sweeper")
    with telemetry.use_case("evaluate") as use_case:
        pass
    telemetry.close()

    (traces,) = [body for path, body in collector.received if path == "/v1/traces"]
    resource = ExportTraceServiceRequest.FromString(traces).resource_spans[0]
    assert resource.scope_spans[0].spans[0].name == "evaluate"
    assert resource.scope_spans[0].spans[0].trace_id.hex() == f"{use_case.trace_id:032x}"
    assert any(pair.value.string_value == "under-test" for pair in resource.resource.attributes)

    bodies = [body for path, body in collector.received if path == "/v1/metrics"]
    request = ExportMetricsServiceRequest.FromString(bodies[-1])
    metrics = {metric.name: metric for metric in request.resource_metrics[0].scope_metrics[0].metrics}
    assert metrics["rfq_market_age_seconds"].gauge.data_points[0].as_double == 7
    assert metrics["rfq_background_failures_total"].sum.data_points[0].as_double == 5
    assert metrics["rfq_background_failures_total"].sum.is_monotonic
    histogram = metrics["rfq_use_case_duration_seconds"].histogram.data_points[0]
    assert histogram.count == sum(histogram.bucket_counts) == 1
    assert len(histogram.bucket_counts) == len(histogram.explicit_bounds) + 1


def test_metrics_are_sent_at_the_interval_while_running(collector):
    address = f"http://127.0.0.1:{collector.server_address[1]}"
    telemetry = Telemetry(otlp_endpoint=address, metric_interval_s=0.02)
    telemetry.start()
    telemetry.count("rfq_background_failures_total", task="sweeper")
    deadline = time.monotonic() + 10
    while len(collector.received) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    telemetry.close()
    assert len(collector.received) >= 3


def test_missing_collector_delays_neither_work_nor_shutdown():
    telemetry = Telemetry(sample_ratio=1, otlp_endpoint="http://127.0.0.1:9")
    telemetry.start()
    started = time.monotonic()
    for _ in range(100):
        with telemetry.use_case("evaluate"):
            pass
    assert time.monotonic() - started < 1
    telemetry.close()
    assert time.monotonic() - started < 15
