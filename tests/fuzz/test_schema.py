"""The running service against ``openapi/openapi.json``: whatever is sent, the answer is one that the document names.

Schemathesis makes requests of the document; what exists (instruments, RFQs, quotes, keys) is mixed into them, so that
they come further than to the first 404. Every operation must have been answered with its 2xx.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

with warnings.catch_warnings():
    # of what it imports, none of it ours
    warnings.simplefilter("ignore", DeprecationWarning)
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.core import NOT_SET
    from schemathesis.core.parameters import ParameterLocation
    from schemathesis.specs.openapi import checks

from rfq_service.api.openapi import operation_problems
from rfq_service.api.operation import Operation
from rfq_service.api.problems import STATUS
from rfq_service.api.routes import OPERATIONS as SERVED
from rfq_service.domain.errors import ErrorCode
from rfq_service.domain.identity import Role
from tests.fuzz.stage import Stage
from tests.fuzz.world import Ask, Json, World

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
# What a route that is not there is answered, before any operation is reached.
NO_ROUTE = {(404, "NOT_FOUND"), (405, "METHOD_NOT_ALLOWED")}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE")
EXAMPLES = 60
MANY_EXAMPLES = 400


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

    def send(self, case: Any, **headers: str | None) -> requests.Response:
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
    print(name, dict(prober.seen))
    assert prober.seen[prober.served.status] >= 1, f"never answered with {prober.served.status}: {prober.seen}"
    assert set(prober.seen) <= {int(status) for status in prober.documented.definition.raw["responses"]}


def test_every_served_operation_is_documented() -> None:
    assert set(DOCUMENTED) == set(BY_NAME)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_document_forbids_is_refused(world: World, session: requests.Session, name: str) -> None:
    prober = Prober(world, session, name)
    fuzz(prober, wrong(prober), EXAMPLES, checks.negative_data_rejection)
    print(name, dict(prober.seen))
