"""For operators: alive and ready, which need no token, and metrics."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus

from rfq_service.client.call import Call, get
from rfq_service.client.schemas.operations import Live, Ready


def live() -> Call[Live]:
    """Whether the process answers."""
    return get("live", "/health/live", Live, is_public=True)


def ready() -> Call[Ready]:
    """Whether requests can be served, and what is missing."""
    answers = frozenset({int(HTTPStatus.SERVICE_UNAVAILABLE)})
    return replace(get("ready", "/health/ready", Ready, is_public=True), answers=answers)


def metrics() -> Call[str]:
    """The metrics in Prometheus' text format; for operators."""
    return get("metrics", "/metrics", str)
