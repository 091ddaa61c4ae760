"""The gateway passes its own conformance checks in full; and each planted fault is caught by its check."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from conformance_proxy import Exchange, Fault, Proxy, events, failed, stream, values, whole
from gateway_kit import Gateway

from llm_router.conformance import ALL_CHECKS, APIS, Options, Report, Verdict, run

CHATS = ("chat", "messages", "responses", "gemini")
MODELS = ("gpt-6-luna", "claude-haiku-4-5", "gemini-3.5-flash-lite")
"""One behind each form of the simulated providers."""

MAY_SKIP = {
    "the answer came too quickly to tell",
    "the target gives no logprobs",
    "the target makes one choice only",
}


def _run(url: str, key: str, *only: str, model: str = MODELS[0]) -> Report:
    models = {**dict.fromkeys(CHATS, model), "embeddings": "text-embedding-3-small"}
    options = Options(base_url=url, key=key, models=models, only=only, timeout_s=20)
    return run(options, clock=lambda: time.monotonic_ns() // 1000, sleep=lambda _: None, environ={})


@pytest.mark.parametrize("model", MODELS)
def test_the_gateway_passes_every_check(sandbox: Gateway, model: str) -> None:
    report = _run(sandbox.url, sandbox.key, model=model)
    failures = [(r.check.id, r.expected, r.got) for r in report.results if r.verdict is Verdict.FAILED]
    assert failures == []
    assert report.missing == {}
    assert tuple(report.models) == APIS
    skipped = {r.check.id: r.why for r in report.results if r.verdict is Verdict.SKIPPED}
    assert {why for why in skipped.values() if "declares that it loses" not in why} <= MAY_SKIP
    assert len(skipped) < 8
    assert report.count(Verdict.PASSED) > 580
    assert report.score == 1
    assert len(report.results) == len(ALL_CHECKS)
    assert report.spent.cost_usd is not None


# -- faults ----------------------------------------------------------------------------------------


def _status(old: int, new: int) -> Fault:
    def fault(exchange: Exchange) -> None:
        if exchange.status == old:
            exchange.status = new

    return fault


def _header(name: str, value: str | None) -> Fault:
    def fault(exchange: Exchange) -> None:
        exchange.headers.pop(name, None)
        if value is not None:
            exchange.headers[name] = value

    return fault


def _error(**members: object) -> Fault:
    def spoil(exchange: Exchange) -> None:
        value = json.loads(exchange.reply)
        value["error"].update(members)
        exchange.reply = json.dumps(value).encode()

    return failed(spoil)


def _openai_error(exchange: Exchange) -> None:
    exchange.reply = b'{"error": {"message": "no", "type": "x", "param": null, "code": null}}'


def _longer(exchange: Exchange) -> None:
    exchange.length = len(exchange.reply) + 10


def _set(*path: object, to: object) -> Fault:
    def spoil(value: Any) -> None:
        holder = value
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = to

    return whole(spoil)


def _echo_key(exchange: Exchange) -> None:
    exchange.reply = b'{"error": {"message": "wrong: sk-wrong-0123456789abcdefghijklmnopqrstuvwxyz"}}'


def _one_more(value: Any) -> None:
    value["usage"]["total_tokens"] += 1


def _deltas(spoil: Any) -> Fault:
    def change(value: Any) -> None:
        for choice in value.get("choices", ()):
            spoil(choice)

    return values(change)


def _role_again(choice: Any) -> None:
    choice["delta"]["role"] = "assistant"


def _finish_always(choice: Any) -> None:
    choice["finish_reason"] = "stop"


def _late_text(found: list[Any]) -> list[Any]:
    late = {**found[0][1], "choices": [{"index": 0, "delta": {"content": "more"}, "finish_reason": None}]}
    return [*found[:-1], [None, late], found[-1]]


def _usage_early(found: list[Any]) -> list[Any]:
    usage = next(value["usage"] for _, value in found if isinstance(value, dict) and value.get("usage"))
    found[0][1]["usage"] = usage
    return found


def _usage_anyway(found: list[Any]) -> list[Any]:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return [*found[:-1], [None, {**found[0][1], "choices": [], "usage": usage}], found[-1]]


def _ids(found: list[Any]) -> list[Any]:
    found[1][1]["id"] = "chatcmpl-other"
    return found


def _arguments_object(value: Any) -> None:
    for call in value["choices"][0]["message"].get("tool_calls", ()):
        call["function"]["arguments"] = {"city": "Paris"}


def _names_again(choice: Any) -> None:
    for call in choice["delta"].get("tool_calls", ()):
        call["id"] = "call_1"
        call["function"]["name"] = "get_weather"


def _indexes_from_1(choice: Any) -> None:
    for call in choice["delta"].get("tool_calls", ()):
        call["index"] += 1


def _modern(value: Any) -> None:
    message = value["choices"][0]["message"]
    message["tool_calls"] = [{"id": "a", "type": "function", "function": message.pop("function_call", None)}]


def _start_usage(value: Any) -> None:
    if value["type"] == "message_start":
        value["message"]["usage"]["input_tokens"] = 0


def _block_index(value: Any) -> None:
    if value["type"] == "content_block_delta":
        value["index"] += 1


def _without(type_: str) -> Fault:
    return events(lambda found: [e for e in found if not isinstance(e[1], dict) or e[1].get("type") != type_])


def _without_one(type_: str) -> Fault:
    def change(found: list[Any]) -> list[Any]:
        number = next(n for n, e in enumerate(found) if e[1].get("type") == type_)
        return found[:number] + found[number + 1 :]

    return events(change)


def _drop(value: Any, *path: Any) -> None:
    for step in path[:-1]:
        value = value[step]
    value.pop(path[-1], None)


def _done_ids(value: Any) -> None:
    if value["type"] == "response.output_item.done":
        value["item"]["id"] = "msg_other"


def _base64(exchange: Exchange) -> None:
    if exchange.asked.get("encoding_format") == "base64":
        value = json.loads(exchange.reply)
        value["data"][0]["embedding"] = "AACAPwAAgD8="
        exchange.reply = json.dumps(value).encode()


def _reversed(value: Any) -> None:
    vectors = [entry["embedding"] for entry in value["data"]]
    for entry, vector in zip(value["data"], reversed(vectors), strict=True):
        entry["embedding"] = vector


def _longer_vectors(value: Any) -> None:
    for entry in value["data"]:
        entry["embedding"].append(0.0)


def _mixed_up(exchange: Exchange) -> None:
    if exchange.status == 404:
        exchange.reply = exchange.reply.replace(b"no-such-model-xyzzy-1", b"no-such-model-xyzzy-2")


def _snake(value: Any) -> None:
    value["usage_metadata"] = value.pop("usageMetadata")


def _as_lines(exchange: Exchange) -> None:
    if isinstance(json.loads(exchange.reply), list):
        exchange.reply = b"\n".join(json.dumps(chunk).encode() for chunk in json.loads(exchange.reply))


def _array_as_lines(exchange: Exchange) -> None:
    if exchange.path.endswith(":streamGenerateContent"):
        _as_lines(exchange)


def _thrice(value: Any) -> None:
    value["data"] += value["data"][:1]


FAULTS: tuple[tuple[str, Fault], ...] = (
    ("chat.whole.object", _set("object", to="chat.completion.chunk")),
    ("chat.whole.id-form", _set("id", to="gen-1")),
    ("chat.whole.created", _set("created", to=1795384826000)),
    ("chat.whole.role", _set("choices", 0, "message", "role", to="model")),
    ("chat.whole.choices", _set("choices", 0, "index", to=1)),
    ("chat.whole.content", _set("choices", 0, "message", "content", to=None)),
    ("chat.whole.finish", _set("choices", 0, "finish_reason", to="end_turn")),
    ("chat.whole.usage", _set("usage", to=None)),
    ("chat.whole.usage-sum", whole(_one_more)),
    ("chat.whole.usage-positive", _set("usage", "completion_tokens", to=0)),
    ("chat.whole.usage-details", _set("usage", "prompt_tokens_details", to={"cached_tokens": 10**6})),
    ("chat.whole.cost", _set("usage", "cost", to="0.1")),
    ("chat.whole.balanced-usage", _set("usage", "prompt_tokens", to=10)),
    ("chat.options.max-tokens", _set("choices", 0, "finish_reason", to="stop")),
    ("chat.options.json-object", _set("choices", 0, "message", "content", to="The sky is blue.")),
    ("chat.content.emoji", _set("choices", 0, "message", "content", to="\ufffd\ufffd")),
    ("chat.basics.reply-type", _header("content-type", "text/plain")),
    ("chat.basics.reply-framing", _longer),
    ("chat.basics.auth-missing", _status(401, 400)),
    ("chat.basics.auth-wrong", _status(401, 200)),
    ("chat.basics.auth-hidden", failed(_echo_key)),
    ("chat.basics.model-unknown", _status(404, 400)),
    ("chat.basics.model-named", _error(message="no such model")),
    ("chat.basics.body-malformed", _status(400, 500)),
    ("chat.basics.body-array", _error(code=400)),
    ("chat.basics.method-allow", _header("allow", None)),
    ("chat.parameters.temperature-high", _status(400, 200)),
    ("chat.parameters.messages-empty", _error(type=None)),
    ("chat.parameters.named", _error(message="wrong", param=None)),
    ("chat.stream.type", _header("content-type", "application/json")),
    ("chat.stream.grammar", stream(lambda data: data.rstrip(b"\n"))),
    ("chat.stream.data-only", events(lambda found: [["chunk", value] for _, value in found])),
    ("chat.stream.done", events(lambda found: found[:-1])),
    ("chat.stream.same-id", events(_ids)),
    ("chat.stream.object", values(lambda value: value.update(object="chat.completion"))),
    ("chat.stream.first-role", _deltas(_role_again)),
    ("chat.stream.one-finish", _deltas(_finish_always)),
    ("chat.stream.finish-last", events(_late_text)),
    ("chat.stream.usage", events(_usage_early)),
    ("chat.stream.usage-last", values(lambda value: value.update(choices=[{"index": 0, "delta": {}}]), last=True)),
    ("chat.stream.usage-unwanted", events(_usage_anyway)),
    ("chat.stream.emoji", stream(lambda data: data.replace("👩".encode(), "👩".encode()[:2]))),
    ("chat.stream.error-before", _status(404, 200)),
    ("chat.tools.arguments", whole(_arguments_object)),
    ("chat.tools.forced", _set("choices", 0, "message", "tool_calls", to=[])),
    ("chat.tools.stream-name", _deltas(_names_again)),
    ("chat.tools.stream-index", _deltas(_indexes_from_1)),
    ("chat.tools.functions", whole(_modern)),
    ("messages.basics.auth-missing", failed(_openai_error)),
    ("messages.whole.stop-sequence", whole(lambda value: _drop(value, "stop_sequence"))),
    ("messages.whole.stop-reason", _set("stop_reason", to="stop")),
    ("messages.tools.stop-reason", _set("stop_reason", to="end_turn")),
    ("messages.count.grows", _set("input_tokens", to=10)),
    ("messages.stream.names", events(lambda found: [[None, value] for _, value in found])),
    ("messages.stream.start-usage", values(_start_usage)),
    ("messages.stream.blocks-order", values(_block_index)),
    ("messages.stream.stop", _without("message_stop")),
    ("messages.stream.delta", _without("message_delta")),
    ("messages.stream.no-done", events(lambda found: [*found, [None, "[DONE]"]])),
    ("responses.whole.usage-details", whole(lambda value: _drop(value, "usage", "input_tokens_details"))),
    ("responses.whole.status", _set("status", to="in_progress")),
    ("responses.stream.sequence", values(lambda value: value.update(sequence_number=0))),
    ("responses.stream.items-final", values(_done_ids)),
    ("responses.stream.text", _without_one("response.output_text.delta")),
    ("responses.stream.end", events(lambda found: found[:-1])),
    ("gemini.basics.auth-wrong", _error(code=7)),
    ("gemini.whole.camel", whole(_snake)),
    ("gemini.tools.finish", _set("candidates", 0, "finishReason", to="TOOL_CALLS")),
    ("gemini.stream.array", _array_as_lines),
    ("gemini.stream.one-finish", values(lambda value: value["candidates"][0].update(finishReason="STOP"))),
    ("embeddings.vectors.base64", _base64),
    ("embeddings.vectors.batch-order", whole(_reversed)),
    ("embeddings.vectors.dimensions", whole(_longer_vectors)),
    ("embeddings.vectors.usage", _set("usage", "total_tokens", to=0)),
    ("embeddings.parameters.input-empty", _status(400, 200)),
    ("messages.parameters.max-tokens-missing", _status(400, 422)),
    ("http.models.get-unknown", _status(404, 200)),
    ("http.models.list-unique", whole(_thrice)),
    ("http.models.gemini-list", whole(lambda value: {"models": [{"name": "gpt-6-luna"}]})),
    ("http.transport.concurrent-replies", _set("id", to="chatcmpl-1")),
    ("http.transport.concurrent-errors", _mixed_up),
    ("http.transport.unknown-path", _header("content-type", "text/html")),
)  # fmt: skip


@pytest.fixture(scope="module")
def proxy(sandbox: Gateway) -> Iterator[Proxy]:
    proxy = Proxy(sandbox.port)
    yield proxy
    proxy.close()


def test_without_a_fault_the_proxy_changes_no_verdict(proxy: Proxy, sandbox: Gateway) -> None:
    report = _run(proxy.url, sandbox.key, *{id_ for id_, _ in FAULTS})
    failures = [(r.check.id, r.expected, r.got) for r in report.results if r.verdict is not Verdict.PASSED]
    assert failures == []
    assert len(report.results) == len({id_ for id_, _ in FAULTS})


@pytest.mark.parametrize(("id_", "fault"), FAULTS, ids=[id_ for id_, _ in FAULTS])
def test_a_planted_fault_is_caught_by_its_check(
    proxy: Proxy, sandbox: Gateway, id_: str, fault: Fault
) -> None:
    proxy.fault = fault
    try:
        (result,) = _run(proxy.url, sandbox.key, id_).results
    finally:
        proxy.fault = lambda exchange: None
    assert (result.check.id, result.verdict) == (id_, Verdict.FAILED), result.why
    assert result.expected
    assert result.got
