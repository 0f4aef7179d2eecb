"""What there is to ask for in the running service, and for every operation a request that it answers with a 2xx."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import uuid4

import httpx

from rfq_service.domain.identity import Role
from tests.fuzz.stage import AUDITOR, CLIENTS, DEALERS, OPERATOR, Stage

Json = dict[str, Any]
FIRM_OF_ROLE = {
    Role.BUY_SIDE: CLIENTS[0],
    Role.DEALER: DEALERS[0],
    Role.AUDITOR: AUDITOR,
    Role.OPERATOR: OPERATOR,
}


@dataclass(frozen=True)
class Ask:
    """A request, without its headers."""

    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Json | None = None


class World:
    """Parties who act, and the ids and names that came of it."""

    def __init__(self, staged: Stage) -> None:
        self.stage = staged
        self.tokens = {role: staged.token(firm, role) for role, firm in FIRM_OF_ROLE.items()}
        self._http = {role: staged.http(Authorization=f"Bearer {token}") for role, token in self.tokens.items()}
        self._numbers = count()
        self.pools: dict[str, list[str]] = {
            "firm": [*CLIENTS, *DEALERS, AUDITOR, OPERATOR],
            "auditor": [AUDITOR],
            "dealer": list(DEALERS),
            "panel": list(DEALERS),
            "client_id": [staged.keys[firm, role].client_id for role, firm in FIRM_OF_ROLE.items()],
            "client_secret": [staged.keys[firm, role].secret for role, firm in FIRM_OF_ROLE.items()],
        }
        instruments = self.get(Role.BUY_SIDE, "/v1/instruments")["items"]
        self.instruments = [item["instrument_id"] for item in instruments]
        self.pools["instrument_id"] = self.instruments
        board = {row["instrument_id"]: row for row in self.get(Role.BUY_SIDE, "/v1/board")["items"]}
        self.ask_price = {name: Decimal(board[name]["ask"]) for name in self.instruments}
        self.pools["price"] = [row[side] for row in board.values() for side in ("bid", "ask")]
        self.pools["quantity"] = ["1", "10", "25.5", "100"]
        self.grant(CLIENTS[0])
        self.quote_id_of(self.open_rfq()["rfq_id"])
        self._learn_cursors()

    def close(self) -> None:
        for http in self._http.values():
            http.close()

    def get(self, role: Role, path: str, **query: str) -> Json:
        return _good(self._http[role].get(path, params=query))

    def post(self, role: Role, path: str, body: Json | None = None) -> Json:
        return _good(self._http[role].post(path, json=body, headers={"Idempotency-Key": uuid4().hex}))

    def keep(self, name: str, value: str) -> str:
        """Remember something that exists; the newest stay."""
        self.pools[name] = [*self.pools.get(name, [])[-15:], value]
        return value

    # --------------------------------------------------------------------------------------------- what it takes to ask

    def terms(self) -> Json:
        number = next(self._numbers)
        leg = {"instrument_id": self.instruments[number % len(self.instruments)]}
        return {"legs": [leg], "side": "buy", "quantity": "10", "client_reference": f"block-{number}"}

    def open_rfq(self) -> Json:
        rfq: Json = self.post(Role.BUY_SIDE, "/v1/rfqs", {**self.terms(), "expires_in_s": "3600"})["rfq"]
        self.keep("rfq_id", rfq["rfq_id"])
        return rfq

    def quote_of(self, rfq: Json) -> Json:
        price = self.ask_price[rfq["terms"]["legs"][0]["instrument_id"]]
        return {"ask": {"price": str(price)}, "ttl_s": "3600"}

    def quote_id_of(self, rfq_id: str) -> str:
        rfq = self.get(Role.BUY_SIDE, f"/v1/rfqs/{rfq_id}")["rfq"]
        quote = self.post(Role.DEALER, f"/v1/dealer/rfqs/{rfq_id}/quotes", self.quote_of(rfq))
        return self.keep("quote_id", quote["quote_id"])

    def firm(self) -> str:
        body = {"name": f"Firm {uuid4().hex[:12]}", "is_dealer": False}
        return self.keep("firm", self.post(Role.OPERATOR, "/v1/admin/firms", body)["name"])

    def key(self) -> Json:
        """A key that may be ended, unlike those we ask with."""
        issued = self.post(Role.OPERATOR, "/v1/admin/keys", {"firm": self.firm(), "role": "buy_side"})
        self.keep("key_id", issued["client_id"])
        return issued

    def grant(self, firm: str) -> str:
        body = {"auditor": AUDITOR, "firm": firm}
        grant = self.post(Role.OPERATOR, "/v1/admin/audit-grants", body)
        return self.keep("grant_id", grant["grant_id"])

    def _learn_cursors(self) -> None:
        for role, path in ((Role.OPERATOR, "/v1/admin/firms"), (Role.OPERATOR, "/v1/admin/keys")):
            self.keep("cursor", self.get(role, path, limit="1")["next_cursor"])

    def good_request(self, name: str) -> Ask:
        """One that the operation answers with a 2xx, as things stand now."""
        return RECIPES[name](self) if name in RECIPES else Ask()


def _good(answer: httpx.Response) -> Json:
    assert answer.is_success, answer.text
    reply: Json = answer.json()
    return reply


def _of_rfq(world: World) -> Ask:
    return Ask(path={"rfq_id": world.pools["rfq_id"][-1]})


def _fresh_rfq(world: World) -> Ask:
    return Ask(path={"rfq_id": world.open_rfq()["rfq_id"]})


def _accept(world: World) -> Ask:
    rfq_id = world.open_rfq()["rfq_id"]
    body = {"quote_id": world.quote_id_of(rfq_id), "side": "buy", "quantity": "10"}
    return Ask(path={"rfq_id": rfq_id}, body=body)


def _evaluate(world: World) -> Ask:
    terms = world.terms()
    price = str(world.ask_price[terms["legs"][0]["instrument_id"]])
    return Ask(body={**terms, "quotes": [{"dealer": "Desk 1", "ask": {"price": price}, "ttl_s": "30"}]})


def _post_quote(world: World) -> Ask:
    rfq = world.open_rfq()
    return Ask(path={"rfq_id": rfq["rfq_id"]}, body=world.quote_of(rfq))


def _price(world: World) -> Ask:
    return Ask(body={"instrument_id": world.instruments[0], "side": "two_way", "quantity": "10"})


def _token(world: World) -> Ask:
    key = world.stage.keys[CLIENTS[0], Role.BUY_SIDE]
    form = {"grant_type": "client_credentials", "client_id": key.client_id, "client_secret": key.secret}
    return Ask(body={**form, "scope": "rfq:read"})


def _open(world: World) -> Ask:
    more = {"panel": list(DEALERS), "anonymous": True, "expires_in_s": "60", "limit_price": "1.5"}
    return Ask(body={**world.terms(), **more, "size_mode": "minimum", "minimum_quantity": "5"})


def _add_key(world: World) -> Ask:
    body = {"firm": world.firm(), "role": "buy_side", "scopes": ["rfq:read"], "label": "desk", "expires_in_s": "60"}
    return Ask(body=body)


RECIPES: Mapping[str, Callable[[World], Ask]] = {
    "issue_token": _token,
    "get_instrument": lambda world: Ask(path={"instrument_id": world.instruments[0]}),
    "get_book": lambda world: Ask(path={"instrument_id": world.instruments[-1]}),
    "open_rfq": _open,
    "list_rfqs": lambda _: Ask(query={"state": "open", "limit": "2"}),
    "get_rfq": _of_rfq,
    "cancel_rfq": _fresh_rfq,
    "get_ranked_quotes": _of_rfq,
    "accept_quote": _accept,
    "evaluate_quotes": _evaluate,
    "list_quotes": lambda world: Ask(query={"dealer": DEALERS[0], "instrument_id": world.instruments[0]}),
    "list_invitations": lambda _: Ask(query={"state": "open", "limit": "2"}),
    "get_invitation": _of_rfq,
    "post_quote": _post_quote,
    "pass_rfq": _fresh_rfq,
    "withdraw_quote": lambda world: Ask(path={"quote_id": world.quote_id_of(world.open_rfq()["rfq_id"])}),
    "list_dealer_quotes": lambda _: Ask(query={"state": "active", "from": "2026-01-01T00:00:00Z"}),
    "price_request": _price,
    "audit_quotes": lambda _: Ask(query={"firm": CLIENTS[0], "limit": "3"}),
    "audit_events": lambda _: Ask(query={"firm": CLIENTS[0], "party": "client", "after": "1", "limit": "3"}),
    "add_firm": lambda _: Ask(body={"name": f"Firm {uuid4().hex[:12]}", "is_dealer": False}),
    "list_keys": lambda _: Ask(query={"firm": CLIENTS[0], "limit": "1"}),
    "add_key": _add_key,
    "rotate_key": lambda world: Ask(path={"key_id": world.key()["client_id"]}, body={"overlap_s": "60"}),
    "revoke_key": lambda world: Ask(path={"key_id": world.key()["client_id"]}),
    "add_audit_grant": lambda world: Ask(body={"auditor": AUDITOR, "firm": world.firm()}),
    "revoke_audit_grant": lambda world: Ask(path={"grant_id": world.grant(world.firm())}),
}
