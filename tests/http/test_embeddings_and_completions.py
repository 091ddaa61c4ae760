"""Operations beside chat, against the running gateway: charged once, with fallback, refused in words."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import openai
import pytest
from gateway_kit import Answer, Gateway
from google import genai
from google.genai import types

SMALL = "text-embedding-3-small"
PRICES = {
    SMALL: Decimal("0.02"),
    "gemini-embedding-001": Decimal("0.15"),
    "embed-v4.0": Decimal("0.12"),
    "text-embedding-005": Decimal("0.1"),
}
every_model = pytest.mark.parametrize("model", PRICES)


def post(gateway: Gateway, path: str, body: Any, **options: Any) -> Answer:
    return gateway.send("POST", path, json.dumps(body).encode(), **options)


def embed(gateway: Gateway, model: str, given: Any, **members: Any) -> Answer:
    options = {name: members.pop(name) for name in ("key", "headers") if name in members}
    return post(gateway, "/v1/embeddings", {"model": model, "input": given, **members}, **options)


@every_model
def test_embeddings_are_charged_once_by_their_input(sandbox: Gateway, model: str) -> None:
    sandbox.new_key("embeds", account=f"embeds-{model}")
    sandbox.command("credits.add", account=f"embeds-{model}", amount="1")
    key = sandbox.new_key("again", account=f"embeds-{model}")
    answer = embed(sandbox, model, ["Hello there", "and again"], key=key)
    assert answer.status == 200, answer.body
    usage = answer.json["usage"]
    cost = usage["prompt_tokens"] * PRICES[model] / 10**6
    assert usage["prompt_tokens"] > 2
    assert usage["cost"] == cost
    assert usage["credits_remaining"] == 1 - cost == sandbox.credits(f"embeds-{model}")
    record = sandbox.generation(answer.id, key=key)
    assert (record["operation"], record["finish"], record["stream"]) == ("embed", None, False)
    assert record["cost_usd"] == cost
    assert record["usage"]["completion_tokens"] == 0
    assert [attempt["outcome"] for attempt in record["attempts"]] == ["delivered"]


def test_a_provider_that_fails_is_followed_by_the_next(sandbox: Gateway) -> None:
    answer = embed(sandbox, "bge-m3", "[[error 503 on novita]] Hello")
    assert answer.status == 200, answer.body
    record = sandbox.generation(answer.id)
    assert [(a["provider"], a["outcome"]) for a in record["attempts"]] == [
        ("novita", "failed"), ("cloudflare", "delivered"),
    ]  # fmt: skip
    assert answer.json["usage"]["cost"] == answer.json["usage"]["prompt_tokens"] * Decimal("0.012") / 10**6


@pytest.mark.parametrize(("order", "status"), [("error 500", 500), ("malformed", 502), ("cut", 502)])
def test_an_answer_that_fails_costs_nothing(sandbox: Gateway, order: str, status: int) -> None:
    before = sandbox.credits()
    answer = embed(sandbox, "gemini-embedding-001", f"[[{order}]] Hello")
    assert answer.status == status, answer.body
    assert sandbox.credits() == before


def test_tokens_go_to_models_of_openai_alone(sandbox: Gateway) -> None:
    answer = embed(sandbox, SMALL, [[1, 2, 3], [4]])
    assert answer.json["usage"]["prompt_tokens"] == 4
    refused = embed(sandbox, "gemini-embedding-001", [1, 2, 3])
    assert (refused.status, refused.error["code"]) == (400, "unsupported_content")


def test_models_are_asked_where_they_belong(sandbox: Gateway) -> None:
    for answer in (sandbox.chat(SMALL), embed(sandbox, "gpt-4o", "a")):
        assert (answer.status, answer.error["code"], answer.error["param"]) == (
            400,
            "unsupported_operation",
            "model",
        )
    assert "/v1/embeddings" in sandbox.chat(SMALL).error["message"]
    assert "/v1/chat/completions" in embed(sandbox, "gpt-4o", "a").error["message"]
    assert sandbox.get(f"/v1/models/{SMALL}").json["operations"] == ["embed"]


def test_a_loss_is_told_or_refused(sandbox: Gateway) -> None:
    answer = embed(sandbox, SMALL, "a", input_type="query")
    assert answer.headers["x-llm-router-losses"] == "input_type"
    strict = embed(sandbox, SMALL, "a", input_type="query", headers={"x-llm-router-strict": "true"})
    assert (strict.status, strict.error["code"]) == (400, "lossy_translation")


def test_what_the_credit_does_not_cover_is_refused(sandbox: Gateway) -> None:
    key = sandbox.new_key("poor", account="poor-embeds")
    answer = embed(sandbox, SMALL, "a", key=key)
    assert (answer.status, answer.error["code"]) == (402, "insufficient_credits")


@every_model
def test_the_official_clients(sandbox: Gateway, model: str) -> None:
    with openai.OpenAI(base_url=sandbox.url, api_key=sandbox.key, max_retries=0) as client:
        found = client.embeddings.create(model=model, input=["one", "two"], dimensions=16)
    with genai.Client(
        api_key=sandbox.key, http_options={"base_url": sandbox.url.removesuffix("/v1")}
    ) as google:
        config = types.EmbedContentConfig(output_dimensionality=16)
        same = google.models.embed_content(model=model, contents=["one", "two"], config=config)
    assert [item.embedding for item in found.data] == [item.values for item in same.embeddings or ()]
    assert {len(item.embedding) for item in found.data} == {16}


# -- legacy completions ------------------------------------------------------------------------------

every_chat = pytest.mark.parametrize("model", ["gpt-4o-mini", "claude-haiku-4-5", "gemini-2.5-flash-lite"])


@every_chat
def test_the_official_client_completes(sandbox: Gateway, model: str) -> None:
    with openai.OpenAI(base_url=sandbox.url, api_key=sandbox.key, max_retries=0) as client:
        asked: dict[str, Any] = {"model": model, "prompt": "Say hello.", "max_tokens": 400}
        whole = client.completions.create(**asked)
        with client.completions.create(**asked, stream=True) as stream:
            chunks = list(stream)
    assert (whole.object, whole.id[:5], whole.choices[0].finish_reason) == (
        "text_completion",
        "cmpl-",
        "stop",
    )
    assert "Say hello." in whole.choices[0].text
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == whole.choices[0].text
    usage = chunks[-1].usage
    assert usage is not None
    assert whole.usage is not None
    assert usage.model_extra == {
        "cost": usage.model_extra["cost"],
        "credits_remaining": usage.model_extra["credits_remaining"],
    }
    assert usage.completion_tokens == whole.usage.completion_tokens
    assert len({chunk.id for chunk in chunks}) == 1
    assert sandbox.generation(chunks[0].id)["dialect"] == "openai_completions"


def test_sixteen_tokens_are_the_default(sandbox: Gateway) -> None:
    answer = post(sandbox, "/v1/completions", {"model": "gpt-4o-mini", "prompt": "Say hello."})
    assert answer.json["usage"]["completion_tokens"] == 16
    assert answer.json["choices"][0]["finish_reason"] == "length"
    strict = {"headers": {"x-llm-router-strict": "true"}}
    lossy = {"model": "gpt-4o-mini", "prompt": "a", "suffix": "b"}
    assert post(sandbox, "/v1/completions", lossy, **strict).error["code"] == "lossy_translation"
    assert post(sandbox, "/v1/completions", lossy).headers["x-llm-router-losses"] == "suffix"


# -- headers in the form of the API ------------------------------------------------------------------


def test_headers_in_the_form_of_the_api_that_is_called(sandbox: Gateway) -> None:
    key = sandbox.new_key("heads", requests_per_minute=4, tokens_per_minute=100_000)
    say = {"model": "gpt-4o-mini", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    claude = post(sandbox, "/v1/messages", say, key=key)
    assert claude.headers["request-id"] == claude.id
    assert claude.headers["anthropic-ratelimit-requests-remaining"] == "3"
    assert claude.headers["anthropic-ratelimit-input-tokens-limit"] == "100000"
    assert claude.headers["anthropic-ratelimit-tokens-reset"].endswith("Z")
    assert claude.headers["x-llm-router-native-finish-reason"] == "length"
    assert not any(name.startswith("x-ratelimit") for name in claude.headers)
    plain = post(sandbox, "/v1/chat/completions", say, key=key)
    assert plain.headers["x-ratelimit-remaining-requests"] == "2"
    assert int(plain.headers["openai-processing-ms"]) >= 0
    assert plain.headers["openai-version"] == "2020-10-01"
    assert embed(sandbox, SMALL, "a", key=key).headers["x-ratelimit-limit-tokens"] == "100000"
    path, body = "/v1beta/models/gpt-4o-mini:generateContent", {"contents": [{"parts": [{"text": "hi"}]}]}
    assert post(sandbox, path, body, key=key).status == 200
    refused = post(sandbox, path, body, key=key)
    assert refused.status == 429
    details = {detail["@type"].rpartition(".")[2]: detail for detail in refused.error["details"]}
    assert details["ErrorInfo"]["reason"] == "RATE_LIMIT_EXCEEDED"
    assert details["RetryInfo"]["retryDelay"] == refused.headers["retry-after"] + "s"
    assert details["QuotaFailure"]["violations"][0]["quotaValue"] == "4"
    late = post(sandbox, "/v1/messages/count_tokens", say, key=key)
    assert late.headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert late.headers["retry-after"]
