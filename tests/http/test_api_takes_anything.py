"""Whatever fits the description of the API, or does not, is answered, and never with a fault of the gateway's own."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from gateway_kit import Gateway
from people_kit import Browser, first_operator

TRIES = 3
"""Requests of each row, each with other values."""

PASSED_OVER = ("/api/v1/sign-", "/api/v1/me/password", "/api/v1/me/second-factor", "/api/v1/exchanges/live")
"""They end the session, take long on purpose, or go on without end."""

TEXTS = (
    "", "a", "default", "mo", "key_1", "2026-11", "30d", "2027-01-31", "1", "0", "-1", "1e9", "auto", "\u0000", "\ud7ff",
    "é" * 300, "../..", "%", "{}", "'; drop table keys; --", "ada@example.com", "10.0.0.0/8", "openai",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 100, 2**31, 2**63, -(2**63), 10**30, 0.5, 1e300)


class Maker:
    """Values of schemas, by chance that is the same each time."""

    def __init__(self, components: dict[str, Any], seed: int) -> None:
        self._components = components
        self._dice = random.Random(seed)

    def value(self, schema: dict[str, Any], depth: int = 0) -> Any:
        dice = self._dice
        if dice.random() < 0.05:  # what fits nothing
            return dice.choice([None, True, [], {}, *TEXTS, *NUMBERS])
        if "$ref" in schema:
            return self.value(self._components[schema["$ref"].rpartition("/")[2]], depth)
        if "anyOf" in schema:
            return self.value(dice.choice(schema["anyOf"]), depth)
        if "enum" in schema:
            return dice.choice(schema["enum"])
        match schema.get("type"):
            case "object":
                return self._object(schema, depth)
            case "array":
                items = schema.get("items")
                kind = items if isinstance(items, dict) else {}
                return [self.value(kind, depth + 1) for _ in range(dice.randrange(3) if depth < 4 else 0)]
            case "integer":
                return dice.choice([number for number in NUMBERS if isinstance(number, int)])
            case "number":
                return dice.choice(NUMBERS)
            case "boolean":
                return dice.random() < 0.5
            case "null":
                return None
            case _:
                return dice.choice(TEXTS)

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        members = schema.get("properties", {})
        needed = schema.get("required", ())
        return {
            name: self.value(kind, depth + 1)
            for name, kind in members.items()
            if name in needed or self._dice.random() < 0.6
        }

    def path(self, path: str, parameters: list[dict[str, Any]]) -> str:
        query = ["account=default"]
        for parameter in parameters:
            text = self._dice.choice(TEXTS)
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", quote(text or "x", safe=""))
            elif parameter["in"] == "query" and parameter["name"] != "account" and self._dice.random() < 0.4:
                query.append(f"{parameter['name']}={quote(text, safe='')}")
        return f"{path}?{'&'.join(query)}".removeprefix("/api/v1")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    found = Gateway(tmp_path_factory.mktemp("anything"), "--sandbox")
    yield found
    assert found.stop() == 0
    assert "Traceback" not in found.log.text


def test_no_request_is_answered_by_a_fault(gateway: Gateway) -> None:
    operator = first_operator(gateway)
    described = operator.get("/openapi.json").json
    maker = Maker(described["components"]["schemas"], seed=7)
    stranger = Browser(gateway)
    faults, asked, statuses = [], 0, set()
    for path, methods in described["paths"].items():
        if path.startswith(PASSED_OVER):
            continue
        for method, row in methods.items():
            schema = row.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            for number in range(TRIES):
                who = stranger if row["security"] == [] and path != "/api/v1/openapi.json" else operator
                body = None if schema is None else maker.value(schema)
                if path.endswith(("/gateway/people/{person}", "/leave")):
                    body = {}  # who asks is to stay operator
                where = maker.path(path, row["parameters"])
                answer = who.ask(method.upper(), where, body)
                asked += 1
                statuses.add(answer.status)
                if answer.status >= 500 and answer.status != 503:
                    faults.append((method, where, json.dumps(body)[:300], answer.body[:300], number))
    assert not faults
    assert asked > 200
    assert {200, 201, 400, 404} <= statuses
