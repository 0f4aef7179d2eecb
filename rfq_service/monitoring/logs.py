"""Structured logs: one JSON object per line, with the trace id of the use case that wrote it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog


class _StandardErrorHandler(logging.Handler):
    """Writes to whatever ``sys.stderr`` is at that moment, which tests replace."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(f"{self.format(record)}\n")
        except Exception:  # noqa: BLE001 - as every handler of the standard library: a log line never stops the work
            self.handleError(record)


TraceIds = Callable[[], tuple[str, str] | None]


def configure_logging(level: str, *, as_json: bool, trace_ids: TraceIds) -> None:
    """Send structlog's and the standard library's logs to standard error in one form.

    Args:
        level: lowest level shown, as ``info``.
        as_json: JSON for machines, else columns for people.
        trace_ids: trace and span id of the running use case, or ``None`` outside of one.

    Raises:
        ValueError: for an unknown level.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"log level {level!r} is none of debug, info, warning, error, critical")

    def add_trace_ids(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        ids = trace_ids()
        if ids is not None:
            event["trace_id"], event["span_id"] = ids
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        add_trace_ids,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # a test may configure anew
    )
    renderer = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    handler = _StandardErrorHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    ours = [known for known in root.handlers if isinstance(known, _StandardErrorHandler)]
    for known in ours:  # configured before, by an earlier run in this process
        root.removeHandler(known)
    root.addHandler(handler)
    root.setLevel(number)
