"""Whatever is asked, AWS could not refuse its form."""

from __future__ import annotations

import itertools

import bedrock_kit as kit
import pytest
from bedrock_asking import BOTOCORE, GPT, LEVELS, LLAMA, NOVA, PNG, SCHEMA, TOOL, encode
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.errors import UnsupportedContent
from llm_router.domain.model import Capabilities
from llm_router.wire import chat

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
marks = st.none() | st.builds(chat.CacheMark, ttl=st.sampled_from([None, "5m", "30m", "1h"]))
identifiers = st.sampled_from(["a", "call_1", "x|y", "", "é" * 70])
text_parts = st.builds(chat.Text, text=texts, cache=marks)
media_parts = st.builds(
    chat.Media,
    form=st.sampled_from(["image", "file"]),
    data=st.just(PNG),
    filename=st.none() | texts,
    cache=marks,
)
calls = st.builds(
    chat.ToolCall,
    id=identifiers,
    name=st.sampled_from(["tide", "a.b", "x" * 80]),
    arguments=texts,
    custom=st.booleans(),
)
answers = st.lists(text_parts | media_parts, max_size=2).map(tuple)


@st.composite
def exchanges(draw: st.DrawFn) -> list[chat.Message]:
    """Calls of tools and their results."""
    asked = draw(st.lists(calls, min_size=1, max_size=2))
    results = tuple(
        chat.ToolResult(
            call_id=call.id, content=draw(answers), is_error=draw(st.booleans()), cache=draw(marks)
        )
        for call in asked
    )
    return [chat.Message(role="assistant", parts=tuple(asked)), chat.Message(role="tool", parts=results)]


thoughts = st.builds(
    chat.Thinking, text=texts, signature=st.none() | st.just("c2ln"), redacted=st.none() | st.just("AAEC"),
    origin=st.sampled_from([None, "bedrock_converse", "anthropic_messages"]),
)  # fmt: skip
spoken = st.one_of(
    st.builds(chat.Message, role=st.sampled_from(["system", "developer"]), parts=st.lists(text_parts, max_size=2).map(tuple)),
    st.builds(chat.Message, role=st.just("user"), parts=st.lists(text_parts | media_parts, max_size=3).map(tuple)),
    st.builds(chat.Message, role=st.just("assistant"), parts=st.lists(text_parts | calls | thoughts, max_size=3).map(tuple)),
)  # fmt: skip
conversations = st.lists(spoken.map(lambda message: [message]) | exchanges(), min_size=1, max_size=5).map(
    lambda turns: tuple(message for turn in turns for message in turn)
)
requests = st.builds(
    chat.ChatRequest,
    model=st.just("m"), dialect=st.sampled_from(["openai_chat", "anthropic_messages"]),
    messages=conversations,
    tools=st.sampled_from([(), (TOOL,), (TOOL, chat.Tool(name="wind", custom=True))]),
    tool_choice=st.none() | st.builds(chat.ToolChoice, mode=st.sampled_from(["auto", "none", "required", "tool"]), name=st.just("tide")),
    parallel_tool_calls=st.sampled_from([None, False]),
    max_tokens=st.none() | st.integers(1, 9000),
    temperature=st.none() | st.floats(0, 2), top_p=st.none() | st.floats(0, 1), top_k=st.none() | st.integers(1, 9),
    stop=st.lists(texts, max_size=2).map(tuple),
    response_format=st.none() | st.builds(chat.ResponseFormat, mode=st.just("json_schema"), schema=st.just(SCHEMA), name=st.none() | texts),
    reasoning=st.none() | st.builds(chat.Reasoning, effort=st.sampled_from([None, "none", "low", "max"]),
                                    budget_tokens=st.none() | st.integers(0, 9000), enabled=st.sampled_from([None, True, False])),
    user=st.none() | texts, service_tier=st.sampled_from([None, "flex", "scale"]),
)  # fmt: skip


@pytest.mark.skipif(not BOTOCORE, reason="botocore is not installed")
@settings(max_examples=300)
@given(
    request=requests,
    model=st.sampled_from(
        [kit.CLAUDE, NOVA, LLAMA, GPT, "arn:aws:bedrock:us-east-1:123456789012:inference-profile/x"]
    ),
    levels=st.sampled_from([(), LEVELS]),
    able=st.booleans(),
)
def test_no_request_that_aws_must_refuse(
    request: chat.ChatRequest, model: str, levels: tuple[str, ...], able: bool
) -> None:
    capabilities = Capabilities(
        reasoning=able, reasoning_levels=levels if able else (), json_schema=able, tools=True
    )
    try:
        body, _ = encode(request, model, capabilities=capabilities)
    except UnsupportedContent:
        return
    roles = [message["role"] for message in body["messages"]]
    assert roles[0] == "user"
    assert all(a != b for a, b in itertools.pairwise(roles))
    kinds = [[next(iter(block)) for block in message["content"]] for message in body["messages"]]
    spoken_ = {kind for turn in kinds for kind in turn}
    assert not spoken_ & {"toolUse", "toolResult"} or body["toolConfig"]["tools"]
    for role, turn in zip(roles, kinds, strict=True):
        assert turn
        assert "document" not in turn or "text" in turn
        assert role == "user" or not {"image", "document", "toolResult"} & set(turn)
        assert turn[0] != "cachePoint"
    assert not [b for m in body["messages"] for b in m["content"] if not b.get("text", "x").strip()]
    thinking = body.get("additionalModelRequestFields", {}).get("thinking", {})
    if thinking.get("type") == "enabled":
        assert 1024 <= thinking["budget_tokens"] < body["inferenceConfig"]["maxTokens"]
