from __future__ import annotations

import asyncio
import json
import logging

import pytest
import structlog
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.monitoring.telemetry import (
    Telemetry,
    TraceParent,
    current_trace_ids,
    current_traceparent,
)

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"


@pytest.fixture
def spans():
    return InMemorySpanExporter()


@pytest.fixture
def restored_logging():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def run(telemetry, name="evaluate", error=None, **arguments):
    with telemetry.use_case(name, **arguments) as use_case:
        if error is not None:
            raise error
    return use_case


def durations(telemetry):
    lines = telemetry.prometheus_text().decode().splitlines()
    start = "rfq_use_case_duration_seconds_count"
    return {line.split()[0].removeprefix(start): int(line.split()[1]) for line in lines if line.startswith(start)}


def test_failure_always_has_a_span_even_at_ratio_zero(spans):
    telemetry = Telemetry(sample_ratio=0, span_exporter=spans)
    for _ in range(100):
        run(telemetry)
    assert spans.get_finished_spans() == ()
    with pytest.raises(ZeroDivisionError):
        run(telemetry, error=ZeroDivisionError("by zero"))
    (span,) = spans.get_finished_spans()
    assert span.name == "evaluate"
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["outcome"] == "error"
    assert span.events[0].attributes["exception.type"] == "ZeroDivisionError"
    assert 0 < span.start_time <= span.end_time
    assert durations(telemetry) == {
        '{use_case="evaluate",outcome="ok"}': 100,
        '{use_case="evaluate",outcome="error"}': 1,
    }


@pytest.mark.parametrize(
    "error,outcome,has_span",
    [
        (RfqError(ErrorCode.PRICE_OFF_TICK, "off the tick"), "refused", False),
        (RfqError(ErrorCode.DATABASE_UNAVAILABLE, "no database"), "error", True),
        (asyncio.CancelledError(), "cancelled", False),
        (RuntimeError("bug"), "error", True),
    ],
)
def test_outcomes(spans, error, outcome, has_span):
    telemetry = Telemetry(sample_ratio=0, span_exporter=spans)
    with pytest.raises(type(error)):
        run(telemetry, error=error)
    assert durations(telemetry) == {f'{{use_case="evaluate",outcome="{outcome}"}}': 1}
    assert bool(spans.get_finished_spans()) is has_span


def test_share_of_sampled_spans_is_the_ratio(spans):
    telemetry = Telemetry(sample_ratio=0.25, span_exporter=spans)
    for _ in range(2000):
        run(telemetry)
    # Five standard deviations of a binomial with n = 2000, p = 0.25 are 97.
    assert abs(len(spans.get_finished_spans()) - 500) < 97


def test_nested_use_cases_make_one_trace(spans):
    telemetry = Telemetry(sample_ratio=1, span_exporter=spans)
    with telemetry.use_case("accept") as outer:
        outer.set("rfq_id", "one")
        with telemetry.use_case("commit") as inner:
            assert current_trace_ids() == (f"{outer.trace_id:032x}", f"{inner.span_id:016x}")
        assert current_trace_ids() == (f"{outer.trace_id:032x}", f"{outer.span_id:016x}")
    assert current_trace_ids() is None
    child, parent = spans.get_finished_spans()
    assert (parent.name, child.name) == ("accept", "commit")
    assert parent.parent is None
    assert child.parent.span_id == parent.context.span_id == outer.span_id
    assert child.context.trace_id == parent.context.trace_id == outer.trace_id
    assert parent.attributes["rfq_id"] == "one"


async def test_concurrent_tasks_keep_their_own_traces(spans):
    telemetry = Telemetry(sample_ratio=1, span_exporter=spans)

    async def work():
        with telemetry.use_case("evaluate") as use_case:
            await asyncio.sleep(0)
            assert current_trace_ids()[0] == f"{use_case.trace_id:032x}"

    await asyncio.gather(*(work() for _ in range(20)))
    assert len({span.context.trace_id for span in spans.get_finished_spans()}) == 20


@pytest.mark.parametrize("flags,has_span", [("01", True), ("00", False)])
def test_callers_trace_and_decision_are_taken_over(spans, flags, has_span):
    telemetry = Telemetry(sample_ratio=0 if has_span else 1, span_exporter=spans)
    with telemetry.use_case("evaluate", traceparent=CALLER + flags) as use_case:
        assert current_traceparent() == f"00-0af7651916cd43dd8448eb211c80319c-{use_case.span_id:016x}-{flags}"
    finished = spans.get_finished_spans()
    assert bool(finished) is has_span
    if has_span:
        assert finished[0].parent.span_id == 0xB7AD6B7169203331
        assert finished[0].parent.is_remote
        assert finished[0].context.trace_id == 0x0AF7651916CD43DD8448EB211C80319C


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "rubbish",
        CALLER,
        CALLER + "1",
        (CALLER + "01").upper(),
        CALLER + "01-more",
        "ff" + CALLER[2:] + "01",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        CALLER + "01\n",
    ],
)
def test_malformed_traceparent_counts_as_absent(header):
    assert TraceParent.parse(header) is None


def test_later_version_of_traceparent_may_carry_more():
    assert TraceParent.parse("01" + CALLER[2:] + "01-more").sampled


def test_logs_are_json_with_the_trace_of_the_use_case(restored_logging, capsys):
    telemetry = Telemetry(log_level="info", log_json=True)
    telemetry.start()
    with telemetry.use_case("evaluate") as use_case:
        structlog.get_logger("desk").info("scored", quotes=5)
        logging.getLogger("uvicorn").warning("plain %s", "text")
        logging.getLogger("noise").debug("unseen")
    structlog.get_logger("desk").error("outside")
    telemetry.close()
    first, second, third = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert first["event"] == "scored"
    assert first["quotes"] == 5
    assert first["logger"] == "desk"
    assert first["level"] == "info"
    assert first["trace_id"] == second["trace_id"] == f"{use_case.trace_id:032x}"
    assert second["event"] == "plain text"
    assert "trace_id" not in third


def test_exception_is_logged_with_its_traceback_on_one_line(restored_logging, capsys):
    Telemetry(log_json=True).start()
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger("desk").exception("failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError: broken" in json.loads(line)["exception"]


def test_wrong_settings_are_named(restored_logging):
    with pytest.raises(ValueError, match=r"sample_ratio 1\.5"):
        Telemetry(sample_ratio=1.5)
    with pytest.raises(ValueError, match="log level 'loud'"):
        Telemetry(log_level="loud").start()


def test_refusals_are_counted_by_code():
    telemetry = Telemetry()
    for code in (ErrorCode.PRICE_OFF_TICK, ErrorCode.PRICE_OFF_TICK, ErrorCode.OVERLOADED):
        with pytest.raises(RfqError):
            run(telemetry, error=RfqError(code, "refused"))
    lines = telemetry.prometheus_text().decode().splitlines()
    assert 'rfq_refusals_total{use_case="evaluate",code="PRICE_OFF_TICK"} 2' in lines
    assert 'rfq_refusals_total{use_case="evaluate",code="OVERLOADED"} 1' in lines


def test_counts_and_watched_values_reach_the_text():
    telemetry = Telemetry()
    telemetry.count("rfq_background_failures_total", 5, task="sweeper")
    telemetry.watch("rfq_market_usable", lambda: [(("BINANCE.SPOT.BTCUSDT",), 1)])
    lines = telemetry.prometheus_text().decode().splitlines()
    assert 'rfq_background_failures_total{task="sweeper"} 5' in lines
    assert 'rfq_market_usable{instrument="BINANCE.SPOT.BTCUSDT"} 1' in lines
