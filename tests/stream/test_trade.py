# A whole trade by REST, as each party hears of it on its socket.
from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx
import pytest

from rfq_service.domain.identity import Role
from tests.stream.service import eventually, hear, serving, subscribe

DEALERS = [f"Dealer {letter}" for letter in "ABCDE"]
CLIENT = "Unmistakable Client Name"


@pytest.fixture
async def service(database_dsn):
    async with serving(database_dsn, heartbeat_s=0.3) as served:
        await served.runtime.player.ready.wait()
        yield served


async def post(service, token: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": str(uuid4())}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}", headers=headers) as http:
        answer = await http.post(path, json=body)
    assert answer.status_code < 300, answer.text
    return answer.json()


async def collect(connection, told: list[dict[str, Any]]) -> None:
    while True:
        told.append(await hear(connection, "event", timeout_s=60))


async def trade(service, tokens: dict[str, str], market: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """An anonymous RFQ with three quotes and a pass, one accepted; its id and the quotes' by dealer."""
    order = {
        "legs": [{"instrument_id": market["instrument_id"]}],
        "side": "buy",
        "quantity": "1000",
        "panel": DEALERS,
        "anonymous": True,
    }
    opened = await post(service, tokens[CLIENT], "/v1/rfqs", order)
    rfq_id = opened["rfq"]["rfq_id"]
    quotes = {}
    for index, name in enumerate(DEALERS[:3]):
        price = Decimal(market["ask"]) + Decimal("0.001") * index
        path = f"/v1/dealer/rfqs/{rfq_id}/quotes"
        quote = await post(service, tokens[name], path, {"ask": {"price": str(price)}, "ttl_s": "30"})
        quotes[name] = quote["quote_id"]
    await post(service, tokens[DEALERS[3]], f"/v1/dealer/rfqs/{rfq_id}/pass", {})
    accepted = {"quote_id": quotes[DEALERS[0]], "quantity": "1000"}
    await post(service, tokens[CLIENT], f"/v1/rfqs/{rfq_id}/accept", accepted)
    return rfq_id, quotes


async def test_everybody_hears_his_own_and_a_dealer_never_who_an_anonymous_client_is(service):
    client = await service.firm(CLIENT)
    tokens = {CLIENT: await service.token(client)}
    firms = {}
    for name in DEALERS:
        firms[name] = await service.firm(name, is_dealer=True)
        tokens[name] = await service.token(firms[name], Role.DEALER)
    await service.runtime.firms.refresh()
    told: dict[str, list[dict[str, Any]]] = {name: [] for name in tokens}
    starts, tasks = {}, []
    connections = {name: await service.open(token) for name, token in tokens.items()}
    for name, connection in connections.items():
        topics = ("rfqs", "quotes", "evaluations", "fills", "controls")
        starts[name] = (await subscribe(connection, *topics))["number"]
        tasks.append(asyncio.create_task(collect(connection, told[name])))
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {tokens[CLIENT]}"}) as http:
        rows = (await http.get(f"http://127.0.0.1:{service.port}/v1/board")).json()["items"]
    market = next(row for row in rows if row["status"] == "live")
    rfq_id, quotes = await trade(service, tokens, market)

    def kinds(name: str) -> list[str]:
        return [event["kind"] for event in told[name]]

    await eventually(lambda: "fill.booked" in kinds(CLIENT) and "fill.booked" in kinds(DEALERS[0]))
    await eventually(lambda: all("invitation.closed" in kinds(name) for name in DEALERS))
    await service.settle()
    await asyncio.sleep(0.3)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for connection in connections.values():
        await connection.close()

    for name, events in told.items():
        assert [event["number"] - starts[name] for event in events] == list(range(1, len(events) + 1))
        assert {event["rfq_id"] for event in events} == {rfq_id}
    assert kinds(CLIENT)[0] == "rfq.opened"
    assert kinds(CLIENT).count("quote.posted") == 3
    assert "decision.made" in kinds(CLIENT)
    secrets = {CLIENT, str(client.firm_id)}
    for name in DEALERS:
        assert kinds(name)[0] == "invitation.sent"
        assert not {"decision.made", "rfq.opened", "rfq.evaluated"} & set(kinds(name))
        rivals = {rival for rival in DEALERS if rival != name} | {str(firms[r].firm_id) for r in DEALERS if r != name}
        rivals_quotes = {quote for rival, quote in quotes.items() if rival != name}
        for event in told[name]:
            for secret in secrets | rivals | rivals_quotes:
                assert secret not in str(event), (name, event)
    query = "SELECT count(*) FROM stream_entry WHERE firm_id = $1 AND party = 'dealer'"
    assert await service.owner.fetchval(query, client.firm_id) == 0
