"""The buy-side desk's process: opens RFQs, reads the scores, follows the recommended action, reports each as JSON.

``python -m rfq_service.demo.desk COUNT SEED``; the service's address and its key come from the environment.
"""

from __future__ import annotations

import random
import sys
import time
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from uuid import UUID

from rfq_service.client import Client, Event, EventKind, Leg, Refused, SyncStream, Topic
from rfq_service.client.schemas.enums import Action, ContractType, MarketStatus, RequestSide, RfqState, SizeMode
from rfq_service.client.schemas.event import QuoteGiven, QuotePassed
from rfq_service.client.schemas.market import BoardRow, Instrument
from rfq_service.client.schemas.quote import Decision, RankedQuotes
from rfq_service.client.schemas.rfq import Fill
from rfq_service.client.values import Reply, encode

_PATIENCE_S = 4.0
_LIFE_S = 30
# Sizes in multiples of what rests on the best five levels: from a clip to a block the book cannot take.
_SIZES_PER_DEPTH = (0.25, 0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Order:
    """What the desk wants to trade."""

    instrument_id: str
    side: RequestSide
    quantity: Decimal
    price_increment: Decimal
    size_mode: SizeMode
    client_reference: str


class Report(Reply, frozen=True, kw_only=True):
    """What became of an RFQ; ``refused`` is the service's answer where it refused the desk's wish."""

    ranked: RankedQuotes
    fill: Fill | None
    refused: str | None
    state: RfqState


def main() -> None:
    """Run ``COUNT`` RFQs one after the other and print one JSON line each."""
    count, draws = int(sys.argv[1]), random.Random(int(sys.argv[2]))  # noqa: S311
    with Client() as client, client.stream([Topic.QUOTES, Topic.EVALUATIONS]) as stream:
        markets = [row for row in client.list_board().items if _is_usable(row)]
        if not markets:
            raise SystemExit("desk: no instrument has a live market with statistics")
        instruments = {item.instrument_id: item for item in client.list_instruments().items}
        draws.shuffle(markets)
        for number in range(count):
            market = markets[number % len(markets)]
            order = _order(number, market, instruments[market.instrument_id], draws)
            print(encode(_run(client, stream, order)).decode(), flush=True)


def _is_usable(row: BoardRow) -> bool:
    figures = row.statistics
    return (
        row.status == MarketStatus.LIVE
        and figures is not None
        and all((figures.volatility_bps_sqrt_day, figures.volume_per_day_notional, figures.depth_notional))
    )


def _order(number: int, market: BoardRow, instrument: Instrument, draws: random.Random) -> Order:
    """A request: mostly one-way blocks; every sixth hides its side."""
    side = RequestSide.TWO_WAY if number % 6 == 5 else draws.choice((RequestSide.BUY, RequestSide.SELL))
    depth = 0.0 if market.statistics is None else market.statistics.depth_notional or 0.0
    notional = Decimal(depth) * Decimal(draws.choice(_SIZES_PER_DEPTH))
    per_unit = instrument.multiplier
    if instrument.contract_type == ContractType.LINEAR and market.mid is not None:
        per_unit *= market.mid
    lots = (notional / per_unit / instrument.lot_size).to_integral_value(rounding=ROUND_FLOOR)
    return Order(
        instrument_id=market.instrument_id,
        side=side,
        quantity=min(max(lots * instrument.lot_size, instrument.quantity_min), instrument.quantity_max),
        # finer than the book's tick, as blocks are negotiated
        price_increment=instrument.tick_size / 10,
        size_mode=SizeMode.ANY_PART if number % 4 == 3 else SizeMode.ALL_OR_NONE,
        client_reference=f"demo-{number + 1}",
    )


def _run(client: Client, stream: SyncStream, order: Order) -> Report:
    opened = client.open_rfq(
        legs=[Leg(order.instrument_id)],
        side=order.side,
        quantity=order.quantity,
        price_increment=order.price_increment,
        size_mode=order.size_mode,
        expires_in_s=_LIFE_S,
        client_reference=order.client_reference,
    )
    rfq_id = opened.rfq.rfq_id
    _wait_for_scores(stream, rfq_id, len(opened.panel))
    ranked = client.get_ranked_quotes(rfq_id)
    fill, refused = None, None
    try:
        fill = _follow(client, rfq_id, order, ranked.decision)
        if fill is None:
            client.cancel_rfq(rfq_id)
    except Refused as error:
        refused = str(error)
    return Report(ranked=ranked, fill=fill, refused=refused, state=client.get_rfq(rfq_id).rfq.state)


def _wait_for_scores(stream: SyncStream, rfq_id: UUID, panel: int) -> None:
    """Until everybody has answered and the last quote is scored, or patience is at its end."""
    deadline_s = time.monotonic() + _PATIENCE_S
    answered: set[str] = set()
    quotes, decisions = 0, 0
    while len(answered) < panel or decisions < quotes:
        item = stream.next(max(deadline_s - time.monotonic(), 0.0))
        if item is None:
            return
        if not isinstance(item, Event) or item.rfq_id != rfq_id:
            continue
        if isinstance(item.payload, QuoteGiven | QuotePassed):
            answered.add(item.payload.dealer)
            quotes += item.kind == EventKind.QUOTE_POSTED
        decisions += item.kind == EventKind.DECISION_MADE


def _follow(client: Client, rfq_id: UUID, order: Order, decision: Decision | None) -> Fill | None:
    """Trade if that is what the service recommends; a two-way request on the first side where it does."""
    if decision is None:
        return None
    for side in decision.result.sides:
        action = next((item for item in side.actions if item.action == side.recommended), None)
        if action is None or action.quote_id is None or action.action not in (Action.ACCEPT, Action.SPLIT):
            continue
        quantity = None if order.size_mode == SizeMode.ALL_OR_NONE else action.quantity
        return client.accept_quote(rfq_id, quote_id=action.quote_id, side=side.side, quantity=quantity)
    return None


if __name__ == "__main__":
    main()
