"""Canonical requests as Bedrock wants them: what is said, what is lost, and nothing that AWS must refuse."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
from typing import Any

import bedrock_kit as kit
import pytest
from bedrock_model import faults
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.errors import InvalidRequest, UnsupportedContent
from llm_router.domain.model import Capabilities, Quirk
from llm_router.wire import chat
from llm_router.wire.chat import Raw
from llm_router.wire.dialects.bedrock_converse import DIALECT

BOTOCORE = importlib.util.find_spec("botocore") is not None
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
NOVA, LLAMA, GPT = (
    "us.amazon.nova-pro-v1:0",
    "us.meta.llama4-scout-17b-instruct-v1:0",
    "openai.gpt-oss-120b-1:0",
)
LEVELS = ("low", "medium", "high", "xhigh")
SCHEMA = Raw(
    b'{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}'
)
TOOL = chat.Tool(name="tide", description="Tells the tide.", parameters=SCHEMA)
CALL = chat.ToolCall(id="call_1", name="tide", arguments='{"a":"Kiel"}')
RESULT = chat.ToolResult(call_id="call_1", name="tide", content=(chat.Text(text="high"),))


def say(role: chat.Role, *parts: chat.Part | str) -> chat.Message:
    return chat.Message(
        role=role, parts=tuple(chat.Text(text=part) if isinstance(part, str) else part for part in parts)
    )


def ask(*messages: chat.Message, **changes: Any) -> chat.ChatRequest:
    return chat.ChatRequest(
        **{"model": "m", "messages": messages or (say("user", "Ahoy"),), "dialect": "openai_chat", **changes}
    )


def encode(
    request: chat.ChatRequest, model: str = kit.CLAUDE, **changes: Any
) -> tuple[dict[str, Any], list[str]]:
    """The body, and the fields that were lost; whatever is written, AWS's model takes it."""
    data, losses = DIALECT.encode_request(request, kit.target(model, **changes))
    body = json.loads(data)
    if BOTOCORE:
        assert faults(body, model) == []
    return body, [loss.field for loss in losses]


def messages(*given_: chat.Message, model: str = kit.CLAUDE, **changes: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = encode(ask(*given_, **changes), model)[0]["messages"]
    return found


def content(*parts: chat.Part | str, model: str = kit.CLAUDE) -> list[dict[str, Any]]:
    (message,) = messages(say("user", *parts), model=model)
    found: list[dict[str, Any]] = message["content"]
    return found


# --- messages ----------------------------------------------------------------------------------------


def test_a_plain_question() -> None:
    body, lost = encode(
        ask(say("system", "Be brief."), say("user", "Ahoy"), max_tokens=50, temperature=0.3, stop=("END",))
    )
    assert body == {
        "messages": [{"role": "user", "content": [{"text": "Ahoy"}]}],
        "system": [{"text": "Be brief."}],
        "inferenceConfig": {"maxTokens": 50, "temperature": 0.3, "stopSequences": ["END"]},
        "additionalModelResponseFieldPaths": ["/stop_sequence"],
    }
    assert lost == []


def test_turns_alternate_and_begin_with_the_user() -> None:
    found = messages(
        say("assistant", "Ahoy!"), say("user", "a"), say("user", "b"), say("system", "c"), say("assistant", "d"),
        say("assistant", "e "),
    )  # fmt: skip
    assert found == [
        {"role": "user", "content": [{"text": "."}]},
        {"role": "assistant", "content": [{"text": "Ahoy!"}]},
        {"role": "user", "content": [{"text": "a"}, {"text": "b"}, {"text": "c"}]},
        {"role": "assistant", "content": [{"text": "d"}, {"text": "e"}]},
    ]


def test_blank_text_is_left_out_and_instructions_alone_are_a_question() -> None:
    assert messages(say("user", "x", "  \n"), say("assistant", ""), say("user", "y")) == [
        {"role": "user", "content": [{"text": "x"}, {"text": "y"}]}
    ]
    assert messages(say("system", "Sing.")) == [{"role": "user", "content": [{"text": "Sing."}]}]
    with pytest.raises(UnsupportedContent, match="empty"):
        encode(ask(say("user", " ")))


def test_results_come_first_in_their_turn() -> None:
    found = messages(
        say("user", "?"),
        say("assistant", "Wait.", CALL),
        say("user", "And?"),
        say("tool", RESULT),
        tools=(TOOL,),
    )
    assert found[1]["content"][1] == {
        "toolUse": {"toolUseId": "call_1", "name": "tide", "input": {"a": "Kiel"}}
    }
    assert found[2]["content"] == [
        {"toolResult": {"toolUseId": "call_1", "content": [{"text": "high"}]}},
        {"text": "And?"},
    ]


def test_ids_and_names_fit_the_api() -> None:
    odd = chat.ToolCall(id="call|{}" + "x" * 80, name="näme.with dots", arguments="")
    twice = chat.ToolCall(id=odd.id, name="tide", arguments="[1]")
    found = messages(
        say("user", "?"), say("assistant", odd), say("tool", chat.ToolResult(call_id=odd.id)),
        say("assistant", twice), say("tool", chat.ToolResult(call_id=odd.id, content=(chat.Text(text="b"),))),
        tools=(TOOL,),
    )  # fmt: skip
    first, second = found[1]["content"][0]["toolUse"], found[3]["content"][0]["toolUse"]
    assert first["toolUseId"] != second["toolUseId"]
    assert found[2]["content"][0]["toolResult"] == {
        "toolUseId": first["toolUseId"],
        "content": [{"text": "(no output)"}],
    }
    assert found[4]["content"][0]["toolResult"]["toolUseId"] == second["toolUseId"]
    assert first["name"] == "n_me_with_dots"
    assert second["input"] == {"_raw": "[1]"}


def test_a_result_without_its_call_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="call_1"):
        encode(ask(say("user", "?"), say("tool", RESULT), tools=(TOOL,)))


def test_a_failed_tool_is_told_to_those_that_understand() -> None:
    failed = chat.ToolResult(call_id="call_1", content=(chat.Text(text="no"),), is_error=True)
    for model, status, field in (
        (kit.CLAUDE, "error", []),
        (NOVA, "error", []),
        (LLAMA, None, ["messages[].is_error"]),
    ):
        body, lost = encode(
            ask(say("user", "?"), say("assistant", CALL), say("tool", failed), tools=(TOOL,)), model
        )
        assert body["messages"][2]["content"][0]["toolResult"].get("status") == status
        assert lost == field


def test_reasoning_goes_back_with_its_signature_alone() -> None:
    mine = chat.Thinking(text="hm", signature="c2ln", origin="bedrock_converse")
    claudes = chat.Thinking(text="ha", signature="c2lo", origin="anthropic_messages")
    hidden = chat.Thinking(redacted="AAEC", origin="bedrock_converse")
    others = (chat.Thinking(text="no"), chat.Thinking(text="x", signature="s", origin="gemini_generate"),
              chat.Thinking(redacted="zzz", origin="anthropic_messages"))  # fmt: skip
    given_ = ask(say("user", "?"), say("assistant", mine, claudes, hidden, *others, "So."), say("user", "!"))
    body, lost = encode(given_)
    assert body["messages"][1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
        {"reasoningContent": {"reasoningText": {"text": "ha", "signature": "c2lo"}}},
        {"reasoningContent": {"redactedContent": "AAEC"}},
        {"text": "So."},
    ]
    assert lost == ["messages[].reasoning"]
    assert [next(iter(block)) for block in encode(given_, NOVA)[0]["messages"][1]["content"]] == [
        "reasoningContent", "text",
    ]  # fmt: skip


def test_what_came_from_here_goes_back_as_it_was() -> None:
    block = Raw(b'{"toolUse":{"toolUseId":"s0","name":"abacus","input":{"n":1.0},"type":"server_tool_use"}}')
    own = chat.Opaque(dialect="bedrock_converse", name="toolUse", raw=block)
    data, _ = DIALECT.encode_request(
        ask(say("user", "?"), say("assistant", own), say("user", "!")), kit.target()
    )
    assert bytes(block) in data
    source = chat.Citation(title="t", dialect="bedrock_converse", raw=Raw(b'{"title":"t"}'))
    cited = chat.Text(text="Oak.", citations=(source,))
    assert messages(say("user", "?"), say("assistant", cited), say("user", "!"))[1]["content"] == [
        {"citationsContent": {"content": [{"text": "Oak."}], "citations": [{"title": "t"}]}}
    ]


def test_what_came_from_elsewhere_is_a_declared_loss() -> None:
    foreign = chat.Opaque(dialect="gemini_generate", name="executableCode", raw=Raw(b"{}"))
    cited = chat.Text(text="Oak.", citations=(chat.Citation(url="https://a.example"),))
    picture = chat.Media(form="image", data=PNG, media_type="image/png")
    body, lost = encode(ask(say("user", "?"), say("assistant", foreign, cited, picture), say("user", "!")))
    assert body["messages"][1]["content"] == [{"text": "Oak."}]
    assert lost == ["executableCode", "messages[].annotations", "messages[].content"]


def test_cache_points_follow_what_they_mark() -> None:
    marked = chat.Text(text="long", cache=chat.CacheMark(ttl="1h"))
    result = chat.ToolResult(call_id="call_1", content=(chat.Text(text="r"),), cache=chat.CacheMark())
    tool = chat.Tool(name="tide", parameters=SCHEMA, cache=chat.CacheMark(ttl="5m"))
    given_ = ask(chat.Message(role="system", parts=(marked,)), say("user", "?"), say("assistant", CALL),
                 say("user", "x"), say("tool", result), tools=(tool,))  # fmt: skip
    body, lost = encode(given_)
    assert body["system"] == [{"text": "long"}, {"cachePoint": {"type": "default", "ttl": "1h"}}]
    assert [next(iter(block)) for block in body["messages"][2]["content"]] == [
        "toolResult",
        "cachePoint",
        "text",
    ]
    assert body["toolConfig"]["tools"][1] == {"cachePoint": {"type": "default"}}
    assert lost == []
    assert encode(given_, NOVA)[0]["system"][1] == {"cachePoint": {"type": "default"}}
    body, lost = encode(given_, LLAMA)
    assert lost == ["cache_control"]
    assert "cachePoint" not in json.dumps(body)


# --- media -------------------------------------------------------------------------------------------


def test_images_by_their_true_format() -> None:
    for media_type in ("image/png", "image/jpeg", None, "application/octet-stream"):
        part = chat.Media(form="image", data=PNG, media_type=media_type)
        assert content("see", part)[1] == {"image": {"format": "png", "source": {"bytes": PNG}}}
    url = chat.Media(form="image", url=f"data:image/png;base64,{PNG}", detail="low")
    body, lost = encode(ask(say("user", url)))
    assert body["messages"][0]["content"] == [{"image": {"format": "png", "source": {"bytes": PNG}}}]
    assert lost == ["messages[].content[].image_url.detail"]


@pytest.mark.parametrize(
    ("media_type", "filename", "format_"),
    [
        ("application/pdf", "a.pdf", "pdf"), ("text/csv", None, "csv"), ("text/plain", "x.py", "txt"),
        ("text/markdown", None, "md"), ("text/html", None, "html"), ("application/json", "a.json", "txt"),
        ("application/octet-stream", "report.docx", "docx"), (None, "table.xlsx", "xlsx"), (None, None, "txt"),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", None, "docx"),
        ("image/png", None, None), ("application/x-lion", None, "refused"),
    ],
)  # fmt: skip
def test_documents(media_type: str | None, filename: str | None, format_: str | None) -> None:
    part = chat.Media(
        form="file",
        data=PNG if media_type == "image/png" else "aGk=",
        media_type=media_type,
        filename=filename,
    )
    if format_ == "refused":
        with pytest.raises(UnsupportedContent, match="application/x-lion"):
            content(part)
        return
    block = content("see", part)[1]
    if format_ is None:
        assert "image" in block
        return
    assert block["document"]["format"] == format_
    assert block["document"]["source"] == {"bytes": "aGk="}


def test_names_of_documents_are_clean_and_each_used_once() -> None:
    names = ["Q3/Größe_(final).v2.pdf", "a  b.pdf", "a b.pdf", None, "", "x" * 400 + ".pdf", "日本.pdf"]
    parts = [
        chat.Media(form="file", data="aGk=", media_type="application/pdf", filename=name) for name in names
    ]
    found = [block["document"]["name"] for block in content("see", *parts)[1:]]
    assert found[:5] == ["Gr e (final) v2", "a b", "a b (2)", "document", "document (2)"]
    assert found[6] == "document (3)"
    assert all(
        re.fullmatch(r"[A-Za-z0-9()\[\]-]+( [A-Za-z0-9()\[\]-]+)*", name) and len(name) <= 200
        for name in found
    )
    assert len(set(found)) == len(found)


def test_a_document_never_stands_without_text() -> None:
    part = chat.Media(form="file", data="aGk=", media_type="application/pdf")
    assert content(part)[1] == {"text": "."}


@pytest.mark.parametrize(
    ("form", "media_type", "block"),
    [
        ("video", "video/mp4", {"video": {"format": "mp4", "source": {"bytes": "aGk="}}}),
        ("video", "video/quicktime", {"video": {"format": "mov", "source": {"bytes": "aGk="}}}),
        ("video", "video/3gpp", {"video": {"format": "three_gp", "source": {"bytes": "aGk="}}}),
        ("file", "video/webm", {"video": {"format": "webm", "source": {"bytes": "aGk="}}}),
        ("audio", "audio/mpeg", {"audio": {"format": "mp3", "source": {"bytes": "aGk="}}}),
        ("audio", "audio/wav", {"audio": {"format": "wav", "source": {"bytes": "aGk="}}}),
    ],
)
def test_video_and_sound(form: Any, media_type: str, block: dict[str, Any]) -> None:
    assert content("see", chat.Media(form=form, data="aGk=", media_type=media_type))[1] == block


@pytest.mark.parametrize(
    "part",
    [
        chat.Media(form="image", url="https://a.example/x.png"), chat.Media(form="file", file_id="file-1", origin="x"),
        chat.Media(form="image", data="Qk0=", media_type="image/bmp"), chat.Media(form="video", data="aGk="),
        chat.Media(form="image", url="data:image/png;base64"), chat.Media(form="audio", data="aGk=", media_type="audio/x-odd"),
    ],
)  # fmt: skip
def test_media_that_cannot_be_given(part: chat.Media) -> None:
    with pytest.raises(UnsupportedContent):
        content("see", part)


def test_results_hold_media_too() -> None:
    result = chat.ToolResult(
        call_id="call_1", content=(chat.Media(form="image", data=PNG, media_type="image/png"),)
    )
    found = messages(say("user", "?"), say("assistant", CALL), say("tool", result), tools=(TOOL,))
    assert "image" in found[2]["content"][0]["toolResult"]["content"][0]


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


@pytest.mark.parametrize("name", ["with.dots", "x" * 65, "", "ä"])
def test_names_of_tools_that_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedContent, match="1 to 64"):
        encode(ask(tools=(chat.Tool(name=name),)))


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


# --- anything ---------------------------------------------------------------------------------------------

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
results = st.builds(
    chat.ToolResult, call_id=identifiers, name=st.none() | st.just("tide"), is_error=st.booleans(), cache=marks,
    content=st.lists(text_parts | media_parts, max_size=2).map(tuple),
)  # fmt: skip
thoughts = st.builds(
    chat.Thinking, text=texts, signature=st.none() | st.just("c2ln"), redacted=st.none() | st.just("AAEC"),
    origin=st.sampled_from([None, "bedrock_converse", "anthropic_messages"]),
)  # fmt: skip
spoken = st.one_of(
    st.builds(chat.Message, role=st.sampled_from(["system", "developer"]), parts=st.lists(text_parts, max_size=2).map(tuple)),
    st.builds(chat.Message, role=st.just("user"), parts=st.lists(text_parts | media_parts, max_size=3).map(tuple)),
    st.builds(chat.Message, role=st.just("assistant"), parts=st.lists(text_parts | calls | thoughts, max_size=3).map(tuple)),
    st.builds(chat.Message, role=st.just("tool"), parts=st.lists(results, max_size=2).map(tuple)),
)  # fmt: skip
requests = st.builds(
    chat.ChatRequest,
    model=st.just("m"), dialect=st.sampled_from(["openai_chat", "anthropic_messages"]),
    messages=st.lists(spoken, min_size=1, max_size=6).map(tuple),
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
    except (UnsupportedContent, InvalidRequest):
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
    blank = [b for m in body["messages"] for b in m["content"] if not b.get("text", "x").strip()]
    assert not [b for b in blank if roles[-1] != "assistant"]
    thinking = body.get("additionalModelRequestFields", {}).get("thinking", {})
    if thinking.get("type") == "enabled":
        assert 1024 <= thinking["budget_tokens"] < body["inferenceConfig"]["maxTokens"]
