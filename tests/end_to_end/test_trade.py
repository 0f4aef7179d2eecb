"""A trade from request to history over real sockets, and what each party is told of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import UUID

import pytest

from rfq_service.client import Conflict, Event, EventKind, NotFound, Topic
from rfq_service.client.operations import buy_side, sell_side
from rfq_service.client.schemas.dealer import Invitation, Price
from rfq_service.client.schemas.enums import Action, QuoteState, RfqState, Side, SizeMode
from rfq_service.client.schemas.quote import Quote, RankedQuotes
from rfq_service.client.schemas.rfq import Fill
from tests.end_to_end.parties import CLIENT, DEALERS, RIVAL, Parties, refused, serving, text_of
from tests.support.postgres import DatabaseServer


@pytest.fixture(scope="module")
def parties(database_server: DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parties]:
    with (
        database_server.database(migrated=True) as dsn,
        serving(dsn, tmp_path_factory.mktemp("trade"), RFQ_LIFE_SWEEP_MS="50") as running,
    ):
        yield running


def ranked(parties: Parties, rfq_id: UUID) -> RankedQuotes:
    return parties.firms[CLIENT].get_ranked_quotes(rfq_id)


def invitation(parties: Parties, dealer: str, rfq_id: UUID) -> Invitation:
    return parties.firms[dealer].get_invitation(rfq_id)


def test_best_quote_trades_and_everybody_learns_what_is_his(parties: Parties) -> None:
    client = parties.firms[CLIENT]
    rfq_id = parties.open_rfq().rfq.rfq_id
    best = parties.quote(DEALERS[0], rfq_id, 0)
    parties.quote(DEALERS[1], rfq_id, 2)
    parties.quote(DEALERS[2], rfq_id, 5)
    scored = ranked(parties, rfq_id)
    assert [item.quote.dealer for item in scored.quotes] == list(DEALERS)
    costs = [item.evaluations[0].cost_bps for item in scored.quotes]
    fairness = [item.evaluations[0].fairness for item in scored.quotes]
    assert costs == sorted(cost for cost in costs if cost is not None)
    assert fairness == sorted((share for share in fairness if share is not None), reverse=True)
    assert scored.is_current
    assert scored.decision is not None
    assert scored.decision.action in set(Action)

    fill = client.accept_quote(rfq_id, quote_id=best.quote_id)
    assert best.ask is not None
    assert (fill.price, fill.quantity) == (best.ask.price, 1000)

    view = client.get_rfq(rfq_id)
    assert view.rfq.state == RfqState.FILLED
    assert view.fills == (fill,)
    told = [invitation(parties, dealer, rfq_id) for dealer in DEALERS]
    assert [item.outcome for item in told] == ["hit", "cover", "done_away"]
    assert [item.cover_distance_bps for item in told] == [
        None,
        pytest.approx(2 * 0.001 / float(fill.price) * 1e4, rel=1e-5),
        None,
    ]
    history = list(client.each_quote(rfq_id=rfq_id, limit=2))
    assert sorted(item.quote.state for item in history) == ["accepted", "rejected", "rejected"]
    assert all(len(item.evaluations) == 1 for item in history)
    own = parties.firms[DEALERS[1]].list_dealer_quotes(rfq_id=rfq_id).items
    assert [item.quote.end_reason for item in own] == ["cover"]


def test_everybody_is_told_by_push_what_is_his_in_order(parties: Parties) -> None:
    topics = [Topic.RFQS, Topic.QUOTES, Topic.EVALUATIONS, Topic.FILLS]
    with (
        parties.firms[CLIENT].stream(topics) as desk,
        parties.firms[DEALERS[0]].stream(topics) as winner,
        parties.firms[DEALERS[1]].stream(topics) as loser,
        parties.firms[RIVAL].stream(topics) as rival,
    ):
        rfq_id = parties.open_rfq(panel=DEALERS[:2]).rfq.rfq_id
        best = parties.quote(DEALERS[0], rfq_id, 0)
        parties.firms[DEALERS[1]].pass_rfq(rfq_id)
        parties.firms[CLIENT].accept_quote(rfq_id, quote_id=best.quote_id)
        told = {name: [] for name in ("desk", "winner", "loser")}
        last = {"desk": EventKind.FILL_BOOKED, "winner": EventKind.INVITATION_CLOSED}
        for name, stream in (("desk", desk), ("winner", winner), ("loser", loser)):
            until = last.get(name, EventKind.INVITATION_CLOSED)
            while not told[name] or told[name][-1].kind != until:
                item = stream.next(10.0)
                assert isinstance(item, Event), told
                assert item.rfq_id == rfq_id
                told[name].append(item)
        assert rival.next(0.3) is None
    for events in told.values():
        assert [item.number for item in events] == list(range(events[0].number, events[0].number + len(events)))
    kinds = {name: {item.kind for item in events} for name, events in told.items()}
    assert {"rfq.opened", "quote.posted", "decision.made", "quote.passed", "fill.booked"} <= kinds["desk"]
    assert {"invitation.sent", "quote.posted", "fill.booked", "invitation.closed"} <= kinds["winner"]
    assert {"invitation.sent", "quote.passed", "invitation.closed"} == kinds["loser"] - {"quote.ended"}
    assert all(not isinstance(item.payload, dict) for events in told.values() for item in events)


def test_dealer_never_sees_scores_limit_or_rivals(parties: Parties) -> None:
    secret = "0.777"
    opened = parties.open_rfq(limit_price=Decimal(secret), client_reference="my-secret-reference")
    rfq_id = opened.rfq.rfq_id
    parties.quote(DEALERS[0], rfq_id, 1)
    parties.quote(DEALERS[1], rfq_id, 3)
    seen = "".join(
        text_of(parties.firms[DEALERS[0]], call)
        for call in (
            sell_side.get_invitation(rfq_id),
            sell_side.list_invitations(),
            sell_side.list_dealer_quotes(),
        )
    )
    assert str(rfq_id) in seen
    for hidden in (secret, "my-secret-reference", DEALERS[1], "verdict", "fairness", "panel"):
        assert hidden not in seen
    for outsider, status, codes in ((DEALERS[0], 403, ("FORBIDDEN",)), (RIVAL, 404, ("RFQ_NOT_FOUND",))):
        for read in (parties.firms[outsider].get_rfq, parties.firms[outsider].get_ranked_quotes):
            with refused(status, *codes):
                read(rfq_id)
    with pytest.raises(NotFound):
        parties.firms[RIVAL].cancel_rfq(rfq_id)
    assert str(rfq_id) not in text_of(parties.firms[RIVAL], buy_side.list_quotes())


def test_fifty_accepts_at_once_trade_once(parties: Parties) -> None:
    rfq_id = parties.open_rfq().rfq.rfq_id
    quotes = [parties.quote(dealer, rfq_id, index) for index, dealer in enumerate(DEALERS)]

    def accept(number: int) -> Fill | Conflict:
        try:
            return parties.firms[CLIENT].accept_quote(rfq_id, quote_id=quotes[number % len(quotes)].quote_id)
        except Conflict as conflict:
            return conflict

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(accept, range(50)))
    fills = [answer for answer in answers if isinstance(answer, Fill)]
    codes = {answer.code for answer in answers if isinstance(answer, Conflict)}
    assert len(fills) == 1
    assert codes <= {"RFQ_NOT_OPEN", "QUOTE_NOT_ACTIVE"}
    view = parties.firms[CLIENT].get_rfq(rfq_id)
    assert view.fills == tuple(fills)
    assert view.rfq.filled_quantity == 1000


def test_fifty_accepts_with_one_key_are_one_and_all_are_told_so(parties: Parties) -> None:
    rfq_id = parties.open_rfq(size_mode=SizeMode.ANY_PART).rfq.rfq_id
    quote = parties.quote(DEALERS[0], rfq_id)

    def accept(_: int) -> Fill:
        return parties.firms[CLIENT].accept_quote(
            rfq_id, quote_id=quote.quote_id, quantity=10, idempotency_key=f"once-{rfq_id}"
        )

    with ThreadPoolExecutor(50) as pool:
        fills = set(pool.map(accept, range(50)))
    view = parties.firms[CLIENT].get_rfq(rfq_id)
    assert fills == set(view.fills)
    assert (len(fills), view.rfq.filled_quantity) == (1, 10)
    with refused(422, "IDEMPOTENCY_KEY_REUSED"):
        parties.firms[CLIENT].accept_quote(
            rfq_id, quote_id=quote.quote_id, quantity=11, idempotency_key=f"once-{rfq_id}"
        )


def test_parts_never_add_up_to_more_than_the_whole(parties: Parties) -> None:
    client = parties.firms[CLIENT]
    rfq_id = parties.open_rfq(size_mode=SizeMode.ANY_PART).rfq.rfq_id
    quotes = [parties.quote(dealer, rfq_id, index) for index, dealer in enumerate(DEALERS)]

    def accept(quote: Quote) -> bool:
        try:
            client.accept_quote(rfq_id, quote_id=quote.quote_id, quantity=600)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(3) as pool:
        traded = list(pool.map(accept, quotes))
    assert sorted(traded) == [False, False, True]
    rfq = client.get_rfq(rfq_id).rfq
    assert (rfq.state, rfq.filled_quantity) == (RfqState.PARTIALLY_FILLED, 600)
    rest = next(quote for quote, has_traded in zip(quotes, traded, strict=True) if not has_traded)
    client.accept_quote(rfq_id, quote_id=rest.quote_id, quantity=400)
    assert client.get_rfq(rfq_id).rfq.state == RfqState.FILLED


def test_accepting_a_worse_quote_tells_the_better_one_a_distance_of_zero(parties: Parties) -> None:
    rfq_id = parties.open_rfq().rfq.rfq_id
    parties.quote(DEALERS[0], rfq_id, 0)
    worse = parties.quote(DEALERS[1], rfq_id, 4)
    parties.firms[CLIENT].accept_quote(rfq_id, quote_id=worse.quote_id)
    told = invitation(parties, DEALERS[0], rfq_id)
    assert (told.outcome, told.cover_distance_bps) == ("cover", 0.0)


def test_absurd_quote_neither_breaks_the_scores_nor_blocks_the_fill(parties: Parties) -> None:
    rfq_id = parties.open_rfq().rfq.rfq_id
    parties.firms[DEALERS[0]].post_quote(rfq_id, ask=Decimal(999999999999999999))
    sane = parties.quote(DEALERS[1], rfq_id, 0)
    assert [item.quote.dealer for item in ranked(parties, rfq_id).quotes] == [DEALERS[1], DEALERS[0]]
    parties.firms[CLIENT].accept_quote(rfq_id, quote_id=sane.quote_id)


def test_rfq_and_quotes_expire_by_themselves(parties: Parties) -> None:
    rfq_id = parties.open_rfq(expires_in_s=Decimal("1.5")).rfq.rfq_id
    short = parties.quote(DEALERS[0], rfq_id, 0, ttl_s=Decimal("0.2"))
    lasting = parties.quote(DEALERS[1], rfq_id, 1)
    time.sleep(0.7)
    scored = ranked(parties, rfq_id)
    assert scored.decision is not None
    weighed = {item.quote_id for item in scored.decision.result.weighed}
    # what is left was decided upon anew, or the decision is said to be out of date
    assert weighed == {lasting.quote_id} if scored.is_current else short.quote_id in weighed
    with refused(409, "QUOTE_NOT_ACTIVE", "QUOTE_EXPIRED"):
        parties.firms[CLIENT].accept_quote(rfq_id, quote_id=short.quote_id)
    time.sleep(1.3)
    assert parties.firms[CLIENT].get_rfq(rfq_id).rfq.state == RfqState.EXPIRED
    ends = {item.quote.quote_id: item.quote.end_reason for item in ranked(parties, rfq_id).quotes}
    assert ends == {short.quote_id: "ttl_elapsed", lasting.quote_id: "rfq_expired"}
    with refused(409, "RFQ_EXPIRED"):
        parties.firms[DEALERS[2]].post_quote(rfq_id, ask=Decimal("1.000"))


def inventory_bps(price: Price, side: Side) -> float:
    return next(item.attribution_bps["inventory"] for item in price.sides if item.side == side)


def test_auto_price_becomes_a_quote_and_moves_with_inventory(parties: Parties) -> None:
    dealer = parties.firms[DEALERS[2]]
    instrument_id = parties.market().instrument_id

    def price() -> Price:
        return dealer.price_request(instrument_id=instrument_id, side="two_way", quantity=1000)

    before = price()
    assert before.decline_code is None, before
    rfq_id = parties.open_rfq(quantity=4000).rfq.rfq_id
    proposal = dealer.price_request(rfq_id=rfq_id)
    assert proposal.decline_code is None, proposal
    posted = dealer.post_quote(rfq_id, ask=proposal.sides[0].leg_prices)
    parties.firms[CLIENT].accept_quote(rfq_id, quote_id=posted.quote_id)
    after = price()
    assert (before.inventory, after.inventory) == (0, -4000)
    # short 4,000: selling more costs him, buying back earns
    assert inventory_bps(after, Side.BUY) > inventory_bps(before, Side.BUY)
    assert inventory_bps(after, Side.SELL) < inventory_bps(before, Side.SELL)
    for side in after.sides:
        assert sum(side.attribution_bps.values()) == pytest.approx(side.markup_bps, abs=1e-9)


def test_cancel_ends_every_quote(parties: Parties) -> None:
    client = parties.firms[CLIENT]
    rfq_id = parties.open_rfq().rfq.rfq_id
    quote = parties.quote(DEALERS[0], rfq_id)
    parties.firms[DEALERS[1]].pass_rfq(rfq_id)
    assert client.cancel_rfq(rfq_id).rfq.state == RfqState.CANCELLED
    with refused(409, "RFQ_NOT_OPEN"):
        client.cancel_rfq(rfq_id)
    with refused(409, "QUOTE_NOT_ACTIVE"):
        parties.firms[DEALERS[0]].withdraw_quote(quote.quote_id)
    assert [invitation(parties, dealer, rfq_id).outcome for dealer in DEALERS[:2]] == ["cancelled", "passed"]


def test_reading_while_quotes_arrive_never_fails(parties: Parties) -> None:
    rfq_id = parties.open_rfq(expires_in_s=60).rfq.rfq_id

    def work(dealer: str) -> None:
        for _ in range(15):
            parties.quote(dealer, rfq_id, 1)

    with ThreadPoolExecutor(len(DEALERS)) as pool:
        writers = [pool.submit(work, dealer) for dealer in DEALERS]
        while not all(writer.done() for writer in writers):
            scored = ranked(parties, rfq_id)
            assert all(len(item.evaluations) == 1 for item in scored.quotes)
        for writer in writers:
            writer.result()
    active = [item for item in ranked(parties, rfq_id).quotes if item.quote.state == QuoteState.ACTIVE]
    assert {item.quote.dealer for item in active} == set(DEALERS)
    assert len(active) == len(DEALERS)
