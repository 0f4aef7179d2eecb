"""Every query against a real server."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest
from sqlalchemy.exc import IntegrityError

from rfq_service.db.engine import Database
from rfq_service.domain.errors import ErrorCode, InvariantError, RfqError
from rfq_service.domain.history import (
    Firm,
    InvitationOutcome,
    InvitationState,
    QuoteEnd,
    QuoteFilter,
)
from rfq_service.domain.identifiers import ApiKeyId, FillId
from rfq_service.domain.quote import Fill, Quote, QuoteEndReason, QuoteState
from rfq_service.domain.rfq import Rfq, RfqEvent, RfqState
from rfq_service.domain.units import NS_PER_MS, NS_PER_S, Side
from tests.database import samples
from tests.database.samples import NOW_NS


@dataclass(frozen=True)
class Bar:
    instrument_id: str
    start_ns: int
    open_mid: Decimal
    high_mid: Decimal
    low_mid: Decimal
    close_mid: Decimal
    volume: Decimal
    trade_count: int
    spread_bps: float
    depth_notional: float


async def store_rfq(database: Database, client: Firm, dealers: list[Firm], **values) -> Rfq:
    rfq = samples.rfq(client, **values)
    async with database.begin() as uow:
        await uow.rfqs.add(rfq, [samples.invitation(rfq, dealer) for dealer in dealers])
        await uow.commit()
    return rfq


async def store_quote(database: Database, rfq: Rfq, dealer: Firm | str, **values) -> Quote:
    quote = samples.quote(rfq, dealer, **values)
    async with database.begin() as uow:
        await uow.quotes.add(quote)
        await uow.commit()
    return quote


def ended(quote: Quote, state: QuoteState = QuoteState.CANCELLED) -> QuoteEnd:
    return QuoteEnd(quote.quote_id, state, QuoteEndReason.WITHDRAWN_BY_DEALER, NOW_NS + 1)


async def test_firms_and_keys(database: Database) -> None:
    firm, dealer = samples.firm("Alpha"), samples.firm("Beta", is_dealer=True)
    key_id, digest = ApiKeyId(samples.new_id()), hashlib.sha256(b"secret").digest()
    async with database.begin() as uow:
        assert await uow.firms.add(firm)
        assert await uow.firms.add(dealer)
        assert not await uow.firms.add(samples.firm("Alpha"))
        await uow.firms.add_key(key_id, firm.firm_id, digest, "rfq_ab", "desk", NOW_NS)
        await uow.commit()
    async with database.begin() as uow:
        assert await uow.firms.list() == [firm, dealer]
        assert await uow.firms.get(dealer.firm_id) == dealer
        assert await uow.firms.by_name(["Beta", "Nobody"]) == {"Beta": dealer}
        assert await uow.firms.key_by_digest(digest) == (key_id, firm)
        assert await uow.firms.key_by_digest(bytes(32)) is None
        assert await uow.firms.revoke_key(key_id, NOW_NS + 1) is not None
        assert await uow.firms.revoke_key(key_id, NOW_NS + 2) is None
        assert await uow.firms.key_by_digest(digest) is None


async def test_instruments_are_replaced(database: Database) -> None:
    spot, perpetual = samples.instrument(samples.SPOT), samples.instrument(samples.PERPETUAL)
    async with database.begin() as uow:
        await uow.instruments.upsert(spot, perpetual)
        finer = replace(spot, tick_size=Decimal("0.0001"))
        await uow.instruments.upsert(finer)
        assert await uow.instruments.get(samples.SPOT) == finer
        assert await uow.instruments.all() == [perpetual, finer]


async def test_leaving_without_commit_leaves_nothing(database: Database, client: Firm, dealers: list[Firm]) -> None:
    rfq = samples.rfq(client)
    async with database.begin() as uow:
        await uow.rfqs.add(rfq, [samples.invitation(rfq, dealers[0])])
        await uow.events.add(samples.event(rfq))

    async def fails_half_way() -> None:
        async with database.begin() as uow:
            await uow.rfqs.add(rfq, [])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails_half_way()
    async with database.begin() as uow:
        assert await uow.rfqs.get(client.firm_id, rfq.rfq_id) is None
        assert await uow.rfqs.invitation(dealers[0].firm_id, rfq.rfq_id) is None


async def test_an_rfq_comes_back_as_it_was(database: Database, client: Firm, dealers: list[Firm]) -> None:
    rfq = await store_rfq(database, client, [dealers[2], dealers[0]], legs=2)
    async with database.begin() as uow:
        found = await uow.rfqs.get(client.firm_id, rfq.rfq_id)
        assert found == rfq
        assert str(found.terms.price_increment) == "0.0010"
        assert await uow.rfqs.get(dealers[0].firm_id, rfq.rfq_id) is None
        assert await uow.rfqs.panel(rfq.rfq_id) == ["Cleo", "Anna"]
        assert await uow.rfqs.invited(rfq.rfq_id) == [dealers[2].firm_id, dealers[0].firm_id]
        mine = await uow.rfqs.invitation(dealers[0].firm_id, rfq.rfq_id)
        assert mine.terms == rfq.terms
        assert await uow.rfqs.invitation(dealers[1].firm_id, rfq.rfq_id) is None
        assert await uow.rfqs.rfq_for_dealer_lock(dealers[0].firm_id, rfq.rfq_id) == rfq
        assert await uow.rfqs.rfq_for_dealer_lock(dealers[1].firm_id, rfq.rfq_id) is None


async def test_pages_are_complete_and_newest_first(database: Database, client: Firm, dealers: list[Firm]) -> None:
    rfqs = [await store_rfq(database, client, dealers[:1], at_ns=NOW_NS + index * NS_PER_MS) for index in range(5)]
    await store_rfq(database, dealers[1], dealers[2:])  # somebody else's
    async with database.begin() as uow:
        await uow.rfqs.save(rfqs[3].apply(RfqEvent.CANCEL))
        await uow.commit()
    async with database.begin() as uow:
        seen, cursor = [], None
        while True:
            page = await uow.rfqs.list(client.firm_id, cursor=cursor, limit=2)
            seen += [rfq.rfq_id for rfq in page.items]
            if (cursor := page.next_cursor) is None:
                break
        assert seen == [rfq.rfq_id for rfq in reversed(rfqs)]
        cancelled = await uow.rfqs.list(client.firm_id, state=RfqState.CANCELLED, limit=10)
        assert [rfq.rfq_id for rfq in cancelled.items] == [rfqs[3].rfq_id]
        assert cancelled.next_cursor is None
        inbound = await uow.rfqs.invitations(dealers[0].firm_id, state=InvitationState.OPEN, limit=4)
        rest = await uow.rfqs.invitations(dealers[0].firm_id, cursor=inbound.next_cursor, limit=4)
        assert [item.rfq_id for item in (*inbound.items, *rest.items)] == seen


async def test_closing_invitations_tells_each_dealer_his_own(
    database: Database, client: Firm, dealers: list[Firm]
) -> None:
    rfq = await store_rfq(database, client, dealers)
    async with database.begin() as uow:
        told = {
            dealers[0].firm_id: (InvitationOutcome.HIT, None),
            dealers[1].firm_id: (InvitationOutcome.COVER, 1_500_000),
        }
        await uow.rfqs.close_invitations(rfq.rfq_id, InvitationState.CLOSED, told)
        await uow.rfqs.close_invitations(rfq.rfq_id, InvitationState.EXPIRED, {})  # closed ones stay as they are
        await uow.commit()
    async with database.begin() as uow:
        found = [await uow.rfqs.invitation(dealer.firm_id, rfq.rfq_id) for dealer in dealers]
    assert [(item.state, item.outcome, item.cover_distance_micro_bps) for item in found] == [
        (InvitationState.CLOSED, InvitationOutcome.HIT, None),
        (InvitationState.CLOSED, InvitationOutcome.COVER, 1_500_000),
        (InvitationState.CLOSED, None, None),
    ]


async def test_a_package_quote_comes_back_as_it_was(database: Database, client: Firm, dealers: list[Firm]) -> None:
    rfq = await store_rfq(database, client, dealers, legs=2)
    package = await store_quote(database, rfq, dealers[0])
    outside = await store_quote(database, rfq, "Elsewhere", at_ns=NOW_NS + NS_PER_MS)
    async with database.begin() as uow:
        assert await uow.quotes.for_rfq(client.firm_id, rfq.rfq_id) == [package, outside]
        assert await uow.quotes.for_rfq(dealers[0].firm_id, rfq.rfq_id) == []
        assert await uow.quotes.get_for_client(client.firm_id, outside.quote_id) == outside
        assert await uow.quotes.get_for_client(dealers[0].firm_id, outside.quote_id) is None
        assert await uow.quotes.get_for_dealer(dealers[0].firm_id, package.quote_id) == package
        assert await uow.quotes.get_for_dealer(dealers[1].firm_id, package.quote_id) is None


async def test_of_fifty_ends_at_once_one_succeeds(database_dsn: str, client: Firm, dealers: list[Firm]) -> None:
    database = Database(database_dsn, pool_size=20, acquire_timeout_s=30.0, command_timeout_s=30.0)
    rfq = await store_rfq(database, client, dealers)
    quote = await store_quote(database, rfq, dealers[0])

    async def end(number: int) -> ErrorCode | None:
        try:
            async with database.begin() as uow:
                await uow.quotes.end(replace(ended(quote), ended_at_ns=NOW_NS + number), quote)
                await uow.commit()
        except RfqError as error:
            return error.code
        return None

    results = await asyncio.gather(*(end(number) for number in range(1, 51)))
    assert results.count(None) == 1
    assert results.count(ErrorCode.QUOTE_NOT_ACTIVE) == 49
    async with database.begin() as uow:
        found = await uow.quotes.get_for_client(client.firm_id, quote.quote_id)
        assert (found.state, found.end_reason) == (QuoteState.CANCELLED, QuoteEndReason.WITHDRAWN_BY_DEALER)
        assert not await uow.quotes.end(ended(quote), quote, may_have_ended=True)
    await database.close()


async def test_an_end_that_is_rolled_back_leaves_the_quote_active(
    database: Database, client: Firm, dealers: list[Firm]
) -> None:
    quote = await store_quote(database, await store_rfq(database, client, dealers), dealers[0])
    async with database.begin() as uow:
        assert await uow.quotes.end(ended(quote), quote)
    async with database.begin() as uow:
        assert await uow.quotes.end(ended(quote), quote)
        await uow.commit()


async def test_claims_skip_what_others_hold(database: Database, client: Firm, dealers: list[Firm]) -> None:
    first = await store_rfq(database, client, dealers)
    second = await store_rfq(database, client, dealers, at_ns=NOW_NS + NS_PER_S)
    quotes = [await store_quote(database, rfq, dealers[0]) for rfq in (first, second)]
    await store_quote(database, first, "Elsewhere")
    later_ns = NOW_NS + 120 * NS_PER_S
    async with database.begin() as holder, database.begin() as sweeper:
        assert await sweeper.quotes.claim_expired(NOW_NS, 10) == []
        assert await sweeper.rfqs.claim_expired(NOW_NS, 10) == []
        assert await holder.rfqs.get(client.firm_id, first.rfq_id, lock=True) == first
        assert await sweeper.quotes.claim_expired(later_ns, 10) == [quotes[1]]
        assert await sweeper.rfqs.claim_expired(later_ns, 10) == [second]
    async with database.begin() as uow:
        claimed = await uow.quotes.claim_expired(later_ns, 10)
        assert {quote.quote_id for quote in claimed} == {quote.quote_id for quote in quotes}
        for quote in claimed:
            await uow.quotes.end(ended(quote), quote)
        assert await uow.quotes.claim_expired(later_ns, 10) == []
        await uow.rfqs.save(first.apply(RfqEvent.EXPIRE))
        assert await uow.rfqs.claim_expired(later_ns, 10) == [second]


async def test_scores_and_decisions_belong_to_the_client(database: Database, client: Firm, dealers: list[Firm]) -> None:
    rfq = await store_rfq(database, client, dealers)
    quote = await store_quote(database, rfq, dealers[0])
    first, second = samples.decision(rfq, None), samples.decision(rfq, quote.quote_id, NOW_NS + NS_PER_MS)
    scores = [samples.evaluation(quote, second.decision_id, side=side) for side in (Side.BUY, Side.SELL)]
    async with database.begin() as uow:
        await uow.quotes.add_decision(first)
        await uow.quotes.add_decision(second)
        await uow.quotes.add_evaluations(scores)
        await uow.quotes.add_evaluations([])
        await uow.commit()
    async with database.begin() as uow:
        assert await uow.quotes.latest_decision(client.firm_id, rfq.rfq_id) == second
        assert await uow.quotes.latest_decision(dealers[0].firm_id, rfq.rfq_id) is None
        found = await uow.quotes.evaluations(client.firm_id, rfq.rfq_id)
        assert {item.side: item for item in found} == {item.side: item for item in scores}
        assert await uow.quotes.evaluations(dealers[0].firm_id, rfq.rfq_id) == []


async def test_history_filters(database: Database, client: Firm, dealers: list[Firm]) -> None:
    single = await store_rfq(database, client, dealers)
    package = await store_rfq(database, client, dealers, legs=2, at_ns=NOW_NS + NS_PER_S)
    quotes = [
        await store_quote(database, single, dealers[0]),
        await store_quote(database, single, dealers[1], at_ns=NOW_NS + 1 * NS_PER_S),
        await store_quote(database, package, dealers[0], at_ns=NOW_NS + 2 * NS_PER_S),
        await store_quote(database, package, "Elsewhere", at_ns=NOW_NS + 3 * NS_PER_S),
    ]
    decision = samples.decision(single, quotes[0].quote_id)
    score = samples.evaluation(quotes[0], decision.decision_id, verdict="toxic")
    async with database.begin() as uow:
        await uow.quotes.add_evaluations([score, samples.evaluation(quotes[1], decision.decision_id)])
        await uow.quotes.end(ended(quotes[1]), quotes[1])
        await uow.commit()

    async def found(**wanted) -> list[int]:
        async with database.begin() as uow:
            page = await uow.quotes.history(client.firm_id, QuoteFilter(**wanted), limit=10)
        ids = [quote.quote_id for quote in quotes]
        return [ids.index(record.quote.quote_id) for record in page.items]

    assert await found() == [3, 2, 1, 0]
    assert await found(rfq_id=single.rfq_id) == [1, 0]
    assert await found(dealer="Anna") == [2, 0]
    assert await found(dealer="Elsewhere") == [3]
    assert await found(instrument_id=samples.PERPETUAL) == [3, 2]
    assert await found(from_ns=NOW_NS + NS_PER_S, to_ns=NOW_NS + 3 * NS_PER_S) == [2, 1]
    assert await found(from_ns=NOW_NS + NS_PER_S + 1) == [3, 2]
    assert await found(state=QuoteState.CANCELLED) == [1]
    assert await found(state=QuoteState.ACTIVE) == [3, 2, 0]
    assert await found(verdict="toxic") == [0]
    assert await found(verdict="fair") == [1]
    assert await found(verdict="nothing like it") == []
    async with database.begin() as uow:
        page = await uow.quotes.history(client.firm_id, QuoteFilter(), limit=3)
        rest = await uow.quotes.history(client.firm_id, QuoteFilter(), cursor=page.next_cursor, limit=3)
        assert [record.quote for record in rest.items] == [quotes[0]]
        assert rest.next_cursor is None
        assert rest.items[0].terms == single.terms
        assert rest.items[0].rfq_state is RfqState.OPEN
        assert rest.items[0].evaluations == (score,)
        assert (await uow.quotes.history(dealers[0].firm_id, QuoteFilter(), limit=3)).items == ()


async def test_a_dealer_sees_his_quotes_and_no_score(database: Database, client: Firm, dealers: list[Firm]) -> None:
    single = await store_rfq(database, client, dealers)
    package = await store_rfq(database, client, dealers, legs=2, at_ns=NOW_NS + NS_PER_S)
    mine = [await store_quote(database, single, dealers[0]), await store_quote(database, package, dealers[0])]
    await store_quote(database, single, dealers[1])
    async with database.begin() as uow:
        await uow.quotes.add_evaluations([samples.evaluation(mine[0], samples.new_id())])
        page = await uow.quotes.history_for_dealer(dealers[0].firm_id, QuoteFilter(), limit=10)
        assert {record.quote.quote_id for record in page.items} == {quote.quote_id for quote in mine}
        assert {record.rfq_state for record in page.items} == {None}
        assert {record.evaluations for record in page.items} == {()}
        wanted = QuoteFilter(instrument_id=samples.PERPETUAL)
        (record,) = (await uow.quotes.history_for_dealer(dealers[0].firm_id, wanted, limit=10)).items
        assert record.terms == package.terms
        for forbidden in (QuoteFilter(verdict="fair"), QuoteFilter(dealer="Bert")):
            with pytest.raises(InvariantError):
                await uow.quotes.history_for_dealer(dealers[0].firm_id, forbidden, limit=10)


async def test_fills_make_the_dealers_position(database: Database, client: Firm, dealers: list[Firm]) -> None:
    rfq = await store_rfq(database, client, dealers, legs=2)
    quotes = [await store_quote(database, rfq, dealer) for dealer in dealers[:2]]

    def fill(quote: Quote, side: Side, quantity: str) -> Fill:
        return Fill(
            fill_id=FillId(samples.new_id()),
            rfq_id=rfq.rfq_id,
            quote_id=quote.quote_id,
            client_firm_id=client.firm_id,
            dealer_firm_id=dealers[0].firm_id,
            side=side,
            quantity=Decimal(quantity),
            price=quote.side_price(side),
            filled_at_ns=NOW_NS,
        )

    fills = [fill(quotes[0], Side.BUY, "100"), fill(quotes[1], Side.SELL, "40")]
    async with database.begin() as uow:
        for item in fills:
            await uow.quotes.add_fill(item, rfq.terms)
        await uow.commit()
    async with database.begin() as uow:
        # made in the same nanosecond, so nothing says which was first
        assert sorted(await uow.quotes.fills(client.firm_id, rfq.rfq_id), key=lambda item: item.side) == fills
        assert await uow.quotes.fills(dealers[0].firm_id, rfq.rfq_id) == []
        # the client bought 60 packages net: one spot each from the dealer, half a perpetual each to him
        assert await uow.quotes.position(dealers[0].firm_id, samples.SPOT) == Decimal(-60)
        assert await uow.quotes.position(dealers[0].firm_id, samples.PERPETUAL) == Decimal(30)
        assert await uow.quotes.position(dealers[1].firm_id, samples.SPOT) == 0
        with pytest.raises(IntegrityError, match="fill_quote_id_key"):
            await uow.quotes.add_fill(fill(quotes[0], Side.BUY, "1"), rfq.terms)


async def test_bars_are_replaced(database: Database, client: Firm) -> None:
    bar = Bar(samples.SPOT, NOW_NS, *(Decimal("1.5"),) * 4, Decimal(7), 3, 2.5, 1e5)
    async with database.begin() as uow:
        assert await uow.market.add_bars([bar, replace(bar, start_ns=NOW_NS + 60 * NS_PER_S)]) == 2
        assert await uow.market.add_bars([replace(bar, trade_count=4)]) == 1
        assert await uow.market.add_bars([]) == 0
