# What dealers are told at the end of an RFQ, whatever the replicas' clocks made of the order of their quotes.
from __future__ import annotations

from itertools import permutations
from uuid import UUID

import pytest

from rfq_service.desk.endings import _outcomes
from rfq_service.domain.history import InvitationOutcome
from rfq_service.domain.identifiers import QuoteId
from rfq_service.domain.quote import QuoteEndReason as Reason
from rfq_service.domain.rfq import RfqState
from tests.unit.domain.builders import DEALER, quote


@pytest.mark.parametrize(
    "reasons,outcome",
    [
        ([Reason.REPLACED_BY_DEALER, Reason.COVER], InvitationOutcome.COVER),
        ([Reason.REPLACED_BY_DEALER, Reason.DEALER_PASSED], InvitationOutcome.PASSED),
        ([Reason.TTL_ELAPSED, Reason.WITHDRAWN_BY_DEALER, Reason.COVER], InvitationOutcome.COVER),
        ([Reason.HIT, Reason.REPLACED_BY_DEALER, Reason.COVER], InvitationOutcome.HIT),
        ([Reason.REPLACED_BY_DEALER, Reason.DONE_AWAY], InvitationOutcome.DONE_AWAY),
        ([Reason.DEALER_PASSED, Reason.DONE_AWAY], InvitationOutcome.DONE_AWAY),
    ],
)
def test_an_outcome_does_not_depend_on_the_order_of_ids(reasons: list[Reason], outcome: InvitationOutcome) -> None:
    for ids in permutations(range(len(reasons))):
        quotes = [
            quote(quote_id=QuoteId(UUID(int=number)), end_reason=reason)
            for number, reason in zip(ids, reasons, strict=True)
        ]
        assert _outcomes(quotes, RfqState.FILLED) == {DEALER: outcome}
