"""Quotes and RFQs end on time, everybody is told, and the decision follows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import text

from rfq_service.app import create_app
from rfq_service.db.engine import Database
from rfq_service.domain.changes import Changes, RfqBook
from rfq_service.domain.errors import InvariantError
from rfq_service.domain.quote import Quote
from tests.api.service import CLIENT, DEALERS, Service, make_runtime

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def owner(api_dsn: str) -> AsyncIterator[Database]:
    """The tables' owner, who sees what was written."""
    opened = Database(api_dsn)
    yield opened
    await opened.close()


def order(market: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"legs": [{"instrument_id": market["instrument_id"]}], "side": "buy", "quantity": "100", **changes}


async def post(http: httpx.AsyncClient, path: str, body: Any) -> Any:
    answer = await http.post(path, json=body)
    assert answer.is_success, answer.text
    return answer.json()


async def until(found: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(200):
        if await found():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it has not come about within 10 s")


async def payloads(owner: Database, rfq_id: str, kind: str) -> list[dict[str, Any]]:
    """What the events of an RFQ say, in their order."""
    statement = text(
        "SELECT payload_json::text FROM event WHERE rfq_id = CAST(:rfq_id AS uuid) AND kind = :kind "
        "ORDER BY transaction_id, position"
    )
    async with owner.connect() as connection:
        rows = await connection.execute(statement, {"rfq_id": rfq_id, "kind": kind})
        return [json.loads(row[0]) for row in rows]


async def test_a_quote_whose_time_is_over_is_decided_without(
    service: Service, client: httpx.AsyncClient, market: dict[str, Any], owner: Database
) -> None:
    rfq_id = (await post(client, "/v1/rfqs", order(market)))["rfq"]["rfq_id"]
    path, ask = f"/v1/dealer/rfqs/{rfq_id}/quotes", Decimal(market["ask"])
    async with service.http(DEALERS[0]) as first, service.http(DEALERS[1]) as second:
        short = (await post(first, path, {"ask": {"price": str(ask)}, "ttl_s": "0.3"}))["quote_id"]
        long = (await post(second, path, {"ask": {"price": str(ask + Decimal("0.01"))}}))["quote_id"]

        async def is_over() -> bool:
            quotes = (await client.get(f"/v1/rfqs/{rfq_id}/quotes")).json()["quotes"]
            by_id = {item["quote"]["quote_id"]: item["quote"]["end_reason"] for item in quotes}
            return bool(by_id[short] == "ttl_elapsed")

        await until(is_over)
        late = await first.post(f"/v1/dealer/quotes/{short}/withdraw")
        assert (late.status_code, late.json()["code"]) == (409, "QUOTE_NOT_ACTIVE")
        refused = await client.post(f"/v1/rfqs/{rfq_id}/accept", json={"quote_id": short})
        assert (refused.status_code, refused.json()["code"]) == (409, "QUOTE_NOT_ACTIVE")
    ranked = (await client.get(f"/v1/rfqs/{rfq_id}/quotes")).json()
    assert ranked["is_current"]
    assert [item["quote_id"] for item in ranked["decision"]["result"]["weighed"]] == [long]
    decisions = await payloads(owner, rfq_id, "decision.made")
    assert [decision["number"] for decision in decisions] == [1, 2, 3]  # quotes, then the end of one
    assert [[score["quote_id"] for score in decision["scores"]] for decision in decisions] == [
        [short],
        [short, long],
        [long],
    ]


async def test_an_rfq_that_cannot_be_swept_stops_no_other(
    service: Service, client: httpx.AsyncClient, dealer: httpx.AsyncClient, market: dict[str, Any], owner: Database
) -> None:
    rfq_ids = [(await post(client, "/v1/rfqs", order(market)))["rfq"]["rfq_id"] for _ in range(2)]
    sweeper = service.runtime.sweeper

    class Listener:
        """As the buy side, with a bug for one RFQ."""

        def on_quotes_changed(self, changes: Changes, book: RfqBook, new: Quote | None, now_ns: int) -> None:
            if str(book.rfq.rfq_id) == rfq_ids[0]:
                raise InvariantError("a bug")
            service.runtime.buy_side.on_quotes_changed(changes, book, new, now_ns)

    sweeper._listener = Listener()
    try:
        for rfq_id in rfq_ids:
            body = {"ask": {"price": market["ask"]}, "ttl_s": "0.2"}
            await post(dealer, f"/v1/dealer/rfqs/{rfq_id}/quotes", body)

        async def has_ended(rfq_id: str) -> bool:
            return bool(await payloads(owner, rfq_id, "quote.ended"))

        await until(lambda: has_ended(rfq_ids[1]))
        assert not await has_ended(rfq_ids[0])
        assert (await service.runtime.readiness())["tasks"] == "ok"
    finally:
        sweeper._listener = service.runtime.buy_side
    await until(lambda: has_ended(rfq_ids[0]))


async def test_replies_are_forgotten_as_fast_as_they_may_come(service: Service, owner: Database) -> None:
    add = text(
        "INSERT INTO idempotency_key SELECT firm.id, 'x', sha256(int4send(n)), sha256(''), 200, '', 1, 2 "
        "FROM (SELECT id FROM firm LIMIT 1) AS firm, generate_series(1, 4000) AS n"
    )
    left = text("SELECT count(*) FROM idempotency_key WHERE operation = 'x'")
    async with owner.connect() as connection:
        await connection.execute(add)
        await connection.commit()
    service.runtime.sweeper._purged_at_ns = None  # a minute has passed

    async def is_empty() -> bool:
        async with owner.connect() as connection:
            return (await connection.execute(left)).scalar_one() == 0

    await until(is_empty)


async def test_a_subscriber_needs_no_second_question(
    client: httpx.AsyncClient, dealer: httpx.AsyncClient, market: dict[str, Any], owner: Database
) -> None:
    rfq_id = (await post(client, "/v1/rfqs", order(market)))["rfq"]["rfq_id"]
    quote = await post(dealer, f"/v1/dealer/rfqs/{rfq_id}/quotes", {"ask": {"price": market["ask"]}})
    [told] = await payloads(owner, rfq_id, "decision.made")
    ranked = (await client.get(f"/v1/rfqs/{rfq_id}/quotes")).json()
    [evaluation] = ranked["quotes"][0]["evaluations"]
    [score] = told["scores"]
    assert score["quote_id"] == quote["quote_id"]
    assert (score["side"], score["verdict"], score["rank"]) == ("buy", evaluation["verdict"], 1)
    figures = {name: score[name] for name in ("cost_micro_bps", "fairness_ppm", "excess_micro_bps")}
    assert figures == {name: evaluation["score"]["score"][name] for name in figures}
    decision = ranked["decision"]
    assert (told["decision_id"], told["action"], told["quote_id"]) == (
        *(decision["decision_id"], decision["action"], decision["quote_id"]),
    )
    quotes = [{"dealer": "Desk", "ask": {"price": market["ask"]}}]
    evaluated = await post(client, "/v1/evaluations", order(market, quotes=quotes))
    [told] = await payloads(owner, evaluated["rfq"]["rfq_id"], "rfq.evaluated")
    assert told["decision_id"] == evaluated["decision"]["decision_id"]
    assert told["scores"][0]["cost_micro_bps"] == pytest.approx(
        evaluated["quotes"][0]["evaluations"][0]["cost_bps"] * 1e6
    )


async def test_an_rfq_expires_for_everybody(
    client: httpx.AsyncClient, dealer: httpx.AsyncClient, market: dict[str, Any], owner: Database
) -> None:
    body = order(market, expires_in_s="0.5", panel=list(DEALERS[:2]))
    rfq_id = (await post(client, "/v1/rfqs", body))["rfq"]["rfq_id"]
    await post(dealer, f"/v1/dealer/rfqs/{rfq_id}/quotes", {"ask": {"price": market["ask"]}})

    async def is_over() -> bool:
        return bool((await client.get(f"/v1/rfqs/{rfq_id}")).json()["rfq"]["state"] == "expired")

    await until(is_over)
    seen = (await dealer.get(f"/v1/dealer/rfqs/{rfq_id}")).json()
    assert (seen["state"], seen["outcome"]) == ("expired", "expired")
    assert await payloads(owner, rfq_id, "rfq.expired") == [{"filled_quantity": "0", "state": "expired"}]
    assert [item["outcome"] for item in await payloads(owner, rfq_id, "invitation.closed")] == ["expired", None]
    assert await payloads(owner, rfq_id, "quote.ended") == [{"reason": "rfq_expired", "state": "expired"}]


async def test_who_is_told_what(
    client: httpx.AsyncClient, dealer: httpx.AsyncClient, market: dict[str, Any], owner: Database
) -> None:
    rfq_id = (await post(client, "/v1/rfqs", order(market, panel=list(DEALERS[:2]))))["rfq"]["rfq_id"]
    quote = await post(dealer, f"/v1/dealer/rfqs/{rfq_id}/quotes", {"ask": {"price": market["ask"]}})
    await post(client, f"/v1/rfqs/{rfq_id}/accept", {"quote_id": quote["quote_id"]})
    statement = text(
        "SELECT kind, audience, client_firm_id = (SELECT id FROM firm WHERE name = :client) AS is_owned FROM event "
        "WHERE rfq_id = CAST(:rfq_id AS uuid) ORDER BY transaction_id, position"
    )
    async with owner.connect() as connection:
        rows = (await connection.execute(statement, {"rfq_id": rfq_id, "client": CLIENT})).all()
    assert all(row.is_owned for row in rows)
    assert [(row.kind, row.audience) for row in rows] == [
        ("rfq.opened", "client"),
        ("invitation.sent", "dealer"),
        ("invitation.sent", "dealer"),
        ("quote.posted", "both"),
        ("decision.made", "client"),
        ("quote.ended", "both"),
        ("fill.booked", "both"),
        ("invitation.closed", "dealer"),
        ("invitation.closed", "dealer"),
    ]


async def test_a_second_replica_answers_for_the_first(
    service: Service, api_dsn: str, client: httpx.AsyncClient, dealer: httpx.AsyncClient, market: dict[str, Any]
) -> None:
    """Two whole services on one database: a repetition may reach either, at the same time too."""
    runtime = make_runtime(api_dsn)
    app = create_app(runtime)
    async with app.lifespan():
        if runtime.player is not None:
            await runtime.player.ready.wait()
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {service.tokens[CLIENT]}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as other:
            for _ in range(5):
                rfq_id = (await post(client, "/v1/rfqs", order(market, size_mode="any_part")))["rfq"]["rfq_id"]
                quote = await post(dealer, f"/v1/dealer/rfqs/{rfq_id}/quotes", {"ask": {"price": market["ask"]}})
                requests = [
                    (f"/v1/rfqs/{rfq_id}/accept", {"quote_id": quote["quote_id"], "quantity": "1"}),
                    ("/v1/rfqs", order(market)),
                    ("/v1/evaluations", order(market, quotes=[{"dealer": "D", "ask": {"price": market["ask"]}}])),
                ]
                for path, body in requests:
                    key = {"Idempotency-Key": uuid4().hex}
                    answers = await asyncio.gather(
                        *(http.post(path, json=body, headers=key) for http in (client, other) for _ in range(4))
                    )
                    done = {answer.content for answer in answers if answer.is_success}
                    assert len(done) == 1
                    refused = [answer for answer in answers if not answer.is_success]
                    assert {answer.json()["code"] for answer in refused} <= {"IDEMPOTENCY_IN_FLIGHT"}
                    assert {(await http.post(path, json=body, headers=key)).content for http in (client, other)} == done
                assert len((await client.get(f"/v1/rfqs/{rfq_id}")).json()["fills"]) == 1
