"""The trade over HTTP: both sides, one fill however many accept, secrets kept, pages complete."""

from __future__ import annotations

import asyncio
import dataclasses
from decimal import Decimal
from typing import Any

import httpx
import pytest

from rfq_service.domain.identifiers import InstrumentId
from tests.api.service import CLIENT, DEALERS, RIVAL_CLIENT, Service

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECRET_REFERENCE = "secret-of-the-client"


def order(market: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"legs": [{"instrument_id": market["instrument_id"]}], "side": "buy", "quantity": "100", **changes}


async def open_rfq(client: httpx.AsyncClient, body: dict[str, Any]) -> str:
    answer = await client.post("/v1/rfqs", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["rfq"]["rfq_id"])


async def quote(dealer: httpx.AsyncClient, rfq_id: str, **body: Any) -> str:
    answer = await dealer.post(f"/v1/dealer/rfqs/{rfq_id}/quotes", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["quote_id"])


async def test_from_request_to_fill(service: Service, client: httpx.AsyncClient, market: dict[str, Any]) -> None:
    ask = Decimal(market["ask"])
    rfq_id = await open_rfq(client, order(market, panel=list(DEALERS[:3])))
    async with service.http(DEALERS[0]) as first, service.http(DEALERS[1]) as second, service.http(DEALERS[2]) as third:
        best = await quote(first, rfq_id, ask={"price": str(ask)})
        worse = await quote(second, rfq_id, ask={"price": str(ask + Decimal("0.01"))})
        passed = (await third.post(f"/v1/dealer/rfqs/{rfq_id}/pass")).json()
        assert (passed["state"], passed["end_reason"]) == ("passed", "dealer_passed")

        ranked = (await client.get(f"/v1/rfqs/{rfq_id}/quotes")).json()
        by_id = {item["quote"]["quote_id"]: item for item in ranked["quotes"]}
        assert set(by_id) == {best, worse, passed["quote_id"]}
        costs = [by_id[quote_id]["evaluations"][0]["cost_bps"] for quote_id in (best, worse)]
        assert 0 < costs[0] < costs[1]
        assert ranked["is_current"]
        assert ranked["decision"]["result"]["sides"][0]["actions"]
        assert by_id[best]["evaluations"][0]["score"]["score"]["side"] == "buy"

        answer = await client.post(f"/v1/rfqs/{rfq_id}/accept", json={"quote_id": best})
        fill = answer.json()
        assert answer.status_code == 200
        assert (fill["side"], Decimal(fill["quantity"]), Decimal(fill["price"])) == ("buy", 100, ask)
        seen = (await client.get(f"/v1/rfqs/{rfq_id}")).json()
        assert (seen["rfq"]["state"], seen["fills"]) == ("filled", [fill])
        assert seen["panel"] == list(DEALERS[:3])

        outcomes = [(await dealer.get(f"/v1/dealer/rfqs/{rfq_id}")).json() for dealer in (first, second, third)]
        assert [item["outcome"] for item in outcomes] == ["hit", "cover", "passed"]
        assert outcomes[1]["cover_distance_bps"] > 0
        assert outcomes[0]["cover_distance_bps"] is None

        late = await client.post(f"/v1/rfqs/{rfq_id}/accept", json={"quote_id": worse})
        assert (late.status_code, late.json()["code"]) == (409, "RFQ_NOT_OPEN")
        withdrawn = await first.post(f"/v1/dealer/quotes/{best}/withdraw")
        assert (withdrawn.status_code, withdrawn.json()["code"]) == (409, "QUOTE_NOT_ACTIVE")
        again = await client.post(f"/v1/rfqs/{rfq_id}/cancel")
        assert (again.status_code, again.json()["code"]) == (409, "RFQ_NOT_OPEN")


async def test_fifty_accepts_at_once_give_one_fill(
    client: httpx.AsyncClient, dealer: httpx.AsyncClient, market: dict[str, Any]
) -> None:
    rfq_id = await open_rfq(client, order(market))
    quote_id = await quote(dealer, rfq_id, ask={"price": market["ask"]})
    body = {"quote_id": quote_id}
    answers = await asyncio.gather(*(client.post(f"/v1/rfqs/{rfq_id}/accept", json=body) for _ in range(50)))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(refused) == 49
    assert {(answer.status_code, answer.json()["code"]) for answer in refused} <= {
        (409, "RFQ_NOT_OPEN"),
        (409, "QUOTE_NOT_ACTIVE"),
    }
    seen = (await client.get(f"/v1/rfqs/{rfq_id}")).json()
    assert len(seen["fills"]) == 1
    assert Decimal(seen["rfq"]["filled_quantity"]) == 100


async def test_partial_accepts_never_exceed_the_quantity(
    service: Service, client: httpx.AsyncClient, market: dict[str, Any]
) -> None:
    rfq_id = await open_rfq(client, order(market, size_mode="any_part"))
    bodies = []
    for name in DEALERS[:3]:
        async with service.http(name) as dealer:
            quote_id = await quote(dealer, rfq_id, ask={"price": market["ask"]})
            bodies.append({"quote_id": quote_id, "quantity": "60"})
    answers = await asyncio.gather(*(client.post(f"/v1/rfqs/{rfq_id}/accept", json=body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"QUANTITY_EXCEEDS_REMAINING"}
    seen = (await client.get(f"/v1/rfqs/{rfq_id}")).json()
    assert (seen["rfq"]["state"], Decimal(seen["rfq"]["filled_quantity"])) == ("partially_filled", 60)


async def test_two_way_quotes_are_scored_and_accepted_by_side(
    client: httpx.AsyncClient, dealer: httpx.AsyncClient, market: dict[str, Any]
) -> None:
    rfq_id = await open_rfq(client, order(market, side="two_way"))
    quote_id = await quote(dealer, rfq_id, bid={"price": market["bid"]}, ask={"price": market["ask"]})
    [ranked] = (await client.get(f"/v1/rfqs/{rfq_id}/quotes")).json()["quotes"]
    assert {item["side"] for item in ranked["evaluations"]} == {"buy", "sell"}
    unsaid = await client.post(f"/v1/rfqs/{rfq_id}/accept", json={"quote_id": quote_id})
    assert (unsaid.status_code, unsaid.json()["code"]) == (422, "QUOTE_SIDE_MISMATCH")
    fill = (await client.post(f"/v1/rfqs/{rfq_id}/accept", json={"quote_id": quote_id, "side": "sell"})).json()
    assert (fill["side"], Decimal(fill["price"])) == ("sell", Decimal(market["bid"]))


async def test_what_has_expired_says_so(
    client: httpx.AsyncClient, dealer: httpx.AsyncClient, market: dict[str, Any]
) -> None:
    rfq_id = await open_rfq(client, order(market, expires_in_s="30"))
    quote_id = await quote(dealer, rfq_id, ask={"price": market["ask"]}, ttl_s="0.1")
    short_id = await open_rfq(client, order(market, expires_in_s="0.5"))
    await asyncio.sleep(0.6)
    late = await client.post(f"/v1/rfqs/{rfq_id}/accept", json={"quote_id": quote_id})
    assert (late.status_code, late.json()["code"]) in ((409, "QUOTE_EXPIRED"), (409, "QUOTE_NOT_ACTIVE"))
    for path, body in ((f"/v1/dealer/rfqs/{short_id}/quotes", {"ask": {"price": market["ask"]}}),):
        answer = await dealer.post(path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "RFQ_EXPIRED")
    cancelled = await client.post(f"/v1/rfqs/{short_id}/cancel")
    assert (cancelled.status_code, cancelled.json()["code"]) == (409, "RFQ_EXPIRED")
    passed = await dealer.post(f"/v1/dealer/rfqs/{short_id}/pass")
    assert (passed.status_code, passed.json()["code"]) == (409, "RFQ_EXPIRED")


async def test_a_dealer_reads_nothing_of_the_clients_secrets_or_rivals(
    service: Service, client: httpx.AsyncClient, market: dict[str, Any]
) -> None:
    limit_price = str(Decimal(market["ask"]) + Decimal("7.123"))
    body = order(market, anonymous=True, limit_price=limit_price, client_reference=SECRET_REFERENCE)
    rfq_id = await open_rfq(client, body)
    async with service.http(DEALERS[0]) as dealer, service.http(DEALERS[1]) as rival:
        mine = await quote(dealer, rfq_id, ask={"price": market["ask"]})
        theirs = await quote(rival, rfq_id, ask={"price": market["ask"]})
        await client.post(f"/v1/rfqs/{rfq_id}/accept", json={"quote_id": mine})
        paths = ("/v1/dealer/rfqs", f"/v1/dealer/rfqs/{rfq_id}", f"/v1/dealer/quotes?rfq_id={rfq_id}")
        replies = [(await dealer.get(path)).text for path in paths]
        replies.append((await dealer.post("/v1/dealer/price", json={"rfq_id": rfq_id})).text)
    client_firm_id = str((await service.runtime.firms.named([CLIENT]))[CLIENT].firm_id)
    history = replies[2]
    assert mine in history
    for reply in replies:
        for secret in (limit_price, SECRET_REFERENCE, client_firm_id, theirs, DEALERS[1], "verdict", "fairness"):
            assert secret not in reply
    assert CLIENT not in replies[1]


async def test_evaluate_only_scores_stores_and_cannot_be_accepted(
    client: httpx.AsyncClient, market: dict[str, Any]
) -> None:
    quotes = [
        {"dealer": f"Desk {n}", "ask": {"price": str(Decimal(market["ask"]) + n * Decimal("0.01"))}} for n in range(5)
    ]
    answer = await client.post("/v1/evaluations", json=order(market, quotes=quotes))
    assert answer.status_code == 201
    reply = answer.json()
    assert reply["rfq"]["state"] == "evaluated"
    rfq_id = reply["rfq"]["rfq_id"]
    stored = (await client.get(f"/v1/rfqs/{rfq_id}/quotes")).json()
    assert {item["quote"]["quote_id"] for item in stored["quotes"]} == {
        item["quote"]["quote_id"] for item in reply["quotes"]
    }
    assert stored["decision"] == reply["decision"]
    by_id = {item["quote"]["quote_id"]: item["evaluations"] for item in stored["quotes"]}
    assert all(by_id[item["quote"]["quote_id"]] == item["evaluations"] for item in reply["quotes"])
    body = {"quote_id": reply["quotes"][0]["quote"]["quote_id"]}
    refused = await client.post(f"/v1/rfqs/{rfq_id}/accept", json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "RFQ_NOT_OPEN")


async def test_without_a_market_the_answer_says_so(
    service: Service, client: httpx.AsyncClient, dealer: httpx.AsyncClient, market: dict[str, Any]
) -> None:
    known = next(item for item in service.runtime.instruments() if item.instrument_id == market["instrument_id"])
    quiet = dataclasses.replace(known, instrument_id=InstrumentId("TEST.SPOT.QUIET"), symbol="QUIET")
    await service.runtime.directory.register([quiet])
    book = (await client.get("/v1/board/TEST.SPOT.QUIET")).json()
    assert (book["market"]["status"], book["bids"], book["asks"]) == ("no_market", [], [])
    body = order({"instrument_id": "TEST.SPOT.QUIET"}, quotes=[{"dealer": "Desk", "ask": {"price": "1"}}])
    refused = await client.post("/v1/evaluations", json=body)
    assert refused.status_code == 409
    assert (refused.json()["code"], refused.json()["field"]) == ("NO_MARKET", "legs[0].instrument_id")
    hypothetical = {"instrument_id": "TEST.SPOT.QUIET", "side": "buy", "quantity": "100"}
    price = (await dealer.post("/v1/dealer/price", json=hypothetical)).json()
    assert (price["decline_code"], price["sides"]) == ("STALE_MARKET", [])


async def test_a_stale_market_gives_no_score_and_no_quote(
    service: Service, client: httpx.AsyncClient, dealer: httpx.AsyncClient, market: dict[str, Any]
) -> None:
    known = next(item for item in service.runtime.instruments() if item.instrument_id == market["instrument_id"])
    await service.runtime.directory.register([dataclasses.replace(known, staleness_limit_ns=1)])
    try:
        assert (await client.get(f"/v1/board/{known.instrument_id}")).json()["market"]["status"] == "stale"
        body = order(market, quotes=[{"dealer": "Desk", "ask": {"price": market["ask"]}}])
        refused = await client.post("/v1/evaluations", json=body)
        assert (refused.status_code, refused.json()["code"]) == (409, "STALE_MARKET")
        # a dealer's quote on a live RFQ is not lost for it: it is stored, and its score says why there is none
        rfq_id = (await client.post("/v1/rfqs", json=order(market))).json()["rfq"]["rfq_id"]
        quote = {"ask": {"price": market["ask"]}}
        assert (await dealer.post(f"/v1/dealer/rfqs/{rfq_id}/quotes", json=quote)).status_code == 201
        scored = (await client.get(f"/v1/rfqs/{rfq_id}/quotes")).json()
        [evaluation] = scored["quotes"][0]["evaluations"]
        assert (evaluation["verdict"], evaluation["fairness"]) == ("stale", None)
        assert evaluation["reasons"] == ["STALE_MARKET"]
        hypothetical = {"instrument_id": known.instrument_id, "side": "buy", "quantity": "100"}
        price = (await dealer.post("/v1/dealer/price", json=hypothetical)).json()
        assert (price["decline_code"], price["sides"]) == ("STALE_MARKET", [])
    finally:
        await service.runtime.directory.register([known])


async def test_pages_are_complete_and_without_repetition(service: Service, market: dict[str, Any]) -> None:
    async with service.http(RIVAL_CLIENT) as client:
        opened = [await open_rfq(client, order(market, client_reference=f"page-{number}")) for number in range(7)]
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = (await client.get("/v1/rfqs", params={"limit": "3", **cursor})).json()
            assert len(page["items"]) <= 3
            seen += [item["rfq_id"] for item in page["items"] if item["client_reference"].startswith("page-")]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert seen == list(reversed(opened))
        assert (await client.get("/v1/rfqs", params={"state": "filled"})).json()["items"] == []


async def test_the_history_is_filtered(service: Service, market: dict[str, Any]) -> None:
    ask = Decimal(market["ask"])
    async with service.http(RIVAL_CLIENT) as client:
        quotes = [{"dealer": "Near", "ask": {"price": str(ask)}}, {"dealer": "Far", "ask": {"price": str(ask * 2)}}]
        scored = (await client.post("/v1/evaluations", json=order(market, quotes=quotes))).json()
        rfq_id = scored["rfq"]["rfq_id"]
        verdicts = {item["quote"]["dealer"]: item["evaluations"][0]["verdict"] for item in scored["quotes"]}
        received_at = scored["quotes"][0]["quote"]["received_at"]

        async def dealers(**query: str) -> set[str]:
            answer = await client.get("/v1/quotes", params={"rfq_id": rfq_id, **query})
            assert answer.status_code == 200, answer.text
            return {item["quote"]["dealer"] for item in answer.json()["items"]}

        assert await dealers() == {"Near", "Far"}
        assert await dealers(dealer="Far") == {"Far"}
        assert await dealers(instrument_id=market["instrument_id"]) == {"Near", "Far"}
        assert await dealers(instrument_id="OTHER") == set()
        assert await dealers(verdict=verdicts["Far"]) == {
            name for name in verdicts if verdicts[name] == verdicts["Far"]
        }
        assert await dealers(**{"from": received_at}) == {"Near", "Far"}
        assert await dealers(to=received_at) == set()
        assert await dealers(state="active") | await dealers(state="expired") == {"Near", "Far"}
        assert await dealers(state="accepted") == set()
