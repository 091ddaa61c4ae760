"""The description of the API in OpenAPI 3.1, made from the route table.

https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llm_router import __version__
from llm_router.edge.api.table import JSON, ApiRoute, Dollars

_REF = "#/components/schemas/{name}"

_ERRORS = {
    "400": "The request is wrong; the message says what to change.",
    "401": "Nobody has signed in, or the key or session is not valid.",
    "403": "Seen, but not allowed.",
    "404": "There is no such thing, or not for who asks.",
    "409": "Somebody else was faster, or the same request is being worked on.",
    "413": "The body is larger than this takes.",
    "422": "Another request was sent with this Idempotency-Key.",
    "429": "Too many requests or tries.",
    "503": "The store cannot be used now.",
}

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "code": {"type": ["string", "integer", "null"]},
                "param": {"type": ["string", "null"]},
            },
        }
    },
}


def describe(routes: tuple[ApiRoute, ...]) -> dict[str, Any]:
    """The whole document."""
    kinds = list(dict.fromkeys([k for r in routes for k in (r.reply, r.body) if k is not None]))
    shapes, components = msgspec.json.schema_components(
        kinds, schema_hook=_shape_of_member, ref_template=_REF
    )
    shape_of = dict(zip(kinds, shapes, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, shape_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "LLM Router: accounts and administration",
            "version": __version__,
            "description": "Everything under /api/v1. Amounts are exact JSON numbers of US dollars; "
            "requests may have them as text, too.",
        },
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": _ERROR},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "llm_router_session"},
            },
        },
    }


def _shape_of_member(kind: type) -> dict[str, object]:
    """What the schema says of members of our own kinds."""
    assert kind is Dollars
    return {"type": ["number", "string"], "format": "decimal"}


def _operation(route: ApiRoute, shape_of: dict[Any, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _name(route),
        "summary": route.summary,
        "tags": [route.path.split("/")[3]],
        "parameters": _parameters(route),
        "responses": {
            str(route.status): {
                "description": "Done.",
                "content": {
                    kind: {"schema": shape_of[route.reply] if kind == JSON else {"type": "string"}}
                    for kind in route.media
                },
            },
            **{
                status: {
                    "description": text,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
                }
                for status, text in _ERRORS.items()
            },
        },
        "security": _security(route),
    }
    if route.permission is not None:
        described["x-permission"] = route.permission
    if route.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": shape_of[route.body]}},
        }
    return described


def _security(route: ApiRoute) -> list[dict[str, list[str]]]:
    if route.who == "anybody":
        return []
    return [{"session": []}] if route.who == "person" else [{"key": []}, {"session": []}]


def _parameters(route: ApiRoute) -> list[dict[str, Any]]:
    text = {"type": "string"}
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": text}
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]
    if route.of_account:
        found.append(
            {
                "name": "account",
                "in": "query",
                "description": "whose; who asks is of one account alone: that one",
                "schema": text,
            }
        )
    for name, meaning in route.parameters:
        found.append({"name": name, "in": "query", "description": meaning, "schema": text})
    if route.once:
        found.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "sent again with the same request, it gets the same answer for a day",
                "schema": {"type": "string", "maxLength": 255},
            }
        )
    return found


def _name(route: ApiRoute) -> str:
    words = re.findall(r"[a-z]+", route.path.removeprefix("/api/v1").replace("-", " ").lower())
    return "_".join([route.method.lower(), *words])
