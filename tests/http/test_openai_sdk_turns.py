"""The official OpenAI client over conversations, errors, models and records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import openai
import pytest
from gateway_kit import Gateway

GPT, CLAUDE, GEMINI = "openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5", "google/gemini-2.5-flash"
MODELS = {GPT: "openai_chat", CLAUDE: "anthropic_messages", GEMINI: "gemini_generate"}
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}

every_dialect = pytest.mark.parametrize("model", MODELS)


def user(text: object) -> Any:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def client(sandbox: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=sandbox.url, api_key=sandbox.key, max_retries=0) as client:
        yield client


# Signatures come back as they were given: the sandbox refuses any that changed.


def _accumulated(client: openai.OpenAI, options: dict[str, Any]) -> dict[str, Any]:
    """The assistant message put together from a stream, as a careful client does it."""
    message: dict[str, Any] = {"role": "assistant", "content": "", "reasoning_content": ""}
    details: list[dict[str, Any]] = []
    calls: dict[int, dict[str, Any]] = {}
    with client.chat.completions.create(stream=True, **options) as stream:
        for chunk in stream:
            for choice in chunk.choices:
                delta = choice.delta.model_dump(exclude_none=True)
                message["content"] += delta.get("content", "")
                message["reasoning_content"] += delta.get("reasoning_content", "")
                details += delta.get("reasoning_details", [])
                for piece in delta.get("tool_calls", []):
                    known = calls.setdefault(piece["index"], {"function": {"name": "", "arguments": ""}})
                    function = piece.get("function", {})
                    known["function"]["name"] += function.get("name", "")
                    known["function"]["arguments"] += function.get("arguments", "")
                    known |= {n: v for n, v in piece.items() if n not in ("function", "index")}
    if details:
        message["reasoning_details"] = details
    if calls:
        message["tool_calls"] = list(calls.values())
    return message


@pytest.mark.parametrize("model", [CLAUDE, GEMINI, "google/gemini-3-pro-preview"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_signatures_survive_a_tool_loop(client: openai.OpenAI, model: str, streamed: bool) -> None:
    messages = user("What is the weather in Paris and in Rome?")
    options: Any = {"model": model, "tools": [WEATHER], "reasoning_effort": "low"}
    for _ in range(2):
        if streamed:
            turn = _accumulated(client, {**options, "messages": messages})
        else:
            reply = client.chat.completions.create(messages=messages, **options)
            turn = reply.choices[0].message.model_dump(exclude_none=True)
        messages.append(turn)
        if "tool_calls" not in turn:
            break
        assert turn.get("reasoning_details") or any("extra_content" in c for c in turn["tool_calls"])
        messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": "warm"} for call in turn["tool_calls"]
        ]
    assert "warm" in messages[-1]["content"]
    messages += user("Thank you. And tomorrow?")
    raw = client.chat.completions.with_raw_response.create(messages=messages, **options)
    assert raw.headers["x-llm-router-provider"] == ("anthropic" if model == CLAUDE else "google")


@pytest.mark.parametrize("known", [True, False], ids=["its own turn", "a turn it never made"])
def test_a_changed_signature(client: openai.OpenAI, known: bool) -> None:
    """Of a turn that it made the gateway puts the true one in its place. Of any other the provider sees
    what was sent, and notices: so the test above can fail."""
    messages = user("What is the weather in Paris?")
    options: Any = {"model": CLAUDE, "tools": [WEATHER], "reasoning_effort": "low"}
    reply = client.chat.completions.create(messages=messages, **options)
    turn = reply.choices[0].message.model_dump(exclude_none=True)
    for detail in turn["reasoning_details"]:
        detail["signature"] = "A" + detail["signature"][1:]
    call = turn["tool_calls"][0]
    if not known:
        call["id"] = "toolu_9Zk2LmQ8xWv4TbYs"
        turn["content"] = "Let me see."
    messages += [turn, {"role": "tool", "tool_call_id": call["id"], "content": "warm"}]
    if known:
        answer = client.chat.completions.create(messages=messages, **options)
        assert "warm" in answer.choices[0].message.content
    else:
        with pytest.raises(openai.BadRequestError, match="signature"):
            client.chat.completions.create(messages=messages, **options)


@pytest.mark.parametrize("first", [CLAUDE, GEMINI])
def test_a_conversation_may_change_its_model(client: openai.OpenAI, first: str) -> None:
    messages = user("What is the weather in Paris?")
    options: Any = {"tools": [WEATHER], "reasoning_effort": "low"}
    turn = client.chat.completions.create(model=first, messages=messages, **options).choices[0].message
    messages.append(turn.model_dump(exclude_none=True))
    messages.append({"role": "tool", "tool_call_id": turn.tool_calls[0].id, "content": "warm"})
    for model in MODELS:
        reply = client.chat.completions.create(model=model, messages=messages, **options)
        assert "warm" in reply.choices[0].message.content


# Errors.


def test_a_malformed_request_names_its_member(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=GPT, messages=user("hi"), temperature=3)
    assert caught.value.param == "temperature"
    assert caught.value.code == "invalid_request"
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id.startswith("gen-")
    assert caught.value.body["request_id"] == caught.value.request_id


def test_a_wrong_key_is_an_authentication_error(sandbox: Gateway) -> None:
    with (
        openai.OpenAI(base_url=sandbox.url, api_key="sk-lr-wrong") as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.chat.completions.create(model=GPT, messages=user("hi"))
    assert caught.value.code == "invalid_api_key"
    assert caught.value.request_id


def test_an_unknown_model_has_its_neighbours_named(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="claude-sonet-4-5", messages=user("hi"))
    assert caught.value.code == "model_not_found"
    assert "Model 'claude-sonet-4-5' is not available" in caught.value.message
    assert "claude-sonnet-4-5" in caught.value.message


def test_no_credit_is_402(sandbox: Gateway) -> None:
    key = sandbox.new_key("poor", account="poor")
    with (
        openai.OpenAI(base_url=sandbox.url, api_key=key, max_retries=0) as client,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        client.chat.completions.create(model=GPT, messages=user("hi"), max_tokens=100)
    assert caught.value.status_code == 402
    assert caught.value.code == "insufficient_credits"
    assert {"needed", "available", "affordable_max_tokens"} <= set(caught.value.body)


UPSTREAM = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
    503: openai.InternalServerError,
}


@every_dialect
@pytest.mark.parametrize("status", UPSTREAM)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_a_provider_s_status_keeps_its_exception(
    client: openai.OpenAI, model: str, status: int, streamed: bool
) -> None:
    with pytest.raises(UPSTREAM[status]) as caught:
        client.chat.completions.create(model=model, messages=user(f"[[error {status}]]"), stream=streamed)
    assert type(caught.value) is UPSTREAM[status]
    assert "simulated error" in caught.value.message
    assert caught.value.request_id.startswith("gen-")
    if status == 401:  # the client's own key is fine, and the code says so
        assert caught.value.code == "upstream_authentication"


@every_dialect
def test_a_rate_limit_says_when_to_retry(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model=model, messages=user("[[error 429 after 7s]]"))
    assert caught.value.response.headers["retry-after"] == "7"


def _broken(client: openai.OpenAI, model: str, text: str) -> tuple[list[Any], openai.APIError | None]:
    """The choices of a stream that nobody goes on with, and the exception that ended it."""
    choices: list[Any] = []
    off = {"x-llm-router-continue": "off"}
    with client.chat.completions.create(
        model=model, messages=user(text), stream=True, extra_headers=off
    ) as stream:
        try:
            for chunk in stream:
                choices += chunk.choices
        except openai.APIError as error:
            return choices, error
    return choices, None


@every_dialect
def test_an_error_within_a_stream_is_raised(client: openai.OpenAI, model: str) -> None:
    choices, error = _broken(client, model, "[[error 500 mid]] hello")
    assert choices[0].delta.role == "assistant"
    assert "simulated error" in str(error)


@every_dialect
@pytest.mark.parametrize("cut", ["[[cut]]", "[[cut clean]]"])
def test_a_cut_stream_is_an_error_and_no_whole_answer(client: openai.OpenAI, model: str, cut: str) -> None:
    choices, error = _broken(client, model, f"{cut} hi")
    assert error is not None
    assert {choice.finish_reason for choice in choices} == {None}


def test_the_client_s_own_retries_are_answered(sandbox: Gateway) -> None:
    """All providers of the model fail for the first request; the second is answered."""
    with openai.OpenAI(base_url=sandbox.url, api_key=sandbox.key, max_retries=2) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="claude-3-7-sonnet", messages=user("[[error 503 x1 after 0.01s]] retry please")
        )
    assert raw.status_code == 200
    assert raw.retries_taken == 1


def test_another_provider_answers_unseen(client: openai.OpenAI, sandbox: Gateway) -> None:
    create = client.chat.completions.with_raw_response.create
    first = create(model="llama-3.1-8b", messages=user("hi")).headers["x-llm-router-provider"]
    raw = create(model="llama-3.1-8b", messages=user(f"[[error 503 on {first}]] hi"))
    record = sandbox.generation(raw.headers["x-generation-id"])
    assert [attempt["outcome"] for attempt in record["attempts"]] == ["failed", "delivered"]
    assert record["attempts"][0]["provider"] == first
    assert raw.headers["x-llm-router-provider"] == record["provider"] != first
    assert raw.parse().choices[0].message.content


# Models and records.


def test_models_are_listed_and_described(client: openai.OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}
    assert len(models) > 70
    assert {"gpt-4o-mini", "claude-sonnet-4-5", "gemini-2.5-pro", "grok-4"} <= set(models)
    one = client.models.retrieve("claude-sonnet-4-5")
    assert (one.id, one.object, one.owned_by) == ("claude-sonnet-4-5", "model", models[one.id].owned_by)
    assert client.models.retrieve("anthropic/claude-sonnet-4-5").id == "claude-sonnet-4-5"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


@every_dialect
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_the_record_is_found_by_header_and_by_reply_id(
    client: openai.OpenAI, sandbox: Gateway, model: str, streamed: bool
) -> None:
    if streamed:
        with client.chat.completions.with_streaming_response.create(
            model=model, messages=user("hi"), stream=True
        ) as raw:
            header = raw.headers["x-generation-id"]
            reply_id = [chunk.id for chunk in raw.parse()][-1]
    else:
        whole = client.chat.completions.with_raw_response.create(model=model, messages=user("hi"))
        header, reply_id = whole.headers["x-generation-id"], whole.parse().id
    by_header, by_reply = sandbox.generation(header), sandbox.generation(reply_id)
    assert by_header == by_reply
    assert by_header["id"] == header
    assert by_header["reply_id"] == reply_id
    assert by_header["stream"] is streamed
    assert by_header["cost_pusd"] == sum(line["amount_pusd"] for line in by_header["cost"])


def test_a_foreign_record_is_not_found(client: openai.OpenAI, sandbox: Gateway) -> None:
    raw = client.chat.completions.with_raw_response.create(model=GPT, messages=user("hi"))
    foreign = sandbox.new_key("foreign", account="foreign")
    answers = [
        sandbox.get(f"/v1/generations/{id_}", key=foreign)
        for id_ in (raw.headers["x-generation-id"], raw.parse().id, "gen-nothing")
    ]
    assert [answer.status for answer in answers] == [404] * 3
    assert len({json.dumps(dict(answer.error, request_id="")) for answer in answers}) == 1


def test_costs_add_up_to_the_last_picodollar(sandbox: Gateway) -> None:
    """Over replies of all dialects, whole and streamed, some with errors between them."""
    sandbox.command("credits.add", amount="1.000000000001", account="exact")
    key = sandbox.new_key("exact", account="exact")
    left = sandbox.credits("exact")
    for number in range(60):
        model = list(MODELS)[number % 3]
        answer = sandbox.ask(number % 2 == 1, model, f"number {number} [[long {20 + number * 7}]]", key=key)
        usage = answer.usage if number % 2 else answer.json["usage"]
        cost, now = Decimal(usage["cost"]), Decimal(usage["credits_remaining"])
        assert cost > 0
        assert now == left - cost
        record = sandbox.generation(answer.id, key=key)
        assert Decimal(record["cost_pusd"]) == cost * 10**12
        left = now
        if number % 10 == 0:
            assert sandbox.chat(model, "[[error 500]]", key=key).status == 500
    assert sandbox.credits("exact") == left
