"""The document is what is served: committed, complete, with examples that were and can be sent."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute

from rfq_service.api.documentation import docs_page
from rfq_service.api.openapi import EXAMPLES_DIR, Example, load_example, openapi_document, openapi_json, write_openapi
from rfq_service.api.operation import NoBody
from rfq_service.api.parsing import JSON
from rfq_service.api.routes import OPERATIONS
from rfq_service.app import create_app
from rfq_service.domain.identity import Scope
from tests.api.fakes import FakeDesk, FakeRuntime
from tests.api.scenario import walk
from tests.api.service import Service

DOCUMENT = openapi_document()
NAMES = [operation.name for operation in OPERATIONS]


def schema_errors(value: Any, schema: dict[str, Any], path: str = "$") -> list[str]:
    """What a JSON value breaks of a schema; the part of JSON Schema that our document uses, else it fails."""
    known = {"$ref", "anyOf", "enum", "type", "properties", "required", "additionalProperties", "items", "pattern"}
    known |= {"minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum", "format"}
    unknown = set(schema) - known - {"title", "description", "examples", "default"}
    assert not unknown, f"this check does not know {unknown}"
    errors = []
    if "$ref" in schema:
        errors += schema_errors(value, DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]], path)
    if "anyOf" in schema and all(schema_errors(value, option, path) for option in schema["anyOf"]):
        errors.append(f"{path}: {value!r} is none of the options")
    if "enum" in schema and value not in schema["enum"]:
        errors.append(f"{path}: {value!r} is not one of {schema['enum']}")
    return errors + type_errors(value, schema, path)


def type_errors(value: Any, schema: dict[str, Any], path: str) -> list[str]:
    kinds: dict[str, Any] = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    kinds |= {"number": (int, float), "integer": int}
    kind = schema.get("type")
    if kind is not None and (not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return [f"{path}: {value!r} is no {kind}"]
    errors = []
    if kind == "object":
        properties = schema.get("properties", {})
        errors += [f"{path}.{name} is missing" for name in schema.get("required", []) if name not in value]
        for name, item in value.items():
            rest = schema.get("additionalProperties", False)
            if rest is True:
                continue
            if name in properties or isinstance(rest, dict):
                errors += schema_errors(item, properties.get(name, rest), f"{path}.{name}")
            else:
                errors.append(f"{path}.{name} is not documented")
    if kind == "array":
        for index, item in enumerate(value):
            errors += schema_errors(item, schema.get("items", {}), f"{path}[{index}]")
    if kind == "string" and not re.search(schema.get("pattern", ""), value):
        errors.append(f"{path}: {value!r} does not match {schema['pattern']}")
    if kind in ("number", "integer") and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        errors.append(f"{path}: {value!r} is out of range")
    return errors


def described(name: str) -> dict[str, Any]:
    operation = next(operation for operation in OPERATIONS if operation.name == name)
    found: dict[str, Any] = DOCUMENT["paths"][operation.path][operation.method.lower()]
    return found


def test_the_committed_document_is_up_to_date(tmp_path: Path) -> None:
    committed = EXAMPLES_DIR.parent / "openapi.json"
    write_openapi(tmp_path / "openapi.json")
    fresh = (tmp_path / "openapi.json").read_text(encoding="utf-8")
    assert committed.read_text(encoding="utf-8") == fresh, "run `make openapi`"


def test_every_route_is_documented_and_every_documented_route_is_served() -> None:
    async def unused(*_: object) -> None:
        raise NotImplementedError

    app: Litestar = create_app(FakeRuntime(FakeDesk(unused)))  # type: ignore[arg-type]
    served = {
        (method.lower(), route.path_format)
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method in route.methods - {"OPTIONS"}
    }
    documented = {(method, path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert served - documented == {("get", "/openapi.json"), ("get", "/docs")}
    assert documented <= served


@pytest.mark.parametrize("name", NAMES)
def test_every_operation_is_explained_with_an_example(name: str) -> None:
    operation = described(name)
    assert operation["summary"]
    assert operation["description"]
    example = load_example(name)
    replies = operation["responses"]
    [content] = replies[str(example.status)]["content"].values()
    assert content["example"] == example.reply
    if "requestBody" in operation:
        [content] = operation["requestBody"]["content"].values()
        assert content["example"] == example.body
    for parameter in operation["parameters"]:
        if parameter["in"] == "path":
            assert parameter["example"] == example.path[parameter["name"]]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_error_is_documented_as_a_problem(operation: Any) -> None:
    replies = described(operation.name)["responses"]
    expected = {"400", "431", "500", "503"}
    if not operation.is_public:
        expected |= {"401", "403", "429"}
    if operation.method == "POST":
        expected |= {"413", "415"}
        expected |= {"422"} if operation.media_type == JSON else {"401", "429"}
    if operation.changes:
        expected |= {"409"}
    if "{" in operation.path:
        expected |= {"404"}
    assert expected <= set(replies)
    kind = "OAuthProblem" if operation.name == "issue_token" else "Problem"
    for status in set(replies) - {str(operation.status)}:
        [content] = replies[status]["content"].items()
        assert content == ("application/problem+json", {"schema": {"$ref": f"#/components/schemas/{kind}"}})


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_rights_and_headers_are_documented(operation: Any) -> None:
    document = described(operation.name)
    if operation.is_public:
        assert document["security"] == []
    else:
        assert document["security"] == [{"oauth2": [] if operation.scope is None else [operation.scope.value]}]
        assert document["x-roles"] == [role.value for role in operation.roles]
        for status, reply in document["responses"].items():
            assert ({"RateLimit", "RateLimit-Policy"} <= set(reply.get("headers", {}))) == (status != "401")
        assert "WWW-Authenticate" in document["responses"]["401"]["headers"]
        assert "Retry-After" in document["responses"]["429"]["headers"]
    keys = [item for item in document["parameters"] if item["in"] == "header"]
    assert [(key["name"], key["required"]) for key in keys] == ([("Idempotency-Key", True)] * operation.changes)
    assert ("Idempotency-Replayed" in document["responses"][str(operation.status)].get("headers", {})) is (
        operation.changes
    )


def test_every_scope_is_explained_and_used() -> None:
    flow = DOCUMENT["components"]["securitySchemes"]["oauth2"]["flows"]["clientCredentials"]
    used = {operation.scope for operation in OPERATIONS if operation.scope is not None}
    assert set(flow["scopes"]) == {scope.value for scope in Scope} == used
    assert ("post", flow["tokenUrl"]) in {
        (method, path) for path, methods in DOCUMENT["paths"].items() for method in methods
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_example_fits_its_schema(name: str) -> None:
    check_example(name, load_example(name))


def check_example(name: str, example: Example) -> None:
    operation = described(name)
    [content] = operation["responses"][str(example.status)]["content"].values()
    assert schema_errors(example.reply, content["schema"]) == []
    if example.body is not None:
        [content] = operation["requestBody"]["content"].values()
        assert schema_errors(example.body, content["schema"]) == []
    queries = {item["name"]: item["schema"] for item in operation["parameters"] if item["in"] == "query"}
    assert set(example.query) <= set(queries)


def test_there_is_no_example_of_anything_else() -> None:
    assert sorted(path.stem for path in EXAMPLES_DIR.glob("*.json")) == sorted(NAMES)


@pytest.mark.asyncio(loop_scope="session")
async def test_the_service_really_answers_like_the_examples(service: Service) -> None:
    examples = await walk(service)
    assert set(examples) == set(NAMES)
    for name, example in examples.items():
        check_example(name, example)
        committed = load_example(name)
        assert (set(example.body or ()), set(example.query)) == (set(committed.body or ()), set(committed.query)), name


def test_decimals_are_strings_with_a_pattern_everywhere() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for schema, field in (("RfqIn", "quantity"), ("SideOut", "price"), ("InstrumentOut", "tick_size")):
        documented = schemas[schema]["properties"][field]
        assert documented["type"] == "string"
        assert re.fullmatch(documented["pattern"], "1234.5")
        for wrong in ("NaN", "Infinity", "1e5", "", "1.", "+1", "0" * 2):
            assert not re.fullmatch(documented["pattern"], wrong)


def test_requests_close_and_references_resolve() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for operation in OPERATIONS:
        if operation.body is not NoBody:
            assert schemas[operation.body.__name__]["additionalProperties"] is False
    for name in re.findall(r"#/components/schemas/(\w+)", openapi_json()):
        assert name in schemas


@pytest.mark.asyncio(loop_scope="session")
async def test_document_and_reference_are_served_and_need_nothing_else(service: Service) -> None:
    async with service.http() as http:
        document = await http.get("/openapi.json")
        assert document.headers["content-type"] == "application/json"
        assert document.json() == json.loads(openapi_json())
        page = await http.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.text == docs_page()
    assert not re.search(r"<script|src=|@import|url\(|href=\"(?!#|/openapi\.json)", page.text)
    for operation in OPERATIONS:
        assert f'id="{operation.name}"' in page.text


def test_examples_are_valid_json_of_one_form() -> None:
    for path in EXAMPLES_DIR.glob("*.json"):
        assert msgspec.json.format(path.read_bytes(), indent=2).rstrip() == path.read_bytes().rstrip(), path.name
