# The library and the OpenAPI document say the same: every operation, every parameter, every field and its type.
from __future__ import annotations

import importlib
import inspect
import json
import re
import types
import typing
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest

from rfq_service.client import AsyncClient, Client, ExternalQuote, Leg
from rfq_service.client.call import Call
from rfq_service.client.schemas import enums
from rfq_service.client.tokens import Tokens
from rfq_service.client.values import OpenEnum, Reply, TimeNs, encode, parse_time
from tests.support.data import PROJECT_ROOT

DOCUMENT = json.loads((PROJECT_ROOT / "openapi" / "openapi.json").read_text())
SCHEMAS = DOCUMENT["components"]["schemas"]
OPERATIONS = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
BUILDERS = {
    name: function
    for module in ("audit", "buy_side", "health", "identity", "market", "sell_side")
    for name, function in vars(importlib.import_module(f"rfq_service.client.operations.{module}")).items()
    if inspect.isfunction(function) and function.__module__.startswith("rfq_service.client.operations.")
    if typing.get_origin(typing.get_type_hints(function)["return"]) is Call
}
# The clients ask for tokens themselves.
BY_THE_LIBRARY = {"issue_token"}
# Names that differ: times are nanoseconds, and SideOut is what has been quoted.
PARAMETERS = {"from": "from_ns", "to": "to_ns"}
STRUCTS = {"SideOut": "QuotedSide", "TokenOut": "TokenReply"}
REPLIES = {
    name: struct
    for module in ("audit", "dealer", "identity", "market", "operations", "quote", "rfq", "score")
    for name, struct in vars(importlib.import_module(f"rfq_service.client.schemas.{module}")).items()
    if inspect.isclass(struct) and issubclass(struct, Reply)
}
DECIMAL = SCHEMAS["TermsOut"]["properties"]["quantity"]["pattern"]
TIME = SCHEMAS["TermsOut"]["properties"]["created_at"]["pattern"]


def named(reference: str) -> str:
    return reference.rpartition("/")[2]


def reachable(schema, found):
    """Names of every schema that a reply holds."""
    if isinstance(schema, dict):
        if "$ref" in schema and named(schema["$ref"]) not in found:
            found.add(named(schema["$ref"]))
            reachable(SCHEMAS[named(schema["$ref"])], found)
        for value in schema.values():
            reachable(value, found)
    elif isinstance(schema, list):
        for value in schema:
            reachable(value, found)
    return found


def reply_schema(operation):
    (status,) = [code for code in operation["responses"] if code < "300"]
    return next(iter(operation["responses"][status]["content"].items()))


ANSWERED = sorted(set().union(*(reachable(reply_schema(operation)[1], set()) for *_, operation in OPERATIONS.values())))


def fits(kind, schema):
    """Whether a field of type ``kind`` holds what the schema describes, exactly."""
    if "anyOf" in schema:
        options = [option for option in schema["anyOf"] if option != {"type": "null"}]
        assert len(options) == 1
        return is_union_with_none(kind) and fits(without_none(kind), options[0])
    if "$ref" in schema:
        target = SCHEMAS[named(schema["$ref"])]
        return kind is (getattr(enums, named(schema["$ref"])) if "enum" in target else struct_of(schema["$ref"]))
    if schema.get("type") == "array":
        return typing.get_origin(kind) is tuple and fits(typing.get_args(kind)[0], schema["items"])
    if schema.get("type") == "object":
        values = schema["additionalProperties"]
        held = typing.get_args(kind)[1]
        return typing.get_origin(kind) is dict and (held is Any if values is True else fits(held, values))
    return kind in scalars(schema)


def scalars(schema):
    if schema.get("pattern") == DECIMAL:
        return {Decimal}
    if schema.get("pattern") == TIME:
        return {TimeNs}
    if schema.get("format") == "uuid":
        return {UUID}
    if "enum" in schema or "const" in schema or schema["type"] == "string":
        # scores keep words, prices and ids as plain text
        return {str, Decimal, UUID} | {value for value in vars(enums).values() if is_open_enum(value)}
    return {{"integer": int, "number": float, "boolean": bool}[schema["type"]]}


def is_open_enum(value):
    return inspect.isclass(value) and issubclass(value, OpenEnum)


def is_union_with_none(kind):
    return isinstance(kind, types.UnionType) and type(None) in typing.get_args(kind)


def without_none(kind):
    (rest,) = [option for option in typing.get_args(kind) if option is not type(None)]
    return rest


def struct_of(reference: str):
    name = named(reference)
    return REPLIES[STRUCTS.get(name, name.removesuffix("Out"))]


def test_every_operation_is_a_method_of_both_clients():
    assert BUILDERS.keys() == OPERATIONS.keys() - BY_THE_LIBRARY
    for client in (AsyncClient, Client):
        missing = {name for name in BUILDERS if getattr(client, name).__wrapped__ is not BUILDERS[name]}
        assert missing == set()


@pytest.mark.parametrize("client", [AsyncClient, Client])
def test_every_listing_can_be_followed_to_its_end(client):
    listings = {
        name
        for name, (_, _, operation) in OPERATIONS.items()
        if {"cursor", "after"} & {parameter["name"] for parameter in operation["parameters"]}
    }
    methods = [getattr(client, name) for name in dir(client) if name.startswith("each_")]
    assert {method.__wrapped__.__name__ for method in methods} == listings


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_every_parameter_and_field_of_a_request_is_an_argument(name):
    _, _, operation = OPERATIONS[name]
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    fields = SCHEMAS[named(content["schema"]["$ref"])]["properties"] if content else {}
    declared = {item["name"] for item in operation["parameters"] if item["in"] != "header"} | fields.keys()
    wanted = {PARAMETERS.get(argument, argument) for argument in declared}
    if "Idempotency-Key" in {item["name"] for item in operation["parameters"]}:
        wanted.add("idempotency_key")
    assert inspect.signature(BUILDERS[name]).parameters.keys() == wanted


@pytest.mark.parametrize("name", ["LegIn", "ExternalQuoteIn"])
def test_every_field_within_a_request_is_one_of_its_value(name):
    known = {"LegIn": Leg, "ExternalQuoteIn": ExternalQuote}[name].__annotations__
    assert known.keys() == SCHEMAS[name]["properties"].keys()


@pytest.mark.parametrize("name", [name for name in ANSWERED if "enum" in SCHEMAS[name]])
def test_every_word_is_known(name):
    assert {member.value for member in getattr(enums, name)} == set(SCHEMAS[name]["enum"])


@pytest.mark.parametrize("name", [name for name in ANSWERED if "properties" in SCHEMAS[name]])
def test_every_field_of_a_reply_is_known_with_its_type(name):
    struct, properties = struct_of(name), SCHEMAS[name]["properties"]
    kinds = typing.get_type_hints(struct)
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    assert fields.keys() == properties.keys()
    required = set(SCHEMAS[name].get("required", ()))
    wrong = {text: kinds[field.name] for text, field in fields.items() if not fits(kinds[field.name], properties[text])}
    assert wrong == {}
    # what the service may leave out has its default here too
    assert {text for text, field in fields.items() if field.required} <= required


def arguments(name, example):
    """The arguments of a call that was really made."""
    body = dict(example["body"] or {})
    given = {PARAMETERS.get(key, key): value for key, value in {**example["path"], **example["query"]}.items()}
    for key in ("from_ns", "to_ns"):
        if key in given:
            given[key] = parse_time(given[key])
    for key, value in body.items():
        given[key] = argument(key, value)
    parameters = OPERATIONS[name][2]["parameters"]
    if "Idempotency-Key" in {item["name"] for item in parameters}:
        given["idempotency_key"] = "the-key"
    return given


def argument(key, value):
    if key == "legs":
        return [Leg(**{name: argument(name, item) for name, item in leg.items()}) for leg in value]
    if key == "quotes":
        return [ExternalQuote(**{name: argument(name, item) for name, item in quote.items()}) for quote in value]
    if key in ("bid", "ask"):
        return Decimal(value["price"]) if "price" in value else [Decimal(price) for price in value["leg_prices"]]
    if isinstance(value, str) and re.fullmatch(DECIMAL, value) and key not in ("name", "label"):
        return Decimal(value)
    return value


def example_of(name):
    return json.loads((PROJECT_ROOT / "openapi" / "examples" / f"{name}.json").read_text())


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_recorded_request_is_what_the_library_sends(name):
    method, path, _ = OPERATIONS[name]
    example = example_of(name)
    call = BUILDERS[name](**arguments(name, example))
    assert (call.name, call.method) == (name, method)
    assert call.path == path.format(**example["path"])
    assert dict(call.query) == {key: str(value) for key, value in example["query"].items()}
    sent = json.loads(call.body) if call.body else {}
    for leg in sent.get("legs", ()):  # the library says the defaults too
        leg.setdefault("side", "buy")
    told = example["body"] or {}
    if "legs" in told:
        told["legs"] = [{"side": "buy", "ratio": "1", **leg} for leg in told["legs"]]
    assert sent == told


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_recorded_reply_is_read_without_loss(name):
    example = example_of(name)
    call = BUILDERS[name](**arguments(name, example))
    if isinstance(example["reply"], str):
        assert call.read(example["reply"].encode()) == example["reply"]
        return
    reply = call.read(json.dumps(example["reply"]).encode())
    assert json.loads(encode(reply)) == example["reply"]


def test_token_request_is_the_documented_one():
    method, path, operation = OPERATIONS["issue_token"]
    call = Tokens("id", "secret", lambda: 0.0).call()
    assert (call.name, call.method, call.path) == ("issue_token", method, path)
    assert list(operation["requestBody"]["content"]) == [call.media_type]
    reply = call.read(json.dumps(example_of("issue_token")["reply"]).encode())
    assert json.loads(encode(reply)) == example_of("issue_token")["reply"]


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_what_changes_something_carries_a_key(name):
    declared = {item["name"]: item for item in OPERATIONS[name][2]["parameters"] if item["in"] == "header"}
    takes = "idempotency_key" in (inspect.signature(BUILDERS[name]).parameters if name in BUILDERS else {})
    assert takes == ("Idempotency-Key" in declared)


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_public_operations_send_no_token(name):
    call = BUILDERS[name](**arguments(name, example_of(name)))
    assert call.is_public == (OPERATIONS[name][2].get("security") == [])
