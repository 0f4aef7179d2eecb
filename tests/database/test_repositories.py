"""Every query against a real server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest
from sqlalchemy.exc import IntegrityError

from rfq_service.db.engine import Databases
from rfq_service.db.repositories.books import find_due
from rfq_service.db.repositories.idempotency import KeyUsedError
from rfq_service.domain.changes import Changes
from rfq_service.domain.errors import InvariantError
from rfq_service.domain.history import (
    Firm,
    InvitationOutcome,
    InvitationState,
    QuoteEnd,
    QuoteFilter,
)
from rfq_service.domain.identifiers import FillId
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


async def store_rfq(databases: Databases, client: Firm, dealers: list[Firm], **values) -> Rfq:
    changes = samples.opening_changes(client, dealers, **values)
    await samples.append(databases, changes)
    return changes.new_rfq


async def store_quote(databases: Databases, rfq: Rfq, dealer: Firm | str, **values) -> Quote:
    quote = samples.quote(rfq, dealer, **values)
    await samples.store(databases, Changes(rfq.client_firm_id, quotes=[quote]))
    return quote


def ended(quote: Quote, state: QuoteState = QuoteState.CANCELLED) -> QuoteEnd:
    return QuoteEnd(quote.quote_id, state, QuoteEndReason.WITHDRAWN_BY_DEALER, NOW_NS + 1)


async def test_instruments_are_replaced(databases: Databases) -> None:
    spot, perpetual = samples.instrument(samples.SPOT), samples.instrument(samples.PERPETUAL)
    async with databases.operator.begin() as uow:
        await uow.instruments.upsert(spot, perpetual)
        finer = replace(spot, tick_size=Decimal("0.0001"))
        await uow.instruments.upsert(finer)
        assert await uow.instruments.get(samples.SPOT) == finer
        assert await uow.instruments.all() == [perpetual, finer]


async def test_leaving_without_commit_leaves_nothing(databases: Databases, client: Firm, dealers: list[Firm]) -> None:
    rfq = await store_rfq(databases, client, dealers)
    changes = Changes(client.firm_id, saved_rfq=rfq.apply(RfqEvent.CANCEL), quotes=[samples.quote(rfq, dealers[0])])

    async def store(fails: bool) -> None:
        async with databases.desk.begin(firm=client.firm_id) as uow:
            await uow.store([changes])
            if fails:
                raise ZeroDivisionError

    await store(fails=False)
    with pytest.raises(ZeroDivisionError):
        await store(fails=True)
    async with databases.client.read(client.firm_id) as uow:
        assert await uow.rfqs.get(client.firm_id, rfq.rfq_id) == rfq
        assert await uow.quotes.for_rfq(client.firm_id, rfq.rfq_id) == []


async def test_an_rfq_comes_back_as_it_was(databases: Databases, client: Firm, dealers: list[Firm]) -> None:
    rfq = await store_rfq(databases, client, [dealers[2], dealers[0]], legs=2)
    async with databases.client.read(client.firm_id) as uow:
        found = await uow.rfqs.get(client.firm_id, rfq.rfq_id)
        assert found == rfq
        assert str(found.terms.price_increment) == "0.0010"
        assert await uow.rfqs.get(dealers[0].firm_id, rfq.rfq_id) is None
        assert await uow.rfqs.panel(rfq.rfq_id) == ["Cleo", "Anna"]
        assert await uow.rfqs.invited(rfq.rfq_id) == [dealers[2].firm_id, dealers[0].firm_id]
    for dealer, is_invited in ((dealers[0], True), (dealers[1], False)):
        async with databases.dealer.read(dealer.firm_id) as uow:
            mine = await uow.rfqs.invitation(dealer.firm_id, rfq.rfq_id)
            assert (None if mine is None else mine.terms) == (rfq.terms if is_invited else None)
        async with databases.desk.begin(principal=dealer.firm_id) as uow:
            entered = await uow.rfqs.enter_as_invited(dealer.firm_id, rfq.rfq_id)
            assert entered == (client.firm_id if is_invited else None)
            book = await uow.rfqs.book(client.firm_id, rfq.rfq_id)
            assert (book is not None) is is_invited
            if book is not None:
                assert (book.rfq, book.panel, book.quotes) == (rfq, (dealers[2].firm_id, dealers[0].firm_id), ())


async def test_pages_are_complete_and_newest_first(databases: Databases, client: Firm, dealers: list[Firm]) -> None:
    rfqs = [await store_rfq(databases, client, dealers[:1], at_ns=NOW_NS + index * NS_PER_MS) for index in range(5)]
    await store_rfq(databases, dealers[1], dealers[2:])  # somebody else's
    await samples.store(
        databases,
        Changes(client.firm_id, saved_rfq=rfqs[3].apply(RfqEvent.CANCEL), events=[samples.event(rfqs[3])]),
    )
    async with databases.client.read(client.firm_id) as uow:
        seen, cursor = [], None
        while True:
            page = await uow.rfqs.list_of(client.firm_id, cursor=cursor, limit=2)
            seen += [rfq.rfq_id for rfq in page.items]
            if (cursor := page.next_cursor) is None:
                break
        assert seen == [rfq.rfq_id for rfq in reversed(rfqs)]
        cancelled = await uow.rfqs.list_of(client.firm_id, state=RfqState.CANCELLED, limit=10)
        assert [rfq.rfq_id for rfq in cancelled.items] == [rfqs[3].rfq_id]
        assert cancelled.next_cursor is None
    async with databases.dealer.read(dealers[0].firm_id) as uow:
        inbound = await uow.rfqs.invitations(dealers[0].firm_id, state=InvitationState.OPEN, limit=4)
        rest = await uow.rfqs.invitations(dealers[0].firm_id, cursor=inbound.next_cursor, limit=4)
        assert [item.rfq_id for item in (*inbound.items, *rest.items)] == seen


async def test_closing_invitations_tells_each_dealer_his_own(
    databases: Databases, client: Firm, dealers: list[Firm]
) -> None:
    rfq = await store_rfq(databases, client, dealers)
    told = {
        dealers[0].firm_id: (InvitationOutcome.HIT, None),
        dealers[1].firm_id: (InvitationOutcome.COVER, 1_500_000),
    }
    async with databases.desk.begin(firm=client.firm_id) as uow:
        await uow.rfqs.close_invitations(rfq.rfq_id, InvitationState.CLOSED, told)
        await uow.rfqs.close_invitations(rfq.rfq_id, InvitationState.EXPIRED, {})  # closed ones stay as they are
        await uow.commit()
    found = []
    for dealer in dealers:
        async with databases.dealer.read(dealer.firm_id) as uow:
            found.append(await uow.rfqs.invitation(dealer.firm_id, rfq.rfq_id))
    assert [(item.state, item.outcome, item.cover_distance_micro_bps) for item in found] == [
        (InvitationState.CLOSED, InvitationOutcome.HIT, None),
        (InvitationState.CLOSED, InvitationOutcome.COVER, 1_500_000),
        (InvitationState.CLOSED, None, None),
    ]


async def test_a_package_quote_comes_back_as_it_was(databases: Databases, client: Firm, dealers: list[Firm]) -> None:
    rfq = await store_rfq(databases, client, dealers, legs=2)
    package = await store_quote(databases, rfq, dealers[0])
    outside = await store_quote(databases, rfq, "Elsewhere", at_ns=NOW_NS + NS_PER_MS)
    async with databases.client.read(client.firm_id) as uow:
        assert await uow.quotes.for_rfq(client.firm_id, rfq.rfq_id) == [package, outside]
        assert await uow.quotes.for_rfq(dealers[0].firm_id, rfq.rfq_id) == []
    for dealer, expected in ((dealers[0], package), (dealers[1], None)):
        async with databases.dealer.read(dealer.firm_id) as uow:
            assert await uow.quotes.get_for_dealer(dealer.firm_id, package.quote_id) == expected


async def test_of_fifty_ends_at_once_one_succeeds(database_dsn: str, client: Firm, dealers: list[Firm]) -> None:
    databases = Databases.open(database_dsn, pool_size=20, acquire_timeout_s=30.0, command_timeout_s=30.0)
    rfq = await store_rfq(databases, client, dealers)
    quote = await store_quote(databases, rfq, dealers[0])

    async def end(number: int) -> str:
        try:
            at_ns = NOW_NS + number
            await samples.store(
                databases, Changes(client.firm_id, ends=[(quote, replace(ended(quote), ended_at_ns=at_ns))])
            )
        except IntegrityError as error:
            return str(error.orig)
        return ""

    results = await asyncio.gather(*(end(number) for number in range(1, 51)))
    assert results.count("") == 1
    assert sum("quote_end_pkey" in result for result in results) == 49
    async with databases.client.read(client.firm_id) as uow:
        [found] = await uow.quotes.for_rfq(client.firm_id, rfq.rfq_id)
        assert (found.state, found.end_reason) == (QuoteState.CANCELLED, QuoteEndReason.WITHDRAWN_BY_DEALER)
    await databases.close()


async def test_what_is_due_and_who_goes_first(databases: Databases, client: Firm, dealers: list[Firm]) -> None:
    first = await store_rfq(databases, client, dealers)
    second = await store_rfq(databases, client, dealers, at_ns=NOW_NS + NS_PER_S)
    quotes = [await store_quote(databases, rfq, dealers[0]) for rfq in (first, second)]
    await store_quote(databases, first, "Elsewhere")  # never ends here
    later_ns = NOW_NS + 120 * NS_PER_S
    both = {(first.rfq_id, client.firm_id), (second.rfq_id, client.firm_id)}
    async with databases.desk.connect() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        assert await find_due(raw, NOW_NS, 10) == []
        assert sorted(await find_due(raw, later_ns, 10)) == sorted(both)
        assert len(await find_due(raw, later_ns, 1)) == 1
    async with (
        databases.desk.begin(firm=client.firm_id) as holder,
        databases.desk.begin(firm=client.firm_id) as sweeper,
    ):
        await holder.rfqs.lock(first.rfq_id)
        assert not await sweeper.rfqs.try_lock(first.rfq_id)
        assert await sweeper.rfqs.try_lock(second.rfq_id)
    changes = Changes(client.firm_id, saved_rfq=first.apply(RfqEvent.EXPIRE), ends=[(quotes[0], ended(quotes[0]))])
    await samples.store(databases, changes)
    async with databases.desk.connect() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        assert await find_due(raw, later_ns, 10) == [(second.rfq_id, client.firm_id)]


async def test_a_key_is_stored_with_its_effect_and_purged_at_its_time(
    databases: Databases, client: Firm, dealers: list[Firm]
) -> None:
    rfq = await store_rfq(databases, client, dealers)
    short, long = (
        samples.record(client, key=b"short", body=b""),
        samples.record(client, key=b"long", body=b"{}" * 9_999),
    )
    for record in (short, long):
        await samples.store(databases, Changes(client.firm_id, events=[samples.event(rfq)], record=record))
    with pytest.raises(KeyUsedError):
        await samples.store(databases, Changes(client.firm_id, events=[samples.event(rfq)], record=short))
    async with databases.client.read(client.firm_id) as uow:
        for record in (short, long):
            assert await uow.idempotency.find(client.firm_id, record.operation, record.key_digest) == record
        assert await uow.idempotency.find(client.firm_id, "another", short.key_digest) is None
    async with databases.dealer.read(dealers[0].firm_id) as uow:
        assert await uow.idempotency.find(client.firm_id, short.operation, short.key_digest) is None
    async with databases.operator.begin() as uow:
        assert await uow.idempotency.purge(short.expires_at_ns - 1, 10) == 0
        assert await uow.idempotency.purge(short.expires_at_ns, 1) == 1
        assert await uow.idempotency.purge(short.expires_at_ns, 10) == 1
        await uow.commit()


async def test_a_key_is_claimed_by_one_transaction_at_a_time(databases: Databases, client: Firm) -> None:
    async with databases.desk.begin(firm=client.firm_id) as first, databases.desk.begin(firm=client.firm_id) as second:
        assert await first.idempotency.try_lock(-(2**63))
        assert not await second.idempotency.try_lock(-(2**63))
        assert await second.idempotency.try_lock(2**63 - 1)


async def test_scores_and_decisions_belong_to_the_client(
    databases: Databases, client: Firm, dealers: list[Firm]
) -> None:
    rfq = await store_rfq(databases, client, dealers)
    quote = await store_quote(databases, rfq, dealers[0])
    # the number decides which is newer, whatever the clocks of two replicas said
    first = samples.decision(rfq, None, NOW_NS + NS_PER_MS, number=1)
    second = samples.decision(rfq, quote.quote_id, number=2)
    scores = [samples.evaluation(rfq, quote, second.decision_id, side=side) for side in (Side.BUY, Side.SELL)]
    await samples.store(databases, Changes(client.firm_id, decisions=[second, first], evaluations=scores))
    async with databases.client.read(client.firm_id) as uow:
        assert await uow.quotes.latest_decision(client.firm_id, rfq.rfq_id) == second
        assert await uow.quotes.latest_decision(dealers[0].firm_id, rfq.rfq_id) is None
        found = await uow.quotes.evaluations(client.firm_id, rfq.rfq_id)
        assert {item.side: item for item in found} == {item.side: item for item in scores}
    async with databases.client.read(dealers[0].firm_id) as uow:
        assert await uow.quotes.evaluations(client.firm_id, rfq.rfq_id) == []


async def test_history_filters(databases: Databases, client: Firm, dealers: list[Firm]) -> None:
    single = await store_rfq(databases, client, dealers)
    package = await store_rfq(databases, client, dealers, legs=2, at_ns=NOW_NS + NS_PER_S)
    quotes = [
        await store_quote(databases, single, dealers[0]),
        await store_quote(databases, single, dealers[1], at_ns=NOW_NS + 1 * NS_PER_S),
        await store_quote(databases, package, dealers[0], at_ns=NOW_NS + 2 * NS_PER_S),
        await store_quote(databases, package, "Elsewhere", at_ns=NOW_NS + 3 * NS_PER_S),
    ]
    decision = samples.decision(single, quotes[0].quote_id)
    score = samples.evaluation(single, quotes[0], decision.decision_id, verdict="toxic")
    fair = samples.evaluation(single, quotes[1], decision.decision_id)
    end = (quotes[1], ended(quotes[1]))
    await samples.store(databases, Changes(client.firm_id, evaluations=[score, fair], ends=[end]))

    async def found(**wanted) -> list[int]:
        async with databases.client.read(client.firm_id) as uow:
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
    async with databases.client.read(client.firm_id) as uow:
        page = await uow.quotes.history(client.firm_id, QuoteFilter(), limit=3)
        rest = await uow.quotes.history(client.firm_id, QuoteFilter(), cursor=page.next_cursor, limit=3)
        assert [record.quote for record in rest.items] == [quotes[0]]
        assert rest.next_cursor is None
        assert rest.items[0].terms == single.terms
        assert rest.items[0].rfq_state is RfqState.OPEN
        assert rest.items[0].evaluations == (score,)
        assert (await uow.quotes.history(dealers[0].firm_id, QuoteFilter(), limit=3)).items == ()


async def test_a_dealer_sees_his_quotes_and_no_score(databases: Databases, client: Firm, dealers: list[Firm]) -> None:
    single = await store_rfq(databases, client, dealers)
    package = await store_rfq(databases, client, dealers, legs=2, at_ns=NOW_NS + NS_PER_S)
    mine = [await store_quote(databases, single, dealers[0]), await store_quote(databases, package, dealers[0])]
    await store_quote(databases, single, dealers[1])
    score = samples.evaluation(single, mine[0], samples.new_id())
    await samples.store(databases, Changes(client.firm_id, evaluations=[score]))
    async with databases.dealer.read(dealers[0].firm_id) as uow:
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


async def test_fills_make_the_dealers_position(databases: Databases, client: Firm, dealers: list[Firm]) -> None:
    rfq = await store_rfq(databases, client, dealers, legs=2)
    quotes = [await store_quote(databases, rfq, dealer) for dealer in dealers[:2]]

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
    await samples.store(databases, Changes(client.firm_id, fills=[(item, rfq.terms) for item in fills]))
    async with databases.client.read(client.firm_id) as uow:
        # made in the same nanosecond, so nothing says which was first
        assert sorted(await uow.quotes.fills(client.firm_id, rfq.rfq_id), key=lambda item: item.side) == fills
        assert await uow.quotes.fills(dealers[0].firm_id, rfq.rfq_id) == []
    # the client bought 60 packages net: one spot each from the dealer, half a perpetual each to him
    async with databases.dealer.read(dealers[0].firm_id) as uow:
        assert await uow.quotes.position(dealers[0].firm_id, samples.SPOT) == Decimal(-60)
        assert await uow.quotes.position(dealers[0].firm_id, samples.PERPETUAL) == Decimal(30)
        assert await uow.quotes.position(dealers[1].firm_id, samples.SPOT) == 0
    with pytest.raises(IntegrityError, match="fill_quote_id_key"):
        await samples.store(databases, Changes(client.firm_id, fills=[(fill(quotes[0], Side.BUY, "1"), rfq.terms)]))


async def test_bars_are_replaced(databases: Databases, client: Firm) -> None:
    bar = Bar(samples.SPOT, NOW_NS, *(Decimal("1.5"),) * 4, Decimal(7), 3, 2.5, 1e5)
    async with databases.operator.begin() as uow:
        assert await uow.market.add_bars([bar, replace(bar, start_ns=NOW_NS + 60 * NS_PER_S)]) == 2
        assert await uow.market.add_bars([replace(bar, trade_count=4)]) == 1
        assert await uow.market.add_bars([]) == 0
