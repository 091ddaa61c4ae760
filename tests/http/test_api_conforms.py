"""Answers are what the API's own description says, whoever asks: no 5xx, no status that is not described, and bodies
that fit their schemas.

The requests are made of the served OpenAPI document, by a seed. More of them, for an hour of its own:
``LLM_ROUTER_API_EXAMPLES=200 pytest tests/http/test_api_conforms.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

import pytest
from gateway_kit import Gateway
from people_kit import Browser, first_operator, invited

schemathesis = pytest.importorskip("schemathesis", reason="it is of the dev extra")

from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402
from schemathesis.checks import CHECKS, load_all_checks  # noqa: E402
from schemathesis.core.failures import FailureGroup  # noqa: E402

load_all_checks()

EXAMPLES = int(os.environ.get("LLM_ROUTER_API_EXAMPLES", "2"))
CALLERS = 3
"""Made-up requests of each row, and by how many each of them is sent, everybody in turn."""

ROLES = ("owner", "admin", "developer", "billing", "viewer")
SCOPES = ("inference", "models", "usage", "keys", "admin")
EVERYBODY = ("operator", *ROLES, *(f"key:{scope}" for scope in SCOPES), "nobody")

PASSED_OVER = ("/api/v1/exchanges/live", "/api/v1/sign-out", "/api/v1/sign-in/code")
"""Without an end of its own, or the end of the session that asks."""

SELF = (
    "/api/v1/gateway/people/{person}",
    "/api/v1/me/password",
    "/api/v1/accounts/{account}/leave",
    "/api/v1/accounts/{account}",
)
"""With these, somebody could take their own rights away: those that come later would be refused for no reason."""

HELD_TO = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    found = Gateway(tmp_path_factory.mktemp("conforms"), "--sandbox")
    yield found
    assert found.stop() == 0
    assert "Traceback" not in found.log.text


@pytest.fixture(scope="module")
def operator(gateway: Gateway) -> Browser:
    return first_operator(gateway)


@pytest.fixture(scope="module")
def credentials(operator: Browser) -> dict[str, dict[str, str]]:
    """Headers by who asks."""
    made = operator.post("/accounts", {"id": "acme", "title": "Acme"})
    assert made.status == 201, made.body
    found: dict[str, dict[str, str]] = {"operator": _session(operator), "nobody": {}}
    for role in ROLES:
        found[role] = _session(invited(operator, "acme", role, f"{role}@example.com"))
    for scope in SCOPES:
        key = operator.post("/keys?account=acme", {"name": scope, "scopes": [scope]})
        found[f"key:{scope}"] = {"authorization": f"Bearer {key.json['key']}"}
    return found


@pytest.fixture(scope="module")
def there(operator: Browser, credentials: dict[str, dict[str, str]]) -> dict[str, str]:
    """One object of each kind, by the words of paths, so that not every path leads nowhere."""
    gateway = operator.gateway
    gateway.command("credits.add", account="acme", amount="5")
    made = operator.post("/keys?account=acme", {"name": "used", "limit": 3, "limit_reset": "daily"}).json
    answer = gateway.chat("openai/gpt-4o-mini", key=made["key"])
    assert answer.status == 200, answer.body
    team = operator.post("/teams?account=acme", {"title": "red"}).json
    asked = operator.post("/invitations?account=acme", {"email": "new@example.com", "role": "viewer"}).json
    operator.post("/presets", {"name": "short", "models": ["openai/gpt-4o-mini"]})
    operator.post("/limits?account=acme", {"kind": "requests", "amount": 100_000})
    operator.post("/budgets?account=acme", {"amount": 4})
    ids = {"hash": made["data"]["hash"], "team": team["id"], "invitation": asked["id"], "account": "acme"}
    person = operator.get("/members?account=acme").json["data"][0]["person"]
    return {**ids, "person": person, "preset": "short", "month": "2026-11", "id": answer.id}


def _session(browser: Browser) -> dict[str, str]:
    origin = f"http://127.0.0.1:{browser.gateway.port}"
    return {"cookie": browser.cookie, "x-llm-router-csrf": "1", "origin": origin}


@pytest.fixture(scope="module")
def operations(gateway: Gateway) -> list[Any]:
    described = Browser(gateway).get("/openapi.json").json
    schema = schemathesis.openapi.from_dict(described)
    schema.config.update(base_url=f"http://127.0.0.1:{gateway.port}")
    return [found.ok() for found in schema.get_all_operations()]


def test_answers_are_as_described(
    operations: list[Any], credentials: dict[str, dict[str, str]], there: dict[str, str]
) -> None:
    faults, asked, callers = list[str](), 0, cycle(EVERYBODY)
    for operation in operations:
        asked += _ask(operation, credentials, there, callers, faults)
    assert not faults, "\n\n".join(faults[:40])
    assert asked >= 60 * EXAMPLES * CALLERS


def _ask(
    operation: Any,
    credentials: dict[str, dict[str, str]],
    there: dict[str, str],
    callers: Iterator[str],
    faults: list[str],
) -> int:
    """Ask with made-up values, each by some of the callers; tell what is wrong with answers."""
    if operation.path in PASSED_OVER or (operation.method.upper() != "GET" and operation.path in SELF):
        return 0
    checks, asked = [CHECKS.get_one(name) for name in HELD_TO], 0

    @seed(7)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def one(case: Any) -> None:
        nonlocal asked
        if "account" in (case.query or {}):
            case.query["account"] = "acme"
        for who in islice(callers, CALLERS):
            asked += 1
            if asked % 2 and case.path_parameters:
                case.path_parameters |= {n: there[n] for n in case.path_parameters if n in there}
            response = case.call(headers=credentials[who], timeout=30, allow_redirects=False)
            try:
                case.validate_response(response, checks=checks)
            except FailureGroup as group:
                wrong = "\n".join(str(each) for each in group.exceptions)
                sent = f"{case.method} {case.formatted_path} {case.query} {case.body!r}"[:600]
                faults.append(f"{who}: {sent}: {response.status_code} {response.text[:400]}\n{wrong}")

    one()
    return asked
