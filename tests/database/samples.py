"""Values of the trade for the database tests; every id is new."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import replace
from decimal import Decimal

from rfq_service.db.engine import Databases
from rfq_service.db.group_commit import commit_appends
from rfq_service.domain.changes import Changes
from rfq_service.domain.history import (
    Audience,
    Decision,
    Evaluation,
    Event,
    EventKind,
    Firm,
    IdempotencyRecord,
    Invitation,
    InvitationState,
)
from rfq_service.domain.identifiers import (
    DecisionId,
    EvaluationId,
    EventId,
    FirmId,
    InstrumentId,
    InvitationId,
    QuoteId,
    RfqId,
    uuid7,
)
from rfq_service.domain.instrument import ContractType, Instrument, InstrumentKind
from rfq_service.domain.quote import Quote, SidePrice
from rfq_service.domain.rfq import Leg, Rfq, RfqState, RfqTerms, SizeMode
from rfq_service.domain.units import NS_PER_S, RequestSide, Side

NOW_NS = 1_798_761_600_000_000_000  # 2027-01-01, in a month that `upgrade` has made partitions for
SPOT = InstrumentId("TEST.SPOT.ABCUSDT")
PERPETUAL = InstrumentId("TEST.PERPETUAL.ABCUSDT")


def new_id(at_ns: int = NOW_NS):
    return uuid7(at_ns, secrets.randbits(64))


def firm(name: str, *, is_dealer: bool = False) -> Firm:
    return Firm(FirmId(new_id()), name, is_dealer)


def instrument(instrument_id: InstrumentId = SPOT) -> Instrument:
    return Instrument(
        instrument_id=instrument_id,
        venue="TEST",
        symbol="ABCUSDT",
        kind=InstrumentKind.SPOT if instrument_id == SPOT else InstrumentKind.PERPETUAL,
        contract_type=ContractType.LINEAR,
        base_currency="ABC",
        quote_currency="USDT",
        settlement_currency="USDT",
        tick_size=Decimal("0.001"),
        lot_size=Decimal("0.01"),
        multiplier=Decimal(1),
        quantity_min=Decimal("0.01"),
        quantity_max=Decimal(1_000_000),
        staleness_limit_ns=NS_PER_S,
        taker_fee_bps=Decimal("7.5"),
    )


def terms(*, legs: int = 1, at_ns: int = NOW_NS, quantity: str = "1000.50") -> RfqTerms:
    both = (Leg(SPOT, Side.BUY, Decimal(1)), Leg(PERPETUAL, Side.SELL, Decimal("0.5")))
    return RfqTerms(
        legs=both[:legs],
        side=RequestSide.TWO_WAY,
        quantity=Decimal(quantity),
        size_mode=SizeMode.MINIMUM,
        minimum_quantity=Decimal(10),
        price_increment=Decimal("0.0010"),
        created_at_ns=at_ns,
        expires_at_ns=at_ns + 60 * NS_PER_S,
    )


def rfq(client: Firm, *, legs: int = 1, at_ns: int = NOW_NS, state: RfqState = RfqState.OPEN) -> Rfq:
    return Rfq(
        rfq_id=RfqId(new_id(at_ns)),
        client_firm_id=client.firm_id,
        terms=terms(legs=legs, at_ns=at_ns),
        limit_price=Decimal("1.2345"),
        client_reference="order 7",
        anonymous=False,
        state=state,
        filled_quantity=Decimal(0),
    )


def invitation(of: Rfq, dealer: Firm, client_name: str | None = "Client") -> Invitation:
    return Invitation(
        invitation_id=InvitationId(new_id(of.terms.created_at_ns)),
        rfq_id=of.rfq_id,
        dealer_firm_id=dealer.firm_id,
        client_name=client_name,
        terms=of.terms,
        state=InvitationState.OPEN,
        outcome=None,
        cover_distance_micro_bps=None,
    )


def quote(of: Rfq, dealer: Firm | str, *, bid: str = "1.230", ask: str = "1.240", at_ns: int = NOW_NS) -> Quote:
    def side(price: str) -> SidePrice:
        prices = tuple(Decimal(price) for _ in of.terms.legs)
        return SidePrice(of.terms.package_price(prices) if len(prices) > 1 else prices[0], prices)

    return Quote(
        quote_id=QuoteId(new_id(at_ns)),
        rfq_id=of.rfq_id,
        dealer_firm_id=None if isinstance(dealer, str) else dealer.firm_id,
        dealer_name=dealer if isinstance(dealer, str) else dealer.name,
        bid=side(bid),
        ask=side(ask),
        quantity=Decimal("1000.50"),
        received_at_ns=at_ns,
        valid_until_ns=at_ns + 10 * NS_PER_S,
    )


def evaluation(
    request: Rfq, of: Quote, decision_id: DecisionId, *, verdict: str = "fair", side: Side = Side.BUY
) -> Evaluation:
    return Evaluation(
        evaluation_id=EvaluationId(new_id(of.received_at_ns)),
        decision_id=decision_id,
        rfq_id=of.rfq_id,
        quote_id=of.quote_id,
        client_firm_id=request.client_firm_id,
        side=side,
        verdict=verdict,
        reasons=("WIDE_RANGE", "FALLBACK_MODEL"),
        cost_micro_bps=12_345_678,
        fairness_ppm=512_000,
        excess_micro_bps=-1_000_000,
        result_json=json.dumps({"cost_bps": "12.345678", "note": "kept  as given"}),
    )


def decision(of: Rfq, quote_id: QuoteId | None, at_ns: int = NOW_NS, number: int = 1) -> Decision:
    return Decision(
        decision_id=DecisionId(new_id(at_ns)),
        rfq_id=of.rfq_id,
        client_firm_id=of.client_firm_id,
        number=number,
        decided_at_ns=at_ns,
        action="accept",
        quote_id=quote_id,
        model="closed_form/1",
        is_fallback=True,
        inputs_json='{"mid":"1.235"}',
        result_json='{"action":"accept"}',
    )


def event(of: Rfq, kind: EventKind = EventKind.RFQ_EVALUATED, at_ns: int = NOW_NS) -> Event:
    return Event(
        event_id=EventId(new_id(at_ns)),
        kind=kind,
        occurred_at_ns=at_ns,
        audience=Audience.CLIENT,
        client_firm_id=of.client_firm_id,
        dealer_firm_id=None,
        rfq_id=of.rfq_id,
        quote_id=None,
        payload_json='{"rfq":1}',
    )


def record(
    firm: Firm, *, key: bytes = b"", operation: str = "evaluate_quotes", body: bytes = b"{}"
) -> IdempotencyRecord:
    return IdempotencyRecord(
        firm_id=firm.firm_id,
        operation=operation,
        key_digest=hashlib.sha256(key or secrets.token_bytes(8)).digest(),
        request_digest=hashlib.sha256(b"request").digest(),
        status=201,
        body=body,
        created_at_ns=NOW_NS,
        expires_at_ns=NOW_NS + 60 * NS_PER_S,
    )


def evaluation_changes(client: Firm, *, quotes: int = 5, legs: int = 1, at_ns: int = NOW_NS) -> Changes:
    request = replace(rfq(client, legs=legs, at_ns=at_ns), state=RfqState.EVALUATED)
    given = [quote(request, f"Dealer {number}", at_ns=at_ns) for number in range(quotes)]
    decided = decision(request, given[0].quote_id, at_ns)
    return Changes(
        client_firm_id=client.firm_id,
        new_rfq=request,
        quotes=given,
        evaluations=[evaluation(request, item, decided.decision_id) for item in given],
        decisions=[decided],
        events=[event(request, at_ns=at_ns)],
        record=record(client),
    )


def opening_changes(client: Firm, dealers: list[Firm], **values) -> Changes:
    request = rfq(client, **values)
    return Changes(
        client_firm_id=client.firm_id,
        new_rfq=request,
        panel=[dealer.firm_id for dealer in dealers],
        invitations=[invitation(request, dealer) for dealer in dealers],
        events=[event(request, EventKind.RFQ_OPENED)],
    )


async def append(databases: Databases, *changes: Changes) -> None:
    """As the batch writer does it."""
    async with databases.writer.connect() as connection:
        await commit_appends(connection, changes)


async def store(databases: Databases, changes: Changes) -> None:
    """As a use case with a transaction of its own does it."""
    async with databases.desk.begin(firm=changes.client_firm_id, principal=changes.client_firm_id) as uow:
        await uow.store([changes])
        await uow.commit()
