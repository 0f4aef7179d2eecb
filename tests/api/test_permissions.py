"""Who gets what: every route of the OpenAPI document, for every role, and for everybody who should get nothing.

A route that is not in ``EXPECTED`` fails here: whoever adds one says who may call it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from rfq_service.domain.identity import SCOPES_OF_ROLE, Role, Scope
from tests.api.service import AUDITOR, CLIENT, DEALERS, OPERATOR, RIVAL_CLIENT, Service
from tests.support.data import PROJECT_ROOT

pytestmark = pytest.mark.asyncio(loop_scope="session")

DOCUMENT = json.loads((PROJECT_ROOT / "openapi" / "openapi.json").read_text(encoding="utf-8"))
ROUTES = {
    (method.upper(), path): item for path, methods in DOCUMENT["paths"].items() for method, item in methods.items()
}
PUBLIC = {
    ("POST", "/v1/oauth/token"),
    ("GET", "/.well-known/jwks.json"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
}
BUY, DEALER, AUDIT, OPERATE = Role.BUY_SIDE, Role.DEALER, Role.AUDITOR, Role.OPERATOR
EVERYBODY = tuple(Role)

# Route -> (roles that may call it, scope that the token needs).
EXPECTED: dict[tuple[str, str], tuple[tuple[Role, ...], Scope | None]] = {
    ("GET", "/v1/instruments"): (EVERYBODY, None),
    ("GET", "/v1/instruments/{instrument_id}"): (EVERYBODY, None),
    ("GET", "/v1/board"): (EVERYBODY, None),
    ("GET", "/v1/board/{instrument_id}"): (EVERYBODY, None),
    ("POST", "/v1/rfqs"): ((BUY,), Scope.RFQ_WRITE),
    ("GET", "/v1/rfqs"): ((BUY,), Scope.RFQ_READ),
    ("GET", "/v1/rfqs/{rfq_id}"): ((BUY,), Scope.RFQ_READ),
    ("POST", "/v1/rfqs/{rfq_id}/cancel"): ((BUY,), Scope.RFQ_WRITE),
    ("GET", "/v1/rfqs/{rfq_id}/quotes"): ((BUY,), Scope.RFQ_READ),
    ("POST", "/v1/rfqs/{rfq_id}/accept"): ((BUY,), Scope.RFQ_WRITE),
    ("POST", "/v1/evaluations"): ((BUY,), Scope.RFQ_WRITE),
    ("GET", "/v1/quotes"): ((BUY,), Scope.RFQ_READ),
    ("GET", "/v1/dealer/rfqs"): ((DEALER,), Scope.RFQ_READ),
    ("GET", "/v1/dealer/rfqs/{rfq_id}"): ((DEALER,), Scope.RFQ_READ),
    ("POST", "/v1/dealer/rfqs/{rfq_id}/quotes"): ((DEALER,), Scope.QUOTE_WRITE),
    ("POST", "/v1/dealer/rfqs/{rfq_id}/pass"): ((DEALER,), Scope.QUOTE_WRITE),
    ("POST", "/v1/dealer/quotes/{quote_id}/withdraw"): ((DEALER,), Scope.QUOTE_WRITE),
    ("GET", "/v1/dealer/quotes"): ((DEALER,), Scope.RFQ_READ),
    ("POST", "/v1/dealer/price"): ((DEALER,), Scope.PRICE_READ),
    ("GET", "/v1/audit/quotes"): ((AUDIT,), Scope.AUDIT_READ),
    ("GET", "/v1/audit/events"): ((AUDIT,), Scope.AUDIT_READ),
    ("GET", "/metrics"): ((OPERATE,), Scope.METRICS_READ),
    ("GET", "/v1/admin/firms"): ((OPERATE,), Scope.ADMIN),
    ("POST", "/v1/admin/firms"): ((OPERATE,), Scope.ADMIN),
    ("GET", "/v1/admin/keys"): ((OPERATE,), Scope.ADMIN),
    ("POST", "/v1/admin/keys"): ((OPERATE,), Scope.ADMIN),
    ("POST", "/v1/admin/keys/{key_id}/rotate"): ((OPERATE,), Scope.ADMIN),
    ("POST", "/v1/admin/keys/{key_id}/revoke"): ((OPERATE,), Scope.ADMIN),
    ("GET", "/v1/admin/audit-grants"): ((OPERATE,), Scope.ADMIN),
    ("POST", "/v1/admin/audit-grants"): ((OPERATE,), Scope.ADMIN),
    ("POST", "/v1/admin/audit-grants/{grant_id}/revoke"): ((OPERATE,), Scope.ADMIN),
}
PROTECTED = sorted(EXPECTED)
FIRMS = {BUY: (CLIENT, RIVAL_CLIENT), DEALER: DEALERS[:2], AUDIT: (AUDITOR,), OPERATE: (OPERATOR,)}
CELLS = [(route, role, firm) for route in PROTECTED for role, firms in FIRMS.items() for firm in firms]


def by_name(value: Any) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)


async def test_every_route_of_the_document_is_expected_here_and_no_other() -> None:
    assert set(ROUTES) == set(EXPECTED) | PUBLIC
    for route, (roles, scope) in EXPECTED.items():
        documented = ROUTES[route]
        assert documented["x-roles"] == [role.value for role in roles], route
        assert documented["security"] == [{"oauth2": [] if scope is None else [scope.value]}], route
        assert all(scope is None or scope in SCOPES_OF_ROLE[role] for role in roles), route
    for route in PUBLIC:
        assert ROUTES[route]["security"] == [], route


# -------------------------------------------------------------------------------------------------------------- parties


@dataclass
class World:
    """Things that firms own, made for one call each; tokens of keys that differ in one respect."""

    service: Service
    instrument_id: str
    ask: str
    tokens: dict[str, str] = field(default_factory=dict)

    async def rfq(self, client: str = CLIENT) -> str:
        body = {"legs": [{"instrument_id": self.instrument_id}], "side": "buy", "quantity": "100"}
        async with self.service.http(client) as http:
            answer = await http.post("/v1/rfqs", json={**body, "panel": [DEALERS[0]]})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["rfq"]["rfq_id"])

    async def quote(self, rfq_id: str, dealer: str = DEALERS[0]) -> str:
        async with self.service.http(dealer) as http:
            answer = await http.post(f"/v1/dealer/rfqs/{rfq_id}/quotes", json={"ask": {"price": self.ask}})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["quote_id"])

    async def key(self) -> str:
        return (await self.service.add_key(CLIENT))[0]

    async def grant(self) -> str:
        async with self.service.http(OPERATOR) as http:
            name = f"Firm {uuid4().hex[:8]}"
            await http.post("/v1/admin/firms", json={"name": name})
            answer = await http.post("/v1/admin/audit-grants", json={"auditor": AUDITOR, "firm": name})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["grant_id"])


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def world(service: Service) -> AsyncIterator[World]:
    async with service.http(CLIENT) as http:
        rows = (await http.get("/v1/board")).json()["items"]
        line = next(row for row in rows if row["status"] == "live")
    world = World(service, line["instrument_id"], line["ask"])
    async with service.http(OPERATOR) as http:
        grant = await http.post("/v1/admin/audit-grants", json={"auditor": AUDITOR, "firm": CLIENT})
        assert grant.status_code == 201, grant.text
        yield world
        await http.post(f"/v1/admin/audit-grants/{grant.json()['grant_id']}/revoke")


@dataclass(frozen=True)
class Request:
    """One call of a route: its own query, body and ids."""

    query: dict[str, str] = field(default_factory=dict)
    body: Any = None
    path: dict[str, str] = field(default_factory=dict)


def prices(world: World) -> dict[str, Any]:
    return {"legs": [{"instrument_id": world.instrument_id}], "side": "buy", "quantity": "100"}


async def request_of(world: World, route: tuple[str, str]) -> Request:
    """A request that the owner of the things in it may make: the client's RFQ, the first dealer's quote, and so on."""
    method, path = route
    ids: dict[str, str] = {"instrument_id": world.instrument_id}
    if "{rfq_id}" in path or "{quote_id}" in path:
        ids["rfq_id"] = await world.rfq()
    if "{quote_id}" in path or path.endswith("/accept"):
        ids["quote_id"] = await world.quote(ids["rfq_id"])
    if "{key_id}" in path:
        ids["key_id"] = await world.key()
    if "{grant_id}" in path:
        ids["grant_id"] = await world.grant()
    quotes = [{"dealer": "Desk 1", "ask": {"price": world.ask}}]
    bodies: dict[str, Callable[[], Any]] = {
        "/v1/rfqs": lambda: {**prices(world), "panel": [DEALERS[0]]},
        "/v1/rfqs/{rfq_id}/accept": lambda: {"quote_id": ids["quote_id"]},
        "/v1/evaluations": lambda: {**prices(world), "quotes": quotes},
        "/v1/dealer/rfqs/{rfq_id}/quotes": lambda: {"ask": {"price": world.ask}},
        "/v1/dealer/price": lambda: {"instrument_id": world.instrument_id, "side": "buy", "quantity": "100"},
        "/v1/admin/firms": lambda: {"name": f"Firm {uuid4().hex[:8]}"},
        "/v1/admin/keys": lambda: {"firm": CLIENT},
        "/v1/admin/keys/{key_id}/rotate": dict,
        "/v1/admin/audit-grants": lambda: {"auditor": AUDITOR, "firm": DEALERS[4]},
    }
    query = {"firm": CLIENT} if path.startswith("/v1/audit/") else {}
    body = bodies[path]() if method == "POST" and path in bodies else None
    return Request(query, body, {name: value for name, value in ids.items() if f"{{{name}}}" in path})


async def call(service: Service, route: tuple[str, str], request: Request, token: str | None) -> httpx.Response:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with service.http(**headers) as http:
        method, path = route
        return await http.request(method, path.format(**request.path), params=request.query, json=request.body)


def expected_of(route: tuple[str, str], role: Role, firm: str) -> int | None:
    """403 for another role, 404 for another firm's thing, ``None`` for a success."""
    _, path = route
    if role not in EXPECTED[route][0]:
        return 403
    is_owned = "{rfq_id}" in path or "{quote_id}" in path
    return 404 if is_owned and firm in (RIVAL_CLIENT, DEALERS[1]) else None


@pytest.mark.parametrize("route, role, firm", CELLS, ids=by_name)
async def test_firm_by_role_by_route(world: World, route: tuple[str, str], role: Role, firm: str) -> None:
    service = world.service
    expected = expected_of(route, role, firm)
    request = await request_of(world, route)
    answer = await call(service, route, request, service.tokens[firm])
    if expected is None:
        assert answer.status_code == int(next(iter(ROUTES[route]["responses"]))), answer.text
    else:
        assert answer.status_code == expected, answer.text
    if expected == 403:
        assert answer.json()["code"] == "FORBIDDEN"
    if expected == 404:
        # not to be told from an id that nothing has
        nothing = Request(request.query, request.body, {name: str(uuid4()) for name in request.path})
        unknown = await call(service, route, nothing, service.tokens[firm])
        assert without_trace(answer) == without_trace(unknown)
        assert {*answer.headers} == {*unknown.headers}


def without_trace(answer: httpx.Response) -> dict[str, Any]:
    return {name: value for name, value in answer.json().items() if name != "trace_id"}


async def test_an_accept_of_anothers_quote_on_ones_own_rfq_is_as_unknown(world: World) -> None:
    mine = await world.rfq(RIVAL_CLIENT)
    stolen = await world.quote(await world.rfq(CLIENT))
    async with world.service.http(RIVAL_CLIENT) as http:
        answers = [
            await http.post(f"/v1/rfqs/{mine}/accept", json={"quote_id": quote}) for quote in (stolen, str(uuid4()))
        ]
    assert {answer.status_code for answer in answers} == {404}
    assert without_trace(answers[0]) == without_trace(answers[1])


async def test_an_auditor_cannot_tell_a_firm_he_may_not_read_from_none(world: World) -> None:
    for route in (("GET", "/v1/audit/quotes"), ("GET", "/v1/audit/events")):
        token = world.service.tokens[AUDITOR]
        hidden = await call(world.service, route, Request({"firm": RIVAL_CLIENT}), token)
        absent = await call(world.service, route, Request({"firm": "Nobody at all"}), token)
        assert (hidden.status_code, absent.status_code) == (404, 404)
        assert without_trace(hidden) == without_trace(absent)


# ----------------------------------------------------------------------------------------------- who should get nothing


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def spent(service: Service) -> dict[str, dict[Role, str]]:
    """For each role the token of a key that was revoked, and of one that has expired."""
    found: dict[str, dict[Role, str]] = {"revoked": {}, "expired": {}}
    async with service.http(OPERATOR) as http:
        for role, (firm, *_) in FIRMS.items():
            for how, life in (("revoked", {}), ("expired", {"expires_in_s": "1.2"})):
                made = (await http.post("/v1/admin/keys", json={"firm": firm, "role": role, **life})).json()
                token = await service.token(made["client_id"], made["client_secret"])
                async with service.http(Authorization=f"Bearer {token}") as caller:
                    assert (await caller.get("/v1/board")).status_code == 200
                if how == "revoked":
                    await http.post(f"/v1/admin/keys/{made['client_id']}/revoke")
                found[how][role] = token
    await asyncio.sleep(1.3)
    return found


@pytest.mark.parametrize("route", PROTECTED, ids=by_name)
async def test_nobody_and_the_spent_get_nothing(
    world: World, spent: dict[str, dict[Role, str]], route: tuple[str, str]
) -> None:
    request = await request_of(world, route)
    role = EXPECTED[route][0][0]
    tokens = {"anonymous": None, "nonsense": "x.y.z", **{how: spent[how][role] for how in spent}}
    for who, token in tokens.items():
        answer = await call(world.service, route, request, token)
        assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED"), who
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def narrow(service: Service) -> dict[tuple[Role, Scope], str]:
    """For each role and scope a token of a key of that role with all scopes but that one."""
    found = {}
    for role, (firm, *_) in FIRMS.items():
        for missing in sorted(SCOPES_OF_ROLE[role]):
            rest = SCOPES_OF_ROLE[role] - {missing}
            if rest:
                scope = " ".join(sorted(rest))
                found[role, missing] = await service.token(*service.keys[firm], scope=scope)
    return found


SCOPED = [
    (route, role) for route in PROTECTED for role in EXPECTED[route][0] if EXPECTED[route][1] and role in (BUY, DEALER)
]


@pytest.mark.parametrize("route, role", SCOPED, ids=by_name)
async def test_without_its_scope_a_role_is_not_enough(
    world: World, narrow: dict[tuple[Role, Scope], str], route: tuple[str, str], role: Role
) -> None:
    scope = EXPECTED[route][1]
    assert scope is not None
    answer = await call(world.service, route, await request_of(world, route), narrow[role, scope])
    assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")
    assert answer.headers["www-authenticate"] == f'Bearer error="insufficient_scope", scope="{scope}"'


@pytest.mark.parametrize("route", sorted(PUBLIC), ids=by_name)
async def test_public_routes_need_no_token(world: World, route: tuple[str, str]) -> None:
    async with world.service.http() as http:
        answer = await http.request(*route)
    # the token endpoint has credentials of its own, in its body
    assert answer.status_code == (400 if route[0] == "POST" else 200)


async def test_refusals_say_the_same_whoever_is_asked_about(world: World) -> None:
    """A key of the wrong role learns nothing from how long or how he is refused: the thing is not looked up."""
    rfq_id = await world.rfq()
    async with world.service.http(DEALERS[0]) as http:
        known, unknown = [await http.get(f"/v1/rfqs/{one}") for one in (rfq_id, uuid4())]
    assert without_trace(known) == without_trace(unknown)
    assert known.status_code == 403


async def test_a_firm_that_is_client_and_dealer_has_two_desks_that_share_nothing(world: World) -> None:
    service = world.service
    buying = await service.token(*await service.add_key(DEALERS[0], Role.BUY_SIDE))
    rfq_id = await world.rfq()
    async with service.http(Authorization=f"Bearer {buying}") as http:
        assert (await http.get("/v1/rfqs")).json()["items"] == []
        assert (await http.get(f"/v1/rfqs/{rfq_id}")).status_code == 404
        assert (await http.get(f"/v1/dealer/rfqs/{rfq_id}")).status_code == 403


async def test_a_revocation_is_seen_within_the_poll_by_a_replica_that_was_not_told(world: World) -> None:
    """The command line revokes: nobody tells the service but the database."""
    from rfq_service.administration import drop_key

    service = world.service
    client_id, secret = await service.add_key(CLIENT)
    token = await service.token(client_id, secret)
    route = ("GET", "/v1/rfqs")
    assert (await call(service, route, Request(), token)).status_code == 200
    async with service.runtime.databases.operator.begin() as uow:
        await drop_key(uow, client_id)  # type: ignore[arg-type]
        await uow.commit()
    revoked_at = time.monotonic()
    while (await call(service, route, Request(), token)).status_code != 401:
        assert time.monotonic() - revoked_at < 2.5
        await asyncio.sleep(0.05)
