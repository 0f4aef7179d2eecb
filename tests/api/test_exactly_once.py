"""A request repeated with its key takes effect once and is answered with the same bytes, whatever happened since."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx
import pytest

from rfq_service.domain.errors import ErrorCode, RfqError
from tests.api.service import CLIENT, DEALERS, RIVAL_CLIENT, Service

pytestmark = pytest.mark.asyncio(loop_scope="session")

AT_ONCE = 50


def order(market: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"legs": [{"instrument_id": market["instrument_id"]}], "side": "buy", "quantity": "100", **changes}


async def send(http: httpx.AsyncClient, path: str, body: Any, key: str) -> httpx.Response:
    return await http.post(path, json=body, headers={"Idempotency-Key": key})


async def open_rfq(client: httpx.AsyncClient, market: dict[str, Any], **changes: Any) -> str:
    answer = await client.post("/v1/rfqs", json=order(market, **changes))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["rfq"]["rfq_id"])


async def post_quote(dealer: httpx.AsyncClient, rfq_id: str, price: str, **changes: Any) -> str:
    body = {"ask": {"price": price}, **changes}
    answer = await dealer.post(f"/v1/dealer/rfqs/{rfq_id}/quotes", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["quote_id"])


@dataclass(frozen=True)
class Change:
    """One request of a changing operation and how to count its effects."""

    http: httpx.AsyncClient
    path: str
    body: Any
    status: int
    effects: Callable[[], Any]


async def _change(
    name: str, service: Service, client: httpx.AsyncClient, dealer: httpx.AsyncClient, market: dict[str, Any]
) -> Change:
    """A request that can take effect; its effects are counted by what a user can list."""
    ask, reference = market["ask"], uuid4().hex

    async def opened() -> int:
        items = (await client.get("/v1/rfqs", params={"limit": "200"})).json()["items"]
        return sum(item["client_reference"] == reference for item in items)

    async def quoted(**query: str) -> int:
        answer = await dealer.get("/v1/dealer/quotes", params={"limit": "200", "rfq_id": rfq_id, **query})
        return len(answer.json()["items"])

    terms = order(market, client_reference=reference)
    external = [{"dealer": "Desk", "ask": {"price": ask}}]
    rfq_id = await open_rfq(client, market, size_mode="any_part")
    has_quote = name in ("withdraw_quote", "cancel_rfq", "accept_quote")
    quote_id = await post_quote(dealer, rfq_id, ask) if has_quote else ""
    return {
        "open_rfq": Change(client, "/v1/rfqs", terms, 201, opened),
        "evaluate_quotes": Change(client, "/v1/evaluations", {**terms, "quotes": external}, 201, opened),
        "post_quote": Change(dealer, f"/v1/dealer/rfqs/{rfq_id}/quotes", {"ask": {"price": ask}}, 201, quoted),
        "pass_rfq": Change(dealer, f"/v1/dealer/rfqs/{rfq_id}/pass", {}, 200, quoted),
        "withdraw_quote": Change(
            dealer, f"/v1/dealer/quotes/{quote_id}/withdraw", {}, 200, lambda: quoted(state="cancelled")
        ),
        "cancel_rfq": Change(client, f"/v1/rfqs/{rfq_id}/cancel", {}, 200, lambda: _cancelled(client, rfq_id)),
        "accept_quote": Change(
            *(client, f"/v1/rfqs/{rfq_id}/accept", {"quote_id": quote_id, "quantity": "1"}, 200),
            lambda: _fills(client, rfq_id),
        ),
    }[name]


async def _fills(client: httpx.AsyncClient, rfq_id: str) -> int:
    return len((await client.get(f"/v1/rfqs/{rfq_id}")).json()["fills"])


async def _cancelled(client: httpx.AsyncClient, rfq_id: str) -> int:
    return int((await client.get(f"/v1/rfqs/{rfq_id}")).json()["rfq"]["state"] == "cancelled")


CHANGES = ("open_rfq", "evaluate_quotes", "post_quote", "pass_rfq", "withdraw_quote", "cancel_rfq", "accept_quote")


def forget(service: Service) -> None:
    """As after a restart: only the database remembers."""
    service.runtime.once = type(service.runtime.once)(service.runtime.databases, service.runtime.clock)


@pytest.mark.parametrize("name", CHANGES)
async def test_fifty_at_once_with_one_key_take_effect_once(
    service: Service, client: httpx.AsyncClient, dealer: httpx.AsyncClient, market: dict[str, Any], name: str
) -> None:
    change = await _change(name, service, client, dealer, market)
    key = uuid4().hex
    answers = await asyncio.gather(*(send(change.http, change.path, change.body, key) for _ in range(AT_ONCE)))
    done = [answer for answer in answers if answer.status_code == change.status]
    assert {answer.status_code for answer in answers} <= {change.status, 409}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} <= {"IDEMPOTENCY_IN_FLIGHT"}
    assert len({answer.content for answer in done}) == 1
    assert await change.effects() == 1
    # afterwards it is answered from memory, and after a restart from the database
    for _ in range(2):
        again = await send(change.http, change.path, change.body, key)
        assert (again.status_code, again.content) == (change.status, done[0].content)
        assert again.headers["idempotency-replayed"] == "true"
        forget(service)
    assert "idempotency-replayed" not in next(a for a in done if a.headers.get("idempotency-replayed") is None).headers
    assert await change.effects() == 1


@pytest.mark.parametrize("name", CHANGES)
async def test_two_replicas_do_it_once(
    service: Service, client: httpx.AsyncClient, dealer: httpx.AsyncClient, market: dict[str, Any], name: str
) -> None:
    change = await _change(name, service, client, dealer, market)
    key = uuid4().hex
    answers: list[httpx.Response] = []

    async def forgetful() -> None:
        # a memory of its own for every request: none knows of another but by the database
        forget(service)
        answers.append(await send(change.http, change.path, change.body, key))

    await asyncio.gather(*(forgetful() for _ in range(10)))
    done = {answer.content for answer in answers if answer.status_code == change.status}
    refused = {answer.json()["code"] for answer in answers if answer.status_code != change.status}
    assert refused <= {"IDEMPOTENCY_IN_FLIGHT"}
    assert len(done) == 1
    assert await change.effects() == 1


@pytest.mark.parametrize("name", CHANGES)
async def test_another_request_with_the_same_key_is_refused(
    service: Service, client: httpx.AsyncClient, dealer: httpx.AsyncClient, market: dict[str, Any], name: str
) -> None:
    change = await _change(name, service, client, dealer, market)
    other = await _change(name, service, client, dealer, market)
    key = uuid4().hex
    assert (await send(change.http, change.path, change.body, key)).status_code == change.status
    for _ in range(2):
        refused = await send(other.http, other.path, other.body, key)
        assert (refused.status_code, refused.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
        assert await other.effects() == 0
        forget(service)


@pytest.mark.parametrize("name", CHANGES)
async def test_without_a_usable_key_nothing_happens(
    service: Service, client: httpx.AsyncClient, dealer: httpx.AsyncClient, market: dict[str, Any], name: str
) -> None:
    change = await _change(name, service, client, dealer, market)
    firm = CLIENT if change.http is client else DEALERS[0]
    async with service.http(firm, keyed=False) as http:
        missing = await http.post(change.path, json=change.body)
        assert (missing.status_code, missing.json()["code"]) == (400, "IDEMPOTENCY_KEY_MISSING")
        for key in ("", " ", "two words", "tab\there", "ü".encode(), "k" * 256):
            refused = await http.post(change.path, json=change.body, headers={"Idempotency-Key": key})
            assert (refused.status_code, refused.json()["code"]) == (400, "IDEMPOTENCY_KEY_INVALID"), key
        assert await change.effects() == 0
        longest = await http.post(
            change.path, json=change.body, headers={"Idempotency-Key": uuid4().hex * 7 + "k" * 31}
        )
        assert longest.status_code == change.status


async def test_the_same_key_of_another_firm_and_another_operation_is_another_key(
    service: Service, client: httpx.AsyncClient, market: dict[str, Any]
) -> None:
    key, body = uuid4().hex, order(market)
    async with service.http(RIVAL_CLIENT) as rival:
        answers = [await send(http, "/v1/rfqs", body, key) for http in (client, rival)]
    evaluation = order(market, quotes=[{"dealer": "Desk", "ask": {"price": market["ask"]}}])
    answers.append(await send(client, "/v1/evaluations", evaluation, key))
    assert [answer.status_code for answer in answers] == [201] * 3
    assert len({answer.json()["rfq"]["rfq_id"] for answer in answers}) == 3


async def test_the_answer_stays_what_it_was(
    service: Service, client: httpx.AsyncClient, dealer: httpx.AsyncClient, market: dict[str, Any]
) -> None:
    ask = market["ask"]
    keys = {name: uuid4().hex for name in ("open", "evaluate", "quote", "withdraw", "accept")}
    opened = await send(client, "/v1/rfqs", order(market), keys["open"])
    rfq_id = opened.json()["rfq"]["rfq_id"]
    quotes_path = f"/v1/dealer/rfqs/{rfq_id}/quotes"
    first = await send(dealer, quotes_path, {"ask": {"price": ask}}, uuid4().hex)
    withdraw_path = f"/v1/dealer/quotes/{first.json()['quote_id']}/withdraw"
    withdrawn = await send(dealer, withdraw_path, {}, keys["withdraw"])
    quoted = await send(dealer, quotes_path, {"ask": {"price": ask}}, keys["quote"])
    body = {"quote_id": quoted.json()["quote_id"]}
    filled = await send(client, f"/v1/rfqs/{rfq_id}/accept", body, keys["accept"])
    evaluation = order(market, quotes=[{"dealer": "Desk", "ask": {"price": ask}}])
    evaluated = await send(client, "/v1/evaluations", evaluation, keys["evaluate"])
    # filled, and the market too old to score against: anew each of them would be refused
    known = next(item for item in service.runtime.instruments() if item.instrument_id == market["instrument_id"])
    await service.runtime.directory.register([replace(known, staleness_limit_ns=1)])
    try:
        assert (await client.post("/v1/evaluations", json=evaluation)).json()["code"] == "STALE_MARKET"
        assert (await dealer.post(quotes_path, json={"ask": {"price": ask}})).json()["code"] == "RFQ_NOT_OPEN"
        for _ in range(2):
            again = [
                await send(client, "/v1/rfqs", order(market), keys["open"]),
                await send(dealer, withdraw_path, {}, keys["withdraw"]),
                await send(dealer, quotes_path, {"ask": {"price": ask}}, keys["quote"]),
                await send(client, f"/v1/rfqs/{rfq_id}/accept", body, keys["accept"]),
                await send(client, "/v1/evaluations", evaluation, keys["evaluate"]),
            ]
            before = [opened, withdrawn, quoted, filled, evaluated]
            assert [answer.content for answer in again] == [answer.content for answer in before]
            assert [answer.status_code for answer in again] == [answer.status_code for answer in before]
            forget(service)
    finally:
        await service.runtime.directory.register([known])


async def test_a_refusal_is_judged_anew(
    service: Service, client: httpx.AsyncClient, dealer: httpx.AsyncClient, market: dict[str, Any]
) -> None:
    rfq_id = await open_rfq(client, market)
    key, path = uuid4().hex, f"/v1/rfqs/{rfq_id}/accept"
    body = {"quote_id": str(uuid4())}
    refused = await send(client, path, body, key)
    assert (refused.status_code, refused.json()["code"]) == (404, "QUOTE_NOT_FOUND")
    # the key is free: with it another request takes effect
    quote_id = await post_quote(dealer, rfq_id, market["ask"])
    assert (await send(client, path, {"quote_id": quote_id}, key)).status_code == 200
    stale = order(market, quotes=[{"dealer": "Desk", "ask": {"price": market["ask"]}}])
    known = next(item for item in service.runtime.instruments() if item.instrument_id == market["instrument_id"])
    await service.runtime.directory.register([replace(known, staleness_limit_ns=1)])
    again = uuid4().hex
    assert (await send(client, "/v1/evaluations", stale, again)).status_code == 409
    await service.runtime.directory.register([known])
    assert (await send(client, "/v1/evaluations", stale, again)).status_code == 201


async def test_an_unknown_outcome_is_found_out_with_the_key(
    service: Service, client: httpx.AsyncClient, market: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks after the server has committed and before it could say so."""
    writer = service.runtime.writer
    commit = writer._commit_batch

    async def commit_and_break(connection: Any, batch: Any) -> Any:
        await commit(connection, batch)
        raise RfqError(ErrorCode.DATABASE_UNAVAILABLE, "the connection broke")

    key, reference = uuid4().hex, uuid4().hex
    body = order(market, client_reference=reference)
    monkeypatch.setattr(writer, "_commit_batch", commit_and_break)
    lost = await send(client, "/v1/rfqs", body, key)
    monkeypatch.undo()
    assert (lost.status_code, lost.json()["code"]) == (503, "DATABASE_UNAVAILABLE")
    found = await send(client, "/v1/rfqs", body, key)
    assert (found.status_code, found.headers["idempotency-replayed"]) == (201, "true")
    items = (await client.get("/v1/rfqs", params={"limit": "200"})).json()["items"]
    [mine] = [item for item in items if item["client_reference"] == reference]
    assert mine == found.json()["rfq"]


async def test_a_hundred_accepts_at_once_never_overfill(service: Service, market: dict[str, Any]) -> None:
    ask = Decimal(market["ask"])
    async with service.http(CLIENT) as client:
        rfq_id = await open_rfq(client, market, size_mode="any_part", panel=list(DEALERS))
        quotes = []
        for number, name in enumerate(DEALERS):
            async with service.http(name) as dealer:
                quotes.append(await post_quote(dealer, rfq_id, str(ask + Decimal("0.001") * number), quantity="40"))
        path = f"/v1/rfqs/{rfq_id}/accept"
        answers = await asyncio.gather(
            *(
                client.post(path, json={"quote_id": quotes[number % 5], "quantity": str(15 + 5 * (number % 4))})
                for number in range(100)
            )
        )
        seen = (await client.get(f"/v1/rfqs/{rfq_id}")).json()
        ranked = (await client.get(f"/v1/rfqs/{rfq_id}/quotes")).json()
    filled = [answer.json() for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} == {200, 409}
    total = sum(Decimal(fill["quantity"]) for fill in filled)
    assert 0 < total <= 100
    assert total == Decimal(seen["rfq"]["filled_quantity"])
    assert sorted(fill["fill_id"] for fill in filled) == sorted(fill["fill_id"] for fill in seen["fills"])
    accepted = [item["quote"]["quote_id"] for item in ranked["quotes"] if item["quote"]["state"] == "accepted"]
    assert sorted(accepted) == sorted(fill["quote_id"] for fill in filled)  # each quote traded at most once
    if seen["rfq"]["state"] == "partially_filled":
        assert ranked["is_current"]


async def test_keys_are_kept_as_digests_for_their_time(
    service: Service, client: httpx.AsyncClient, market: dict[str, Any]
) -> None:
    key = uuid4().hex
    answer = await send(client, "/v1/rfqs", order(market), key)
    firm = (await service.runtime.firms.named([CLIENT]))[CLIENT]
    async with service.runtime.databases.client.read(firm.firm_id) as uow:
        record = await uow.idempotency.find(firm.firm_id, "open_rfq", hashlib.sha256(key.encode()).digest())
    assert record is not None
    assert (record.status, record.body) == (answer.status_code, answer.content)
    assert record.expires_at_ns - record.created_at_ns == 172_800 * 10**9
