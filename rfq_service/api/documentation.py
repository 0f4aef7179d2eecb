"""The reference as one HTML page, made from the OpenAPI document: no script, nothing loaded from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from typing import Any

from rfq_service.api.openapi import Json, openapi_document

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
h2{border-bottom:1px solid #ccd;margin-top:3rem}
details{border:1px solid #ccd;border-radius:6px;margin:.6rem 0;padding:.4rem .8rem}
summary{cursor:pointer}
code,pre{font:14px/1.45 ui-monospace,monospace}
pre{background:#f4f5f8;padding:.7rem;overflow:auto;max-height:28rem}
table{border-collapse:collapse;width:100%}
td,th{border-bottom:1px solid #e3e5ea;padding:.25rem .6rem .25rem 0;text-align:left;vertical-align:top}
b{display:inline-block;min-width:3rem}
"""


def docs_page() -> str:
    """The whole page."""
    document = openapi_document()
    info = document["info"]
    parts = [f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>", _prose(info["description"])]
    parts.append('<p>Machine-readable: <a href="/openapi.json">/openapi.json</a></p>')
    for tag in document["tags"]:
        parts.append(f"<h2>{escape(tag['name'])}</h2>")
        for path, methods in document["paths"].items():
            parts += [_operation(m, path, op) for m, op in methods.items() if tag["name"] in op["tags"]]
    parts.append("<h2>Schemas</h2>")
    parts += [_schema(name, schema) for name, schema in document["components"]["schemas"].items()]
    head = f'<meta charset="utf-8"><title>{escape(info["title"])}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _prose(text: str) -> str:
    """The little Markdown that our descriptions use: paragraphs, lists and code."""
    blocks = []
    for block in text.split("\n\n"):
        lines = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(block, quote=False)).split("\n")
        if lines[0].startswith("- "):
            items = "".join(f"<li>{line.removeprefix('- ')}</li>" for line in lines)
            blocks.append(f"<ul>{items}</ul>")
        else:
            blocks.append(f"<p>{' '.join(lines)}</p>")
    return "".join(blocks)


def _operation(method: str, path: str, operation: Json) -> str:
    parts = [f"<summary><b>{method.upper()}</b> <code>{escape(path)}</code> {escape(operation['summary'])}</summary>"]
    parts.append(_prose(operation["description"]))
    rows = [
        (parameter["name"], parameter["in"], _type_of(parameter["schema"])) for parameter in operation["parameters"]
    ]
    parts.append(_table(("parameter", "in", "type"), rows))
    body = operation.get("requestBody")
    if body is not None:
        [(media_type, content)] = body["content"].items()
        parts.append(f"<p>Body, {media_type}: {_type_of(content['schema'])}</p>{_code(content['example'])}")
    for status, reply in operation["responses"].items():
        parts.append(_prose(f"{status} {reply['description']}"))
        shown = [content for content in reply["content"].values() if "example" in content]
        parts += [f"<p>{_type_of(content['schema'])}</p>{_code(content['example'])}" for content in shown]
    return f'<details id="{escape(operation["operationId"])}">{"".join(parts)}</details>'


def _schema(name: str, schema: Json) -> str:
    parts = [f'<summary id="schema-{escape(name)}"><code>{escape(name)}</code></summary>']
    parts.append(_prose(schema.get("description", "")))
    if "enum" in schema:
        parts.append(_prose(", ".join(f"`{value}`" for value in schema["enum"])))
    required = schema.get("required", [])
    rows = [
        (field + ("" if field in required else " (optional)"), _type_of(value), escape(value.get("description", "")))
        for field, value in schema.get("properties", {}).items()
    ]
    parts.append(_table(("field", "type", ""), rows))
    return f"<details>{''.join(parts)}</details>"


def _type_of(schema: Json) -> str:
    """A schema in a few words, with links to the named ones."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type_of(option) for option in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type_of(schema.get('items', {}))}"
    if "enum" in schema:
        return " or ".join(escape(str(value)) for value in schema["enum"])
    return escape(" ".join(str(schema[key]) for key in ("type", "format") if key in schema))


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    header = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{header}</tr>{body}</table>"


def _code(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return f"<pre>{escape(text, quote=False)}</pre>"
