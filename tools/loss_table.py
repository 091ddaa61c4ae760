#!/usr/bin/env python3
"""Write docs/losses.md: what each provider dialect cannot express of a request of each client API.

    python tools/loss_table.py           print it
    python tools/loss_table.py --write   write docs/losses.md

Nothing is claimed by hand: each row is a small request that is translated, and the losses that the
translation declares.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llm_router.domain.errors import ClientError
from llm_router.domain.model import Capabilities, Knowledge
from llm_router.wire.bridge import crossed
from llm_router.wire.completions import FRONT as COMPLETIONS
from llm_router.wire.dialect import Behind, Dialect, Spoken, Target
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.loss import Loss
from llm_router.wire.operations import SPOKEN

PAGE = Path(__file__).parent.parent / "docs" / "losses.md"
BEHIND = {
    "openai_chat": ("openai", "gpt-5.2"),
    "openai_responses": ("openai", "gpt-5.2"),
    "anthropic_messages": ("anthropic", "claude-sonnet-4-5"),
    "gemini_generate": ("google", "gemini-2.5-flash"),
    "bedrock_converse": ("bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    "cohere_chat": ("cohere", "command-a-plus-05-2026"),
    "ollama_chat": ("ollama", "qwen3.6"),
}
KNOWS: dict[str, tuple[Knowledge, ...]] = {"openai_chat": ("developer",), "openai_responses": ("developer",)}
LEVELS = {
    "openai_chat": ("none", "low", "medium", "high"),
    "openai_responses": ("none", "low", "medium", "high"),
}
"""What the provider and the model of the row above take beyond what all do; the others take budgets."""

PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
SCHEMA = {
    "type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False,
}  # fmt: skip
BOUNDED = {**SCHEMA, "properties": {"a": {"type": "integer", "minimum": 1}}}
RECURSIVE = {**SCHEMA, "properties": {"a": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}
FUNCTION = {"name": "f", "parameters": SCHEMA}
TOOL = {"type": "function", "function": FUNCTION}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": "b"}'}}
ASKED: dict[str, Any] = {"role": "user", "content": "Hi"}


def said(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "Look:"}, *parts]}]}


PROBES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("`temperature` up to 1", {"temperature": 0.5}),
    ("`temperature` above 1", {"temperature": 1.5}),
    ("`top_p`", {"top_p": 0.9}),
    ("`temperature` with `top_p`", {"temperature": 0.5, "top_p": 0.9}),
    ("`max_tokens`, `max_completion_tokens`", {"max_tokens": 100}),
    ("`stop`, up to 4", {"stop": ["a", "b", "c", "d"]}),
    ("`frequency_penalty`", {"frequency_penalty": 0.5}),
    ("`presence_penalty`", {"presence_penalty": 0.5}),
    ("`seed`", {"seed": 7}),
    ("`n` above 1", {"n": 2}),
    ("`logprobs`, `top_logprobs`", {"logprobs": True, "top_logprobs": 2}),
    ("`logit_bias`", {"logit_bias": {"50256": -100}}),
    ("`user`", {"user": "u-1"}),
    ("`metadata`", {"metadata": {"a": "b"}}),
    ("`store`", {"store": True}),
    ("`service_tier`", {"service_tier": "flex"}),
    ("`verbosity`", {"verbosity": "low"}),
    ("`prediction`", {"prediction": {"type": "content", "content": "x"}}),
    ("`web_search_options`", {"web_search_options": {}}),
    ("`prompt_cache_key`", {"prompt_cache_key": "k"}),
    ("`reasoning_effort`", {"reasoning_effort": "low", "max_tokens": 4000}),
    ("`response_format` json_object", {"response_format": {"type": "json_object"}}),
    (
        "`response_format` json_schema",
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "s", "strict": True, "schema": SCHEMA},
            }
        },
    ),
    (
        "`response_format` json_schema, strict, with bounds of numbers",
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "s", "strict": True, "schema": BOUNDED},
            }
        },
    ),
    (
        "`response_format` json_schema, strict, recursive",
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "s", "strict": True, "schema": RECURSIVE},
            }
        },
    ),
    ("`tools`", {"tools": [TOOL]}),
    ("`tools` with `strict`", {"tools": [{"type": "function", "function": {**FUNCTION, "strict": True}}]}),
    ("custom tools", {"tools": [{"type": "custom", "custom": {"name": "c", "description": "free text"}}]}),
    ("`tool_choice` required", {"tools": [TOOL], "tool_choice": "required"}),
    ("`tool_choice` by name", {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}}),
    ("`tool_choice` none", {"tools": [TOOL], "tool_choice": "none"}),
    ("`parallel_tool_calls: false`", {"tools": [TOOL], "parallel_tool_calls": False}),
    ("`functions` (legacy)", {"functions": [FUNCTION]}),
    ("`system`, `developer` messages", {"messages": [{"role": "developer", "content": "Be brief."}, ASKED]}),
    ("a `system` message between turns", {"messages": [ASKED, {"role": "system", "content": "Now shout."}, ASKED]}),
    ("`name` of a message", {"messages": [{"role": "user", "name": "ann", "content": "Hi"}]}),
    (
        "tool results",
        {
            "tools": [TOOL],
            "messages": [
                ASKED,
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "call_1", "content": "done"},
            ],
        },
    ),
    ("image by data URL", said({"type": "image_url", "image_url": {"url": PIXEL}})),
    ("image `detail`", said({"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}})),
    (
        "PDF by data URL",
        said({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjQK"}}),
    ),
    ("`file_id` of another provider", said({"type": "file", "file": {"file_id": "file-1"}})),
    ("audio", said({"type": "input_audio", "input_audio": {"data": "UklGRiQAAABXQVZF", "format": "wav"}})),
    ("audio output", {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}),
    (
        "`cache_control` on a part",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]}]},
    ),
    (
        "reasoning of another dialect in earlier turns",
        {
            "messages": [
                ASKED,
                {
                    "role": "assistant",
                    "content": "Hello",
                    "reasoning_details": [
                        {"type": "reasoning.text", "text": "hm", "signature": "s", "format": "elsewhere", "index": 0}
                    ],
                },
                ASKED,
            ]
        },
    ),
    (
        "`annotations` of an earlier answer",
        {
            "messages": [
                ASKED,
                {
                    "role": "assistant",
                    "content": "Hello",
                    "annotations": [
                        {"type": "url_citation", "url_citation": {"url": "https://example.org", "start_index": 0, "end_index": 5}}
                    ],
                },
                ASKED,
            ]
        },
    ),
    ("a content part of an unknown kind", said({"type": "vid"})),
    ("a member that no API knows", {"a_new_member": 1}),
)  # fmt: skip

USED = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"a": "b"}}]}
OFFERED = {"name": "f", "input_schema": SCHEMA}


def blocks(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "Look:"}, *parts]}]}


def document(**members: Any) -> dict[str, Any]:
    source = {"type": "text", "media_type": "text/plain", "data": "D"}
    return blocks({"type": "document", "source": source, **members})


MESSAGES_PROBES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("`temperature`", {"temperature": 0.5}),
    ("`top_p`", {"top_p": 0.9}),
    ("`top_k`", {"top_k": 5}),
    ("`stop_sequences`", {"stop_sequences": ["a"]}),
    ("`metadata.user_id`", {"metadata": {"user_id": "u"}}),
    ("`service_tier` standard_only", {"service_tier": "standard_only"}),
    ("`thinking` enabled with a budget", {"thinking": {"type": "enabled", "budget_tokens": 2000}}),
    ("`thinking` adaptive", {"thinking": {"type": "adaptive"}}),
    ("`thinking` disabled", {"thinking": {"type": "disabled"}}),
    ("`output_config.effort`", {"output_config": {"effort": "high"}}),
    ("`output_config.format`", {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}),
    ("`tools`", {"tools": [OFFERED]}),
    ("`tools` with `strict`", {"tools": [{**OFFERED, "strict": True}]}),
    ("a tool that the provider runs", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    ("`tool_choice` any", {"tools": [OFFERED], "tool_choice": {"type": "any"}}),
    ("`tool_choice.disable_parallel_tool_use`",
     {"tools": [OFFERED], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
    ("`cache_control` on a block", blocks({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}})),
    ("a plain text document", document()),
    ("`title` of a document", document(title="T")),
    ("`context` of a document", document(context="C")),
    ("`citations` of a document", document(citations={"enabled": True})),
    ("a search result", blocks({"type": "search_result", "source": "s", "title": "T", "content": [{"type": "text", "text": "x"}]})),
    ("a file stored at Anthropic", blocks({"type": "document", "source": {"type": "file", "file_id": "file_1"}})),
    ("`is_error` of a tool result",
     {"tools": [OFFERED], "messages": [ASKED, USED, {"role": "user", "content": [
         {"type": "tool_result", "tool_use_id": "t", "is_error": True, "content": "bad"}]}]}),
    ("signed thinking of an earlier turn",
     {"messages": [ASKED, {"role": "assistant", "content": [
         {"type": "thinking", "thinking": "hm", "signature": "c2ln"}, {"type": "text", "text": "a"}]}, ASKED]}),
    ("blocks of a tool that the provider ran",
     {"messages": [ASKED, {"role": "assistant", "content": [
         {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, {"type": "text", "text": "a"}]}, ASKED]}),
    ("a block of an unknown kind", blocks({"type": "video", "x": 1})),
)  # fmt: skip

CALLED = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a": "b"}'}
ITEM = {"type": "function", "name": "f", "parameters": SCHEMA}
RESPONSES_PROBES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("`instructions`", {"instructions": "Be brief."}),
    ("`max_output_tokens`", {"max_output_tokens": 100}),
    ("`temperature`, `top_p`", {"temperature": 0.5, "top_p": 0.9}),
    ("`top_logprobs`", {"top_logprobs": 2}),
    ("`text.verbosity`", {"text": {"verbosity": "low"}}),
    ("`text.format` json_object", {"text": {"format": {"type": "json_object"}}}),
    ("`text.format` json_schema, strict",
     {"text": {"format": {"type": "json_schema", "name": "s", "strict": True, "schema": SCHEMA}}}),
    ("`reasoning.effort`", {"reasoning": {"effort": "low"}, "max_output_tokens": 4000}),
    ("`reasoning.summary`", {"reasoning": {"summary": "detailed"}}),
    ("`include` reasoning.encrypted_content", {"include": ["reasoning.encrypted_content"]}),
    ("another `include`", {"include": ["file_search_call.results"]}),
    ("`user`", {"user": "u"}),
    ("`metadata`", {"metadata": {"a": "b"}}),
    ("`service_tier`", {"service_tier": "flex"}),
    ("`prompt_cache_key`", {"prompt_cache_key": "k"}),
    ("`truncation` auto", {"truncation": "auto"}),
    ("`max_tool_calls`", {"max_tool_calls": 3}),
    ("`tools` with `strict`", {"tools": [{**ITEM, "strict": True}]}),
    ("free-text tools", {"tools": [{"type": "custom", "name": "c", "description": "free text"}]}),
    ("a tool that the provider runs", {"tools": [{"type": "web_search"}]}),
    ("`tool_choice` by name", {"tools": [ITEM], "tool_choice": {"type": "function", "name": "f"}}),
    ("`parallel_tool_calls: false`", {"tools": [ITEM], "parallel_tool_calls": False}),
    ("tool results", {"tools": [ITEM], "input": [ASKED, CALLED, {"type": "function_call_output", "call_id": "c", "output": "x"}]}),
    ("`detail` of an image", {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": PIXEL, "detail": "low"}]}]}),
    ("`phase` commentary of an earlier answer", {"input": [ASKED, {"role": "assistant", "phase": "commentary", "content": "a"}, ASKED]}),
    ("encrypted reasoning of an earlier turn",
     {"input": [ASKED, {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
                {"role": "assistant", "content": "a"}, ASKED]}),
    ("items of a tool that the provider ran", {"input": [ASKED, {"type": "web_search_call", "id": "ws_1", "status": "completed"}, ASKED]}),
    ("an item of an unknown kind", {"input": [ASKED, {"type": "wat"}]}),
)  # fmt: skip

DECLARED = {"functionDeclarations": [{"name": "f", "parametersJsonSchema": SCHEMA}]}
SPOKE = {"parts": [{"text": "Hi"}]}


def configured(**members: Any) -> dict[str, Any]:
    return {"generationConfig": members}


def parts(*found: dict[str, Any]) -> dict[str, Any]:
    return {"contents": [{"parts": [{"text": "Look:"}, *found]}]}


GEMINI_PROBES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("`systemInstruction`", {"systemInstruction": {"parts": [{"text": "Be brief."}]}}),
    ("`temperature`", configured(temperature=0.5)),
    ("`topK`", configured(topK=5)),
    ("`maxOutputTokens`", configured(maxOutputTokens=100)),
    ("`candidateCount` above 1", configured(candidateCount=2)),
    ("`stopSequences`", configured(stopSequences=["a"])),
    ("`seed`", configured(seed=7)),
    ("`presencePenalty`, `frequencyPenalty`", configured(presencePenalty=0.5, frequencyPenalty=0.5)),
    ("`responseLogprobs`", configured(responseLogprobs=True)),
    ("`responseMimeType` JSON", configured(responseMimeType="application/json")),
    ("`responseJsonSchema`", configured(responseMimeType="application/json", responseJsonSchema=SCHEMA)),
    ("`thinkingBudget`", configured(thinkingConfig={"thinkingBudget": 2000}, maxOutputTokens=9000)),
    ("`thinkingLevel`", configured(thinkingConfig={"thinkingLevel": "low"}, maxOutputTokens=9000)),
    ("`includeThoughts`", configured(thinkingConfig={"includeThoughts": True})),
    ("`responseModalities` image", configured(responseModalities=["TEXT", "IMAGE"])),
    ("`mediaResolution` of all", configured(mediaResolution="MEDIA_RESOLUTION_LOW")),
    ("`safetySettings`", {"safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]}),
    ("`cachedContent`", {"cachedContent": "cachedContents/x"}),
    ("`labels`", {"labels": {"a": "b"}}),
    ("functions", {"tools": [DECLARED]}),
    ("functions, mode ANY", {"tools": [DECLARED], "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}),
    ("a tool that Google runs", {"tools": [{"googleSearch": {}}]}),
    ("`videoMetadata`, `mediaResolution` of a part", parts({"text": "x", "videoMetadata": {"fps": 1}, "mediaResolution": {"level": "HIGH"}})),
    ("`thoughtSignature` of a call",
     {"tools": [DECLARED], "contents": [
         SPOKE, {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": "b"}}, "thoughtSignature": "U0lH"}]},
         {"parts": [{"functionResponse": {"name": "f", "response": {"result": "x"}}}]}]}),
    ("code that Google ran",
     {"contents": [SPOKE, {"role": "model", "parts": [{"executableCode": {"language": "PYTHON", "code": "1"}}, {"text": "a"}]}, SPOKE]}),
    ("audio", parts({"inlineData": {"mimeType": "audio/wav", "data": "UklGRiQAAABXQVZF"}})),
    ("a video", parts({"inlineData": {"mimeType": "video/mp4", "data": "AAAAGGZ0eXBtcDQy"}})),
    ("a file stored at Google", parts({"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/x", "mimeType": "application/pdf"}})),
    ("a part of an unknown kind", parts({"weird": {"x": 1}})),
)  # fmt: skip

ASKS: dict[str, tuple[str, dict[str, Any], tuple[tuple[str, dict[str, Any]], ...]]] = {
    "openai_chat": ("of a chat completion", {"model": "m", "messages": [ASKED]}, PROBES),
    "anthropic_messages": (
        "of a message", {"model": "m", "max_tokens": 4000, "messages": [ASKED]}, MESSAGES_PROBES,
    ),
    "openai_responses": ("of a response", {"model": "m", "input": "Hi"}, RESPONSES_PROBES),
    "gemini_generate": ("of generateContent", {"contents": [SPOKE]}, GEMINI_PROBES),
}  # fmt: skip
"""By client API: what the table is called, the least request, and what is added to it."""


EMBEDDED: dict[str, tuple[str, str]] = {
    "openai_embeddings": ("openai", "text-embedding-3-small"),
    "gemini_embeddings": ("google", "gemini-embedding-001"),
    "cohere_embed": ("cohere", "embed-v4.0"),
    "bedrock_embed": ("bedrock", "amazon.titan-embed-text-v2:0"),
    "vertex_predict": ("vertex", "text-embedding-005"),
    "ollama_embed": ("ollama", "nomic-embed-text"),
}
EMBEDDING_PROBES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("texts", "openai_embeddings", {"input": ["a", "b"]}),
    ("tokens", "openai_embeddings", {"input": [[1, 2], [3]]}),
    ("101 texts", "openai_embeddings", {"input": ["a"] * 101}),
    ("`dimensions`", "openai_embeddings", {"dimensions": 256}),
    ("`encoding_format` base64", "openai_embeddings", {"encoding_format": "base64"}),
    ("`user`", "openai_embeddings", {"user": "u-1"}),
    ("`input_type` query", "openai_embeddings", {"input_type": "query"}),
    ("`taskType` RETRIEVAL_QUERY", "gemini_embed_one", {"taskType": "RETRIEVAL_QUERY"}),
    ("`taskType` SEMANTIC_SIMILARITY", "gemini_embed_one", {"taskType": "SEMANTIC_SIMILARITY"}),
    ("`title`", "gemini_embed_one", {"taskType": "RETRIEVAL_DOCUMENT", "title": "T"}),
    ("`outputDimensionality`", "gemini_embed_one", {"outputDimensionality": 256}),
)
COMPLETION_PROBES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("`prompt` of several texts", {"prompt": ["a", "b"]}),
    ("`prompt` of tokens", {"prompt": [1, 2]}),
    ("`suffix`", {"suffix": "end"}),
    ("`best_of` above `n`", {"best_of": 3}),
    ("`echo`", {"echo": True}),
    ("`echo` with `logprobs`", {"echo": True, "logprobs": 1}),
)


def embedding_losses(behind: str, front: str, members: dict[str, Any]) -> str:
    """The same of an embedding. A client and a provider of one format are a pair too."""
    provider, model = EMBEDDED[behind]
    target = Target(provider=provider, model=model, dialect=behind)
    asks = (
        {"content": {"parts": [{"text": "a"}]}}
        if front == "gemini_embed_one"
        else {"model": "m", "input": "a"}
    )
    spoken, format_ = SPOKEN[front], SPOKEN[behind]
    assert isinstance(spoken, Dialect)
    assert isinstance(format_, Behind)
    try:
        inspected = spoken.inspect(json.dumps({**asks, **members}).encode(), "m", None)
        if spoken.name == behind:
            _, lost = spoken.edit_request(inspected, target, {})
        else:
            _, lost = format_.encode_request(spoken.decode_request(inspected), target)
    except ClientError as error:
        return f"refused: {error.message}"
    return _told(lost)


def _told(lost: Iterable[Loss]) -> str:
    return "; ".join(dict.fromkeys(f"lost `{loss.field}`: {loss.why}" for loss in lost)) or "kept"


def other_tables() -> list[str]:
    """The tables of the operations and fronts beside chat."""
    lines = [
        "## Embeddings",
        "",
        f"| of an embedding | {' | '.join(f'`{name}`' for name in EMBEDDED)} |",
        f"|---|{'---|' * len(EMBEDDED)}",
    ]
    for name, front, members in EMBEDDING_PROBES:
        cells = [embedding_losses(behind, front, members).replace("|", "\\|") for behind in EMBEDDED]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "## Legacy completions",
        "",
        "A completion becomes a chat request: what it has in common with one is kept or lost as the first table says.",
        "",
        *table(
            "of a completion", COMPLETIONS, {"model": "m", "prompt": "a"}, COMPLETION_PROBES, tuple(BEHIND)
        ),
        "",
        "Of the answer, reasoning and anything else that is not text is lost.",
        "",
    ]
    return lines


def losses(front: Spoken, behind: str, body: dict[str, Any]) -> str:
    """What the translation declares of that request: "kept", the lost fields with why, or refused."""
    provider, model = BEHIND[behind]
    target = Target(
        provider=provider,
        model=model,
        dialect=behind,
        capabilities=Capabilities(
            input_modalities=("text", "image", "audio", "video", "file"),
            tools=True,
            parallel_tools=True,
            json_object=True,
            json_schema=True,
            reasoning=True,
            reasoning_levels=LEVELS.get(behind, ()),
        ),
        output_tokens_max=16_384,
        knows=KNOWS.get(behind, ()),
    )
    try:
        inspected = front.inspect(json.dumps(body).encode(), "m", None)
        _, lost = crossed(front.decode_request(inspected), DIALECTS[behind], target, front.words)
    except ClientError as error:
        return f"refused: {error.message}"
    return _told((*inspected.losses, *lost))


def table(
    name: str,
    front: Spoken,
    least: dict[str, Any],
    probes: Iterable[tuple[str, dict[str, Any]]],
    behind: tuple[str, ...],
) -> list[str]:
    """The lines of one table: a row for each probe, a column for each dialect behind."""
    lines = [f"| {name} | {' | '.join(f'`{n}`' for n in behind)} |", f"|---|{'---|' * len(behind)}"]
    for probe, members in probes:
        cells = [losses(front, n, least | members).replace("|", "\\|") for n in behind]
        lines.append(f"| {probe} | {' | '.join(cells)} |")
    return lines


RULES = (
    "* *Options and members* that the other side has no word for are declared, in the words of the client's own API:",
    "  `generationConfig.seed` to a client of Gemini's, `seed` to one of OpenAI's.",
    "* *State* that another maker's model gave (signatures, encrypted reasoning) is dropped, and declared.",
    "* *Content* of a kind that the model cannot be given is refused with 400 `unsupported_content`, whose `param` is its path, if",
    "  no deployment of the model takes it. To a provider of the client's own dialect it goes as it is.",
    "* What a request *asks* of the model is a loss where it cannot be said. What it merely *permits* is none: adaptive thinking,",
    "  encrypted reasoning in `include`, a summary of reasoning. The reply holds such things if the model gives them.",
)


def page() -> str:
    """The whole page."""
    models = ", ".join(f"`{name}`: {model}" for name, (_, model) in BEHIND.items())
    lines = [
        "# What a translation cannot express",
        "",
        "Where client and provider speak the same dialect, the client's own bytes go upstream and nothing is lost but what a",
        "provider's declared quirk drops. Between dialects, what the other side has no word for is a *declared loss*: its",
        "field stands in the header `x-llm-router-losses` and in the record of the exchange. With the header",
        "`x-llm-router-strict: true`, or a key made with `--strict`, such a request is refused with 400 `lossy_translation`;",
        "if the plan holds a deployment that keeps everything, that one answers ([routing](routing.md#what-is-left-out)).",
        "",
        *RULES,
        "",
        "This page is generated (`python tools/loss_table.py --write`) by translating one small request a row; a test keeps it true.",
        f"A model that can do all that its API has stands for each dialect ({models});",
        "one that lacks something may lose more.",
        "",
    ]
    for front, (name, least, probes) in ASKS.items():
        spoken = DIALECTS[front]
        assert isinstance(spoken, Dialect)
        behind = tuple(n for n in BEHIND if n != front)
        lines += [f"## `{front}` in front", "", *table(name, spoken, least, probes, behind), ""]
    lines += [
        "## Replies",
        "",
        "On the way back, what only the provider's dialect has a word for (server-side tool blocks and their results, compaction,",
        "executed code, citations that name no page) is never shown as a call of the client's tools. It is a loss too, named in the",
        "record of the exchange; in a stream it comes too late for the header.",
        "",
    ]
    lines += other_tables()
    return "\n".join(lines)


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(page())
    else:
        print(page())
