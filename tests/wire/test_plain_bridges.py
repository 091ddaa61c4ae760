"""The quick ways of plain requests and replies between dialects come to what the thorough ones come to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_quick_openai import NUMBERS, REQUESTS, ROLES, TEXTS, body_of, mostly

from llm_router.domain.model import Capabilities, Quirk
from llm_router.domain.usage import Usage
from llm_router.wire import chat
from llm_router.wire.bridge import crossed
from llm_router.wire.dialect import Bill, Dialect, ReplyContext, Target
from llm_router.wire.dialects.anthropic_messages import DIALECT as ANTHROPIC
from llm_router.wire.dialects.gemini_generate import DIALECT as GEMINI
from llm_router.wire.dialects.openai_chat import DIALECT as OPENAI
from llm_router.wire.dialects.openai_chat.quick import quick_inspect

BEHINDS: list[Dialect] = [ANTHROPIC, GEMINI]
CONTEXT = ReplyContext(reply_id="chatcmpl-own", model="m", created_s=1)
BILL = Bill(usage=Usage(input_tokens=3, output_tokens=2), cost_pusd=5, credits_remaining_pusd=7)

CONVERSATIONS = st.fixed_dictionaries(
    {
        "model": st.just("m"),
        "messages": st.lists(
            st.fixed_dictionaries(
                {"role": ROLES, "content": TEXTS | st.sampled_from([" ", "\n", "end ", "<think>x</think>"])}
            ),
            min_size=1,
            max_size=5,
        ),
    }
)
TARGETS = st.builds(
    Target,
    provider=st.just("p"),
    model=st.sampled_from(["claude-3-haiku", "gemini-2.5-pro", "gemini-3-pro", "other"]),
    dialect=st.just(""),
    capabilities=st.builds(Capabilities, sampling=st.booleans(), reasoning=st.booleans()),
    output_tokens_max=st.sampled_from([None, 1, 100]),
    output_tokens_cap=st.sampled_from([None, 77, 200]),
    quirks=st.sampled_from([(), (Quirk(edit="drop", field="temperature", why="it takes none"),)]),
)


@pytest.mark.parametrize("behind", BEHINDS, ids=lambda each: each.name)
@given(value=REQUESTS | CONVERSATIONS, target=TARGETS)
def test_requests_are_written_the_same(behind: Dialect, value: dict[str, Any], target: Target) -> None:
    found = quick_inspect(body_of(value), None)
    if found is None:
        return
    assert OPENAI.plain_request is not None
    assert behind.write_plain is not None
    quick = behind.write_plain(OPENAI.plain_request(found), target)
    if quick is not None:
        right = crossed(OPENAI.decode_request(found), behind, target, OPENAI.words)
        assert (quick, ()) == right


@pytest.mark.parametrize("behind", BEHINDS, ids=lambda each: each.name)
def test_usual_requests_are_written_quickly(behind: Dialect) -> None:
    turns = [{"role": role, "content": "hello"} for role in ("system", "user", "assistant", "user")]
    value = {"model": "m", "messages": turns, "max_tokens": 5, "temperature": 0.5, "stream": True}
    found = quick_inspect(body_of(value), None)
    assert found is not None
    assert OPENAI.plain_request is not None
    assert behind.write_plain is not None
    able = Capabilities(sampling=True)
    target = Target(provider="p", model="up", dialect=behind.name, capabilities=able)
    written = behind.write_plain(OPENAI.plain_request(found), target)
    assert written is not None
    assert (written, ()) == crossed(OPENAI.decode_request(found), behind, target, OPENAI.words)


COUNTS = st.sampled_from([0, 1, 3, 10**8, 10**8 + 1, -1, 2.0, True, None, "4"])
ANTHROPIC_USAGE = mostly(
    {"input_tokens": 5, "output_tokens": 4, "service_tier": "standard"},
    {
        "input_tokens": COUNTS,
        "output_tokens": COUNTS,
        "cache_read_input_tokens": COUNTS,
        "cache_creation_input_tokens": COUNTS,
        "cache_creation": st.none()
        | st.fixed_dictionaries(
            {}, optional={"ephemeral_5m_input_tokens": COUNTS, "ephemeral_1h_input_tokens": COUNTS}
        ),
        "output_tokens_details": st.none() | st.fixed_dictionaries({}, optional={"thinking_tokens": COUNTS}),
        "server_tool_use": st.none() | st.fixed_dictionaries({}, optional={"web_search_requests": COUNTS}),
        "service_tier": st.sampled_from([None, "priority", "batch", 3, ""]),
        "inference_geo": st.sampled_from([None, "us", "global", "not_available"]),
        "speed": st.sampled_from([None, "fast"]),
        "iterations": st.just([{"type": "compaction", "input_tokens": 3, "output_tokens": 1}]),
    },
)
ANTHROPIC_REPLIES = mostly(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [{"type": "text", "text": "hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 4},
    },
    {
        "id": TEXTS | st.none(),
        "type": st.sampled_from(["error", None]),
        "role": st.sampled_from(["user", None]),
        "model": TEXTS | st.none(),
        "content": st.lists(
            mostly(
                {"type": "text", "text": "hello"},
                {"text": TEXTS, "type": st.just("thinking"), "citations": st.sampled_from([None, [], [{}]])},
            ),
            max_size=2,
        )
        | TEXTS,
        "stop_reason": st.sampled_from(["max_tokens", "tool_use", "stop_sequence", "refusal", None, "stop"]),
        "stop_sequence": TEXTS | st.none(),
        "stop_details": st.none() | st.just({"explanation": "no"}),
        "container": st.none() | st.just({"id": "c"}),
        "usage": ANTHROPIC_USAGE | st.none(),
    },
)
DETAILS = st.lists(
    st.fixed_dictionaries({"modality": st.sampled_from(["TEXT", "AUDIO", 1]), "tokenCount": COUNTS}),
    max_size=2,
)
GEMINI_USAGE = mostly(
    {"promptTokenCount": 5, "candidatesTokenCount": 4, "totalTokenCount": 9},
    {
        "promptTokenCount": COUNTS,
        "candidatesTokenCount": COUNTS,
        "totalTokenCount": COUNTS,
        "cachedContentTokenCount": COUNTS,
        "thoughtsTokenCount": COUNTS,
        "toolUsePromptTokenCount": COUNTS,
        "promptTokensDetails": DETAILS,
        "cacheTokensDetails": DETAILS,
        "candidatesTokensDetails": DETAILS,
        "serviceTier": st.just("flex"),
        "trafficType": st.just("ON_DEMAND"),
    },
)
GEMINI_CANDIDATES = mostly(
    {"content": {"parts": [{"text": "hello"}], "role": "model"}, "finishReason": "STOP", "index": 0},
    {
        "content": st.fixed_dictionaries(
            {
                "parts": st.lists(
                    mostly(
                        {"text": "hello"},
                        {"text": TEXTS, "thought": st.booleans(), "thoughtSignature": TEXTS},
                    ),
                    max_size=2,
                ),
                "role": st.sampled_from(["model", "user"]),
            }
        ),
        "finishReason": st.sampled_from(["MAX_TOKENS", "SAFETY", "OTHER", "stop", 1, None]),
        "finishMessage": TEXTS,
        "index": NUMBERS,
        "avgLogprobs": NUMBERS,
        "safetyRatings": st.just([]),
    },
)
GEMINI_REPLIES = mostly(
    {
        "candidates": [
            {"content": {"parts": [{"text": "hello"}], "role": "model"}, "finishReason": "STOP", "index": 0}
        ],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 4, "totalTokenCount": 9},
        "modelVersion": "gemini",
        "responseId": "r",
    },
    {
        "candidates": st.lists(GEMINI_CANDIDATES, max_size=2),
        "usageMetadata": GEMINI_USAGE | st.none(),
        "modelVersion": TEXTS | st.none(),
        "responseId": TEXTS | st.none() | st.just("chatcmpl-1"),
        "promptFeedback": st.just({"blockReason": "SAFETY"}),
    },
)


def is_the_same(behind: Dialect, body: bytes) -> bool:
    """Whether a reply is read quickly; then it is what the thorough way makes of it."""
    assert behind.read_plain is not None
    assert OPENAI.tell_plain is not None
    quick = behind.read_plain(body)
    if quick is None:
        return False
    right = behind.decode_reply(body)
    (choice,) = right.choices
    assert (quick.id, quick.model, quick.usage) == (right.id, right.model, right.usage)
    (part,) = choice.parts
    assert isinstance(part, chat.Text)
    assert (part.text, part.citations, part.signature) == (quick.text, (), None)
    assert quick.text
    assert (quick.finish, quick.native_finish) == (choice.finish, choice.native_finish)
    assert (right.opaque, right.flags, right.created_s) == ((), (), 0)
    assert (OPENAI.tell_plain(quick, CONTEXT, BILL), ()) == OPENAI.encode_reply(right, CONTEXT, BILL)
    return True


@given(ANTHROPIC_REPLIES)
def test_replies_of_anthropic_are_read_the_same(value: dict[str, Any]) -> None:
    is_the_same(ANTHROPIC, body_of(value))


@given(GEMINI_REPLIES)
def test_replies_of_google_are_read_the_same(value: dict[str, Any]) -> None:
    is_the_same(GEMINI, body_of(value))


@pytest.mark.parametrize(
    ("behind", "value"),
    [
        (
            ANTHROPIC,
            {
                "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
                "stop_sequence": None, "stop_details": None, "content": [{"type": "text", "text": "hello"}],
                "usage": {
                    "input_tokens": 5, "cache_creation_input_tokens": 7, "cache_read_input_tokens": 2,
                    "cache_creation": {"ephemeral_5m_input_tokens": 7, "ephemeral_1h_input_tokens": 0},
                    "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}, "service_tier": "standard",
                    "inference_geo": "global",
                },
            },
        ),
        (
            GEMINI,
            {
                "candidates": [
                    {"content": {"parts": [{"text": "hello"}], "role": "model"}, "finishReason": "MAX_TOKENS"}
                ],
                "usageMetadata": {
                    "promptTokenCount": 9, "candidatesTokenCount": 3, "totalTokenCount": 17, "thoughtsTokenCount": 5,
                    "cachedContentTokenCount": 4, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 9}],
                },
                "modelVersion": "gemini", "responseId": "r",
            },
        ),
    ],
    ids=["anthropic", "google"],
)  # fmt: skip
def test_usual_replies_are_read_quickly(behind: Dialect, value: dict[str, Any]) -> None:
    assert is_the_same(behind, json.dumps(value).encode())
