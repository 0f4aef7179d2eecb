"""A trade from request to history over real sockets, and what each party is told of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.end_to_end.parties import CLIENT, DEALERS, RIVAL, Parties, serving
from tests.support.postgres import DatabaseServer


@pytest.fixture(scope="module")
def parties(database_server: DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parties]:
    with (
        database_server.database(migrated=True) as dsn,
        serving(dsn, tmp_path_factory.mktemp("trade"), RFQ_LIFE_SWEEP_MS="50") as running,
    ):
        yield running


def ranked(parties: Parties, rfq_id: str) -> dict[str, Any]:
    answer = parties.http[CLIENT].get(f"/v1/rfqs/{rfq_id}/quotes")
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    return body


def invitation(parties: Parties, dealer: str, rfq_id: str) -> dict[str, Any]:
    body: dict[str, Any] = parties.http[dealer].get(f"/v1/dealer/rfqs/{rfq_id}").json()
    return body


def test_best_quote_trades_and_everybody_learns_what_is_his(parties: Parties) -> None:
    rfq_id = parties.open_rfq()["rfq"]["rfq_id"]
    best = parties.quote(DEALERS[0], rfq_id, 0)
    parties.quote(DEALERS[1], rfq_id, 2)
    parties.quote(DEALERS[2], rfq_id, 5)
    scored = ranked(parties, rfq_id)
    assert [item["quote"]["dealer"] for item in scored["quotes"]] == list(DEALERS)
    costs = [item["evaluations"][0]["cost_bps"] for item in scored["quotes"]]
    fairness = [item["evaluations"][0]["fairness"] for item in scored["quotes"]]
    assert costs == sorted(costs)
    assert fairness == sorted(fairness, reverse=True)
    assert scored["is_current"]
    assert scored["decision"]["action"] in ("accept", "counter", "work", "split", "wait")

    answer = parties.http[CLIENT].post(f"/v1/rfqs/{rfq_id}/accept", json={"quote_id": best["quote_id"]})
    assert answer.status_code == 200, answer.text
    fill = answer.json()
    assert (fill["price"], fill["quantity"]) == (best["ask"]["price"], "1000")

    view = parties.http[CLIENT].get(f"/v1/rfqs/{rfq_id}").json()
    assert view["rfq"]["state"] == "filled"
    assert view["fills"] == [fill]
    told = [invitation(parties, dealer, rfq_id) for dealer in DEALERS]
    assert [item["outcome"] for item in told] == ["hit", "cover", "done_away"]
    assert told[0]["cover_distance_bps"] is None
    assert told[1]["cover_distance_bps"] == pytest.approx(2 * 0.001 / float(fill["price"]) * 1e4, rel=1e-5)
    assert told[2]["cover_distance_bps"] is None
    history = parties.http[CLIENT].get("/v1/quotes", params={"rfq_id": rfq_id}).json()["items"]
    assert {item["quote"]["state"] for item in history} == {"accepted", "rejected"}
    assert all(len(item["evaluations"]) == 1 for item in history)
    own = parties.http[DEALERS[1]].get("/v1/dealer/quotes", params={"rfq_id": rfq_id}).json()["items"]
    assert [item["quote"]["end_reason"] for item in own] == ["cover"]


def test_dealer_never_sees_scores_limit_or_rivals(parties: Parties) -> None:
    secret = "0.777"
    rfq_id = parties.open_rfq(limit_price=secret, client_reference="my-secret-reference")["rfq"]["rfq_id"]
    parties.quote(DEALERS[0], rfq_id, 1)
    parties.quote(DEALERS[1], rfq_id, 3)
    seen = ""
    for path in (f"/v1/dealer/rfqs/{rfq_id}", "/v1/dealer/rfqs", "/v1/dealer/quotes"):
        seen += parties.http[DEALERS[0]].get(path).text
    for hidden in (secret, "my-secret-reference", DEALERS[1], "verdict", "fairness", "panel"):
        assert hidden not in seen
    for path in (f"/v1/rfqs/{rfq_id}", f"/v1/rfqs/{rfq_id}/quotes"):
        for outsider in (DEALERS[0], RIVAL):
            answer = parties.http[outsider].get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "RFQ_NOT_FOUND")
    assert parties.http[RIVAL].post(f"/v1/rfqs/{rfq_id}/cancel").status_code == 404
    assert rfq_id not in parties.http[RIVAL].get("/v1/quotes").text


def test_fifty_accepts_at_once_trade_once(parties: Parties) -> None:
    rfq_id = parties.open_rfq()["rfq"]["rfq_id"]
    quotes = [parties.quote(dealer, rfq_id, index) for index, dealer in enumerate(DEALERS)]

    def accept(number: int) -> httpx.Response:
        body = {"quote_id": quotes[number % len(quotes)]["quote_id"]}
        return parties.http[CLIENT].post(f"/v1/rfqs/{rfq_id}/accept", json=body)

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(accept, range(50)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 49
    codes = {answer.json()["code"] for answer in answers if answer.status_code == 409}
    assert codes <= {"RFQ_NOT_OPEN", "QUOTE_NOT_ACTIVE"}
    view = parties.http[CLIENT].get(f"/v1/rfqs/{rfq_id}").json()
    assert len(view["fills"]) == 1
    assert view["rfq"]["filled_quantity"] == "1000"


def test_parts_never_add_up_to_more_than_the_whole(parties: Parties) -> None:
    rfq_id = parties.open_rfq(size_mode="any_part")["rfq"]["rfq_id"]
    quotes = [parties.quote(dealer, rfq_id, index) for index, dealer in enumerate(DEALERS)]

    def accept(quote: dict[str, Any]) -> httpx.Response:
        body = {"quote_id": quote["quote_id"], "quantity": "600"}
        return parties.http[CLIENT].post(f"/v1/rfqs/{rfq_id}/accept", json=body)

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(accept, quotes))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    view = parties.http[CLIENT].get(f"/v1/rfqs/{rfq_id}").json()
    assert (view["rfq"]["state"], view["rfq"]["filled_quantity"]) == ("partially_filled", "600")
    rest = next(quote for quote, answer in zip(quotes, answers, strict=True) if answer.status_code == 409)
    last = parties.http[CLIENT].post(
        f"/v1/rfqs/{rfq_id}/accept", json={"quote_id": rest["quote_id"], "quantity": "400"}
    )
    assert last.status_code == 200, last.text
    assert parties.http[CLIENT].get(f"/v1/rfqs/{rfq_id}").json()["rfq"]["state"] == "filled"


def test_accepting_a_worse_quote_tells_the_better_one_a_distance_of_zero(parties: Parties) -> None:
    rfq_id = parties.open_rfq()["rfq"]["rfq_id"]
    parties.quote(DEALERS[0], rfq_id, 0)
    worse = parties.quote(DEALERS[1], rfq_id, 4)
    answer = parties.http[CLIENT].post(f"/v1/rfqs/{rfq_id}/accept", json={"quote_id": worse["quote_id"]})
    assert answer.status_code == 200, answer.text
    told = invitation(parties, DEALERS[0], rfq_id)
    assert (told["outcome"], told["cover_distance_bps"]) == ("cover", 0.0)


def test_absurd_quote_neither_breaks_the_scores_nor_blocks_the_fill(parties: Parties) -> None:
    rfq_id = parties.open_rfq()["rfq"]["rfq_id"]
    absurd = parties.http[DEALERS[0]].post(
        f"/v1/dealer/rfqs/{rfq_id}/quotes", json={"ask": {"price": "999999999999999999"}}
    )
    assert absurd.status_code == 201, absurd.text
    sane = parties.quote(DEALERS[1], rfq_id, 0)
    assert [item["quote"]["dealer"] for item in ranked(parties, rfq_id)["quotes"]] == [DEALERS[1], DEALERS[0]]
    answer = parties.http[CLIENT].post(f"/v1/rfqs/{rfq_id}/accept", json={"quote_id": sane["quote_id"]})
    assert answer.status_code == 200, answer.text


def test_rfq_and_quotes_expire_by_themselves(parties: Parties) -> None:
    rfq_id = parties.open_rfq(expires_in_s="1.5")["rfq"]["rfq_id"]
    short = parties.quote(DEALERS[0], rfq_id, 0, ttl_s="0.2")
    lasting = parties.quote(DEALERS[1], rfq_id, 1)
    time.sleep(0.5)
    assert not ranked(parties, rfq_id)["is_current"]
    late = parties.http[CLIENT].post(f"/v1/rfqs/{rfq_id}/accept", json={"quote_id": short["quote_id"]})
    assert (late.status_code, late.json()["code"]) in [(409, "QUOTE_NOT_ACTIVE"), (409, "QUOTE_EXPIRED")]
    time.sleep(1.5)
    view = parties.http[CLIENT].get(f"/v1/rfqs/{rfq_id}").json()["rfq"]
    assert view["state"] == "expired"
    ends = {item["quote"]["quote_id"]: item["quote"]["end_reason"] for item in ranked(parties, rfq_id)["quotes"]}
    assert ends == {short["quote_id"]: "ttl_elapsed", lasting["quote_id"]: "rfq_expired"}
    answer = parties.http[DEALERS[2]].post(f"/v1/dealer/rfqs/{rfq_id}/quotes", json={"ask": {"price": "1.000"}})
    assert (answer.status_code, answer.json()["code"]) == (409, "RFQ_EXPIRED")


def test_auto_price_becomes_a_quote_and_moves_with_inventory(parties: Parties) -> None:
    dealer = parties.http[DEALERS[2]]
    request = {"instrument_id": parties.market()["instrument_id"], "side": "two_way", "quantity": "1000"}
    before = dealer.post("/v1/dealer/price", json=request).json()
    assert before["decline_code"] is None, before
    rfq_id = parties.open_rfq(quantity="4000")["rfq"]["rfq_id"]
    proposal = dealer.post("/v1/dealer/price", json={"rfq_id": rfq_id}).json()
    assert proposal["decline_code"] is None, proposal
    body = {"ask": {"leg_prices": proposal["sides"][0]["leg_prices"]}}
    posted = dealer.post(f"/v1/dealer/rfqs/{rfq_id}/quotes", json=body)
    assert posted.status_code == 201, posted.text
    accepted = parties.http[CLIENT].post(f"/v1/rfqs/{rfq_id}/accept", json={"quote_id": posted.json()["quote_id"]})
    assert accepted.status_code == 200, accepted.text
    after = dealer.post("/v1/dealer/price", json=request).json()
    assert (before["inventory"], after["inventory"]) == ("0", "-4000")

    def inventory_bps(answer: dict[str, Any], side: str) -> float:
        part = next(item["attribution_bps"]["inventory"] for item in answer["sides"] if item["side"] == side)
        return float(part)

    # short 4,000: selling more costs him, buying back earns
    assert inventory_bps(after, "buy") > inventory_bps(before, "buy")
    assert inventory_bps(after, "sell") < inventory_bps(before, "sell")
    for side in after["sides"]:
        assert sum(side["attribution_bps"].values()) == pytest.approx(side["markup_bps"], abs=1e-9)


def test_cancel_ends_every_quote(parties: Parties) -> None:
    rfq_id = parties.open_rfq()["rfq"]["rfq_id"]
    quote = parties.quote(DEALERS[0], rfq_id)
    assert parties.http[DEALERS[1]].post(f"/v1/dealer/rfqs/{rfq_id}/pass").status_code == 200
    assert parties.http[CLIENT].post(f"/v1/rfqs/{rfq_id}/cancel").json()["rfq"]["state"] == "cancelled"
    again = parties.http[CLIENT].post(f"/v1/rfqs/{rfq_id}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "RFQ_NOT_OPEN")
    withdrawn = parties.http[DEALERS[0]].post(f"/v1/dealer/quotes/{quote['quote_id']}/withdraw")
    assert (withdrawn.status_code, withdrawn.json()["code"]) == (409, "QUOTE_NOT_ACTIVE")
    assert [invitation(parties, dealer, rfq_id)["outcome"] for dealer in DEALERS[:2]] == ["cancelled", "passed"]


def test_reading_while_quotes_arrive_never_fails(parties: Parties) -> None:
    rfq_id = parties.open_rfq(expires_in_s="60")["rfq"]["rfq_id"]

    def work(dealer: str) -> None:
        for _ in range(15):
            parties.quote(dealer, rfq_id, 1)

    with ThreadPoolExecutor(len(DEALERS)) as pool:
        writers = [pool.submit(work, dealer) for dealer in DEALERS]
        while not all(writer.done() for writer in writers):
            scored = ranked(parties, rfq_id)
            assert all(len(item["evaluations"]) == 1 for item in scored["quotes"])
        for writer in writers:
            writer.result()
    active = [item for item in ranked(parties, rfq_id)["quotes"] if item["quote"]["state"] == "active"]
    assert {item["quote"]["dealer"] for item in active} == set(DEALERS)
    assert len(active) == len(DEALERS)
