"""One trade from both sides, through every operation: what it sends and gets are the examples of the documentation."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx

from rfq_service.api.openapi import Example
from rfq_service.api.operation import Operation
from rfq_service.api.routes import OPERATIONS
from tests.api.service import CLIENT, DEALERS, Service

BY_NAME = {operation.name: operation for operation in OPERATIONS}
_TEXT_LINES = 4


class Walk:
    """Sends requests by operation and keeps each with its reply."""

    def __init__(self, client: httpx.AsyncClient, dealer: httpx.AsyncClient) -> None:
        self._client, self._dealer = client, dealer
        self.examples: dict[str, Example] = {}

    async def send(self, name: str, *, body: dict[str, Any] | None = None, query: Any = None, **path: str) -> Any:
        """Call an operation as the party it is for; only the documented status will do."""
        operation: Operation = BY_NAME[name]
        http = self._dealer if operation.tag == "Sell side" else self._client
        answer = await http.request(operation.method, operation.path.format(**path), params=query, json=body)
        assert answer.status_code == operation.status, (name, answer.text)
        is_text = isinstance(operation.returns, str)
        # of a text the first lines are example enough
        reply = "\n".join(answer.text.splitlines()[:_TEXT_LINES]) + "\n" if is_text else answer.json()
        self.examples[name] = Example(path, query or {}, body, operation.status, reply)
        return reply


async def walk(service: Service) -> dict[str, Example]:
    """Every operation once, with an example of each."""
    async with service.http(CLIENT) as client, service.http(DEALERS[0]) as dealer:
        steps = Walk(client, dealer)
        for name in ("live", "ready", "list_instruments"):
            await steps.send(name)
        board = await steps.send("list_board")
        market = next(row for row in board["items"] if row["status"] == "live")
        instrument = await steps.send("get_instrument", instrument_id=market["instrument_id"])
        await steps.send("get_book", instrument_id=market["instrument_id"])
        await _trade(steps, market, Decimal(instrument["tick_size"]), instrument["quantity_min"])
        await _withdraw_pass_cancel(steps, market, instrument["quantity_min"])
        await steps.send("metrics")
    return steps.examples


async def _trade(steps: Walk, market: dict[str, Any], tick: Decimal, quantity_min: str) -> None:
    instrument_id, ask = market["instrument_id"], Decimal(market["ask"])
    quantity = str(10 * Decimal(quantity_min))
    quotes = [{"dealer": f"Desk {number + 1}", "ask": {"price": str(ask + number * tick)}} for number in range(2)]
    terms = {"legs": [{"instrument_id": instrument_id}], "side": "buy", "quantity": quantity}
    await steps.send("evaluate_quotes", body={**terms, "quotes": quotes})
    limit_price = str(ask + 20 * tick)
    opening = {**terms, "limit_price": limit_price, "panel": list(DEALERS[:2]), "expires_in_s": "60"}
    rfq_id = (await steps.send("open_rfq", body={**opening, "client_reference": "block-17"}))["rfq"]["rfq_id"]
    await steps.send("list_invitations", query={"state": "open", "limit": "10"})
    await steps.send("price_request", body={"rfq_id": rfq_id})
    body = {"ask": {"price": str(ask + tick)}, "ttl_s": "30"}
    quote_id = (await steps.send("post_quote", body=body, rfq_id=rfq_id))["quote_id"]
    await steps.send("get_ranked_quotes", rfq_id=rfq_id)
    await steps.send("accept_quote", body={"quote_id": quote_id, "quantity": quantity}, rfq_id=rfq_id)
    await steps.send("get_rfq", rfq_id=rfq_id)
    await steps.send("get_invitation", rfq_id=rfq_id)
    await steps.send("list_rfqs", query={"state": "filled", "limit": "1"})
    await steps.send("list_quotes", query={"rfq_id": rfq_id, "state": "accepted", "limit": "1"})
    query = {"instrument_id": instrument_id, "from": "2026-01-01T00:00:00.000000000Z", "limit": "1"}
    await steps.send("list_dealer_quotes", query=query)


async def _withdraw_pass_cancel(steps: Walk, market: dict[str, Any], quantity_min: str) -> None:
    kept = dict(steps.examples)
    terms = {"legs": [{"instrument_id": market["instrument_id"]}], "side": "two_way", "quantity": quantity_min}
    rfq_id = (await steps.send("open_rfq", body=terms))["rfq"]["rfq_id"]
    body = {"bid": {"price": market["bid"]}, "ask": {"price": market["ask"]}}
    quote_id = (await steps.send("post_quote", body=body, rfq_id=rfq_id))["quote_id"]
    await steps.send("withdraw_quote", quote_id=quote_id)
    await steps.send("pass_rfq", rfq_id=rfq_id)
    await steps.send("cancel_rfq", rfq_id=rfq_id)
    steps.examples.update(kept)
