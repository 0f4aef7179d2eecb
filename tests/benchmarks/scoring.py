"""The pure scoring call: one request, five quotes, 128 parameter draws as deployed, six durations."""

from __future__ import annotations

import gc
import time
from decimal import Decimal

from msgspec.structs import replace

from quote_eval.inputs import EvaluationInputs
from quote_eval.ranking import evaluate_quotes
from tests.benchmarks.row import Row, judge
from tests.unit.quote_eval.builders import make_inputs, make_leg, make_predictions

ROUNDS = 7
CALLS = 1_000
DRAWS = 128


def run() -> list[Row]:
    """99th percentile of a call in each round; no two calls see the same market, and the collector is left on."""
    inputs = _different_inputs()
    for item in inputs[:50]:
        evaluate_quotes(item)
    gc.collect()
    gc.freeze()
    middle, high = [], []
    for _ in range(ROUNDS):
        taken = sorted(_milliseconds(item) for item in inputs)
        middle.append(taken[len(taken) // 2])
        high.append(taken[int(len(taken) * 0.99)])
    gc.unfreeze()
    how = f"{CALLS} calls a round, one thread, market and prices differ from call to call"
    return [
        judge("scoring_p99_five_quotes", high, "ms", f"p99 of {how}"),
        judge("scoring_p50_five_quotes", middle, "ms", f"p50 of {how}"),
    ]


def _different_inputs() -> list[EvaluationInputs]:
    base = make_inputs()
    leg = make_leg(predictions=make_predictions(draws=DRAWS))
    varied = []
    for call in range(CALLS):
        mid = Decimal("1.25") + Decimal(call % 7) / 20_000
        market = replace(leg.market, mid=mid, imbalance=(call % 11 - 5) / 5.0) if leg.market is not None else None
        request = replace(base.request, legs=(replace(leg, market=market),), quantity=Decimal(3_000 + call))
        varied.append(replace(base, request=request))
    return varied


def _milliseconds(inputs: EvaluationInputs) -> float:
    started = time.perf_counter_ns()
    evaluate_quotes(inputs)
    return (time.perf_counter_ns() - started) / 1e6
