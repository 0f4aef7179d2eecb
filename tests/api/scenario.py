"""One trade from both sides, through every operation: what it sends and gets are the examples of the documentation."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx
from msgspec.structs import replace

from rfq_service.api.openapi import Example
from rfq_service.api.operation import Operation
from rfq_service.api.parsing import FORM
from rfq_service.api.routes import OPERATIONS
from rfq_service.domain.identity import Role
from tests.api.service import AUDITOR, CLIENT, DEALERS, OPERATOR, Service

BY_NAME = {operation.name: operation for operation in OPERATIONS}
_TEXT_LINES = 4
# No secret, not even a spent one, belongs into a document.
_HIDDEN = {
    "access_token": "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCJ9.e30.c2lnbmF0dXJl",
    "client_secret": "rfqk_YOUR-SECRET",
}


class Walk:
    """Sends requests by operation and keeps each with its reply."""

    def __init__(self, http_of_role: Mapping[Role | None, httpx.AsyncClient]) -> None:
        self._http = http_of_role
        self.examples: dict[str, Example] = {}

    async def send(self, name: str, *, body: dict[str, Any] | None = None, query: Any = None, **path: str) -> Any:
        """Call an operation as the party it is for; only the documented status will do."""
        operation: Operation = BY_NAME[name]
        role = operation.roles[0] if operation.roles else None
        content = {"data" if operation.media_type == FORM else "json": body}
        path_with_ids = operation.path.format(**path)
        answer = await self._http[role].request(operation.method, path_with_ids, params=query, **content)
        assert answer.status_code == operation.status, (name, answer.text)
        is_text = isinstance(operation.returns, str)
        # of a text the first lines are example enough
        reply = "\n".join(answer.text.splitlines()[:_TEXT_LINES]) + "\n" if is_text else answer.json()
        shown = {**reply, **{name: _HIDDEN[name] for name in _HIDDEN if name in reply}} if not is_text else reply
        self.examples[name] = Example(path, query or {}, body, operation.status, shown)
        return reply


async def walk(service: Service) -> dict[str, Example]:
    """Every operation once, with an example of each."""
    async with AsyncExitStack() as stack:
        firms = {
            None: None,
            Role.BUY_SIDE: CLIENT,
            Role.DEALER: DEALERS[0],
            Role.AUDITOR: AUDITOR,
            Role.OPERATOR: OPERATOR,
        }
        steps = Walk({role: await stack.enter_async_context(service.http(firm)) for role, firm in firms.items()})
        for name in ("live", "ready", "list_instruments", "list_token_keys"):
            await steps.send(name)
        await _administer(steps)
        board = await steps.send("list_board")
        market = next(row for row in board["items"] if row["status"] == "live")
        instrument = await steps.send("get_instrument", instrument_id=market["instrument_id"])
        await steps.send("get_book", instrument_id=market["instrument_id"])
        await _trade(steps, market, Decimal(instrument["tick_size"]), instrument["quantity_min"])
        await _withdraw_pass_cancel(steps, market, instrument["quantity_min"])
        await _audit(steps)
        await steps.send("metrics")
    return steps.examples


async def _administer(steps: Walk) -> None:
    name = f"Elm Asset Management {uuid4().hex[:6]}"
    await steps.send("add_firm", body={"name": name, "is_dealer": False})
    await steps.send("list_firms", query={"limit": "1"})
    body = {"firm": name, "role": "buy_side", "scopes": ["rfq:read", "rfq:write"], "label": "desk 4"}
    issued = await steps.send("add_key", body=body)
    form = {"grant_type": "client_credentials", "client_id": issued["client_id"]}
    await steps.send("issue_token", body={**form, "client_secret": issued["client_secret"], "scope": "rfq:read"})
    token = steps.examples["issue_token"]
    steps.examples["issue_token"] = replace(token, body={**(token.body or {}), **_pick(_HIDDEN, "client_secret")})
    rotated = await steps.send("rotate_key", body={"overlap_s": "3600"}, key_id=issued["client_id"])
    await steps.send("list_keys", query={"firm": name, "limit": "1"})
    await steps.send("revoke_key", key_id=rotated["client_id"])
    spare = await steps.send("add_audit_grant", body={"auditor": AUDITOR, "firm": name})
    await steps.send("list_audit_grants", query={"limit": "1"})
    await steps.send("revoke_audit_grant", grant_id=spare["grant_id"])
    await steps.send("add_audit_grant", body={"auditor": AUDITOR, "firm": name})


async def _audit(steps: Walk) -> None:
    """The client's trade as an auditor reads it, once its events are numbered."""
    kept = dict(steps.examples)
    grant = await steps.send("add_audit_grant", body={"auditor": AUDITOR, "firm": CLIENT})
    await steps.send("audit_quotes", query={"firm": CLIENT, "state": "accepted", "limit": "1"})
    async with asyncio.timeout(10):
        query = {"firm": CLIENT, "party": "client", "limit": "4"}
        while not (await steps.send("audit_events", query=query))["items"]:  # noqa: ASYNC110 - the sequencer's work
            await asyncio.sleep(0.02)
    await steps.send("revoke_audit_grant", grant_id=grant["grant_id"])
    steps.examples.update(kept)


def _pick(values: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: values[name] for name in names}


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
