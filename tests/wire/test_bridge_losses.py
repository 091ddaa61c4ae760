"""What cannot cross from one dialect to another is told in the client's own words, or refused by its path."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_router.domain.errors import UnsupportedContent
from llm_router.domain.model import Capabilities, Knowledge
from llm_router.wire.bridge import crossed, told
from llm_router.wire.dialect import Dialect, Target
from llm_router.wire.dialects.registry import DIALECTS

BEHIND = tuple(DIALECTS)
ABLE = Capabilities(
    input_modalities=("text", "image", "audio", "video", "file"),
    tools=True,
    json_object=True,
    json_schema=True,
)
ASKED = {
    "openai_chat": {"model": "m", "messages": [{"role": "user", "content": "q"}]},
    "anthropic_messages": {"model": "m", "max_tokens": 9000, "messages": [{"role": "user", "content": "q"}]},
    "openai_responses": {"model": "m", "input": "q"},
    "gemini_generate": {"contents": [{"parts": [{"text": "q"}]}]},
}


def lost(front: str, behind: str, knows: tuple[Knowledge, ...] = (), **members: Any) -> list[str]:
    """The fields that are declared lost of a request."""
    spoken = DIALECTS[front]
    assert isinstance(spoken, Dialect)
    inspected = spoken.inspect(json.dumps(ASKED[front] | members).encode(), "m", False)
    target = Target(provider="p", model="m", dialect=behind, capabilities=ABLE, knows=knows)
    _, losses = crossed(spoken.decode_request(inspected), DIALECTS[behind], target, spoken.words)
    return [loss.field for loss in losses]


def others(front: str) -> list[str]:
    return [name for name in BEHIND if name != front]


@pytest.mark.parametrize("behind", others("gemini_generate"))
def test_members_of_geminis_parts_are_declared(behind: str) -> None:
    part = {"text": "q", "video_metadata": {"fps": 1}, "mediaResolution": {"level": "HIGH"}}
    assert lost("gemini_generate", behind, contents=[{"parts": [part]}]) == [
        "contents[].parts[].videoMetadata",
        "contents[].parts[].mediaResolution",
    ]


SIGNED = [
    {"role": "user", "parts": [{"text": "q"}]},
    {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "U0lH"}]},
    {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"result": "x"}}}]},
]
F = [{"functionDeclarations": [{"name": "f", "description": "d"}]}]


@pytest.mark.parametrize("behind", others("gemini_generate"))
def test_a_thought_signature_is_declared(behind: str) -> None:
    assert lost("gemini_generate", behind, contents=SIGNED, tools=F) == [
        "contents[].parts[].thoughtSignature"
    ]


def test_a_thought_signature_is_kept_where_it_is_known() -> None:
    assert lost("gemini_generate", "openai_chat", knows=("signatures",), contents=SIGNED, tools=F) == []


def test_a_signature_in_openais_form_is_declared() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    call["extra_content"] = {"google": {"thought_signature": "U0lH"}}
    history = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "x"},
    ]
    assert lost("openai_chat", "cohere_chat", messages=history) == ["messages[].tool_calls[].extra_content"]
    assert lost("openai_chat", "gemini_generate", messages=history) == []


DOCUMENT = {
    "type": "document",
    "source": {"type": "text", "media_type": "text/plain", "data": "D"},
    "context": "C",
    "citations": {"enabled": True},
}


@pytest.mark.parametrize("behind", others("anthropic_messages"))
def test_members_of_a_document_are_declared(behind: str) -> None:
    def asked(**members: Any) -> list[dict[str, Any]]:
        return [{"role": "user", "content": [{"type": "text", "text": "q"}, DOCUMENT | members]}]

    both = ["messages[].content[].context", "messages[].content[].citations"]
    assert lost("anthropic_messages", behind, messages=asked()) == both
    off = {"context": None, "citations": {"enabled": False}}
    assert lost("anthropic_messages", behind, messages=asked(**off)) == []
    nested = [{"type": "tool_result", "tool_use_id": "t", "content": [DOCUMENT]}]
    call = [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]
    turns = [{"role": "assistant", "content": call}, {"role": "user", "content": nested}]
    history = [{"role": "user", "content": "q"}, *turns]
    assert lost("anthropic_messages", behind, messages=history)[:2] == both


@pytest.mark.parametrize("behind", others("openai_chat"))
def test_annotations_of_an_earlier_answer_are_declared(behind: str) -> None:
    cited = {"url": "https://example.org", "title": "t", "start_index": 0, "end_index": 1}
    history = [
        {"role": "user", "content": "q"},
        {
            "role": "assistant",
            "content": "b",
            "annotations": [{"type": "url_citation", "url_citation": cited}],
        },
        {"role": "user", "content": "q"},
    ]
    assert lost("openai_chat", behind, messages=history) == ["messages[].annotations"]


UNREAD = [
    ("openai_chat", {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "vid"}]}]},
     "messages[0].content[1]"),
    ("openai_chat", {"messages": [{"role": "user", "content": [{"type": "vid"}]}]}, "messages[0].content[0]"),
    ("anthropic_messages",
     {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "video", "x": 1}]}]},
     "messages.0.content.1"),
    ("openai_responses", {"input": [{"role": "user", "content": "q"}, {"type": "wat"}]}, "input[1]"),
    ("openai_responses", {"input": [{"role": "user", "content": [{"type": "wat"}]}]}, "input[0].content[0]"),
    ("gemini_generate", {"contents": [{"parts": [{"text": "q"}, {"weird": {"x": 1}}]}]}, "contents[0].parts[1]"),
]  # fmt: skip


@pytest.mark.parametrize(("front", "members", "path"), UNREAD)
def test_content_of_an_unknown_kind_is_refused_by_its_path(
    front: str, members: dict[str, Any], path: str
) -> None:
    for behind in others(front):
        with pytest.raises(UnsupportedContent) as refused:
            lost(front, behind, **members)
        assert refused.value.param == path
        assert refused.value.message.startswith(path)
    assert lost(front, front, **members) == []


def test_what_the_model_made_by_itself_is_a_loss() -> None:
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    said = [{"role": "assistant", "content": [search, {"type": "text", "text": "a"}]}]
    asked = {"role": "user", "content": "q"}
    assert lost("anthropic_messages", "openai_chat", messages=[asked, *said, asked]) == [
        "messages[].content[].server_tool_use"
    ]
    items = [asked, {"type": "web_search_call", "id": "ws_1", "status": "completed"}, asked]
    assert lost("openai_responses", "cohere_chat", input=items) == ["input[].web_search_call"]


@pytest.mark.parametrize(
    ("front", "behind", "members", "field"),
    [
        ("gemini_generate", "anthropic_messages", {"generationConfig": {"seed": 7}}, "generationConfig.seed"),
        ("gemini_generate", "cohere_chat", {"generationConfig": {"candidateCount": 2}},
         "generationConfig.candidateCount"),
        ("openai_responses", "anthropic_messages", {"text": {"verbosity": "low"}}, "text.verbosity"),
        ("anthropic_messages", "openai_responses", {"stop_sequences": ["x"]}, "stop_sequences"),
        ("anthropic_messages", "ollama_chat", {"tools": [{"name": "f", "input_schema": {"type": "object"}}],
         "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
         "tool_choice.disable_parallel_tool_use"),
        ("openai_chat", "anthropic_messages", {"seed": 7}, "seed"),
    ],
)  # fmt: skip
def test_losses_are_told_in_the_clients_words(
    front: str, behind: str, members: dict[str, Any], field: str
) -> None:
    assert lost(front, behind, **members) == [field]


def test_the_longest_known_beginning_is_replaced() -> None:
    words = {"messages[]": "input[]", "messages[].content[].image_url": "input[].content[]"}
    assert told("messages[].content[].image_url.detail", words) == "input[].content[].detail"
    assert told("messages.thinking", words) == "input[].thinking"
    assert told("messages[].name", words) == "input[].name"
    assert told("a_new_member", words) == "a_new_member"


def test_each_member_of_an_unknown_option_is_told() -> None:
    config = {"mediaResolution": "MEDIA_RESOLUTION_LOW", "speechConfig": {}}
    assert lost("gemini_generate", "anthropic_messages", generationConfig=config) == [
        "generationConfig.mediaResolution",
        "generationConfig.speechConfig",
    ]


def test_a_tool_of_another_provider_is_told_alike_by_all() -> None:
    for behind in others("openai_responses"):
        assert lost("openai_responses", behind, tools=[{"type": "web_search"}]) == ["tools[web_search]"]
