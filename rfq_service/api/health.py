"""For operators and their tools: alive, ready, metrics.

The first two need no key. The metrics do: they tell of no firm, but whoever counts the quotes of all of them while his
own waits knows how many rivals answer.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from rfq_service.api.operation import Call, NoBody, NoQuery, Reply, operation
from rfq_service.api.problems import RETRY_AFTER_S
from rfq_service.api.schemas.wire import WireOut
from rfq_service.domain.identity import Role, Scope

TAG = "Operations"
METRICS_MEDIA_TYPE = "text/plain; version=0.0.4"


class LiveOut(WireOut, frozen=True):
    """The process runs and answers."""

    status: Literal["ok"] = "ok"


class ReadyOut(WireOut, frozen=True):
    """State of every component: ``ok``, or what is wrong with it."""

    status: Literal["ok", "unavailable"]
    components: dict[str, str]


@operation("GET", "/health/live", tag=TAG, body=NoBody, query=NoQuery, returns=LiveOut)
async def live(_call: Call[NoBody, NoQuery]) -> LiveOut:
    """Is the process alive.

    Says nothing about the database or the market: restart the process only when this does not answer.
    """
    return LiveOut()


@operation("GET", "/health/ready", tag=TAG, body=NoBody, query=NoQuery, returns=ReadyOut)
async def ready(call: Call[NoBody, NoQuery]) -> ReadyOut | Reply:
    """Can requests be served.

    503 with the reasons while a component is not ready.
    """
    components = await call.runtime.readiness()
    if all(state == "ok" for state in components.values()):
        return ReadyOut("ok", components)
    body = msgspec.json.encode(ReadyOut("unavailable", components))
    return Reply(body, "application/json", status=503, headers={"retry-after": str(RETRY_AFTER_S)})


@operation(
    "GET",
    "/metrics",
    tag=TAG,
    body=NoBody,
    query=NoQuery,
    returns=METRICS_MEDIA_TYPE,
    roles=(Role.OPERATOR,),
    scope=Scope.METRICS_READ,
)
async def metrics(call: Call[NoBody, NoQuery]) -> Reply:
    """Read the metrics in Prometheus' text format.

    Counts and histograms by use case and outcome; never by firm. Prometheus asks for tokens itself (`oauth2` in its
    scrape configuration); its key needs no other scope.
    """
    return Reply(call.runtime.telemetry.prometheus_text(), f"{METRICS_MEDIA_TYPE}; charset=utf-8")
