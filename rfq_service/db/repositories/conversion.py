"""Rows into domain values and back, where more than one query needs it.

The ``*_values`` functions give every column in the table's order: ``rfq_service.db.append`` relies on it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from itertools import groupby
from typing import Any, TypeVar
from uuid import UUID

from rfq_service.domain.history import Decision, Evaluation, Event, IdempotencyRecord, Invitation, Page, QuoteEnd
from rfq_service.domain.identifiers import DecisionId, EvaluationId, FirmId, InstrumentId, QuoteId, RfqId
from rfq_service.domain.quote import Fill, Quote, QuoteEndReason, QuoteState, SidePrice
from rfq_service.domain.rfq import Leg, Rfq, RfqState, RfqTerms, SizeMode
from rfq_service.domain.units import RequestSide, Side

T = TypeVar("T")
_PACKED_MIN = 1_024


def to_page(found: Sequence[T], limit: int, id_of: Callable[[T], UUID]) -> Page[T]:
    """One page of ``limit`` items out of a query that asked for one more, to know whether another page follows."""
    items = tuple(found[:limit])
    return Page(items=items, next_cursor=id_of(items[-1]) if len(found) > limit else None)


def terms_columns(terms: RfqTerms) -> dict[str, object]:
    """The columns that an RFQ and its invitations have in common; the legs are stored apart."""
    return {
        "side": terms.side,
        "quantity": terms.quantity,
        "size_mode": terms.size_mode,
        "minimum_quantity": terms.minimum_quantity,
        "price_increment": terms.price_increment,
        "created_at_ns": terms.created_at_ns,
        "expires_at_ns": terms.expires_at_ns,
    }


def rfq_values(rfq: Rfq, panel_firm_ids: Sequence[FirmId]) -> dict[str, object]:
    """A row of ``rfq``, its legs apart."""
    return {
        "id": rfq.rfq_id,
        "client_firm_id": rfq.client_firm_id,
        **terms_columns(rfq.terms),
        "limit_price": rfq.limit_price,
        "client_reference": rfq.client_reference,
        "anonymous": rfq.anonymous,
        "state": rfq.state,
        "filled_quantity": rfq.filled_quantity,
        "panel_firm_ids": panel_firm_ids,
    }


def leg_values(rfq: Rfq) -> list[dict[str, object]]:
    """The rows of ``rfq_leg``."""
    return [
        {
            "rfq_id": rfq.rfq_id,
            "position": position,
            "client_firm_id": rfq.client_firm_id,
            "instrument_id": leg.instrument_id,
            "side": leg.side,
            "ratio": leg.ratio,
        }
        for position, leg in enumerate(rfq.terms.legs)
    ]


def rfqs_from_rows(rows: Iterable[Any]) -> list[Rfq]:
    """RFQs from rows of ``rfq`` joined with their legs, sorted by RFQ and position."""
    return [_rfq_from_rows(list(group)) for _, group in groupby(rows, key=lambda row: row.id)]


def _rfq_from_rows(rows: Sequence[Any]) -> Rfq:
    row = rows[0]
    terms = RfqTerms(
        legs=tuple(Leg(InstrumentId(leg.instrument_id), Side(leg.leg_side), leg.ratio) for leg in rows),
        side=RequestSide(row.side),
        quantity=row.quantity,
        size_mode=SizeMode(row.size_mode),
        minimum_quantity=row.minimum_quantity,
        price_increment=row.price_increment,
        created_at_ns=row.created_at_ns,
        expires_at_ns=row.expires_at_ns,
    )
    return Rfq(
        rfq_id=RfqId(row.id),
        client_firm_id=FirmId(row.client_firm_id),
        terms=terms,
        limit_price=row.limit_price,
        client_reference=row.client_reference,
        anonymous=row.anonymous,
        state=RfqState(row.state),
        filled_quantity=row.filled_quantity,
    )


def legs_to_json(legs: Iterable[Leg]) -> str:
    """Canonical JSON of legs, ratios as strings."""
    values = [{"instrument_id": leg.instrument_id, "ratio": str(leg.ratio), "side": leg.side} for leg in legs]
    return json.dumps(values, separators=(",", ":"), sort_keys=True)


def legs_from_json(text: str) -> tuple[Leg, ...]:
    """Legs of ``legs_to_json``."""
    return tuple(
        Leg(InstrumentId(leg["instrument_id"]), Side(leg["side"]), Decimal(leg["ratio"])) for leg in json.loads(text)
    )


def invitation_terms(row: Any) -> RfqTerms:
    """The terms as an invitation carries them."""
    return RfqTerms(
        legs=legs_from_json(row.legs_json),
        side=RequestSide(row.side),
        quantity=row.quantity,
        size_mode=SizeMode(row.size_mode),
        minimum_quantity=row.minimum_quantity,
        price_increment=row.price_increment,
        created_at_ns=row.created_at_ns,
        expires_at_ns=row.expires_at_ns,
    )


def package_leg_prices(price: SidePrice | None) -> list[Decimal] | None:
    """The column of a side's leg prices: empty for a single leg, whose price is the price."""
    return list(price.leg_prices) if price is not None and len(price.leg_prices) > 1 else None


def to_side_price(price: Decimal | None, leg_prices: Sequence[Decimal] | None) -> SidePrice | None:
    """A quoted side from its two columns."""
    return None if price is None else SidePrice(price, (price,) if leg_prices is None else tuple(leg_prices))


def invitation_values(invitation: Invitation, client_firm_id: FirmId) -> dict[str, object]:
    """A row of ``invitation``; whose RFQ it is stands in a column that no dealer can select."""
    return {
        "id": invitation.invitation_id,
        "rfq_id": invitation.rfq_id,
        "dealer_firm_id": invitation.dealer_firm_id,
        "client_name": invitation.client_name,
        **terms_columns(invitation.terms),
        "legs_json": legs_to_json(invitation.terms.legs),
        "instrument_ids": [leg.instrument_id for leg in invitation.terms.legs],
        "state": invitation.state,
        "outcome": None if invitation.outcome is None else invitation.outcome.value,
        "cover_distance_micro_bps": invitation.cover_distance_micro_bps,
        "client_firm_id": client_firm_id,
    }


def quote_values(quote: Quote, client_firm_id: FirmId) -> dict[str, object]:
    """A row of ``quote``."""
    return {
        "id": quote.quote_id,
        "rfq_id": quote.rfq_id,
        "client_firm_id": client_firm_id,
        "dealer_firm_id": quote.dealer_firm_id,
        "dealer_name": quote.dealer_name,
        "bid_price": None if quote.bid is None else quote.bid.price,
        "bid_leg_prices": package_leg_prices(quote.bid),
        "ask_price": None if quote.ask is None else quote.ask.price,
        "ask_leg_prices": package_leg_prices(quote.ask),
        "quantity": quote.quantity,
        "received_at_ns": quote.received_at_ns,
        "valid_until_ns": quote.valid_until_ns,
    }


def active_quote_values(quote: Quote, client_firm_id: FirmId) -> dict[str, object]:
    """A row of ``active_quote``."""
    return {
        "quote_id": quote.quote_id,
        "rfq_id": quote.rfq_id,
        "valid_until_ns": quote.valid_until_ns,
        "client_firm_id": client_firm_id,
    }


def end_values(quote: Quote, end: QuoteEnd, client_firm_id: FirmId) -> dict[str, object]:
    """A row of ``quote_end``."""
    return {
        "quote_id": end.quote_id,
        "client_firm_id": client_firm_id,
        "dealer_firm_id": quote.dealer_firm_id,
        "state": end.state,
        "reason": end.reason,
        "ended_at_ns": end.ended_at_ns,
    }


def fill_values(fill: Fill) -> dict[str, object]:
    """A row of ``fill``, its legs apart."""
    return {
        "id": fill.fill_id,
        "rfq_id": fill.rfq_id,
        "quote_id": fill.quote_id,
        "client_firm_id": fill.client_firm_id,
        "dealer_firm_id": fill.dealer_firm_id,
        "side": fill.side,
        "quantity": fill.quantity,
        "price": fill.price.price,
        "filled_at_ns": fill.filled_at_ns,
    }


def fill_leg_values(fill: Fill, terms: RfqTerms) -> list[dict[str, object]]:
    """The rows of ``fill_leg``; ``terms`` are those of the RFQ."""
    return [
        {
            "fill_id": fill.fill_id,
            "position": position,
            "client_firm_id": fill.client_firm_id,
            "dealer_firm_id": fill.dealer_firm_id,
            "instrument_id": leg.instrument_id,
            "side": leg.side if fill.side is Side.BUY else leg.side.opposite,
            "quantity": terms.leg_quantity(leg, fill.quantity),
            "price": price,
        }
        for position, (leg, price) in enumerate(zip(terms.legs, fill.price.leg_prices, strict=True))
    ]


def to_quote(row: Any) -> Quote:
    """A quote from its row joined with its end, if it has one (``end_state``, ``end_reason``)."""
    return Quote(
        quote_id=QuoteId(row.id),
        rfq_id=RfqId(row.rfq_id),
        dealer_firm_id=None if row.dealer_firm_id is None else FirmId(row.dealer_firm_id),
        dealer_name=row.dealer_name,
        bid=to_side_price(row.bid_price, row.bid_leg_prices),
        ask=to_side_price(row.ask_price, row.ask_leg_prices),
        quantity=row.quantity,
        received_at_ns=row.received_at_ns,
        valid_until_ns=row.valid_until_ns,
        state=QuoteState.ACTIVE if row.end_state is None else QuoteState(row.end_state),
        end_reason=None if row.end_reason is None else QuoteEndReason(row.end_reason),
    )


def to_evaluation(row: Any) -> Evaluation:
    """A score from its row."""
    return Evaluation(
        evaluation_id=EvaluationId(row.id),
        decision_id=DecisionId(row.decision_id),
        rfq_id=RfqId(row.rfq_id),
        quote_id=QuoteId(row.quote_id),
        client_firm_id=FirmId(row.client_firm_id),
        side=Side(row.side),
        verdict=row.verdict,
        reasons=tuple(row.reasons),
        cost_micro_bps=row.cost_micro_bps,
        fairness_ppm=row.fairness_ppm,
        excess_micro_bps=row.excess_micro_bps,
        result_json=row.result_json,
    )


def evaluation_values(evaluation: Evaluation) -> dict[str, object]:
    """A row of ``evaluation``."""
    return {
        "id": evaluation.evaluation_id,
        "decision_id": evaluation.decision_id,
        "rfq_id": evaluation.rfq_id,
        "quote_id": evaluation.quote_id,
        "client_firm_id": evaluation.client_firm_id,
        "side": evaluation.side,
        "verdict": evaluation.verdict,
        "reasons": list(evaluation.reasons),
        "cost_micro_bps": evaluation.cost_micro_bps,
        "fairness_ppm": evaluation.fairness_ppm,
        "excess_micro_bps": evaluation.excess_micro_bps,
        "result_json": evaluation.result_json,
    }


def decision_values(decision: Decision) -> dict[str, object]:
    """A row of ``decision``."""
    return {
        "id": decision.decision_id,
        "rfq_id": decision.rfq_id,
        "client_firm_id": decision.client_firm_id,
        "decided_at_ns": decision.decided_at_ns,
        "action": decision.action,
        "quote_id": decision.quote_id,
        "model": decision.model,
        "is_fallback": decision.is_fallback,
        "inputs_json": decision.inputs_json,
        "result_json": decision.result_json,
        "number": decision.number,
    }


def event_values(event: Event, position: int) -> dict[str, object]:
    """A row of ``event``; ``position`` is its place among those of its transaction."""
    return {
        "id": event.event_id,
        "kind": event.kind,
        "occurred_at_ns": event.occurred_at_ns,
        "client_firm_id": event.client_firm_id,
        "dealer_firm_id": event.dealer_firm_id,
        "rfq_id": event.rfq_id,
        "quote_id": event.quote_id,
        "payload_json": event.payload_json,
        "audience": event.audience,
        "position": position,
    }


def record_values(record: IdempotencyRecord) -> dict[str, object]:
    """A row of ``idempotency_key``."""
    return {
        "firm_id": record.firm_id,
        "operation": record.operation,
        "key_digest": record.key_digest,
        "request_digest": record.request_digest,
        "status": record.status,
        "body": pack_body(record.body),
        "created_at_ns": record.created_at_ns,
        "expires_at_ns": record.expires_at_ns,
    }


def pack_body(body: bytes) -> bytes:
    """A stored reply, compressed where that pays: 25 µs for 15 kB, which then takes a fifth of the room and the log."""
    return zlib.compress(body, level=1) if len(body) > _PACKED_MIN else b"{" + body


def unpack_body(stored: bytes) -> bytes:
    """The reply byte for byte; the first byte tells which it is, as zlib never begins with a brace."""
    return stored[1:] if stored.startswith(b"{") else zlib.decompress(stored)
