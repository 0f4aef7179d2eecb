"""Buy side: have quotes scored that were received on another platform."""

from __future__ import annotations

from rfq_service.api.operation import Call, NoQuery, operation
from rfq_service.api.rfqs import TAG, TERMS_PROBLEMS
from rfq_service.api.schemas.quote import EvaluationIn, RankedQuotesOut, ranked_quotes_out
from rfq_service.domain.errors import ErrorCode
from rfq_service.domain.identity import Role, Scope


@operation(
    "POST",
    "/v1/evaluations",
    tag=TAG,
    body=EvaluationIn,
    query=NoQuery,
    returns=RankedQuotesOut,
    status=201,
    problems=(
        *TERMS_PROBLEMS,
        *(ErrorCode.QUOTE_CROSSED, ErrorCode.QUOTE_SIDE_MISMATCH, ErrorCode.QUOTE_LEGS_MISMATCH),
        *(ErrorCode.QUANTITY_BELOW_MINIMUM, ErrorCode.QUANTITY_NOT_ALL, ErrorCode.TTL_OUT_OF_RANGE),
        *(ErrorCode.STALE_MARKET, ErrorCode.NO_MARKET),
    ),
    roles=(Role.BUY_SIDE,),
    scope=Scope.RFQ_WRITE,
    changes=True,
)
async def evaluate_quotes(call: Call[EvaluationIn, NoQuery]) -> None:
    """Score quotes received elsewhere.

    The RFQ and its quotes in, scores and a decision out, stored before the reply like any other. Without a fresh market
    there is nothing to score against, and nothing is stored. Such quotes cannot be accepted here.
    """
    await call.runtime.buy_side.evaluate(call.caller, call.body.order(), call.once_as(ranked_quotes_out))
