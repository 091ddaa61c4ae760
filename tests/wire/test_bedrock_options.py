"""Tools, forms of the answer, sampling and reasoning, as Bedrock wants them."""

from __future__ import annotations

import json
from typing import Any

import bedrock_kit as kit
import pytest
from bedrock_asking import CALL, GPT, LEVELS, LLAMA, NOVA, RESULT, SCHEMA, TOOL, ask, encode, say

from llm_router.domain.model import Capabilities, Quirk
from llm_router.wire import chat
from llm_router.wire.chat import Raw

# --- tools -------------------------------------------------------------------------------------------


def config(model: str = kit.CLAUDE, **changes: Any) -> tuple[dict[str, Any], list[str]]:
    body, lost = encode(ask(tools=(TOOL,), **changes), model)
    return body.get("toolConfig", {}), lost


def test_tools() -> None:
    spec = {
        "name": "tide",
        "description": "Tells the tide.",
        "inputSchema": {"json": json.loads(bytes(SCHEMA))},
    }
    assert config() == ({"tools": [{"toolSpec": spec}]}, [])
    bare = chat.Tool(name="f", description="")
    body, _ = encode(ask(tools=(bare,)))
    assert body["toolConfig"]["tools"] == [
        {"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object", "properties": {}}}}}
    ]


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        (chat.ToolChoice(mode="auto"), {"auto": {}}),
        (chat.ToolChoice(mode="required"), {"any": {}}),
        (chat.ToolChoice(mode="tool", name="tide"), {"tool": {"name": "tide"}}),
    ],
)
def test_the_choice_among_tools(choice: chat.ToolChoice, written: dict[str, Any]) -> None:
    assert config(tool_choice=choice)[0]["toolChoice"] == written
    found, lost = config(LLAMA, tool_choice=choice)
    assert ("toolChoice" in found) is (choice.mode == "auto")
    assert lost == ([] if choice.mode == "auto" else ["tool_choice"])


def test_no_tool_means_no_tools() -> None:
    none = chat.ToolChoice(mode="none")
    assert config(tool_choice=none) == ({}, ["tools"])
    spoken = (say("user", "?"), say("assistant", CALL), say("tool", RESULT))
    body, lost = encode(ask(*spoken, tools=(TOOL,), tool_choice=none))
    assert "toolChoice" not in body["toolConfig"]
    assert lost == ["tool_choice"]


def test_a_conversation_with_calls_always_names_tools() -> None:
    body, lost = encode(ask(say("user", "?"), say("assistant", CALL), say("tool", RESULT)))
    assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == ["tide"]
    assert lost == []


def test_a_choice_that_narrows() -> None:
    body, _ = encode(
        ask(
            tools=(TOOL, chat.Tool(name="wind")),
            tool_choice=chat.ToolChoice(mode="required", allowed=("wind",)),
        )
    )
    assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == ["wind"]


def test_strict_and_free_text_tools() -> None:
    strict = chat.Tool(name="tide", parameters=SCHEMA, strict=True)
    spec = encode(ask(tools=(strict,)))[0]["toolConfig"]["tools"][0]["toolSpec"]
    assert spec["strict"] is True
    assert encode(ask(tools=(strict,)), capabilities=Capabilities(tools=True))[1] == [
        "tools[].function.strict"
    ]
    custom = chat.Tool(name="shell", custom=True, format=Raw(b'{"type":"grammar"}'))
    body, lost = encode(ask(tools=(custom,)))
    assert body["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"]["required"] == ["input"]
    assert lost == ["tools[].custom.format"]


@pytest.mark.parametrize(
    ("name", "sent"), [("with.dots", "with_dots"), ("x" * 65, "x" * 55 + "_9537c5fd"), ("", "_"), ("ä", "_")]
)
def test_names_of_tools_that_are_refused_are_mapped(name: str, sent: str) -> None:
    body, lost = encode(ask(tools=(chat.Tool(name=name),)))
    assert body["toolConfig"]["tools"][0]["toolSpec"]["name"] == sent
    assert lost == []


def test_one_call_at_a_time() -> None:
    body, lost = encode(ask(tools=(TOOL,), parallel_tool_calls=False))
    assert body["additionalModelRequestFields"] == {
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}
    }
    assert lost == []
    assert config(NOVA, parallel_tool_calls=False)[1] == ["parallel_tool_calls"]
    forced = chat.ToolChoice(mode="required")
    assert config(parallel_tool_calls=False, tool_choice=forced)[1] == ["parallel_tool_calls"]
    assert encode(ask(parallel_tool_calls=False))[1] == []


# --- forms of the answer, sampling, the rest --------------------------------------------------------------


def test_structured_output() -> None:
    wanted = chat.ResponseFormat(mode="json_schema", name="n", description="d", schema=SCHEMA, strict=True)
    body, lost = encode(ask(response_format=wanted))
    shown = body["outputConfig"]["textFormat"]
    assert shown["type"] == "json_schema"
    assert json.loads(shown["structure"]["jsonSchema"].pop("schema")) == json.loads(bytes(SCHEMA))
    assert shown["structure"]["jsonSchema"] == {"name": "n", "description": "d"}
    assert lost == []


def test_structured_output_where_there_is_none() -> None:
    wanted = chat.ResponseFormat(mode="json_schema", name="n", schema=SCHEMA, strict=True)
    able = Capabilities(tools=True)
    body, lost = encode(ask(response_format=wanted), capabilities=able)
    assert body["toolConfig"]["toolChoice"] == {"tool": {"name": "reply_with_json"}}
    assert lost == ["response_format.json_schema.strict"]
    for request, model in (
        (ask(response_format=wanted, tools=(TOOL,)), kit.CLAUDE),
        (ask(response_format=wanted), LLAMA),
    ):
        body, lost = encode(request, model, capabilities=able)
        assert lost == ["response_format"]
        assert bytes(SCHEMA).decode() in body["system"][0]["text"]
    body, lost = encode(ask(response_format=chat.ResponseFormat(mode="json_object")))
    assert lost == ["response_format"]
    assert "JSON" in body["system"][0]["text"]
    assert encode(ask(response_format=chat.ResponseFormat(mode="text"))) == encode(ask())


@pytest.mark.parametrize(
    ("model", "asked", "written", "lost"),
    [
        (kit.CLAUDE, {"temperature": 1.7}, {"temperature": 1.0}, ["temperature"]),
        (kit.CLAUDE, {"temperature": 0.2, "top_p": 0.5}, {"temperature": 0.2}, ["top_p"]),
        (kit.CLAUDE, {"temperature": 1.0, "top_p": 0.5}, {"topP": 0.5}, []),
        (kit.CLAUDE, {"temperature": 0.2, "top_p": 1.0}, {"temperature": 0.2}, []),
        ("anthropic.claude-3-haiku-20240307-v1:0", {"temperature": 0.2, "top_p": 0.5}, {"temperature": 0.2, "topP": 0.5}, []),
        (NOVA, {"temperature": 0.2, "top_p": 0.5}, {"temperature": 0.2, "topP": 0.5}, []),
    ],
)  # fmt: skip
def test_sampling(model: str, asked: dict[str, Any], written: dict[str, Any], lost: list[str]) -> None:
    body, found = encode(ask(**asked), model)
    assert body.get("inferenceConfig", {}) == written
    assert found == lost


def test_sampling_that_cannot_be_adjusted() -> None:
    fixed = Capabilities(sampling=False)
    body, lost = encode(ask(temperature=0.5, top_p=1.0, top_k=5), capabilities=fixed)
    assert "inferenceConfig" not in body
    assert lost == ["temperature", "top_k"]


@pytest.mark.parametrize(
    ("model", "fields"),
    [(kit.CLAUDE, {"top_k": 9}), (NOVA, {"inferenceConfig": {"topK": 9}}), ("mistral.mistral-large-3-675b-instruct", {"top_k": 9}),
     ("cohere.command-r-v1:0", {"k": 9}), (LLAMA, None)],
)  # fmt: skip
def test_top_k_has_a_place_of_its_own(model: str, fields: dict[str, Any] | None) -> None:
    body, lost = encode(ask(top_k=9), model)
    assert body.get("additionalModelRequestFields") == fields
    assert lost == ([] if fields else ["top_k"])


def test_limits() -> None:
    assert encode(ask(max_tokens=9000), output_tokens_max=4096) == (
        {**encode(ask())[0], "inferenceConfig": {"maxTokens": 4096}}, ["max_tokens"],
    )  # fmt: skip
    assert encode(ask(), output_tokens_cap=77)[0]["inferenceConfig"] == {"maxTokens": 77}
    assert "inferenceConfig" not in encode(ask(), output_tokens_max=4096)[0]


def test_labels_go_to_the_operators_logs() -> None:
    body, lost = encode(ask(user="u-1", metadata=Raw(b'{"team":"sea","bad":"\\u00e4","n":1}')))
    assert body["requestMetadata"] == {"team": "sea", "user_id": "u-1"}
    assert lost == ["metadata"]
    assert encode(ask(user="ü"))[1] == ["user"]
    many = json.dumps({f"k{i}": "v" for i in range(20)}).encode()
    assert len(encode(ask(metadata=Raw(many)))[0]["requestMetadata"]) == 16


def test_service_tiers() -> None:
    for tier, written, lost in (("flex", {"type": "flex"}, []), ("priority", {"type": "priority"}, []), ("auto", None, []),
                                ("default", None, []), ("scale", None, ["service_tier"])):  # fmt: skip
        body, found = encode(ask(service_tier=tier))
        assert (body.get("serviceTier"), found) == (written, lost)


def test_what_the_api_has_no_word_for() -> None:
    _, lost = encode(
        ask(n=2, seed=1, logprobs=True, top_logprobs=2, frequency_penalty=0.5, presence_penalty=0.0, verbosity="low",
            prompt_cache_key="k", extras={"logit_bias": Raw(b'{"1":2}'), "store": Raw(b"true"), "x": Raw(b"null")})
    )  # fmt: skip
    assert set(lost) == {
        "n",
        "seed",
        "logprobs",
        "top_logprobs",
        "frequency_penalty",
        "verbosity",
        "prompt_cache_key",
        "logit_bias",
    }


def test_quirks_of_the_provider_are_applied_last() -> None:
    guardrail = Quirk(
        edit="set", field="guardrailConfig", why="all is guarded", lossless=True,
        value=Raw(b'{"guardrailIdentifier":"ab1","guardrailVersion":"1"}'),
    )  # fmt: skip
    body, lost = encode(ask(), quirks=(guardrail,))
    assert body["guardrailConfig"] == {"guardrailIdentifier": "ab1", "guardrailVersion": "1"}
    assert lost == []


# --- reasoning -----------------------------------------------------------------------------------------


def thought(
    reasoning: chat.Reasoning, model: str = kit.CLAUDE, levels: tuple[str, ...] = (), **changes: Any
) -> tuple[Any, Any, list[str]]:
    able = Capabilities(reasoning=True, reasoning_levels=levels, tools=True, json_schema=True)
    body, lost = encode(ask(**{"reasoning": reasoning, **changes}), model, capabilities=able)
    return body.get("additionalModelRequestFields"), body.get("outputConfig"), lost


def test_budgets_of_claude() -> None:
    found, _, lost = thought(chat.Reasoning(effort="low"), max_tokens=10_000)
    assert (found, lost) == ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, [])
    body, lost = encode(ask(reasoning=chat.Reasoning(budget_tokens=5000)))
    assert body["inferenceConfig"]["maxTokens"] == 5000 + 4096
    assert lost == []
    body, lost = encode(
        ask(reasoning=chat.Reasoning(effort="high"), max_tokens=1000, temperature=0.2, top_k=3)
    )
    assert body["inferenceConfig"] == {"maxTokens": 2024}
    assert body["additionalModelRequestFields"] == {"thinking": {"type": "enabled", "budget_tokens": 1619}}
    assert lost == ["max_tokens", "temperature", "top_k"]


def test_levels_of_claude() -> None:
    assert thought(chat.Reasoning(effort="high", show=True), levels=LEVELS) == (
        {"thinking": {"type": "adaptive", "display": "summarized"}}, {"effort": "high"}, [],
    )  # fmt: skip
    assert thought(chat.Reasoning(effort="max"), levels=LEVELS)[1:] == (
        {"effort": "xhigh"},
        ["reasoning_effort"],
    )
    assert thought(chat.Reasoning(effort="minimal"), levels=LEVELS)[1:] == (
        {"effort": "low"},
        ["reasoning_effort"],
    )
    assert thought(chat.Reasoning(enabled=False), levels=LEVELS)[0] == {"thinking": {"type": "disabled"}}
    assert thought(chat.Reasoning(effort="none")) == (None, None, [])


def test_claudes_own_words_are_kept() -> None:
    own = {"dialect": "anthropic_messages", "max_tokens": 9000}
    budget = chat.Reasoning(enabled=True, budget_tokens=4000, show=False)
    assert thought(budget, levels=LEVELS, **own)[0] == {
        "thinking": {"type": "enabled", "budget_tokens": 4000, "display": "omitted"}
    }
    adaptive = chat.Reasoning(enabled=True, adaptive=True, effort="medium")
    assert thought(adaptive, levels=LEVELS, **own)[:2] == (
        {"thinking": {"type": "adaptive"}},
        {"effort": "medium"},
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"tools": (TOOL,), "tool_choice": chat.ToolChoice(mode="required")},
        {"messages": (say("user", "?"), say("assistant", "Well"))},
        {"messages": (say("user", "?"), say("assistant", CALL), say("tool", RESULT)), "tools": (TOOL,)},
    ],
)
def test_claude_does_not_think_where_it_would_refuse_to(changes: dict[str, Any]) -> None:
    found, _, lost = thought(chat.Reasoning(effort="low"), max_tokens=9000, **changes)
    assert (found, lost) == (None, ["reasoning_effort"])


def test_other_vendors_have_their_own_words() -> None:
    nova2 = "global.amazon.nova-2-lite-v1:0"
    high = chat.Reasoning(effort="high")
    assert thought(high, nova2)[0] == {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}}
    found, _, lost = thought(high, nova2, max_tokens=100)
    assert found == {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}}
    assert lost == ["reasoning_effort"]
    assert thought(chat.Reasoning(enabled=False), nova2)[0] == {"reasoningConfig": {"type": "disabled"}}
    assert thought(high, GPT)[0] == {"reasoning_effort": "high"}
    assert thought(chat.Reasoning(effort="none"), GPT)[0] == {"reasoning_effort": "low"}
    assert thought(high, "us.deepseek.r1-v1:0")[::2] == (None, ["reasoning_effort"])
    assert encode(ask(reasoning=high), LLAMA, capabilities=Capabilities())[1] == ["reasoning_effort"]
