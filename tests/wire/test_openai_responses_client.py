"""What the official OpenAI client makes of the bytes that this dialect writes, and what it takes upstream."""

from __future__ import annotations

import json
from typing import Any

import pydantic
import pytest
import responses_kit as kit

from llm_router.domain.errors import InsufficientCredits, Overloaded
from llm_router.wire import chat, events
from llm_router.wire.dialects.openai_responses import DIALECT
from llm_router.wire.fold import unfold

openai = pytest.importorskip("openai", reason="the openai client is not installed")
httpx = pytest.importorskip("httpx2", reason="the openai client brings httpx2")
create_params = pytest.importorskip("openai.types.responses.response_create_params")

ASK: dict[str, Any] = {"model": "m", "input": "Hi"}
SHOWN = [
    "text",
    "refusal",
    "reasoning_summary",
    "calls",
    "custom_call",
    "cut_call",
    "filtered",
    "search",
    "image",
]


def client(status: int, content_type: str, body: bytes) -> Any:
    def answer(request: Any) -> Any:
        return httpx.Response(status, headers={"content-type": content_type}, content=body)

    http = httpx.Client(transport=httpx.MockTransport(answer))
    return openai.OpenAI(api_key="k", base_url="http://127.0.0.1:1", http_client=http, max_retries=0)


def streamed(name: str, way: str) -> bytes:
    data = kit.stream_bytes(kit.BY_NAME[name])
    if way == "passed":
        relay = DIALECT.pass_relay(kit.CONTEXT)
        return relay.feed(data) + relay.finish(kit.BILL)
    encoder = DIALECT.stream_encoder(kit.CONTEXT)
    reply = kit.folded(kit.decode(data)).reply()
    return b"".join(encoder.encode(event) for event in unfold(reply)) + encoder.finish(kit.BILL)


def check(response: Any, name: str) -> None:
    case = kit.BY_NAME[name]
    told = case["parts"]
    assert response.output_text == "".join(row[1] for row in told if row[0] == "text")
    calls = [item for item in response.output if item.type in ("function_call", "custom_tool_call")]
    assert [[item.call_id, item.name] for item in calls] == [
        row[1:3] for row in told if row[0] in ("call", "custom")
    ]
    assert response.status == (
        "incomplete" if case["finish"] in ("length", "content_filter") else "completed"
    )
    assert response.id == "resp_tide"
    assert response.usage.input_tokens == 9
    assert response.usage.input_tokens_details.cached_tokens == 0
    assert response.usage.cost == 0.0015


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("way", ["passed", "bridged"])
def test_the_client_reads_streams(name: str, way: str) -> None:
    data = streamed(name, way)
    with client(200, DIALECT.content_type_stream, data) as c:
        found = list(c.responses.create(**ASK, stream=True))
    assert [event.sequence_number for event in found] == list(range(len(found)))
    check(found[-1].response, name)


@pytest.mark.parametrize("name", [name for name in SHOWN if name not in ("cut_call", "filtered")])
@pytest.mark.parametrize("way", ["passed", "bridged"])
def test_the_clients_own_accumulator_agrees(name: str, way: str) -> None:
    """Its helper puts the deltas together by index and compares them with what is done."""
    data = streamed(name, way)
    with client(200, DIALECT.content_type_stream, data) as c, c.responses.stream(**ASK) as stream:
        for _ in stream:
            pass
        check(stream.get_final_response(), name)


@pytest.mark.parametrize("name", SHOWN)
def test_the_client_reads_whole_replies(name: str) -> None:
    body = json.dumps(kit.last_response(kit.BY_NAME[name])).encode()
    bridged, _ = DIALECT.encode_reply(DIALECT.decode_reply(body), kit.CONTEXT, kit.BILL)
    for data in (bridged, DIALECT.pass_reply(body, kit.CONTEXT).finish(kit.BILL)):
        with client(200, "application/json", data) as c:
            check(c.responses.create(**ASK), name)


def test_a_second_turn_takes_the_output_back() -> None:
    reply = events.Reply(
        choices=(
            events.Choice(
                parts=(
                    chat.Thinking(text="Hm.", signature="sig", origin="anthropic_messages"),
                    chat.ToolCall(
                        id="call_1", name="f", arguments="{}", signature="th", origin="gemini_generate"
                    ),
                ),
                finish=events.Finish.TOOL_CALLS,
            ),
        )
    )
    data, _ = DIALECT.encode_reply(reply, kit.CONTEXT, kit.BILL)
    with client(200, "application/json", data) as c:
        output = c.responses.create(**ASK).output
    items = [
        {"role": "user", "content": "Hi"},
        *(item.model_dump(mode="json", exclude_unset=True) for item in output),
        {"type": "function_call_output", "call_id": "call_1", "output": "done"},
    ]
    assert kit.decoded({"input": items}).messages[1].parts == reply.choices[0].parts


def test_the_client_raises_on_errors() -> None:
    body = DIALECT.encode_error(InsufficientCredits("Add credits."), "req_1")
    with client(402, "application/json", body) as c, pytest.raises(openai.APIStatusError) as caught:
        c.responses.create(**ASK)
    assert caught.value.status_code == 402
    assert caught.value.code == "insufficient_credits"


def test_the_client_sees_an_error_in_mid_stream() -> None:
    relay = DIALECT.pass_relay(kit.CONTEXT)
    data = relay.feed(kit.stream_bytes(kit.BY_NAME["text"])[:3000]) + relay.fail(
        Overloaded("Stopping."), "req_1"
    )
    with client(200, DIALECT.content_type_stream, data) as c:
        last = list(c.responses.create(**ASK, stream=True))[-1]
    assert last.type == "response.failed"
    assert last.response.error.message == "Stopping."


REQUESTS: list[tuple[chat.Message, ...]] = [
    (
        chat.Message(role="system", parts=(chat.Text(text="Be brief."),)),
        chat.Message(
            role="user",
            parts=(
                chat.Text(text="Look:"),
                chat.Media(form="image", data="iVBORw0KGgo=", media_type="image/png"),
                chat.Media(form="file", data="JVBERg==", media_type="application/pdf"),
            ),
        ),
        chat.Message(
            role="assistant",
            parts=(
                chat.Thinking(text="Hm.", signature="gAAA", id="rs_1", origin="openai_responses"),
                chat.Text(text="Well."),
                chat.Refusal(text="No."),
                chat.ToolCall(id="c1", name="f", arguments="{}"),
                chat.ToolCall(id="c2", name="p", arguments="x", custom=True),
            ),
        ),
        chat.Message(
            role="tool",
            parts=(
                chat.ToolResult(
                    call_id="c1",
                    content=(chat.Text(text="1"), chat.Media(form="image", url="https://a.example")),
                ),
                chat.ToolResult(call_id="c2", custom=True, content=(chat.Text(text="2"),)),
            ),
        ),
    )
]


@pytest.mark.parametrize("messages", REQUESTS)
def test_what_goes_upstream_is_what_the_official_types_describe(messages: tuple[chat.Message, ...]) -> None:
    request = chat.ChatRequest(
        model="m", messages=messages, dialect="openai_chat",
        tools=(
            chat.Tool(name="f", parameters=chat.Raw(b'{"type":"object"}')),
            chat.Tool(name="p", custom=True, format=chat.Raw(b'{"type":"grammar","grammar":{"syntax":"lark","definition":"x"}}')),
        ),
        tool_choice=chat.ToolChoice(mode="auto", allowed=("f",)), parallel_tool_calls=False,
        max_tokens=100, temperature=0.5, logprobs=True, top_logprobs=2,
        response_format=chat.ResponseFormat(mode="json_schema", schema=chat.Raw(b'{"type":"object"}')),
        reasoning=chat.Reasoning(effort="low", show=True), verbosity="low", user="u",
        metadata=chat.Raw(b'{"a":"b"}'), service_tier="flex", prompt_cache_key="k",
    )  # fmt: skip
    body, lost = kit.encoded(request)
    assert lost == set()
    adapter = pydantic.TypeAdapter(create_params.ResponseCreateParamsNonStreaming)
    adapter.validate_python(body)
    assert len(list(adapter.validate_python(body)["tools"])) == 2  # iterables are checked only when read
