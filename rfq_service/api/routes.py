"""Every operation of the API, in the order of its documentation."""

from __future__ import annotations

from rfq_service.api import administration, audit, dealer, evaluations, health, identity, market, quotes, rfqs
from rfq_service.api.operation import Operation

OPERATIONS: tuple[Operation, ...] = (
    identity.issue_token,
    identity.list_token_keys,
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
    audit.audit_quotes,
    audit.audit_events,
    administration.list_firms,
    administration.add_firm,
    administration.list_keys,
    administration.add_key,
    administration.rotate_key,
    administration.revoke_key,
    administration.list_audit_grants,
    administration.add_audit_grant,
    administration.revoke_audit_grant,
    health.live,
    health.ready,
    health.metrics,
)
