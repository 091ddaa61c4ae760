"""What a request allows of the provider beside the model: searches, other tools, files that only it can see."""

from __future__ import annotations

import json

import pytest

from llm_router.domain.errors import InvalidRequest
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.hosted import FILE_TOKENS, IMAGE_TOKENS_MAX, LOOKUP_TOKENS, USES_DEFAULT, VIDEO_TOKENS

ASKED = {
    "anthropic_messages": {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    "openai_chat": {"messages": [{"role": "user", "content": "hi"}]},
    "openai_responses": {"input": "hi"},
    "gemini_generate": {"contents": [{"parts": [{"text": "hi"}]}]},
}


def beside(dialect, **members):
    return inspected(dialect, **members).beside


def inspected(dialect, **members):
    body = {"model": "m", **ASKED[dialect], **members}
    return DIALECTS[dialect].inspect(json.dumps(body).encode(), None, None)


def content(dialect, *parts):
    if dialect == "gemini_generate":
        return {"contents": [{"parts": list(parts)}]}
    name = "input" if dialect == "openai_responses" else "messages"
    return {name: [{"role": "user", "content": list(parts)}]}


def lookups(n):
    return LOOKUP_TOKENS * n


@pytest.mark.parametrize("dialect", ASKED)
def test_nothing_is_noted_of_tools_that_clients_run(dialect):
    call = {"name": "f", "parameters": {"type": "object"}}
    tools = {
        "anthropic_messages": [
            {"name": "f", "input_schema": {"type": "object"}},
            {"type": "bash_20250124", "name": "bash"},
            {"type": "computer_20251124", "name": "computer"},
            {"type": "text_editor_20250728", "name": "edit"},
        ],
        "openai_chat": [{"type": "function", "function": call}, {"type": "custom", "custom": {"name": "g"}}],
        "openai_responses": [
            {"type": "function", **call},
            {"type": "local_shell"},
            {"type": "shell", "environment": {"type": "local"}},
        ],
        "gemini_generate": [{"functionDeclarations": [call]}, {"computerUse": {}}],
    }[dialect]
    assert beside(dialect) is None
    assert beside(dialect, tools=tools) is None


@pytest.mark.parametrize(
    ("dialect", "members", "searches"),
    [
        ("anthropic_messages", {"tools": [{"type": "web_search_20250305", "name": "s", "max_uses": 50}]}, 50),
        ("anthropic_messages", {"tools": [{"type": "web_search_20250305", "name": "s"}]}, USES_DEFAULT),
        ("anthropic_messages", {"tools": [{"type": "web_search_20250305", "name": "s", "max_uses": -1}]}, 0),
        (
            "anthropic_messages",
            {"tools": [{"type": "web_search_20250305", "name": "s", "max_uses": 2**70}]},
            100,
        ),
        ("openai_responses", {"tools": [{"type": "web_search"}]}, USES_DEFAULT),
        ("openai_responses", {"tools": [{"type": "web_search_preview"}], "max_tool_calls": 2}, 2),
        ("openai_chat", {"web_search_options": {"search_context_size": "low"}}, 1),
        ("openai_chat", {"plugins": [{"id": "web"}]}, USES_DEFAULT),
        ("openai_chat", {"tools": [{"type": "openrouter:web_search", "parameters": {"max_uses": 3}}]}, 3),
        ("gemini_generate", {"tools": [{"google_search": {}}]}, USES_DEFAULT),
        ("gemini_generate", {"tools": {"googleSearch": {}}}, USES_DEFAULT),
    ],
)
def test_searches_are_noted_with_what_they_may_bring(dialect, members, searches):
    found = beside(dialect, **members)
    if searches:
        assert (found.searches, found.lookup_tokens) == (searches, lookups(searches))
    else:
        assert found is None


@pytest.mark.parametrize(
    ("dialect", "members"),
    [
        ("anthropic_messages", {"tools": [{"type": "web_fetch_20250910", "name": "f"}]}),
        ("anthropic_messages", {"mcp_servers": [{"type": "url", "name": "s", "url": "https://s.example"}]}),
        (
            "openai_responses",
            {"tools": [{"type": "mcp", "server_label": "s", "server_url": "https://s.example"}]},
        ),
        ("gemini_generate", {"tools": [{"url_context": {}}]}),
    ],
)
def test_tools_that_cost_what_they_bring_are_noted(dialect, members):
    found = beside(dialect, **members)
    assert (found.searches, found.tools, found.lookup_tokens) == (0, (), lookups(USES_DEFAULT))


@pytest.mark.parametrize(
    ("dialect", "tool", "name"),
    [
        ("anthropic_messages", {"type": "code_execution_20260120", "name": "c"}, "code_execution"),
        ("openai_responses", {"type": "code_interpreter", "container": {"type": "auto"}}, "code_interpreter"),
        ("openai_responses", {"type": "shell", "environment": {"type": "container_auto"}}, "shell"),
        ("openai_responses", {"type": "of_tomorrow"}, "of_tomorrow"),
        ("openai_chat", {"type": "browser_search"}, "browser_search"),
        ("gemini_generate", {"google_maps": {}}, "googleMaps"),
    ],
)
def test_tools_with_a_price_of_their_own_are_named(dialect, tool, name):
    found = inspected(dialect, tools=[tool])
    assert [(each, usage.web_searches) for each, usage in found.beside.tools] == [(name, USES_DEFAULT)]
    assert f"tool:{name}" in found.needs


def test_images_are_drawn_at_their_quality():
    drawn = [{"type": "image_generation"}]
    assert (
        beside("openai_responses", tools=drawn, max_tool_calls=1).tools[0][1].output_image_tokens
        == IMAGE_TOKENS_MAX
    )
    cheap = beside("openai_responses", tools=[{**drawn[0], "quality": "low"}], max_tool_calls=1)
    assert cheap.tools[0][1].output_image_tokens < IMAGE_TOKENS_MAX / 10


@pytest.mark.parametrize(
    ("dialect", "part", "tokens"),
    [
        ("gemini_generate", {"fileData": {"fileUri": "https://www.youtube.com/watch?v=a"}}, VIDEO_TOKENS),
        (
            "gemini_generate",
            {"fileData": {"fileUri": "https://x@YouTu.be.:443/a", "mimeType": "a/b"}},
            VIDEO_TOKENS,
        ),
        (
            "gemini_generate",
            {
                "fileData": {
                    "fileUri": "https://g.googleapis.com/v1beta/files/a",
                    "mimeType": "application/pdf",
                }
            },
            FILE_TOKENS,
        ),
        ("gemini_generate", {"fileData": {"fileUri": "gs://a/b.mp4", "mimeType": "video/mp4"}}, VIDEO_TOKENS),
        (
            "anthropic_messages",
            {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
            FILE_TOKENS,
        ),
        ("openai_chat", {"type": "file", "file": {"file_id": "file-1"}}, FILE_TOKENS),
        ("openai_responses", {"type": "input_file", "file_id": "file-1"}, FILE_TOKENS),
    ],
)
def test_a_file_that_only_the_provider_sees_counts_as_one_by_its_address(dialect, part, tokens):
    assert beside(dialect, **content(dialect, part)).unseen_tokens == tokens


@pytest.mark.parametrize(
    ("dialect", "part"),
    [
        ("gemini_generate", {"fileData": {"fileUri": "https://example.com/a.mp4", "mimeType": "video/mp4"}}),
        (
            "anthropic_messages",
            {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
        ),
        ("anthropic_messages", {"type": "image", "source": {"type": "file", "file_id": "file_1"}}),
        ("openai_responses", {"type": "input_file", "file_data": "data:application/pdf;base64,AAAA"}),
    ],
)
def test_files_that_are_counted_otherwise_are_not_counted_twice(dialect, part):
    assert beside(dialect, **content(dialect, part)) is None


@pytest.mark.parametrize("limit", [10**8 + 1, 2**63, 2**64, 10**400, -1, True, "5", 1.5])
def test_limits_beyond_belief_are_refused_in_every_api(limit):
    for dialect, members in (
        ("anthropic_messages", {"max_tokens": limit}),
        ("openai_chat", {"max_tokens": limit}),
        ("openai_chat", {"max_completion_tokens": limit}),
        ("openai_responses", {"max_output_tokens": limit}),
        ("gemini_generate", {"generationConfig": {"maxOutputTokens": limit}}),
    ):
        with pytest.raises(InvalidRequest):
            inspected(dialect, **members)


def test_only_the_api_that_has_it_takes_a_limit_of_nothing():
    assert "no_output" in inspected("anthropic_messages", max_tokens=0).needs
    for dialect, members in (
        ("openai_chat", {"max_tokens": 0}),
        ("openai_responses", {"max_output_tokens": 0}),
        ("gemini_generate", {"generationConfig": {"maxOutputTokens": 0}}),
    ):
        with pytest.raises(InvalidRequest):
            inspected(dialect, **members)
