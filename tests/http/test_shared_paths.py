"""Paths that several APIs have in common: each client is answered in the form of its own."""

from __future__ import annotations

import pytest
from gateway_kit import Gateway

ANTHROPIC = {"anthropic-version": "2023-06-01"}


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/nope"])
@pytest.mark.parametrize("key", ["sk-lr-wrong", None])
def test_errors_of_the_model_routes(sandbox: Gateway, path: str, key: str | None) -> None:
    if key is None and path == "/v1/models":
        pytest.skip("that is no error")
    given = sandbox.key if key is None else key
    status = 404 if key is None else 401
    plain = sandbox.send("GET", path, key=given)
    assert (plain.status, plain.json["error"]["param"] if key else "model") == (
        status,
        None if key else "model",
    )
    anthropic = sandbox.send("GET", path, headers={"x-api-key": given, **ANTHROPIC}, key="")
    assert (anthropic.status, anthropic.json["type"]) == (status, "error")
    assert anthropic.headers["request-id"]
    google = sandbox.send("GET", path, headers={"x-goog-api-key": given}, key="")
    assert (google.status, google.json["error"]["code"]) == (status, status)
    assert google.json["error"]["status"] in ("NOT_FOUND", "UNAUTHENTICATED")


@pytest.mark.parametrize("root", ["/v1", "/v1beta"])
def test_a_key_in_the_query_lists_models_as_google_does(sandbox: Gateway, root: str) -> None:
    listed = sandbox.send("GET", f"{root}/models?key={sandbox.key}&pageSize=2", key="")
    assert [model["name"].partition("/")[0] for model in listed.json["models"]] == ["models", "models"]
    refused = sandbox.send("GET", f"{root}/models?key=wrong", key="")
    assert (refused.status, refused.json["error"]["status"]) == (401, "UNAUTHENTICATED")
    assert sandbox.key not in sandbox.log.text


@pytest.mark.parametrize(
    ("headers", "path", "word"),
    [
        ({}, "/v1/files", "OpenAI-compatible"),
        (ANTHROPIC, "/v1/messages/batches", "batches are not offered"),
        ({"x-goog-api-key": "k"}, "/v1beta/cachedContents", "cached contents are not offered"),
    ],
)
def test_what_is_not_there_says_what_is(
    sandbox: Gateway, headers: dict[str, str], path: str, word: str
) -> None:
    answer = sandbox.send("POST", path, b"{}", headers)
    assert answer.status == 404
    assert word in answer.json["error"]["message"]
