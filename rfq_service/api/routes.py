"""Every operation of the API, in the order of its documentation."""

from __future__ import annotations

from rfq_service.api import dealer, evaluations, health, market, quotes, rfqs
from rfq_service.api.operation import Operation

OPERATIONS: tuple[Operation, ...] = (
    market.list_instruments,
    market.get_instrument,
    market.list_board,
    market.get_book,
    rfqs.open_rfq,
    rfqs.list_rfqs,
    rfqs.get_rfq,
    rfqs.cancel_rfq,
    rfqs.get_ranked_quotes,
    rfqs.accept_quote,
    evaluations.evaluate_quotes,
    quotes.list_quotes,
    dealer.list_invitations,
    dealer.get_invitation,
    dealer.post_quote,
    dealer.pass_rfq,
    dealer.withdraw_quote,
    dealer.list_dealer_quotes,
    dealer.price_request,
    health.live,
    health.ready,
    health.metrics,
)
