"""The running service against ``openapi/openapi.json``: whatever is sent, the answer is one that the document names.

Schemathesis makes requests of the document; what exists (instruments, RFQs, quotes, keys) is mixed into them, so that
they come further than to the first 404. Every operation must have been answered with its 2xx.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core import NOT_SET
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi import checks

from rfq_service.api.openapi import operation_problems
from rfq_service.api.operation import Operation
from rfq_service.api.problems import STATUS
from rfq_service.api.routes import OPERATIONS as SERVED
from rfq_service.api.schemas.problem import Problem
from rfq_service.domain.errors import ErrorCode
from rfq_service.domain.identity import Role
from tests.fuzz.stage import Stage
from tests.fuzz.world import FIRM_OF_ROLE, Ask, Json, World

ROOT = Path(__file__).parents[2]
SCHEMA = schemathesis.openapi.from_path(ROOT / "openapi" / "openapi.json", config=schemathesis.Config())
DOCUMENTED: Mapping[str, Any] = {
    operation.definition.raw["operationId"]: operation
    for operation in (found.ok() for found in SCHEMA.get_all_operations())
}
BY_NAME = {operation.name: operation for operation in SERVED}
NAMES = [operation.name for operation in SERVED]
CHANGING = [operation.name for operation in SERVED if operation.changes]
CONFORMANCE = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE")
EXAMPLES = 24
MANY_EXAMPLES = 100


# Documented as text of any kind: nothing that a request could break.
FREE_TEXT = {"type": "string"}
PATHS_WITH_METHODS = [(operation.path, operation.method) for operation in SERVED]
DOCUMENTED_PATHS = {
    path: {method for known, method in PATHS_WITH_METHODS if known == path} for path, _ in PATHS_WITH_METHODS
}
# The first reply to a new key holds its secret, which is stored nowhere.
SHOWN_ONCE = {"add_key", "rotate_key"}
INVALID, LONG = "IDEMPOTENCY_KEY_INVALID", "k" * 256
HEADERS = (
    *("Authorization", "Content-Type", "Content-Encoding", "Idempotency-Key", "traceparent", "Accept"),
    *("Cookie", "If-Match", "Range", "X-Forwarded-For", "X-HTTP-Method-Override"),
)
HEADER_VALUES = st.one_of(
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=300),
    st.text(st.characters(min_codepoint=0xA1, max_codepoint=0xFF), max_size=20),
    st.sampled_from(["gzip", "application/json", "text/plain; charset=utf-16", "bytes=0-1", "DELETE", "null"]),
)

BITS = st.sampled_from(
    [
        *(b"", b'"', b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"NaN", b"-", b"0", b"1e999", b"9" * 400),
        *(
            b"\\u0000",
            b"\\ud800",
            b"\x00",
            b"\xff",
            b"\xf0\x9f\x98\x80",
            b"\xef\xbb\xbf",
            b"&",
            b"=",
            b"%00",
            b"%",
            b"+",
        ),
        *(b"[" * 50, b'{"a":' * 50, b'"side":"sell",', b'"quantity":"1e5"', b'"quantity":1', b"\r\n", b" " * 100),
    ]
)


def has_rules(name: str) -> bool:
    """Whether the document says anything of the request that can be broken."""
    raw = DOCUMENTED[name].definition.raw
    return "requestBody" in raw or any(parameter["schema"] != FREE_TEXT for parameter in raw["parameters"])


@pytest.fixture(scope="session")
def world(service: Stage) -> Iterator[World]:
    made = World(service)
    yield made
    made.close()


@pytest.fixture(scope="session")
def session() -> Iterator[requests.Session]:
    with requests.Session() as opened:
        yield opened


def bounded(examples: int) -> settings:
    # no shrinking: it would take longer than a test may; the request that failed is printed as it was sent
    return settings(
        max_examples=examples,
        phases=[Phase.explicit, Phase.generate],
        database=None,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


class Prober:
    """Sends requests of one operation and looks at every answer."""

    def __init__(self, world: World, session: requests.Session, name: str) -> None:
        self.world, self.session = world, session
        self.documented, self.served = DOCUMENTED[name], BY_NAME[name]
        self.seen: Counter[int] = Counter()
        self.headers = {"Authorization": f"Bearer {world.tokens[role]}"} if (role := role_of(self.served)) else {}

    def case(self, ask: Ask) -> Any:
        """The request that is sent for ``ask``."""
        body = NOT_SET if ask.body is None else ask.body
        media_type = None if ask.body is None else self.served.media_type
        return self.documented.Case(
            path_parameters=dict(ask.path), query=dict(ask.query), body=body, media_type=media_type
        )

    def send(self, case: Any, **headers: str | None) -> schemathesis.Response:
        """Send it with the token of its party, and a key where none was made up; ``None`` leaves a header out."""
        if self.served.changes and "Idempotency-Key" not in case.headers:
            headers = {"Idempotency-Key": uuid4().hex} | headers
        given_headers: Any = {name: value for name, value in (self.headers | headers).items() if value is not None}
        for name, value in headers.items():
            if value is None:
                case.headers.pop(name, None)
        answer = case.call(base_url=self.world.stage.url, session=self.session, headers=given_headers)
        self.seen[answer.status_code] += 1
        return answer

    def check(self, case: Any, answer: Any, *more: Any) -> None:
        """It is one of the documented answers: status, headers, media type, body and the code of the error."""
        case.validate_response(answer, checks=[*CONFORMANCE, *more])
        if answer.status_code >= 400:
            code = ErrorCode(answer.json()["code"])
            assert answer.status_code == STATUS[code]
            assert code in operation_problems(self.served), f"{self.served.name} does not document {code}"


def role_of(operation: Operation) -> Role | None:
    return operation.roles[0] if operation.roles else None


def made_requests(prober: Prober, mode: Any) -> st.SearchStrategy[Any]:
    return prober.documented.as_strategy(generation_mode=mode)


def with_real(draw: Any, world: World, value: Any, name: str = "") -> Any:
    """The value with some of its parts replaced by what exists."""
    if isinstance(value, dict):
        return {key: with_real(draw, world, item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [with_real(draw, world, item, name) for item in value]
    if name in world.pools and isinstance(value, str) and draw(st.booleans()):
        return draw(st.sampled_from(world.pools[name]))
    return value


def mixed(draw: Any, good: Mapping[str, Any], made: Mapping[str, Any], world: World) -> Json:
    """Some fields of a good request, the others as they were made up, or with what exists in them."""
    body = dict(good)
    changed = draw(st.lists(st.sampled_from(sorted({*good, *made})), max_size=2, unique=True)) if good or made else []
    for name in changed:
        body.pop(name, None)
        if name in made:
            body[name] = with_real(draw, world, made[name], name)
    return body


@st.composite
def plausible(draw: Any, prober: Prober) -> Any:
    """A request by the document: made up, made up with what exists, or a good one with some of its fields made up."""
    made = draw(made_requests(prober, schemathesis.GenerationMode.POSITIVE))
    if draw(st.integers(0, 5)):  # one made up is seldom new
        made.headers.pop("Idempotency-Key", None)
    kind = draw(st.sampled_from(["made", "real", "mixed", "mixed"]))
    world = prober.world
    if kind == "made":
        return made
    if kind == "real":
        made.path_parameters = with_real(draw, world, dict(made.path_parameters))
        made.query = with_real(draw, world, dict(made.query))
        if isinstance(made.body, dict):
            made.body = with_real(draw, world, made.body)
        return made
    good = world.good_request(prober.served.name)
    is_object = isinstance(made.body, dict)
    body = mixed(draw, good.body or {}, made.body, world) if is_object else good.body
    case = prober.case(Ask(good.path, mixed(draw, good.query, made.query, world), body))
    case.headers.update(made.headers)
    return case


@st.composite
def wrong(draw: Any, prober: Prober) -> Any:
    """A request against the document; where only its body or query is wrong, its path is of something that exists."""
    case = draw(made_requests(prober, schemathesis.GenerationMode.NEGATIVE))
    components = case.meta.components
    path = components.get(ParameterLocation.PATH)
    if path is not None and not path.mode.is_negative and draw(st.booleans()):
        case.path_parameters = dict(prober.world.good_request(prober.served.name).path)
    return case


@st.composite
def damaged(draw: Any, content: bytes) -> bytes:
    """Bytes that were a body once: cut, repeated, overwritten; or any bytes."""
    if draw(st.integers(0, 3)) == 0:
        return draw(st.binary(max_size=200))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + 12)))
        content = content[:start] + draw(st.one_of(BITS, st.binary(max_size=3))) + content[end:]
    return content


def fuzz(prober: Prober, requests_made: st.SearchStrategy[Any], examples: int, *more: Any) -> None:
    @bounded(examples)
    @given(requests_made)
    def one(case: Any) -> None:
        answer = prober.send(case)
        prober.check(case, answer, *more)

    one()


@pytest.mark.parametrize("name", NAMES)
def test_every_operation_answers_as_documented(
    world: World, session: requests.Session, name: str, record_property: Any
) -> None:
    prober = Prober(world, session, name)
    good = prober.case(world.good_request(name))
    prober.check(good, prober.send(good))
    fuzz(prober, plausible(prober), EXAMPLES)
    record_property("answers", dict(prober.seen))
    assert prober.seen[prober.served.status] >= 1, f"never answered with {prober.served.status}: {prober.seen}"
    assert set(prober.seen) <= {int(status) for status in prober.documented.definition.raw["responses"]}


def test_every_served_operation_is_documented() -> None:
    assert set(DOCUMENTED) == set(BY_NAME)


@pytest.mark.parametrize("name", [name for name in NAMES if has_rules(name)])
def test_what_the_document_forbids_is_refused(world: World, session: requests.Session, name: str) -> None:
    prober = Prober(world, session, name)
    fuzz(prober, wrong(prober), EXAMPLES, checks.negative_data_rejection)
    assert not any(status < 400 for status in prober.seen)


@pytest.mark.parametrize("name", [name for name in NAMES if BY_NAME[name].method == "POST"])
def test_whatever_bytes_come_are_answered_as_documented(world: World, session: requests.Session, name: str) -> None:
    prober = Prober(world, session, name)
    good = prober.case(world.good_request(name))
    body = session.prepare_request(requests.Request(**good.as_transport_kwargs(world.stage.url))).body or b""
    encoded = body.encode() if isinstance(body, str) else bytes(body)

    @bounded(EXAMPLES)
    @given(damaged(encoded), st.dictionaries(st.sampled_from(HEADERS), HEADER_VALUES, max_size=2))
    def one(content: bytes, odd_headers: dict[str, str]) -> None:
        headers = {**prober.headers, "Content-Type": prober.served.media_type, "Idempotency-Key": uuid4().hex}
        url = world.stage.url + good.formatted_path
        answer = session.post(url, data=content, headers=headers | odd_headers)
        prober.check(good, answer)

    one()


@pytest.mark.parametrize("path", list(DOCUMENTED_PATHS))
def test_other_methods_are_refused_and_those_that_are_not_are_named(service: Stage, path: str) -> None:
    there = DOCUMENTED_PATHS[path]
    url = re.sub("{[a-z_]+}", str(uuid4()), path)
    with service.http() as http:
        for method in set(METHODS) - there:
            answer = http.request(method, url)
            assert answer.status_code == 405
            assert {name.strip() for name in answer.headers["allow"].split(",")} >= there
            assert answer.headers["content-type"] == "application/problem+json"
            if method != "HEAD":
                assert msgspec.json.decode(answer.content, type=Problem).code is ErrorCode.METHOD_NOT_ALLOWED


@pytest.mark.parametrize("name", [operation.name for operation in SERVED if operation.roles])
def test_only_a_token_of_its_party_opens_an_operation(world: World, session: requests.Session, name: str) -> None:
    prober = Prober(world, session, name)
    case = prober.case(world.good_request(name))
    token = prober.headers["Authorization"]
    key_secret = world.stage.keys[FIRM_OF_ROLE[prober.served.roles[0]], prober.served.roles[0]].secret
    head, claims, signature = token.split(".")
    # alg "none", another signature, a key's secret in place of a token, no token
    forged = [
        "Bearer eyJhbGciOiJub25lIn0." + claims + ".",
        f"{head}.{claims}.{signature[::-1]}",
        f"Bearer {key_secret}",
    ]
    for wrong_token in (None, "", "Bearer", "Basic " + token[7:], token + "A", *forged):
        answer = prober.send(case, Authorization=wrong_token)
        assert answer.status_code == 401, (wrong_token, answer.text)
        assert answer.headers["www-authenticate"][0].startswith("Bearer")
        prober.check(case, answer)
    for role in set(Role) - set(prober.served.roles):
        answer = prober.send(case, Authorization=f"Bearer {world.tokens[role]}")
        assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")
        prober.check(case, answer)
    prober.check(case, prober.send(case))
    assert prober.seen[prober.served.status] == 1, "it was the token alone that was wrong"


@pytest.mark.parametrize("name", CHANGING)
def test_a_change_needs_a_key_and_is_answered_the_same_again(
    world: World, session: requests.Session, name: str
) -> None:
    prober = Prober(world, session, name)
    case = prober.case(world.good_request(name))
    for key, code in (
        (None, "IDEMPOTENCY_KEY_MISSING"),
        ("", "IDEMPOTENCY_KEY_INVALID"),
        ("a b", INVALID),
        (LONG, INVALID),
    ):
        answer = prober.send(case, **{"Idempotency-Key": key})
        assert (answer.status_code, answer.json()["code"]) == (400, code)
        prober.check(case, answer)
    key = uuid4().hex
    first, again = (prober.send(case, **{"Idempotency-Key": key}) for _ in range(2))
    for answer, replayed in ((first, None), (again, ["true"])):
        prober.check(case, answer)
        assert (answer.status_code, answer.headers.get("idempotency-replayed")) == (prober.served.status, replayed)
    if name in SHOWN_ONCE:
        assert again.json() == {**first.json(), "client_secret": None} != first.json()
    else:
        assert again.content == first.content
    other = prober.case(world.good_request(name))
    if other != case:
        answer = prober.send(other, **{"Idempotency-Key": key})
        assert (answer.status_code, answer.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
        prober.check(other, answer)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("name", [name for name in NAMES if has_rules(name)])
def test_many_more_requests_are_answered_as_documented(world: World, session: requests.Session, name: str) -> None:
    prober = Prober(world, session, name)
    fuzz(prober, plausible(prober), MANY_EXAMPLES)
    fuzz(prober, wrong(prober), MANY_EXAMPLES, checks.negative_data_rejection)
