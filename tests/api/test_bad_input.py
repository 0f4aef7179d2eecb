"""Bad input against the whole service: a 4xx with its own code, and not one row more in the database."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import hypothesis
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from rfq_service.api.operation import NoBody
from rfq_service.api.parsing import JSON as JSON_BODY
from rfq_service.api.routes import OPERATIONS
from rfq_service.domain.identity import Role
from tests.api.service import AUDITOR, BODY_MAX_BYTES, CLIENT, DEALERS, OPERATOR, RIVAL_CLIENT, Service

pytestmark = pytest.mark.asyncio(loop_scope="session")

# The token endpoint has its own rules and tests (test_identity).
POSTS = [operation for operation in OPERATIONS if operation.method == "POST" and operation.media_type == JSON_BODY]
GETS = [operation for operation in OPERATIONS if operation.method == "GET"]
WITH_BODY = [operation for operation in POSTS if operation.body is not NoBody]
# A fixed one: parallel test processes must agree on the names of tests.
NOBODYS_ID = "01910000-0000-7000-8000-000000000000"
JSON = {"content-type": "application/json"}
MINIMAL_BODY = b"{}"


def path_of(operation: Any, identifier: str = NOBODYS_ID) -> str:
    """The operation's path with ids that name nothing."""
    return re.sub("{[a-z]+_id}", identifier, operation.path)


ROLE_FIRMS = {Role.BUY_SIDE: CLIENT, Role.DEALER: DEALERS[0], Role.AUDITOR: AUDITOR, Role.OPERATOR: OPERATOR}


@asynccontextmanager
async def caller_of(service: Service, operation: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who may call the operation."""
    async with service.http(ROLE_FIRMS[operation.roles[0]] if operation.roles else None) as http:
        yield http


def by_name(operation: Any) -> str:
    return str(operation.name)


# Every change writes its event; those that time alone causes may come at any moment.
_EVENTS = (
    "SELECT count(*) FROM event WHERE kind NOT IN ('rfq.expired', 'quote.ended', 'invitation.closed', 'decision.made')"
)


async def stored_events(service: Service) -> int:
    [[count]] = await service.rows(_EVENTS)
    return int(count)


@pytest_asyncio.fixture(loop_scope="session")
async def nothing_changes(service: Service) -> AsyncIterator[None]:
    before = await stored_events(service)
    yield
    assert await stored_events(service) == before


def check(answer: httpx.Response, status: int, code: str, field: str | None = None) -> None:
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(problem["trace_id"]) == 32
    if field is not None:
        assert problem["field"] == field


async def streamed(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 1_000):
        yield body[start : start + 1_000]


ANY_BODY = [
    (b"{", 400, "MALFORMED_BODY"),
    (b"[]", 400, "MALFORMED_BODY"),
    (b'{"a": "\xff"}', 400, "MALFORMED_BODY"),
    (b'{"a": "\\ud800"}', 400, "MALFORMED_BODY"),
    (b'{"a": "\\u0000"}', 400, "NUL_BYTE"),
    (b'{"a": 1, "a": 2}', 400, "DUPLICATE_KEY"),
    (b'{"a": ' * 5_000, 413, "BODY_TOO_LARGE"),
    (b'{"a":' * 2_000 + b"1" + b"}" * 2_000, 400, "NESTING_TOO_DEEP"),
    (b'{"a": NaN}', 422, "NOT_FINITE"),
    (b'{"a": Infinity}', 422, "NOT_FINITE"),
]


@pytest.mark.parametrize("operation", POSTS, ids=by_name)
@pytest.mark.parametrize("body, status, code", ANY_BODY, ids=lambda value: repr(value)[:24])
@pytest.mark.usefixtures("nothing_changes")
async def test_every_post_refuses_what_is_no_request(
    service: Service, operation: Any, body: bytes, status: int, code: str
) -> None:
    async with caller_of(service, operation) as http:
        check(await http.post(path_of(operation), content=body, headers=JSON), status, code)


@pytest.mark.parametrize("operation", POSTS, ids=by_name)
@pytest.mark.usefixtures("nothing_changes")
async def test_every_post_refuses_unknown_fields(service: Service, operation: Any) -> None:
    async with caller_of(service, operation) as http:
        answer = await http.post(path_of(operation), json={"nonsense": 1})
    check(answer, 422, "UNKNOWN_FIELD", "nonsense")


@pytest.mark.parametrize("operation", POSTS, ids=by_name)
@pytest.mark.usefixtures("nothing_changes")
async def test_every_post_refuses_large_bodies_with_and_without_their_length(service: Service, operation: Any) -> None:
    body = json.dumps({"a": "x" * BODY_MAX_BYTES}).encode()
    async with caller_of(service, operation) as http:
        check(await http.post(path_of(operation), content=body, headers=JSON), 413, "BODY_TOO_LARGE")
        check(await http.post(path_of(operation), content=streamed(body), headers=JSON), 413, "BODY_TOO_LARGE")


@pytest.mark.parametrize("operation", POSTS, ids=by_name)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
    ids=str,
)
@pytest.mark.usefixtures("nothing_changes")
async def test_every_post_refuses_other_media_types(service: Service, operation: Any, headers: dict[str, str]) -> None:
    async with caller_of(service, operation) as http:
        answer = await http.post(path_of(operation), content=MINIMAL_BODY, headers=headers)
    check(answer, 415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("operation", [op for op in OPERATIONS if not op.is_public], ids=by_name)
async def test_every_protected_operation_needs_a_token(service: Service, operation: Any) -> None:
    async with service.http() as http:
        check(await http.request(operation.method, path_of(operation)), 401, "UNAUTHENTICATED")
        wrong = {"Authorization": f"Bearer {service.keys[CLIENT][1]}"}
        check(await http.request(operation.method, path_of(operation), headers=wrong), 401, "UNAUTHENTICATED")


@pytest.mark.parametrize("operation", [op for op in OPERATIONS if op.body is NoBody], ids=by_name)
@pytest.mark.parametrize(
    "query, code",
    [
        ("nonsense=1", "UNKNOWN_PARAMETER"),
        ("nonsense=1&nonsense=2", "REPEATED_PARAMETER"),
        ("nonsense=%00", "NUL_BYTE"),
        ("nonsense=%ff", "INVALID_PARAMETER"),
    ],
)
@pytest.mark.usefixtures("nothing_changes")
async def test_every_operation_refuses_unknown_parameters(
    service: Service, operation: Any, query: str, code: str
) -> None:
    async with caller_of(service, operation) as http:
        check(await http.request(operation.method, f"{path_of(operation)}?{query}"), 400, code)


@pytest.mark.parametrize("operation", [op for op in OPERATIONS if "cursor" in op.query.__struct_fields__], ids=by_name)
@pytest.mark.parametrize(
    "query, code, field",
    [
        ("limit=0", "INVALID_PARAMETER", "limit"),
        ("limit=201", "INVALID_PARAMETER", "limit"),
        ("limit=99999999999999999999", "INVALID_PARAMETER", "limit"),
        ("cursor=x", "INVALID_CURSOR", "cursor"),
        ("state=nonsense", "INVALID_PARAMETER", "state"),
    ],
)
async def test_every_listing_refuses_odd_pages(
    service: Service, operation: Any, query: str, code: str, field: str
) -> None:
    names = operation.query.__struct_fields__
    if field not in names:
        code = "UNKNOWN_PARAMETER"
    if "firm" in names:
        query += f"&firm={CLIENT}"
    async with caller_of(service, operation) as http:
        check(await http.get(f"{operation.path}?{query}"), 400, code, field)


WITH_ID = [operation for operation in OPERATIONS if "_id}" in operation.path]


@pytest.mark.parametrize("operation", WITH_ID, ids=by_name)
@pytest.mark.parametrize("identifier", ["x", "%00", "%F0%9F%98%80", NOBODYS_ID, "0" * 36, "a" * 3_000])
@pytest.mark.usefixtures("nothing_changes")
async def test_an_id_of_nothing_is_404(service: Service, operation: Any, identifier: str) -> None:
    body: Any = {"quote_id": NOBODYS_ID} if operation.name == "accept_quote" else {}
    async with caller_of(service, operation) as http:
        path = path_of(operation, identifier)
        answer = await http.request(operation.method, path, json=body if operation.method == "POST" else None)
    assert answer.status_code == 404, answer.text
    assert answer.json()["code"].endswith("NOT_FOUND")


def order(market: dict[str, Any]) -> dict[str, Any]:
    return {"legs": [{"instrument_id": market["instrument_id"]}], "side": "buy", "quantity": "100"}


def changed(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with one value replaced, added or (``...``) removed; ``legs.0.ratio`` is a path."""
    result = copy.deepcopy(body)
    target: Any = result
    *parents, last = path.split(".")
    for name in parents:
        target = target[int(name)] if isinstance(target, list) else target[name]
    if value is ...:
        del target[last]
    else:
        target[int(last) if isinstance(target, list) else last] = value
    return result


ODD_TEXTS = [
    *("", " ", "0", "-0", "1", "100", "-1", "NaN", "sNaN", "Infinity", "1e400", "1e-400", "0.000000000000000001"),
    *("999999999999999999.999999999999999999", "1" * 40, "buy", "two_way", "minimum", "any_part", "\x00", "\ud800"),
    *("\x7f\x01", "\U0001f600", "';--", "BINANCE.SPOT.NEXOUSDT"),
]
BAD_TERMS = [
    ("legs", [], 422, "INVALID_FIELD", "legs"),
    ("legs.0.instrument_id", "NO.SUCH.THING", 422, "UNKNOWN_INSTRUMENT", "legs[0].instrument_id"),
    ("legs.0.instrument_id", "x" * 65, 422, "INVALID_FIELD", "legs[0].instrument_id"),
    ("legs.0.ratio", "0", 422, "OUT_OF_RANGE", "legs[0].ratio"),
    ("legs.0.ratio", "-1", 422, "OUT_OF_RANGE", "legs[0].ratio"),
    ("legs.0.ratio", "NaN", 422, "NOT_FINITE", "legs[0].ratio"),
    ("legs.0.side", "long", 422, "INVALID_FIELD", "legs[0].side"),
    ("side", ..., 422, "INVALID_FIELD", "side"),
    ("side", None, 422, "INVALID_FIELD", "side"),
    ("quantity", "NaN", 422, "NOT_FINITE", "quantity"),
    ("quantity", "Infinity", 422, "NOT_FINITE", "quantity"),
    ("quantity", "1e400", 422, "OUT_OF_RANGE", "quantity"),
    ("quantity", "1." + "0" * 18 + "1", 422, "OUT_OF_RANGE", "quantity"),
    ("quantity", 100, 422, "INVALID_FIELD", "quantity"),
    ("quantity", "0", 422, "OUT_OF_RANGE", "quantity"),
    ("quantity", "-100", 422, "OUT_OF_RANGE", "quantity"),
    ("quantity", "100.001", 422, "QUANTITY_OFF_LOT", "quantity"),
    ("quantity", "0.01", 422, "QUANTITY_OUT_OF_RANGE", "quantity"),
    ("quantity", "999999999999999999", 422, "QUANTITY_OUT_OF_RANGE", "quantity"),
    ("size_mode", "minimum", 422, "INVALID_FIELD", "minimum_quantity"),
    ("minimum_quantity", "10", 422, "INVALID_FIELD", "minimum_quantity"),
    ("price_increment", "0", 422, "OUT_OF_RANGE", "price_increment"),
    ("price_increment", "-0.001", 422, "OUT_OF_RANGE", "price_increment"),
    ("limit_price", "1.00001", 422, "PRICE_OFF_TICK", "limit_price"),
    ("limit_price", "-1", 422, "PRICE_NOT_POSITIVE", "limit_price"),
    ("client_reference", "x" * 129, 422, "INVALID_FIELD", "client_reference"),
    ("client_reference", 17, 422, "INVALID_FIELD", "client_reference"),
]
BAD_RFQS = [
    *BAD_TERMS,
    ("panel", ["Nobody"], 422, "UNKNOWN_DEALER", "panel[0]"),
    ("panel", [CLIENT], 422, "UNKNOWN_DEALER", "panel[0]"),
    ("panel", [DEALERS[0], DEALERS[0]], 422, "INVALID_FIELD", "panel[1]"),
    ("panel", ["x"] * 101, 422, "INVALID_FIELD", "panel"),
    ("anonymous", "yes", 422, "INVALID_FIELD", "anonymous"),
    ("expires_in_s", "0", 422, "EXPIRY_OUT_OF_RANGE", "expires_in_s"),
    ("expires_in_s", "999999999", 422, "EXPIRY_OUT_OF_RANGE", "expires_in_s"),
    ("expires_in_s", "-1", 422, "OUT_OF_RANGE", "expires_in_s"),
    ("expires_in_s", 30, 422, "INVALID_FIELD", "expires_in_s"),
]


@pytest.mark.parametrize("path, value, status, code, field", BAD_RFQS)
@pytest.mark.usefixtures("nothing_changes")
async def test_a_wrong_rfq_is_refused(
    client: httpx.AsyncClient, market: dict[str, Any], path: str, value: Any, status: int, code: str, field: str
) -> None:
    check(await client.post("/v1/rfqs", json=changed(order(market), path, value)), status, code, field)


BAD_EVALUATIONS = [
    *BAD_TERMS,
    ("panel", [], 422, "UNKNOWN_FIELD", "panel"),
    ("quotes", [], 422, "INVALID_FIELD", "quotes"),
    ("quotes.0.dealer", "", 422, "INVALID_FIELD", "quotes[0].dealer"),
    ("quotes.0.ask", {}, 422, "INVALID_FIELD", "quotes[0].ask"),
    ("quotes.0.ask", None, 422, "QUOTE_SIDE_MISMATCH", "quotes[0].ask"),
    ("quotes.0.bid", {"price": "1"}, 422, "QUOTE_SIDE_MISMATCH", "quotes[0].bid"),
    ("quotes.0.ask.price", "1.23456789", 422, "PRICE_OFF_TICK", "quotes[0].ask.price"),
    ("quotes.0.ask.price", "0", 422, "PRICE_NOT_POSITIVE", "quotes[0].ask.price"),
    ("quotes.0.ask.price", "-1", 422, "PRICE_NOT_POSITIVE", "quotes[0].ask.price"),
    ("quotes.0.ask.price", "NaN", 422, "NOT_FINITE", "quotes[0].ask.price"),
    ("quotes.0.ask.leg_prices", ["1", "2"], 422, "QUOTE_LEGS_MISMATCH", "quotes[0].ask.leg_prices"),
    ("quotes.0.ask.leg_prices", ["1", "Infinity"], 422, "NOT_FINITE", "quotes[0].ask.leg_prices[1]"),
    ("quotes.0.quantity", "50", 422, "QUANTITY_NOT_ALL", "quotes[0].quantity"),
    ("quotes.0.quantity", "101", 422, "QUANTITY_OUT_OF_RANGE", "quotes[0].quantity"),
    ("quotes.0.ttl_s", "0", 422, "TTL_OUT_OF_RANGE", "quotes[0].ttl_s"),
    ("quotes.0.extra", 1, 422, "UNKNOWN_FIELD", "quotes[0].extra"),
]


@pytest.mark.parametrize("path, value, status, code, field", BAD_EVALUATIONS)
@pytest.mark.usefixtures("nothing_changes")
async def test_a_wrong_evaluation_is_refused(
    client: httpx.AsyncClient, market: dict[str, Any], path: str, value: Any, status: int, code: str, field: str
) -> None:
    body = {**order(market), "quotes": [{"dealer": "Desk 1", "ask": {"price": market["ask"]}}]}
    check(await client.post("/v1/evaluations", json=changed(body, path, value)), status, code, field)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(ODD_TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
PLACES = st.sampled_from(
    [
        *("legs", "legs.0", "legs.0.instrument_id", "legs.0.side", "legs.0.ratio", "side", "quantity", "size_mode"),
        *("minimum_quantity", "price_increment", "limit_price", "client_reference", "quotes", "quotes.0"),
        *("quotes.0.dealer", "quotes.0.ask", "quotes.0.ask.price", "quotes.0.ask.leg_prices", "quotes.0.ttl_s"),
    ]
)


@given(
    places=st.lists(PLACES, min_size=1, max_size=2, unique=True), values=st.lists(JSON_VALUES, min_size=2, max_size=2)
)
@hypothesis.settings(max_examples=300)
async def test_whatever_stands_in_a_field_the_answer_is_no_failure(
    service: Service, places: list[str], values: list[Any]
) -> None:
    instrument_id = service.runtime.instruments()[0].instrument_id
    body = {**order({"instrument_id": instrument_id}), "quotes": [{"dealer": "Desk 1", "ask": {"price": "1"}}]}
    for place, value in zip(sorted(places, key=len, reverse=True), values, strict=False):
        body = changed(body, place, value)
    async with service.http(CLIENT) as http:
        content = json.dumps(body).encode()
        answer = await http.post("/v1/evaluations", content=content, headers=JSON)
        assert answer.status_code == 201 or 400 <= answer.status_code < 500, answer.text
        del body["quotes"]
        answer = await http.post("/v1/rfqs", content=json.dumps(body).encode(), headers=JSON)
        assert answer.status_code == 201 or 400 <= answer.status_code < 500, answer.text


async def test_crossed_two_way_quotes_are_refused(
    service: Service, client: httpx.AsyncClient, market: dict[str, Any]
) -> None:
    body = {**order(market), "side": "two_way"}
    crossed = {"bid": {"price": market["ask"]}, "ask": {"price": market["bid"]}}
    check(
        await client.post("/v1/evaluations", json={**body, "quotes": [{"dealer": "Desk 1", **crossed}]}),
        *(422, "QUOTE_CROSSED", "quotes[0].bid"),
    )
    rfq_id = (await client.post("/v1/rfqs", json=body)).json()["rfq"]["rfq_id"]
    before = await stored_events(service)
    async with service.http(DEALERS[0]) as dealer:
        check(await dealer.post(f"/v1/dealer/rfqs/{rfq_id}/quotes", json=crossed), 422, "QUOTE_CROSSED", "bid")
        one_sided = {"bid": {"price": market["bid"]}}
        check(await dealer.post(f"/v1/dealer/rfqs/{rfq_id}/quotes", json=one_sided), 422, "QUOTE_SIDE_MISMATCH", "ask")
    assert await stored_events(service) == before


@pytest.mark.parametrize(
    "body, code, field",
    [
        ({}, "INVALID_FIELD", "rfq_id"),
        ({"instrument_id": "X"}, "INVALID_FIELD", "rfq_id"),
        ({"instrument_id": "X", "side": "buy"}, "INVALID_FIELD", "rfq_id"),
        ({"rfq_id": NOBODYS_ID, "side": "buy"}, "INVALID_FIELD", "rfq_id"),
        ({"rfq_id": "x"}, "INVALID_FIELD", "rfq_id"),
        ({"instrument_id": "X", "side": "buy", "quantity": "1"}, "UNKNOWN_INSTRUMENT", "instrument_id"),
        ({"instrument_id": "X", "side": "buy", "quantity": "sNaN"}, "NOT_FINITE", "quantity"),
    ],
)
@pytest.mark.usefixtures("nothing_changes")
async def test_a_wrong_price_request_is_refused(
    dealer: httpx.AsyncClient, body: dict[str, Any], code: str, field: str
) -> None:
    check(await dealer.post("/v1/dealer/price", json=body), 422, code, field)


async def test_another_firms_things_are_not_found(
    service: Service, client: httpx.AsyncClient, market: dict[str, Any]
) -> None:
    body = {**order(market), "panel": [DEALERS[0]]}
    rfq_id = (await client.post("/v1/rfqs", json=body)).json()["rfq"]["rfq_id"]
    async with service.http(DEALERS[0]) as dealer, service.http(DEALERS[1]) as uninvited:
        price = {"ask": {"price": market["ask"]}}
        quote_id = (await dealer.post(f"/v1/dealer/rfqs/{rfq_id}/quotes", json=price)).json()["quote_id"]
        before = await stored_events(service)
        check(await uninvited.get(f"/v1/dealer/rfqs/{rfq_id}"), 404, "RFQ_NOT_FOUND")
        check(await uninvited.post(f"/v1/dealer/rfqs/{rfq_id}/quotes", json=price), 404, "RFQ_NOT_FOUND")
        check(await uninvited.post(f"/v1/dealer/rfqs/{rfq_id}/pass"), 404, "RFQ_NOT_FOUND")
        check(await uninvited.post("/v1/dealer/price", json={"rfq_id": rfq_id}), 404, "RFQ_NOT_FOUND")
        check(await uninvited.post(f"/v1/dealer/quotes/{quote_id}/withdraw"), 404, "QUOTE_NOT_FOUND")
    async with service.http(RIVAL_CLIENT) as http:
        check(await http.get(f"/v1/rfqs/{rfq_id}"), 404, "RFQ_NOT_FOUND")
        check(await http.get(f"/v1/rfqs/{rfq_id}/quotes"), 404, "RFQ_NOT_FOUND")
        check(await http.post(f"/v1/rfqs/{rfq_id}/cancel"), 404, "RFQ_NOT_FOUND")
        check(await http.post(f"/v1/rfqs/{rfq_id}/accept", json={"quote_id": quote_id}), 404, "RFQ_NOT_FOUND")
        for path in ("/v1/rfqs", "/v1/quotes"):
            assert rfq_id not in (await http.get(path)).text
    assert await stored_events(service) == before
